"""Damage to files of any kind."""

import os
import socket
from dataclasses import dataclass

from checkpoint_fuzzing.parts import read_part, write_part

FILE_KINDS = (
    "empty",
    "missing",
    "directory",
    "dangling link",
    "link to itself",
    "named pipe",
    "socket",
    "link to /dev/zero",
    "link to /dev/null",
    "link to /dev/stdin",
    "700 MB of nothing",
    "UTF-16",
    "byte order mark",
)


@dataclass(frozen=True)
class Splice:
    """Bytes from `start` to `stop` become `content`, repeated `times`."""

    file: str
    start: int
    stop: int
    content: bytes = b""
    times: int = 1

    def apply(self, directory):
        content = read_part(directory, self.file)
        start, stop = (place if place is None else _place(place, content)
                       for place in (self.start, self.stop))  # fmt: skip
        start, stop = sorted((start, stop))
        write_part(
            directory, self.file, content[:start] + self.content * self.times + content[stop:]
        )


@dataclass(frozen=True)
class Flip:
    """Bytes at some places are changed by exclusive or."""

    file: str
    flips: tuple

    def apply(self, directory):
        content = bytearray(read_part(directory, self.file))
        for place, mask in self.flips:
            if content:
                content[place % len(content)] ^= mask
        write_part(directory, self.file, bytes(content))


@dataclass(frozen=True)
class Replace:
    """Something else stands in place of a file."""

    file: str
    kind: str

    def apply(self, directory):
        path = directory / self.file
        content = path.read_bytes()
        path.unlink()
        if self.kind == "empty":
            path.touch()
        elif self.kind == "directory":
            path.mkdir()
        elif self.kind == "dangling link":
            path.symlink_to("nothing")
        elif self.kind == "link to itself":
            path.symlink_to(path.name)
        elif self.kind == "named pipe":
            os.mkfifo(path)
        elif self.kind == "socket":
            _bind(path)
        elif self.kind.startswith("link to "):
            path.symlink_to(self.kind.removeprefix("link to "))
        elif self.kind == "700 MB of nothing":
            with open(path, "wb") as file:
                file.write(content)
                file.truncate(700 << 20)
        elif self.kind == "UTF-16":
            path.write_bytes(content.decode("latin-1").encode("utf-16"))
        elif self.kind == "byte order mark":
            path.write_bytes(b"\xef\xbb\xbf" + content)


@dataclass(frozen=True)
class Exchange:
    """Two files have each other's names."""

    file: str
    other: str

    def apply(self, directory):
        first, second = read_part(directory, self.file), read_part(directory, self.other)
        write_part(directory, self.file, second)
        write_part(directory, self.other, first)


def _place(place, content):
    return place % (len(content) + 1)


def _bind(path):
    listener = socket.socket(socket.AF_UNIX)
    # the path of a socket has at most about 100 characters
    here = os.open(path.parent, os.O_RDONLY)
    try:
        listener.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)
        listener.close()
