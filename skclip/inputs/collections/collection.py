"""A collection of images on disk: files, folders, tables and shards as one list of rows."""

import hashlib
import os
import stat
from bisect import bisect_right
from itertools import accumulate

from skclip.inputs.collections.find import find_files
from skclip.inputs.collections.parquet import read_parquet
from skclip.inputs.collections.paths import ImagePaths
from skclip.inputs.collections.rows import Rows
from skclip.inputs.collections.shards import Shard
from skclip.inputs.collections.suffixes import (
    CSV_SUFFIXES,
    PARQUET_SUFFIXES,
    SHARD_SUFFIXES,
    suffix_of,
)
from skclip.inputs.collections.tables import read_csv


class Collection:
    """Images on disk in a fixed order; it holds names and positions, no images.

    Made by `open_collection`. Its length is the number of rows.

    Parameters
    ----------
    sources : list
        Such as `ImagePaths`; `skclip.inputs.collections.rows` says what a source has.
    """

    def __init__(self, sources):
        self._sources = sources
        self._ends = list(accumulate(len(source) for source in sources))

    def __len__(self):
        return self._ends[-1] if self._ends else 0

    def rows(self, start, stop):
        """Return a range of rows.

        Parameters
        ----------
        start : int
        stop : int
            The first row that is not returned.

        Returns
        -------
        rows : Rows
        """
        pieces = []
        for i in range(bisect_right(self._ends, start), len(self._sources)):
            first = self._ends[i] - len(self._sources[i])
            if first >= stop:
                break
            stop_here = min(stop, self._ends[i]) - first
            pieces.append(self._sources[i].rows(max(start - first, 0), stop_here))
        if len(pieces) == 1:
            return pieces[0]
        ids = [row_id for piece in pieces for row_id in piece.ids]
        paths = [path for piece in pieces for path in piece.paths]
        if all(isinstance(piece.images, list) for piece in pieces):
            return Rows(ids, paths, [image for piece in pieces for image in piece.images])
        return Rows(ids, paths, _Concatenated([piece.images for piece in pieces]))

    def digest(self):
        """Return a digest of the names of all rows, and of each file's size and modification time.

        Returns
        -------
        digest : str of 32 hexadecimal digits
        """
        digest = hashlib.blake2b(digest_size=16)
        for source in self._sources:
            for entry in source.entries():
                digest.update(repr(entry).encode())
        return digest.hexdigest()


def open_collection(inputs, *, column=None, id_column=None):
    r"""Find the images that files, folders, patterns, tables and shards name.

    Parameters
    ----------
    inputs : list of str or Path
        Each is one of: a folder, for all image files in it and below, sorted by path (or, if it
        holds those instead, all Parquet files or all shards); an image file; a table (CSV, TSV,
        Parquet); a webdataset shard (TAR); a glob pattern or a brace pattern such as
        ``shards-{000..010}.tar``.
    column : str or None, default=None
        The column of images in tables. It holds paths, where relative ones start from the table's
        folder; in Parquet also bytes, or structs with ``bytes`` or ``path``. None is "image".
    id_column : str or None, default=None
        The column of ids in tables; None numbers the rows: "table.csv:0".

    Returns
    -------
    collection : Collection
        The id of an image file is its path as the inputs name it, that of a sample in a shard is
        its key. A file that several inputs name is there once. Hidden files in folders are left
        out.

    Raises
    ------
    ValueError
        An input does not exist, holds no images, or is damaged; or a column is missing.
    ImportError
        An input is a Parquet file, and pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skclip.inputs.collections.collection import open_collection
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "pets.csv")
    ...     _ = table.write_text("name,image\nTom,tom.jpg\nRex,rex.jpg\n")
    ...     collection = open_collection([table], id_column="name")
    >>> len(collection), collection.rows(0, 2).ids
    (2, ['Tom', 'Rex'])
    """
    if not inputs:
        raise ValueError("there must be at least one input, got none")
    sources, images = [], []
    has_tables = False
    for file in find_files(inputs):
        suffix = suffix_of(file)
        is_table = suffix in CSV_SUFFIXES or suffix in PARQUET_SUFFIXES
        if not is_table and suffix not in SHARD_SUFFIXES:
            images.append(file)  # whatever its suffix
            continue
        _check_regular(file)
        if images:
            sources.append(ImagePaths(images))
            images = []
        if is_table:
            has_tables = True
            read = read_csv if suffix in CSV_SUFFIXES else read_parquet
            sources.append(read(file, column or "image", id_column))
        else:
            sources.append(Shard(file))
    if images:
        sources.append(ImagePaths(images))
    for name, value in (("column", column), ("id_column", id_column)):
        if value is not None and not has_tables:
            raise ValueError(
                f"{name} names a column of a table, got {value!r}, but none of the inputs is a CSV "
                "or Parquet file; leave it out"
            )
    collection = Collection(sources)
    if not len(collection):
        raise ValueError(f"{_abbreviated(inputs)} holds no rows; there must be at least one image")
    return collection


def _check_regular(file):
    """Raise a ValueError for a pipe, a device and so on, some of which never end."""
    try:
        is_regular = stat.S_ISREG(os.stat(file).st_mode)
    except OSError as error:
        raise ValueError(f"the input {file!r} cannot be read: {error.strerror}") from error
    if not is_regular:
        raise ValueError(f"the input {file!r} is not a regular file; write its content to one")


class _Concatenated:
    """Several sequences, one after the other."""

    def __init__(self, pieces):
        self.pieces = pieces
        self.ends = list(accumulate(map(len, pieces)))

    def __len__(self):
        return self.ends[-1]

    def __getitem__(self, row):
        if not 0 <= row < len(self):
            raise IndexError(row)
        piece = bisect_right(self.ends, row)
        return self.pieces[piece][row - self.ends[piece] + len(self.pieces[piece])]


def _abbreviated(inputs):
    more = f" and {len(inputs) - 3} more" if len(inputs) > 3 else ""
    return ", ".join(repr(os.fspath(item)) for item in inputs[:3]) + more
