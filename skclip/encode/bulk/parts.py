"""The Parquet files of a run, called parts: finding the finished ones, and writing one.

Each part is written under a temporary name, flushed to the disk and renamed, so a part is either
complete or absent. Its metadata contains the description of its run, so there is no other file
that could contradict it. `skclip.encode.bulk.pieces` has the rows of parts that are not complete.
"""

import json
import os
import re
from contextlib import contextmanager

import filelock

from skclip.encode.bulk.recipe import difference
from skclip.inputs.collections.parquet import import_parquet

_METADATA_KEY = b"skclip"
_LOCK = "_lock"
PART = re.compile(r"part-(\d{5,})\.parquet")
PIECE = re.compile(r"\.part-(\d{5,})\.kept-(\d{3,})\.parquet")
_UNFINISHED = re.compile(r"\.part-\d{5,}\.(kept-\d{3,}\.)?parquet\.tmp")


@contextmanager
def locked(out):
    """Lock a directory, so that no other run writes to it.

    Parameters
    ----------
    out : Path
        Unfinished files of an earlier run are deleted. A directory that does not exist is created,
        and removed at the end if nothing was written to it.

    Raises
    ------
    ValueError
        If it is a file, contains files that no run writes, or another run is writing to it.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a directory or a new name, got the file {str(out)!r}")
    existed = out.is_dir()
    if existed:
        _check_names(out)
    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ValueError(
            f"another run is writing to {str(out)!r}; wait until it ends, or choose another out"
        ) from None
    try:
        for name in _check_names(out):
            if _UNFINISHED.fullmatch(name):
                (out / name).unlink()
        yield
    finally:
        lock.release()
        if not existed and os.listdir(out) == [_LOCK]:  # nothing was written
            (out / _LOCK).unlink()
            out.rmdir()


def _check_names(out):
    names = sorted(os.listdir(out))
    for name in names:
        if name != _LOCK and not any(p.fullmatch(name) for p in (PART, PIECE, _UNFINISHED)):
            raise ValueError(
                f"the directory {str(out)!r} holds {name!r}, which is no part of a run; choose "
                "another out"
            )
    return names


def files_of(out, pattern):
    """Return (index of the part, path) of each file whose name matches `PART` or `PIECE`, sorted.

    Parameters
    ----------
    out : Path
    pattern : re.Pattern
    """
    matches = map(pattern.fullmatch, sorted(os.listdir(out)))
    return [(int(match[1]), out / match[0]) for match in matches if match]


def is_begun(out):
    """Return whether an earlier run has left vectors in a directory."""
    return bool(files_of(out, PART) or files_of(out, PIECE))


def _read_metadata(path):
    """Return the metadata of a Parquet file; None if the file is damaged."""
    from pyarrow import ArrowException

    try:
        return import_parquet().read_metadata(path)
    except (ArrowException, OSError):
        return None


def remove_vectors(out):
    """Remove all that earlier runs have written to a directory.

    Parameters
    ----------
    out : Path

    Raises
    ------
    ValueError
        If a file with the name of a part was not written by skclip. Then nothing is removed.
    """
    paths = [path for pattern in (PART, PIECE) for _, path in files_of(out, pattern)]
    for path in paths:
        if (metadata := _read_metadata(path)) is not None:
            _description(path, metadata.metadata)
    for path in paths:
        path.unlink()


def finished_parts(out, run):
    """Find the parts of a run that are complete.

    Parameters
    ----------
    out : Path
    run : dict
        The description of the run.

    Returns
    -------
    n_errors : dict of int to int
        For the index of each complete part, the number of its images that could not be read.

    Raises
    ------
    ValueError
        If a part belongs to another run.
    """
    n_errors = {}
    for index, path in files_of(out, PART):
        metadata = _read_metadata(path)
        if metadata is None:
            continue  # it will be written again
        check_run(run, path, metadata.metadata)
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        columns = [group.column(group.num_columns - 1) for group in groups]
        n_nulls = sum(column.statistics.null_count for column in columns)
        n_errors[index] = metadata.num_rows - n_nulls
    return n_errors


def check_run(run, path, metadata):
    """Raise a ValueError unless a file belongs to a run.

    Parameters
    ----------
    run : dict
        The description of the run.
    path : Path
    metadata : dict or None
        The metadata of the file's schema.
    """
    before = _description(path, metadata)
    if "rows_per_shard" in before:  # what earlier versions called it
        before["rows_per_part"] = before.pop("rows_per_shard")
    if before != run:
        raise ValueError(
            f"{str(path.parent)!r} holds the vectors of another run: "
            f"{difference(before, run)}; choose another out, or overwrite it to start again"
        )


def _description(path, metadata):
    """Return the description of the run that wrote a file."""
    if _METADATA_KEY not in (metadata or {}):
        raise ValueError(f"{str(path)!r} was not written by skclip; choose another out")
    return json.loads(metadata[_METADATA_KEY])


def write_part(out, index, rows, vectors, errors, run):
    """Write one part.

    Parameters
    ----------
    out : Path
    index : int
        The number of the part, from 0.
    rows : Rows
        Their ids and paths.
    vectors : ndarray of shape (n_rows, d), float32
        NaN where the image could not be read.
    errors : dict of int to str
        For each row of the part whose image could not be read, why not.
    run : dict
        The description of the run.
    """
    import pyarrow as pa

    columns = {
        "id": pa.array(map(_encodable, rows.ids), pa.string()),
        "path": pa.array(map(_encodable, rows.paths), pa.string()),
        **vector_columns(vectors, [errors.get(i) for i in range(len(vectors))]),
    }
    write_file(out / f"part-{index:05}.parquet", columns, run)


def vector_columns(vectors, errors):
    """Return the last two columns of a file.

    Parameters
    ----------
    vectors : ndarray of shape (n_rows, d), float32
    errors : list of str or None

    Returns
    -------
    columns : dict of str to pyarrow.Array
    """
    import pyarrow as pa

    return {
        # rows of NaN instead of null: up to version 23, pyarrow cannot read a fixed-size list with
        # nulls
        "vector": pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.reshape(-1)), vectors.shape[1]
        ),
        # the last column, as `finished_parts` expects
        "error": pa.array(map(_encodable, errors), pa.string()),
    }


def write_file(path, columns, run):
    """Write a Parquet file so that it is either complete or absent.

    Parameters
    ----------
    path : Path
    columns : dict of str to pyarrow.Array
    run : dict
        The description of the run.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    import pyarrow as pa

    table = pa.table(columns).replace_schema_metadata({_METADATA_KEY: json.dumps(run)})
    unfinished = path.with_name(f".{path.name.removeprefix('.')}.tmp")
    try:
        with open(unfinished, "wb") as stream:
            import_parquet().write_table(table, stream, use_dictionary=["error"])
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise OSError(
            f"{str(path)!r} cannot be written ({error.strerror or error}); the files before it are "
            "complete, and the same command resumes the run"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _encodable(text):
    """Escape surrogates, which stand for bytes of a file name that are not valid UTF-8."""
    return text if text is None else text.encode("utf-8", "backslashreplace").decode()
