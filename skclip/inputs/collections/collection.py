"""Collections of images on disk: folders, files, tables, shards -> rows of (id, path, image)."""

import glob
import hashlib
import os
import re
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

from skclip.inputs.collections.sources import (
    IMAGE_SUFFIXES,
    ImagePaths,
    Rows,
    Shard,
    read_csv,
    read_parquet,
    suffix_of,
)

_PARQUET_SUFFIXES = (".parquet", ".pq")
_TABLE_SUFFIXES = (".csv", ".tsv", *_PARQUET_SUFFIXES)
_KNOWN = (*IMAGE_SUFFIXES, *_TABLE_SUFFIXES, ".tar")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Collection:
    """Images on disk in a fixed order, by name; nothing of a picture is held.

    Made by `open_collection`. It has a length.
    """

    def __init__(self, sources):
        self._sources = sources
        self._ends = list(accumulate(len(source) for source in sources))

    def __len__(self):
        return self._ends[-1] if self._ends else 0

    def rows(self, start, stop):
        """Return the rows from `start` up to `stop`, as `Rows`."""
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
        return Rows(ids, paths, _Joined([piece.images for piece in pieces]))

    def digest(self):
        """Return a digest of the rows' names, and of each file's size and time of change."""
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
        The tables' column of images: paths, relative ones to the table's folder; or, in Parquet,
        bytes or structs with ``bytes`` or ``path``. None is "image".
    id_column : str or None, default=None
        The tables' column of ids; None numbers the rows: "table.csv:0".

    Returns
    -------
    collection : Collection
        A file's id is its path as the inputs name it, that of a sample in a shard is its key. Files
        that several inputs name are there once. Hidden files are left out.

    Raises
    ------
    ValueError
        An input does not exist, holds no images, or is damaged; a column is missing.
    ImportError
        A Parquet file is to be read and pyarrow is not installed.

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
    files = [file for item in inputs for file in _files_of(os.fspath(item))]
    if len(inputs) > 1 or _is_pattern(os.fspath(inputs[0])):
        first_names = {}
        for file in files:
            first_names.setdefault(os.path.abspath(file), file)
        files = list(first_names.values())
    sources, images = [], []
    n_tables = 0
    for file in files:
        suffix = suffix_of(file)
        if suffix not in (*_TABLE_SUFFIXES, ".tar"):
            images.append(file)
            continue
        if images:
            sources.append(ImagePaths(images))
            images = []
        if suffix == ".tar":
            sources.append(Shard(file))
        else:
            n_tables += 1
            read = read_parquet if suffix in _PARQUET_SUFFIXES else read_csv
            sources.append(read(file, column or "image", id_column))
    if images:
        sources.append(ImagePaths(images))
    for name, value in (("column", column), ("id_column", id_column)):
        if value is not None and not n_tables:
            raise ValueError(
                f"{name} names a column of a table, got {value!r} with inputs of which none is a "
                "CSV or Parquet file; leave it out"
            )
    collection = Collection(sources)
    if not len(collection):
        raise ValueError(f"{_some(inputs)} holds no rows; there must be at least one image")
    return collection


def expand_braces(pattern):
    """Return the names that ``{a,b}`` and ``{000..010}`` in a pattern stand for, as a shell does.

    Parameters
    ----------
    pattern : str

    Returns
    -------
    names : list of str

    Examples
    --------
    >>> from skclip.inputs.collections.collection import expand_braces
    >>> expand_braces("{train,test}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'test-08.tar']
    """
    for match in re.finditer(r"\{([^{}]*)\}", pattern):
        span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
        if span:
            first, last = int(span[1]), int(span[2])
            padded = any(end.startswith("0") and len(end) > 1 for end in span.groups())
            width = max(map(len, span.groups())) if padded else 0
            step = 1 if first <= last else -1
            choices = [f"{number:0{width}}" for number in range(first, last + step, step)]
        elif "," in match[1]:
            choices = match[1].split(",")
        else:
            continue
        before, after = pattern[: match.start()], pattern[match.end() :]
        names = [name for choice in choices for name in expand_braces(before + choice + after)]
        return list(dict.fromkeys(names))
    return [pattern]


class _Joined:
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


def _files_of(item):
    """Return the files that one input stands for."""
    if not os.path.lexists(item) and _is_pattern(item):
        found = []
        for pattern in expand_braces(item):
            if not glob.has_magic(pattern):
                found += _files_of(pattern)
                continue
            for match in sorted(glob.glob(pattern, recursive=True)):
                if os.path.isdir(match) or suffix_of(match) in _KNOWN:
                    found += _files_of(match)
        if not found:
            raise ValueError(f"no image, table or shard matches the pattern {item!r}")
        return found
    # "./photos/" and "photos" are the same
    item = str(Path(item))
    if os.path.isdir(item):
        return _files_in(item)
    if not os.path.exists(item):
        raise ValueError(f"the input {item!r} does not exist")
    if item.lower().endswith(_COMPRESSED):
        raise ValueError(f"the archive {item!r} is compressed; decompress it to a .tar file first")
    return [item]


def _files_in(folder):
    """Return the image files in a folder and below; or its tables, or its shards."""
    kinds = {"images": IMAGE_SUFFIXES, "Parquet files": _PARQUET_SUFFIXES, "shards": (".tar",)}
    found = {kind: [] for kind in kinds}
    visited = set()
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(directory)
        if real in visited:  # a link back to where we are
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            for kind, suffixes in kinds.items():
                # "_" is how other writers of Parquet name what is no table
                hidden = name.startswith(("_", ".") if kind == "Parquet files" else ".")
                if suffix_of(name) in suffixes and not hidden:
                    found[kind].append(os.path.join(directory, name))
    held = [kind for kind in kinds if found[kind]]
    if not held:
        raise ValueError(
            f"the folder {folder!r} holds no images, Parquet files or shards; image files end in "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    if len(held) > 1:
        raise ValueError(
            f"the folder {folder!r} holds {' and '.join(held)}; say which you mean by a pattern, "
            f"such as {os.path.join(folder, '**', '*' + kinds[held[0]][0])!r}"
        )
    return sorted(found[held[0]])


def _is_pattern(item):
    return glob.has_magic(item) or expand_braces(item) != [item]


def _some(inputs):
    more = f" and {len(inputs) - 3} more" if len(inputs) > 3 else ""
    return ", ".join(repr(os.fspath(item)) for item in inputs[:3]) + more


def _raise(error):
    raise error
