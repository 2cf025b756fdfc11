"""Parquet tables, whose images are paths, bytes, or structs of both."""

import os
import threading
from bisect import bisect_right
from collections import deque
from itertools import accumulate

from skclip.inputs.collections.paths import ImagePaths
from skclip.inputs.collections.rows import Rows, file_status, resolve_path
from skclip.inputs.collections.tables import as_id, check_columns

_CELLS_PER_BATCH = 64
_BYTES_PER_BATCH = 1 << 26
_LARGEST_CELL = 1 << 28
# images hardly become smaller, and paths not that much
_LARGEST_RATIO = 200
# equal rows are stored together, but not so many in a file that somebody made for its rows
_ROWS_PER_BYTE = 1 << 14


def import_parquet():
    """Return the module ``pyarrow.parquet``, or say how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet files need pyarrow; install it with: pip install 'skclip[parquet]'"
        ) from error
    return pyarrow.parquet


def read_parquet(file, column, id_column):
    """Open a Parquet file as a source of images.

    Parameters
    ----------
    file : str
    column : str
        The column of images: paths (relative ones start from the folder of the file), bytes, or
        structs with ``bytes``, ``path`` or both.
    id_column : str or None
        The column of ids; None numbers the rows.

    Returns
    -------
    source : ImagePaths or ParquetTable
        Paths are read at once; bytes and structs are read when they are needed.

    Raises
    ------
    ValueError
        The file is damaged or not Parquet, lacks a column, or `column` has another type.
    ImportError
        pyarrow is not installed.
    """
    parquet = import_parquet()
    from pyarrow import ArrowException, types

    try:
        with parquet.ParquetFile(file) as table:
            schema = table.schema_arrow
            n_rows = table.metadata.num_rows
            n_rows_of_groups = sum(_group_sizes(table.metadata))
    except (ArrowException, OSError, OverflowError, MemoryError) as error:
        raise ValueError(f"the table {file!r} cannot be read as Parquet: {error}") from error
    if n_rows != n_rows_of_groups or n_rows > _ROWS_PER_BYTE * os.path.getsize(file):
        raise ValueError(
            f"the table {file!r} cannot be read as Parquet: it claims {n_rows} rows, and "
            f"{n_rows_of_groups} in its groups, in {os.path.getsize(file)} bytes"
        )
    check_columns(schema.names, file, column, id_column)
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
    table = ParquetTable(file, column, id_column, n_rows)
    if not is_text:
        return table
    reader = _ColumnReader(file, column)
    try:
        ids = None if id_column is None else table.rows(0, n_rows).ids
        names = [reader.cell(row) or None for row in range(n_rows)]
    except OSError as error:
        raise ValueError(str(error)) from error
    return ImagePaths(names, folder=os.path.dirname(file), ids=ids, table=file)


class ParquetTable:
    """A source of the images in a Parquet file that holds them as bytes or structs.

    Parameters
    ----------
    file : str
    column : str
        The column of images.
    id_column : str or None
        The column of ids; None numbers the rows.
    n_rows : int
    """

    def __init__(self, file, column, id_column, n_rows):
        self.file = file
        self.column = column
        self.id_column = id_column
        self.n_rows = n_rows
        # kept, so that the next range of rows continues where the last one ended
        self._images = _ColumnReader(os.path.abspath(file), column)
        self._ids = None if id_column is None else _ColumnReader(file, id_column)

    def __len__(self):
        return self.n_rows

    def rows(self, start, stop):
        if self._ids is None:
            ids = [f"{self.file}:{row}" for row in range(start, stop)]
        else:
            ids = [as_id(self._ids.cell(row), self.file, row) for row in range(start, stop)]
        return Rows(ids, [None] * len(ids), _ParquetImages(self._images, start, stop))

    def entries(self):
        yield (self.file, self.column, self.id_column, len(self), *file_status(self.file))


class _ParquetImages:
    """A sequence of the images in a range of rows, each of which is read when it is taken."""

    def __init__(self, reader, start, stop):
        self.reader = reader
        self.start = start
        self.stop = stop

    def __len__(self):
        return self.stop - self.start

    def __getitem__(self, row):
        if not 0 <= row < len(self):
            raise IndexError(row)
        cell = self.reader.cell(self.start + row)
        if isinstance(cell, dict):
            content = cell.get("bytes")
            folder = os.path.dirname(self.reader.file)
            return resolve_path(cell.get("path"), folder) if content is None else content
        return cell


class _ColumnReader:
    """Reads the cells of one column, which several threads ask for in nearly ascending order.

    It reads forward, a batch of cells at a time, and holds the last few batches. A row before them
    makes it start again from that row's row group. Its pickle holds the two names alone.
    """

    def __init__(self, file, name):
        self.file = file
        self.name = name
        self._lock = threading.Lock()
        # threads ask for rows a little before or after those that others ask for
        self._window = deque(maxlen=4)
        self._batches = None
        self._next = None  # the first row that has not been read yet
        self._failure = None

    def __reduce__(self):
        return _ColumnReader, (self.file, self.name)

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
        except Exception as error:  # the rows after a damaged place cannot be read either
            self._failure = OSError(
                f"the column {self.name!r} of {self.file!r} cannot be read from row {self._next} "
                f"on: {error}"
            )
            raise self._failure from error

    def _read(self, row):
        """Yield the batches from the row group of `row` on: number of the first row, list of cells.

        Batches before the one that holds `row` are skipped.
        """
        # with a buffer, the pages of a group are read one after the other
        with import_parquet().ParquetFile(self.file, buffer_size=1 << 20) as parquet:
            sizes = _group_sizes(parquet.metadata)
            ends = list(accumulate(sizes))
            group = bisect_right(ends, row)
            first = ends[group] - sizes[group] if group < len(ends) else row
            groups = range(group, len(ends))
            batch_size = _cells_per_batch(parquet.metadata, groups, self.name)
            for batch in parquet.iter_batches(batch_size, groups, [self.name]):
                if row < first + len(batch):
                    yield first, batch.column(0).to_pylist()
                first += len(batch)


def _group_sizes(metadata):
    """Return the number of rows of each row group."""
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def _cells_per_batch(metadata, groups, name):
    """Return how many cells of a column are read at once, so that they need little memory."""
    largest = 1
    for group in groups:
        columns = metadata.row_group(group)
        for column in map(columns.column, range(columns.num_columns)):
            if f"{column.path_in_schema}.".startswith(f"{name}.") and column.num_values:
                _check_size(column)
                largest = max(largest, column.total_uncompressed_size // column.num_values)
    return max(1, min(_CELLS_PER_BATCH, _BYTES_PER_BATCH // largest))


def _check_size(column):
    """Raise an OSError if the cells of a column chunk are too large for images."""
    size, stored = column.total_uncompressed_size, column.total_compressed_size
    if size > _LARGEST_CELL * column.num_values:
        raise OSError(f"its cells have {size // column.num_values} bytes on average")
    if size > max(_LARGEST_CELL, _LARGEST_RATIO * stored):
        raise OSError(f"{stored} bytes become {size} (it could be a decompression bomb)")
