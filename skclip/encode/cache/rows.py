"""What both kinds of store share: checks, counters, and vectors as bytes."""

from collections import namedtuple
from numbers import Integral

import numpy as np

from skclip._messages import shown

CacheInfo = namedtuple("CacheInfo", ["hits", "misses", "entries", "bytes", "max_bytes"])


def check_max_bytes(max_bytes, *, smallest, allow_none=True):
    """Check the parameter `max_bytes` of a store.

    Parameters
    ----------
    max_bytes : object
        What the user passed.
    smallest : int
        The smallest value that is allowed.
    allow_none : bool, default=True

    Raises
    ------
    ValueError
        If it is not an int of at least `smallest`, nor None where that is allowed.
    """
    if allow_none and max_bytes is None:
        return
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, Integral) or max_bytes < smallest:
        raise ValueError(
            f"max_bytes must be {'None or ' * allow_none}an int of at least {smallest}, "
            f"got {shown(max_bytes)}"
        )


def check_vectors(keys, vectors):
    """Return vectors as a contiguous array of little-endian float32, one row for each key.

    Raises
    ------
    ValueError
        If the shape is not (n_keys, d) with d of at least 1.
    """
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    if vectors.ndim != 2 or len(vectors) != len(keys) or not vectors.shape[1]:
        raise ValueError(
            f"vectors must have one row for each of {len(keys)} keys, got shape {vectors.shape}"
        )
    return vectors


def lookup_result(positions, rows):
    """Return the result of a lookup in the form of `DiskSession.get`.

    Parameters
    ----------
    positions : list of int
        Where the found keys are in the list of keys.
    rows : list of bytes
        Their vectors: d numbers each, little-endian float32.

    Returns
    -------
    positions : ndarray of shape (n_rows,), int
    vectors : ndarray of shape (n_rows, d), float32
        Writable. Of shape (0, 0) without rows.
    """
    vectors = np.frombuffer(bytearray().join(rows), dtype="<f4").astype(np.float32, copy=False)
    return np.array(positions, dtype=np.intp), vectors.reshape(len(rows), -1 if rows else 0)
