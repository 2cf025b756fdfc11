"""What holds images, paths, a table or a shard -> its rows, a range at a time."""

import csv
import os
import re
import tarfile
import threading
from array import array
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from itertools import accumulate

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".jp2", ".avif"),
)
_CELLS_AT_ONCE = 64


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a collection; pickles to its names, without a picture.

    Parameters
    ----------
    ids : list of str
    paths : list of str or None
        Absolute path of the image file; None where the image is bytes inside another file.
    images : sequence
        What `skclip.inputs.images.as_images` takes; reads bytes when an item is asked for.
    """

    ids: list
    paths: list
    images: object


class ImagePaths:
    """Image files by path; a row of a table may have none.

    Parameters
    ----------
    names : list of str or None
    folder : str, default=""
        Where relative paths start.
    ids : list of str or None, default=None
    table : str or None, default=None
        Where the names were read: without `ids` a row is then named by its number there, else by
        its path.
    """

    def __init__(self, names, *, folder="", ids=None, table=None):
        self.names = names
        self.folder = os.path.abspath(folder)
        self.ids = ids
        self.table = table

    def __len__(self):
        return len(self.names)

    def rows(self, start, stop):
        paths = [self._path(name) for name in self.names[start:stop]]
        return Rows(self._ids(start, stop), paths, paths)

    def entries(self):
        for row in range(len(self)):
            path = self._path(self.names[row])
            yield (*self._ids(row, row + 1), self.names[row], *_status(path))

    def _ids(self, start, stop):
        if self.ids is not None:
            return self.ids[start:stop]
        if self.table is not None:
            return [f"{self.table}:{row}" for row in range(start, stop)]
        return self.names[start:stop]

    def _path(self, name):
        return _resolve(name, self.folder)


class Shard:
    """A webdataset shard: a sample is the neighbouring files of a TAR that share a base name."""

    def __init__(self, file):
        self.file = file
        try:
            self.keys, self.offsets, self.sizes = _index_shard(file)
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(
                f"the shard {file!r} cannot be read as an uncompressed TAR file ({error}); it may "
                "be damaged or incomplete"
            ) from error

    def __len__(self):
        return len(self.keys)

    def rows(self, start, stop):
        offsets, sizes = self.offsets[start:stop], self.sizes[start:stop]
        images = _Members(os.path.abspath(self.file), offsets, sizes)
        return Rows(self.keys[start:stop], [None] * len(images), images)

    def entries(self):
        yield (self.file, len(self), *_status(self.file))


class _Members:
    """Images inside a TAR file, by place."""

    def __init__(self, file, offsets, sizes):
        self.file = file
        self.offsets = offsets
        self.sizes = sizes

    def __len__(self):
        return len(self.offsets)

    def __getitem__(self, row):
        if self.sizes[row] < 0:
            return None
        with open(self.file, "rb") as stream:
            stream.seek(self.offsets[row])
            content = stream.read(self.sizes[row])
        if len(content) != self.sizes[row]:
            raise OSError(f"{self.file!r} ends too early; it changed while it was read")
        return content


class ParquetTable:
    """A Parquet file whose images are bytes."""

    def __init__(self, file, column, id_column, n_rows):
        self.file = file
        self.column = column
        self.id_column = id_column
        self.n_rows = n_rows
        # ranges that are asked for in order go on where the last one ended
        self._images = _Column(os.path.abspath(file), column)
        self._ids = None if id_column is None else _Column(file, id_column)

    def __len__(self):
        return self.n_rows

    def rows(self, start, stop):
        if self._ids is None:
            ids = [f"{self.file}:{row}" for row in range(start, stop)]
        else:
            ids = [_as_id(self._ids.cell(row), self.file, row) for row in range(start, stop)]
        return Rows(ids, [None] * len(ids), _Cells(self._images, start, stop))

    def entries(self):
        yield (self.file, self.column, self.id_column, len(self), *_status(self.file))


class _Cells:
    """Images in some rows of a Parquet column."""

    def __init__(self, column, start, stop):
        self.column = column
        self.start = start
        self.stop = stop

    def __len__(self):
        return self.stop - self.start

    def __getitem__(self, row):
        if not 0 <= row < len(self):
            raise IndexError(row)
        cell = self.column.cell(self.start + row)
        if isinstance(cell, dict):
            content = cell.get("bytes")
            folder = os.path.dirname(self.column.file)
            return _resolve(cell.get("path"), folder) if content is None else content
        return cell


class _Column:
    """A column of a Parquet file; a few cells are held at a time, while asked for nearly in order.

    Its pickle is the names alone.
    """

    def __init__(self, file, name):
        self.file = file
        self.name = name
        self._lock = threading.Lock()
        # several threads ask, each a little ahead of or behind the others
        self._window = deque(maxlen=4)
        self._batches = None
        self._next = None  # the first row that was not read yet
        self._failure = None

    def __reduce__(self):
        return _Column, (self.file, self.name)

    def cell(self, row):
        """Return the value in a row."""
        with self._lock:
            return self._cell(row)

    def _cell(self, row):
        for first, cells in self._window:
            if first <= row < first + len(cells):
                return cells[row - first]
        if self._batches is None or row < self._next:
            self._window.clear()
            self._batches, self._next, self._failure = self._read(row), row, None
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        try:
            for first, cells in self._batches:
                self._window.append((first, cells))
                self._next = first + len(cells)
                if row < self._next:
                    return cells[row - first]
            raise OSError(f"{self.file!r} has no row {row}; it changed while it was read")
        except Exception as error:  # what follows in a damaged file is lost as well
            self._failure = error
            raise

    def _read(self, row):
        """Yield (number of the first row, list of cells), from the row group that holds `row`."""
        with import_parquet().ParquetFile(self.file) as parquet:
            sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
            ends = list(accumulate(sizes))
            group = bisect_right(ends, row)
            first = ends[group] - sizes[group] if group < len(ends) else row
            groups = range(group, len(ends))
            for batch in parquet.iter_batches(_CELLS_AT_ONCE, groups, [self.name]):
                if row < first + len(batch):
                    yield first, batch.column(0).to_pylist()
                first += len(batch)


def import_parquet():
    """Return pyarrow's module for Parquet files, or say how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet files need pyarrow; install it with: pip install 'skclip[parquet]'"
        ) from error
    return pyarrow.parquet


def read_csv(file, column, id_column):
    """Return the rows of a CSV file whose `column` holds paths."""
    names, ids = [], None if id_column is None else []
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter="\t" if suffix_of(file) == ".tsv" else ",")
            _check_columns(reader.fieldnames or [], file, column, id_column)
            for row, values in enumerate(reader):
                if None in values:
                    raise ValueError(
                        f"row {row} of {file!r} has more fields than the header; put values that "
                        "hold the delimiter in double quotes"
                    )
                names.append(values[column] or None)
                if ids is not None:
                    ids.append(_as_id(values[id_column], file, row))
    except UnicodeDecodeError as error:
        raise ValueError(f"the table {file!r} must be encoded as UTF-8: {error}") from error
    except csv.Error as error:
        raise ValueError(f"the table {file!r} cannot be read as CSV: {error}") from error
    return ImagePaths(names, folder=os.path.dirname(file), ids=ids, table=file)


def read_parquet(file, column, id_column):
    """Return the rows of a Parquet file whose `column` holds paths, bytes or structs of them."""
    parquet = import_parquet()
    from pyarrow import ArrowException, types

    try:
        with parquet.ParquetFile(file) as table:
            schema = table.schema_arrow
            n_rows = table.metadata.num_rows
    except (ArrowException, OSError) as error:
        raise ValueError(f"the table {file!r} cannot be read as Parquet: {error}") from error
    _check_columns(schema.names, file, column, id_column)
    kind = schema.field(column).type
    value = kind.value_type if types.is_dictionary(kind) else kind
    is_text = any(f(value) for f in (types.is_string, types.is_large_string, types.is_string_view))
    is_bytes = any(f(value) for f in (types.is_binary, types.is_large_binary, types.is_binary_view))
    is_struct = types.is_struct(kind) and {"bytes", "path"} & {field.name for field in kind}
    if not (is_text or is_bytes or is_struct):
        raise ValueError(
            f"the column {column!r} of {file!r} must hold paths, bytes, or structs with bytes or "
            f"path, got {kind}"
        )
    source = ParquetTable(file, column, id_column, n_rows)
    if not is_text:
        return source
    ids = None if id_column is None else source.rows(0, n_rows).ids
    names = [name or None for name in _Cells(_Column(file, column), 0, n_rows)]
    return ImagePaths(names, folder=os.path.dirname(file), ids=ids, table=file)


def _check_columns(names, file, column, id_column):
    for option, wanted in (("column", column), ("id_column", id_column)):
        if wanted is not None and wanted not in names:
            raise ValueError(
                f"{option} must be a column of {file!r}, got {wanted!r}; it has "
                f"{', '.join(map(repr, names)) or 'none'}"
            )


def _index_shard(file):
    """Return the keys of the samples, and offset and size of their images (-1: has none)."""
    keys, offsets, sizes = [], array("q"), array("q")
    best = len(IMAGE_SUFFIXES)
    with tarfile.open(file, "r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # it would keep all of them
            # a key ends at the first dot of the file's name, as webdataset has it
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
        # tarfile takes a damaged header for the end
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {tar.offset}")
    return keys, offsets, sizes


def _as_id(value, file, row):
    if value is None or value == "":
        raise ValueError(f"row {row} of {file!r} has no id; fill the column, or do without it")
    return str(value)


def _resolve(name, folder):
    """Return the path that a table in `folder` means; addresses of the web stay as they are."""
    return name if name is None or "://" in name else os.path.join(folder, name)


def _status(path):
    try:
        status = os.stat(path)
    except (OSError, TypeError, ValueError):  # it is missing, or a name that no file can have
        return None, None
    return status.st_size, status.st_mtime_ns


def suffix_of(file):
    """Return a file's suffix with its dot, in lower case."""
    return os.path.splitext(file)[1].lower()
