"""The Parquet files of a run, called parts: finding the finished ones, and writing one.

Each part is written under a temporary name, flushed to the disk and renamed, so a part is either
complete or absent. Its metadata contains the description of its run, so there is no other file
that could contradict it.
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
_PART = re.compile(r"part-(\d{5,})\.parquet")
_UNFINISHED = re.compile(r"\.part-\d{5,}\.parquet\.tmp")


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
        if not (name == _LOCK or _PART.fullmatch(name) or _UNFINISHED.fullmatch(name)):
            raise ValueError(
                f"the directory {str(out)!r} holds {name!r}, which is no part of a run; choose "
                "another out"
            )
    return names


def _parts(out):
    """Yield (index, path, metadata) of each part; the metadata is None if the file is damaged."""
    from pyarrow import ArrowException

    for name in sorted(os.listdir(out)):
        match = _PART.fullmatch(name)
        if not match:
            continue
        try:
            metadata = import_parquet().read_metadata(out / name)
        except (ArrowException, OSError):
            metadata = None
        if metadata is not None and _METADATA_KEY not in (metadata.metadata or {}):
            raise ValueError(f"{str(out / name)!r} was not written by skclip; choose another out")
        yield int(match[1]), out / name, metadata


def remove_parts(out):
    """Remove all parts in a directory.

    Parameters
    ----------
    out : Path

    Raises
    ------
    ValueError
        If a file with the name of a part was not written by skclip. Then nothing is removed.
    """
    for _, path, _ in list(_parts(out)):
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
    for index, path, metadata in _parts(out):
        if metadata is None:
            continue  # it will be written again
        before = json.loads(metadata.metadata[_METADATA_KEY])
        if "rows_per_shard" in before:  # what earlier versions called it
            before["rows_per_part"] = before.pop("rows_per_shard")
        if before != run:
            raise ValueError(
                f"{str(path.parent)!r} holds the vectors of another run: "
                f"{difference(before, run)}; choose another out, or overwrite it to start again"
            )
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        columns = [group.column(group.num_columns - 1) for group in groups]
        n_nulls = sum(column.statistics.null_count for column in columns)
        n_errors[index] = metadata.num_rows - n_nulls
    return n_errors


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

    width = vectors.shape[1]
    columns = {
        "id": pa.array(map(_encodable, rows.ids), pa.string()),
        "path": pa.array(map(_encodable, rows.paths), pa.string()),
        # rows of NaN instead of null: up to version 23, pyarrow cannot read a fixed-size list with
        # nulls
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width),
        # the last column, as `finished_parts` expects
        "error": pa.array([_encodable(errors.get(i)) for i in range(len(vectors))], pa.string()),
    }
    metadata = {_METADATA_KEY: json.dumps(run)}
    table = pa.table(columns).replace_schema_metadata(metadata)
    path = out / f"part-{index:05}.parquet"
    unfinished = out / f".{path.name}.tmp"
    try:
        with open(unfinished, "wb") as stream:
            import_parquet().write_table(table, stream, use_dictionary=["error"])
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _encodable(text):
    """Escape surrogates, which stand for bytes of a file name that are not valid UTF-8."""
    return text if text is None else text.encode("utf-8", "backslashreplace").decode()
