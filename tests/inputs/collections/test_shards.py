"""Webdataset shards."""

import pickle
import tarfile

import pytest
from collection_files import rows_of, write_tar

from skclip.inputs.collections.collection import open_collection


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples(tmp_path, tar_format):
    long = "x" * 150
    files = [
        ("0001.txt", b"a cat"),
        ("0001.png", b"PNG"),
        ("0001.jpg", b"JPEG"),  # preferred to png
        ("0002.JPG", b"second"),
        ("0002.webp", b"jpg is preferred"),
        ("0002.json", b"{}"),
        ("0003.txt", b"no picture"),
        ("README", b"no sample"),
        (".hidden.jpg", b"no sample"),
        ("a.b/0004.mask.png", b"no picture"),
        ("a.b/0004.webp", b"fourth"),
        (f"{long}/{long}.jpg", b"fifth"),
        ("ünï.jpg", b"sixth"),
    ]
    shard = write_tar(tmp_path / "x.tar", files, format=tar_format)
    collection = open_collection([shard])
    rows = collection.rows(0, len(collection))
    # the keys that webdataset 1.0 gives
    assert rows.ids == ["0001", "0002", "0003", "a.b/0004", f"{long}/{long}", "ünï"]
    assert rows.paths == [None] * 6
    expected = [b"JPEG", b"second", None, b"fourth", b"fifth", b"sixth"]
    assert [rows.images[row] for row in range(6)] == expected
    images = pickle.loads(pickle.dumps(collection.rows(3, 5).images))
    assert [images[1], images[0]] == [b"fifth", b"fourth"]


def test_several_shards_by_pattern_and_by_folder(tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(8, 12):
        write_tar(tmp_path / "data" / f"s-{i:03}.tar", [(f"{i}.jpg", b"%d" % i)])
    for source in ("data", "data/*.tar", "data/s-{008..011}.tar"):
        rows = rows_of(tmp_path / source)
        assert rows.ids == ["8", "9", "10", "11"]
        assert [rows.images[row] for row in range(4)] == [b"8", b"9", b"10", b"11"]


def test_directories_and_links_are_no_images(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in [("d.jpg", tarfile.DIRTYPE), ("s.jpg", tarfile.SYMTYPE)]:
            member = tarfile.TarInfo(name)
            member.type = kind
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo("a.jpg"))
    assert rows_of(tmp_path / "x.tar").ids == ["a"]


def test_a_pickle_holds_no_images(tmp_path):
    files = [(f"{i}.jpg", b"x" * 10_000) for i in range(50)]
    shard = write_tar(tmp_path / "x.tar", files)
    assert len(pickle.dumps(open_collection([shard]).rows(0, 50).images)) < 2_000


@pytest.mark.parametrize("cut", [700, 100])
def test_a_shard_that_ends_early(tmp_path, cut):
    shard = write_tar(tmp_path / "x.tar", [("1.jpg", b"a"), ("2.jpg", b"b" * 700)])
    shard.write_bytes(shard.read_bytes()[: 1024 + cut])
    with pytest.raises(ValueError, match=r"the shard '.*x\.tar' cannot be read .*incomplete"):
        open_collection([shard])


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    shard = write_tar(tmp_path / "x.tar", [("1.jpg", b"a"), ("2.jpg", b"b")])
    content = bytearray(shard.read_bytes())
    content[1024 + 148] ^= 1  # in the checksum of the second header
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="no header at byte 1024"):
        open_collection([shard])


def test_a_compressed_shard_under_a_plain_name(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("1.jpg"))
    with pytest.raises(ValueError, match="cannot be read as an uncompressed TAR file"):
        open_collection([tmp_path / "x.tar"])


def test_a_shard_that_is_cut_short_while_it_is_read(tmp_path):
    shard = write_tar(tmp_path / "x.tar", [("1.jpg", b"a" * 700)])
    images = rows_of(shard).images
    shard.write_bytes(shard.read_bytes()[:800])
    with pytest.raises(OSError, match="ends too early; it changed while it was read"):
        images[0]


def test_the_digest_changes_with_the_shard(tmp_path):
    shard = write_tar(tmp_path / "x.tar", [("1.jpg", b"a")])
    before = open_collection([shard]).digest()
    write_tar(shard, [("1.jpg", b"a"), ("2.jpg", b"b")])
    assert open_collection([shard]).digest() != before
