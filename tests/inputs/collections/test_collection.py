"""Collections of several sources: ranges of rows, options and digests."""

import os
import socket

import pytest
from collection_files import rows_of, write_table, write_tar
from hypothesis import given
from hypothesis import strategies as st

from skclip.inputs.collections.collection import Collection, open_collection
from skclip.inputs.collections.rows import Rows
from skclip.inputs.items import ImageUnreadableError, ItemsOnAccess


class Letters:
    """A source of letters, whose images are a list only if `as_list`."""

    def __init__(self, letters, as_list):
        self.letters = letters
        self.as_list = as_list

    def __len__(self):
        return len(self.letters)

    def rows(self, start, stop):
        letters = self.letters[start:stop]
        return Rows(list(letters), list(letters), list(letters) if self.as_list else letters)


THIRTEEN = Collection(
    [Letters("abcd", True), Letters("ef", True), Letters("ghijkl", False), Letters("m", True)]
)


@given(st.lists(st.integers(0, 13), max_size=4))
def test_rows_of_any_range(cuts):
    cuts = [0, *sorted(cuts), 13]
    ids, paths, images = [], [], []
    for start, stop in zip(cuts, cuts[1:], strict=False):
        if start == stop:
            continue
        rows = THIRTEEN.rows(start, stop)
        assert len(rows.ids) == len(rows.paths) == len(rows.images) == stop - start
        ids += rows.ids
        paths += rows.paths
        images += [rows.images[row] for row in range(stop - start)]
    whole = THIRTEEN.rows(0, 13)
    assert (ids, paths, images) == (whole.ids, whole.paths, list(whole.images))


def test_images_that_are_all_paths_are_a_list():
    assert THIRTEEN.rows(1, 6).images == list("bcdef")
    joined = THIRTEEN.rows(3, 13).images
    assert [joined[row] for row in (9, 0, 4)] == ["m", "d", "h"]
    with pytest.raises(IndexError):
        joined[10]


def test_tables_shards_and_files_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "x.csv").write_text("image\nc.jpg\n")
    write_tar(tmp_path / "x.tar", [("k.jpg", b"k")])
    write_table(tmp_path / "x.parquet", {"image": [b"p"]})
    rows = rows_of("b.jpg", "x.tar", "a.jpg", "x.csv", "x.parquet")
    assert rows.ids == ["b.jpg", "k", "a.jpg", "x.csv:0", "x.parquet:0"]
    expected = [
        str(tmp_path / "b.jpg"),
        b"k",
        str(tmp_path / "a.jpg"),
        str(tmp_path / "c.jpg"),
        b"p",
    ]
    assert list(rows.images) == expected
    assert rows.paths == [path if isinstance(path, str) else None for path in expected]


@pytest.mark.parametrize("option", ["column", "id_column"])
def test_a_column_needs_a_table(folder, option):
    with pytest.raises(ValueError, match=f"{option} names a column of a table, got 'x'"):
        open_collection(["photos"], **{option: "x"})


def test_the_digest_changes_with_names_order_sizes_and_times(folder):
    def digest(*inputs):
        return open_collection(inputs or ["photos"]).digest()

    before = digest()
    assert digest() == before
    seen = {
        before,
        digest("photos/b.jpg", "photos/c.tiff"),
        digest("photos/c.tiff", "photos/b.jpg"),
    }
    assert len(seen) == 3
    path = folder / "photos" / "b.jpg"
    status = path.stat()
    path.write_text("x.jpg")  # of the same length
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.add(digest())
    path.write_text("longer")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.add(digest())
    path.rename(folder / "photos" / "d.jpg")
    seen.add(digest())
    assert len(seen) == 6


def test_the_digest_is_that_of_earlier_versions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.jpg").write_text("b")
    (tmp_path / "x.csv").write_text("image,name\nb.jpg,one\nmissing.jpg,two\n,three\n")
    write_tar(tmp_path / "x.tar", [("k.jpg", b"k"), ("l.txt", b"no image")])
    for path in tmp_path.iterdir():
        os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    # computed with an earlier version, whose unfinished runs must stay resumable
    assert (
        open_collection(["b.jpg", "x.csv", "x.tar"]).digest() == "774a1b485fe41db0d5fe1eb4cbf24e75"
    )
    assert (
        open_collection(["x.csv"], id_column="name").digest() == "83db42df4eba4d461b51d38b746470f3"
    )


@pytest.mark.parametrize("suffix", ["tar", "csv", "tsv", "parquet"])
def test_what_is_no_regular_file_is_not_read(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    os.symlink("/dev/zero", tmp_path / f"zero.{suffix}")
    for name in (f"pipe.{suffix}", f"zero.{suffix}"):
        with pytest.raises(ValueError, match=rf"the input '.*{name}' is not a regular file; write"):
            open_collection([tmp_path / name])
    (tmp_path / "folder").mkdir()
    os.symlink("nowhere", tmp_path / "folder" / "x.parquet")
    with pytest.raises(ValueError, match=r"the input '.*x\.parquet' cannot be read: No such file"):
        open_collection([tmp_path / "folder"])


def test_an_image_that_is_no_regular_file_is_an_error_of_its_row(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    os.symlink("/dev/zero", tmp_path / "b.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "c.jpg"))
    os.symlink("nowhere", tmp_path / "d.jpg")
    items = ItemsOnAccess(rows_of(tmp_path).images)
    problems = [*["is not a regular file"] * 3, "does not exist"]
    for row, problem in enumerate(problems):
        with pytest.raises(ImageUnreadableError, match=problem), items[row].open():
            pass
