"""Webdataset shards: images inside TAR files."""

import os
import re
import tarfile
from array import array

from skclip.inputs.collections.rows import Rows, file_status
from skclip.inputs.collections.suffixes import IMAGE_SUFFIXES
from skclip.inputs.ranges import FileRange

# what tarfile raises for damaged headers, besides its own errors
_DAMAGED = (tarfile.TarError, EOFError, OSError, OverflowError, RecursionError, ValueError)
_LARGEST_IN_MEMORY = 1 << 24
_LARGEST_HEADER = 1 << 20


class Shard:
    """A source of the samples in a webdataset shard.

    A sample is a run of consecutive files in the TAR that have the same base name, its key. Only
    the headers are read at first; an image is read later from its offset.

    Parameters
    ----------
    file : str
        An uncompressed TAR file.

    Attributes
    ----------
    keys : list of str
        Keys of the samples, which are their ids.
    offsets : array of int
        Where each sample's image starts, in bytes from the start of the file.
    sizes : array of int
        Bytes of each sample's image; -1 if the sample has no image.

    Raises
    ------
    ValueError
        The file is damaged, incomplete, compressed, or not a TAR file.
    """

    def __init__(self, file):
        self.file = file
        try:
            self.keys, self.offsets, self.sizes = _index(file)
        except _DAMAGED as error:
            raise ValueError(
                f"the shard {file!r} cannot be read as an uncompressed TAR file ({error}); it may "
                "be damaged or incomplete"
            ) from error

    def __len__(self):
        return len(self.keys)

    def rows(self, start, stop):
        offsets, sizes = self.offsets[start:stop], self.sizes[start:stop]
        images = _ShardImages(os.path.abspath(self.file), offsets, sizes)
        return Rows(self.keys[start:stop], [None] * len(images), images)

    def entries(self):
        yield (self.file, len(self), *file_status(self.file))


class _ShardImages:
    """A sequence of images, each of which is read from the shard when it is taken.

    They are bytes, but those that are unusually large are ranges of the file, so that what is no
    image is not read.
    """

    def __init__(self, file, offsets, sizes):
        self.file = file
        self.offsets = offsets
        self.sizes = sizes

    def __len__(self):
        return len(self.offsets)

    def __getitem__(self, row):
        if self.sizes[row] < 0:
            return None
        if self.sizes[row] > _LARGEST_IN_MEMORY:
            return FileRange(self.file, self.offsets[row], self.sizes[row])
        with open(self.file, "rb") as stream:
            stream.seek(self.offsets[row])
            content = stream.read(self.sizes[row])
        if len(content) != self.sizes[row]:
            raise OSError(f"{self.file!r} ends too early; it changed while it was read")
        return content


def _index(file):
    """Return a shard's keys, offsets and sizes, as `Shard` has them."""
    keys, offsets, sizes = [], array("q"), array("q")
    best = len(IMAGE_SUFFIXES)  # only suffixes before this one can replace the sample's image
    with open(file, "rb") as stream, tarfile.open(fileobj=_Headers(stream), mode="r:") as tar:
        end = os.fstat(stream.fileno()).st_size
        start = -1
        while (member := tar.next()) is not None:
            tar.members.clear()  # else tarfile keeps every header in memory
            if not (member.size >= 0 and start < tar.offset <= end + tarfile.BLOCKSIZE):
                raise tarfile.ReadError(
                    f"its member {member.name!r} claims {member.size} bytes, and the file has {end}"
                )
            start = tar.offset
            # as in webdataset, a key ends at the first dot of the file's name
            match = re.fullmatch(r"((?:.*/)?[^./]+)(\.[^/]*)", member.name, re.DOTALL)
            if not match or not member.isreg() or member.issparse():
                continue
            key, suffix = match[1], match[2].lower()
            if not keys or keys[-1] != key:
                keys.append(key)
                offsets.append(0)
                sizes.append(-1)
                best = len(IMAGE_SUFFIXES)
            if suffix in IMAGE_SUFFIXES[:best]:
                best = IMAGE_SUFFIXES.index(suffix)
                offsets[-1], sizes[-1] = member.offset_data, member.size
        # tarfile stops at a damaged header as if the file ended there: only zeros may follow
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {tar.offset}")
    return keys, offsets, sizes


class _Headers:
    """A binary file from which only headers are read.

    A header for a long name or for other properties says itself how long it is.
    """

    def __init__(self, stream):
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size):
        if size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return self._stream.read(size)
