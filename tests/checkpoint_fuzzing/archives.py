"""Damage to zip archives and to gzipped vocabularies."""

import gzip
import re
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass

from checkpoint_fuzzing.parts import read_part, write_part

MEBIBYTE = 1 << 20


RECORD_KINDS = (
    *("deflated", "lzma", "bomb of 2 GB", "bomb of 8 GB", "doubled", "removed", "renamed"),
    "100,000 more",
)


@dataclass(frozen=True)
class Record:
    """One record of a zip archive is compressed, a bomb, doubled, removed or of another name."""

    file: str
    record: str
    kind: str

    def apply(self, directory):
        path = directory / self.file
        with zipfile.ZipFile(path) as archive:
            records = [(info.filename, archive.read(info)) for info in archive.infolist()]
        chosen = next(name for name, _ in records if name.endswith("/" + self.record))
        if self.kind == "removed":
            records = [(name, data) for name, data in records if name != chosen]
        elif self.kind == "renamed":
            records = [("../" * (name == chosen) + name, data) for name, data in records]
        elif self.kind == "doubled":
            records.append((chosen, b"\x80\x02]."))
        elif self.kind == "100,000 more":
            records += [(f"archive/x/{number}", b"") for number in range(100_000)]
        methods = {"deflated": zipfile.ZIP_DEFLATED, "lzma": zipfile.ZIP_LZMA}
        method = methods.get(self.kind, zipfile.ZIP_STORED)
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore")  # about doubled names
            for name, data in records:
                archive.writestr(name, data, method if name == chosen else zipfile.ZIP_STORED)
        if self.kind.startswith("bomb"):
            content = path.read_bytes()
            path.write_bytes(_bomb(content, chosen.encode(), 1 << (31 if "2" in self.kind else 33)))


@dataclass(frozen=True)
class ZipField:
    """One number in a zip archive's directory, or in front of a record, becomes another."""

    file: str
    place: int
    field: str
    value: int

    def apply(self, directory):
        content = bytearray(read_part(directory, self.file))
        where, field = self.field.split()
        signature, fields = _ZIP[where]
        found = [match.start() for match in re.finditer(re.escape(signature), content)]
        offset, size = fields[field]
        start = found[self.place % len(found)] + offset
        content[start : start + size] = (self.value % (1 << 8 * size)).to_bytes(size, "little")
        write_part(directory, self.file, bytes(content))


# APPNOTE.TXT of PKWARE, sections 4.3.7, 4.3.12 and 4.3.16: offset and size of each field
_ZIP = {
    "record": (
        b"PK\3\4",
        {"flags": (6, 2), "method": (8, 2), "crc": (14, 4), "packed": (18, 4), "size": (22, 4),
         "name": (26, 2), "extra": (28, 2)},
    ),
    "entry": (
        b"PK\1\2",
        {"flags": (8, 2), "method": (10, 2), "crc": (16, 4), "packed": (20, 4), "size": (24, 4),
         "name": (28, 2), "extra": (30, 2), "comment": (32, 2), "offset": (42, 4)},
    ),
    "end": (
        b"PK\5\6",
        {"disk": (4, 2), "here": (8, 2), "entries": (10, 2), "size": (12, 4), "offset": (16, 4),
         "comment": (20, 2)},
    ),
}  # fmt: skip
ZIP_FIELDS = [f"{where} {field}" for where, (_, fields) in _ZIP.items() for field in fields]


@dataclass(frozen=True)
class Gzip:
    """The gzipped vocabulary holds something else."""

    file: str
    kind: str

    def apply(self, directory):
        content = read_part(directory, self.file)
        lines = gzip.decompress(content).decode().split("\n")
        if self.kind == "no lines":
            lines = []
        elif self.kind == "10 lines":
            lines = lines[:10]
        elif self.kind == "a line twice":
            lines[5] = lines[4]
        elif self.kind == "three symbols":
            lines[5] += " x"
        elif self.kind == "unknown symbols":
            lines[5] = "\u1234 \u1235"
        elif self.kind == "a line of 1,000,000 characters":
            lines[5] = "x" * 500_000 + " " + "y" * 500_000
        if self.kind in _GZIP_BOMBS:
            new = _gzip_of(_deflated(_GZIP_BOMBS[self.kind], 3 << 30), 3 << 30)
        elif self.kind == "doubled":
            new = content + content
        else:
            new = gzip.compress("\n".join(lines).encode(), mtime=0)
        write_part(directory, self.file, new)


_GZIP_BOMBS = {
    "3 GB of newlines": b"\n",
    "3 GB in one line": b"x",
    "3 GB of merges": b"x x\n",
    "3 GB of broken UTF-8": b"\xc3",
}
GZIP_KINDS = (
    *("no lines", "10 lines", "a line twice", "three symbols", "unknown symbols", "doubled"),
    *("a line of 1,000,000 characters", *_GZIP_BOMBS),
)


def _deflated(pattern, size):
    """Return a raw deflate stream of `size` bytes, made without compressing all of them."""
    chunk = (pattern * (MEBIBYTE // len(pattern)))[:MEBIBYTE]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # after a full flush the stream refers to nothing before, so its parts can be repeated
    part = packer.compress(chunk) + packer.flush(zlib.Z_FULL_FLUSH)
    return part * (size // MEBIBYTE) + packer.flush()


def _gzip_of(stream, size):
    header = b"\x1f\x8b\x08\0\0\0\0\0\2\xff"
    return header + stream + struct.pack("<II", 0, size & 0xFFFFFFFF)  # the sum is not right


def _bomb(content, name, size):
    """Put one more record into a zip archive, and let the directory's entry of `name` point to it.

    The checksum is not right; who checks it has inflated everything.
    """
    stream = _deflated(b"\0", size)
    claimed = min(size, 0xFFFFFFFF)
    head = struct.pack(
        "<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(stream), claimed, len(name), 0
    )
    directory = content.index(b"PK\1\2")
    end = content.rindex(b"PK\5\6")
    entries = bytearray(content[directory:end])
    start = entries.index(name) - 46
    struct.pack_into("<H", entries, start + 10, 8)
    struct.pack_into("<3I", entries, start + 16, 0, len(stream), claimed)
    struct.pack_into("<I", entries, start + 42, directory)
    record = head + name + stream
    tail = bytearray(content[end:])
    struct.pack_into("<I", tail, 16, directory + len(record))
    return content[:directory] + record + bytes(entries) + bytes(tail)
