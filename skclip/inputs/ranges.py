"""A range of bytes within a file, as a file of its own."""

import io
from dataclasses import dataclass


@dataclass(frozen=True)
class FileRange:
    """An image within a larger file, such as a TAR archive.

    Parameters
    ----------
    path : str
        The larger file.
    offset : int
        Where the image starts, in bytes.
    size : int
        How many bytes it has.
    """

    path: str
    offset: int
    size: int

    def open(self):
        """Return a binary stream of the range. Nothing is read yet."""
        return io.BufferedReader(_RangeStream(self))


class _RangeStream(io.RawIOBase):
    def __init__(self, file_range):
        self._start = file_range.offset
        self._size = file_range.size
        self._position = 0
        self._file = open(file_range.path, "rb", buffering=0)

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(origin + offset, 0)
        return self._position

    def readinto(self, buffer):
        n_bytes = min(len(buffer), max(self._size - self._position, 0))
        self._file.seek(self._start + self._position)
        n_read = self._file.readinto(memoryview(buffer)[:n_bytes])
        self._position += n_read
        return n_read

    def close(self):
        self._file.close()
        super().close()
