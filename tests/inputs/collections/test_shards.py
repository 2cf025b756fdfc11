"""Webdataset shards."""

import io
import pickle
import tarfile

import pytest
from collection_files import rows_of, write_tar
from PIL import Image

from skclip.encode.jpeg import decode_jpeg
from skclip.inputs.collections.collection import open_collection
from skclip.inputs.items import ImageUnreadableError, as_item
from skclip.inputs.ranges import FileRange


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


def header(name, size, kind=tarfile.REGTYPE):
    """Return the header of a member of any size, also of a negative one."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return bytes(block)


def pax(record, kind=tarfile.XHDTYPE):
    """Return a PAX header with one record, such as "17 size=123456789"."""
    return header("pax", len(record) + 1, kind) + (record + b"\n").ljust(512, b"\0")


MEMBER = header("1.jpg", 1) + b"a".ljust(512, b"\0")
LONG_NAME = header("x", 6, b"L") + b"2.jpg".ljust(512, b"\0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header("2.jpg", 2**62), f"member '2.jpg' claims {2**62} bytes, and the file has 2560"),
        (header("2.jpg", 2**80), f"claims {2**80} bytes"),
        (header("2.jpg", 2000), "claims 2000 bytes"),
        (header("2.jpg", -512), "claims -512 bytes"),
        (header("2.jpg", -1536), "claims -1536 bytes"),  # back to the first member
        (pax(b"16 size=-100000") + MEMBER, "claims -100000 bytes"),
        (pax(b"30 size=" + b"9" * 21) + MEMBER, "claims 99999"),
        (pax(b"9" * 30 + b" a=b") + MEMBER, "."),
        (pax(b"22 GNU.sparse.map=1,x") + MEMBER, "."),
        (pax(b"6 a=b") * 2000 + MEMBER, "recursion"),
        (pax(b"6 a=b", tarfile.XGLTYPE) * 2000 + MEMBER, "recursion"),
        (LONG_NAME * 2000 + MEMBER, "recursion"),
    ],
)
def test_headers_that_make_no_sense(tmp_path, content, message):
    (tmp_path / "x.tar").write_bytes(MEMBER + content + bytes(1024))
    with pytest.raises(ValueError, match=rf"the shard '.*x\.tar' cannot be read .*{message}"):
        open_collection([tmp_path / "x.tar"])


def write_with_hole(path, start, size):
    """Write a file that begins with some bytes; the rest is a hole, without room on the disk."""
    with open(path, "wb") as stream:
        stream.write(start)
        stream.truncate(size)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_that_claims_gigabytes_is_not_read(tmp_path, kind):
    write_with_hole(tmp_path / "x.tar", header("x", 6 << 30, kind), (6 << 30) + 4096)
    with pytest.raises(ValueError, match=f"a header claims {6 << 30} bytes"):
        open_collection([tmp_path / "x.tar"])


def open_large_member(tmp_path, start, size):
    write_with_hole(tmp_path / "x.tar", header("1.jpg", size) + start, size + 4096)
    (image,) = list(rows_of(tmp_path / "x.tar").images)
    return as_item(pickle.loads(pickle.dumps(image)))


def picture_file(kind):
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("start", [b"", picture_file("WEBP"), picture_file("JPEG")])
def test_a_member_of_gigabytes_is_not_read(tmp_path, start):
    item = open_large_member(tmp_path, start, 6 << 30)
    message = r"the image of 6442450944 bytes at byte 512 of '.*x\.tar' has 6442450944 bytes, more"
    with pytest.raises(ImageUnreadableError, match=message), item.open():
        pass


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF"])
def test_only_the_picture_of_a_large_member_is_read(tmp_path, kind):
    item = open_large_member(tmp_path, picture_file(kind), 300 << 20)
    with item.open() as opened:
        assert decode_jpeg(opened) is None
        assert opened.rgb().size == (30, 20)


def test_a_range_of_a_file_is_a_file(tmp_path):
    (tmp_path / "x").write_bytes(b"0123456789")
    with FileRange(str(tmp_path / "x"), 2, 5).open() as stream:
        assert stream.read() == b"23456"
        assert stream.read(1) == b""
        assert stream.seek(-2, io.SEEK_END) == 3
        assert stream.read(10) == b"56"
        assert stream.seek(1) == 1
        assert stream.read(2) == b"34"


def test_the_content_of_a_range_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"0123456789")
    part = as_item(FileRange(str(tmp_path / "x"), 2, 5))
    assert part.content() == as_item(b"23456").content()
    (tmp_path / "x").unlink()
    assert part.content() is None
