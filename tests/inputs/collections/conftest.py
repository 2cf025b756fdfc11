import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with files of all kinds in `photos`; they hold text, not images."""
    monkeypatch.chdir(tmp_path)
    names = ["b.jpg", "a/z.PNG", "a/y.webp", "c.tiff", "a-b.jpeg", "_DSC01.jpg"]
    others = ["notes.txt", "labels.csv", ".hidden.jpg", "._b.jpg", ".thumbnails/b.jpg"]
    for name in names + others:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path
