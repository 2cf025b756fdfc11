"""The rows of an unfinished part, kept in hidden files: a run that is stopped loses only seconds.

A piece holds rows of one part that were embedded, in any order. It is written as a part is, so it
is complete or absent. A resumed run takes over the rows of pieces, and removes the pieces of a part
when the part is complete.
"""

import time

import numpy as np

from skclip.encode.bulk.parts import (
    PIECE,
    check_run,
    files_of,
    finished_parts,
    vector_columns,
    write_file,
    write_part,
)
from skclip.inputs.collections.parquet import import_parquet

SECONDS_BETWEEN_PIECES = 10
# of the time may be spent on writing pieces
_SHARE_OF_WRITING = 0.01


class PieceTimer:
    """Says when it is time to write a piece.

    That is after ten seconds, or later where the disk is so slow that writing would cost more than
    a hundredth of the time.
    """

    def __init__(self):
        self.restart()

    def restart(self, seconds_of_writing=0.0):
        """Wait anew, after a piece that took so long to write."""
        pause = max(SECONDS_BETWEEN_PIECES, seconds_of_writing / _SHARE_OF_WRITING)
        self._due = time.monotonic() + pause

    def is_due(self):
        return time.monotonic() >= self._due


class UnfinishedPart:
    """The rows of one part, from the first that is embedded to the last.

    Parameters
    ----------
    out : Path
    index : int
        The number of the part, from 0.
    n_rows : int
    run : dict
        The description of the run.

    Attributes
    ----------
    index : int
    start : int
        The first row of the part, within the collection.
    vectors : ndarray of shape (n_rows, d), float32, or None
        NaN where the image could not be read. None before the first row is embedded.
    errors : dict of int to str
        For each row of the part whose image could not be read, why not.
    is_done : ndarray of shape (n_rows,), bool
        Which rows are embedded or could not be read.
    """

    def __init__(self, out, index, n_rows, run):
        self.index = index
        self.start = index * run["rows_per_part"]
        self.vectors = None
        self.errors = {}
        self.is_done = np.zeros(n_rows, bool)
        self._out = out
        self._run = run
        self._not_kept = []
        self._n_pieces = 0

    def load(self, path):
        """Take over the rows of a piece.

        Parameters
        ----------
        path : Path
            If the file is damaged, its rows are embedded again.

        Raises
        ------
        ValueError
            If the piece belongs to another run.
        """
        from pyarrow import ArrowException

        self._n_pieces = max(self._n_pieces, int(PIECE.fullmatch(path.name)[2]) + 1)
        try:
            table = import_parquet().read_table(path)
        except (ArrowException, OSError):
            return
        check_run(self._run, path, table.schema.metadata)
        vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        errors = table["error"].to_pylist()
        rows = table["row"].to_numpy()
        self._put(
            rows, vectors, {int(r): e for r, e in zip(rows, errors, strict=True) if e is not None}
        )

    def add(self, rows, vectors, errors):
        """Add rows that were embedded.

        Parameters
        ----------
        rows : ndarray of shape (n,), int
            Their numbers within the part.
        vectors : ndarray of shape (n, d), float32
        errors : dict of int to str
            For each of the rows whose image could not be read, why not.
        """
        self._put(rows, vectors, errors)
        self._not_kept.append(rows)

    def _put(self, rows, vectors, errors):
        if self.vectors is None:
            self.vectors = np.full((len(self.is_done), vectors.shape[1]), np.nan, np.float32)
        self.vectors[rows] = vectors
        self.errors |= errors
        self.is_done[rows] = True

    def keep(self):
        """Write the rows that were added since the last call to a piece.

        Returns
        -------
        seconds : float
            The time that it took.
        """
        import pyarrow as pa

        started = time.monotonic()
        if not self._not_kept:
            return 0.0
        rows = np.concatenate(self._not_kept)
        errors = [self.errors.get(int(row)) for row in rows]
        columns = {"row": pa.array(rows, pa.int64()), **vector_columns(self.vectors[rows], errors)}
        name = f".part-{self.index:05}.kept-{self._n_pieces:03}.parquet"
        write_file(self._out / name, columns, self._run)
        self._n_pieces += 1
        self._not_kept = []
        return time.monotonic() - started


class Parts:
    """The parts of a run: which are complete, and what is kept of the others.

    Parameters
    ----------
    out : Path
    run : dict
        The description of the run.

    Attributes
    ----------
    n_errors : dict of int to int
        For the index of each complete part, the number of its images that could not be read.
    unfinished : dict of int to int
        For the index of each other part, its number of rows.

    Raises
    ------
    ValueError
        If a file belongs to another run.
    """

    def __init__(self, out, run):
        self._out = out
        self._run = run
        self._begun = {}
        self.n_errors = finished_parts(out, run)
        size = run["rows_per_part"]
        starts = range(0, run["rows"], size)
        self.unfinished = {
            index: min(size, run["rows"] - start)
            for index, start in enumerate(starts)
            if index not in self.n_errors
        }
        for index, path in files_of(out, PIECE):
            if index in self.unfinished:
                self.begin(index).load(path)
            else:
                path.unlink()

    @property
    def n_rows(self):
        """How many rows are kept."""
        n_missing = sum(self.unfinished.values())
        n_kept = sum(int(part.is_done.sum()) for part in self._begun.values())
        return self._run["rows"] - n_missing + n_kept

    def begin(self, index):
        """Return the `UnfinishedPart` of an index, with the rows that are kept of it."""
        if index not in self._begun:
            self._begun[index] = UnfinishedPart(self._out, index, self.unfinished[index], self._run)
        return self._begun[index]

    def finish(self, part, rows):
        """Write a part whose rows are all done, and remove its pieces.

        Parameters
        ----------
        part : UnfinishedPart
        rows : Rows
            Their ids and paths.
        """
        index = part.index
        write_part(self._out, index, rows, part.vectors, part.errors, self._run)
        self.n_errors[index] = len(part.errors)
        del self.unfinished[index], self._begun[index]
        for other, path in files_of(self._out, PIECE):
            if other == index:
                path.unlink()
