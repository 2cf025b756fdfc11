"""Image files by path: their ids and absolute paths."""

import pytest

from skclip.inputs.collections.paths import ImagePaths

NAMES = ["a.jpg", None, "/b.jpg"]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, NAMES),
        ({"table": "x.csv"}, ["x.csv:0", "x.csv:1", "x.csv:2"]),
        ({"table": "x.csv", "ids": ["p", "q", "r"]}, ["p", "q", "r"]),
    ],
)
def test_ids(options, ids):
    source = ImagePaths(NAMES, **options)
    assert source.rows(0, 3).ids == ids
    assert source.rows(1, 2).ids == ids[1:2]
    assert [entry[0] for entry in source.entries()] == ids


def test_paths_stay_absolute_in_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = ImagePaths(NAMES, folder="pets")
    monkeypatch.chdir("/")
    assert source.rows(0, 3).paths == [str(tmp_path / "pets" / "a.jpg"), None, "/b.jpg"]


def test_entries_have_size_and_modification_time(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"abc")
    modified = (tmp_path / "a.jpg").stat().st_mtime_ns
    source = ImagePaths(["a.jpg", "missing.jpg", None], folder=str(tmp_path))
    assert list(source.entries()) == [
        ("a.jpg", "a.jpg", 3, modified),
        ("missing.jpg", "missing.jpg", None, None),
        (None, None, None, None),
    ]
