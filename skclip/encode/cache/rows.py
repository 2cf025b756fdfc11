"""What both kinds of store have in common: how they count, and vectors as rows of bytes."""

from collections import namedtuple
from numbers import Integral

import numpy as np

CacheInfo = namedtuple("CacheInfo", ["hits", "misses", "entries", "bytes", "max_bytes"])


def check_bound(max_bytes, *, smallest, none=True):
    """Raise ValueError unless that is a bound of the size of a store."""
    if none and max_bytes is None:
        return
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, Integral) or max_bytes < smallest:
        raise ValueError(
            f"max_bytes must be {'None or ' * none}an int of at least {smallest}, got {max_bytes!r}"
        )


def as_rows(keys, vectors):
    """Return vectors, one for each key, as little-endian float32."""
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    if vectors.ndim != 2 or len(vectors) != len(keys) or not vectors.shape[1]:
        raise ValueError(
            f"vectors must have one row for each of {len(keys)} keys, got shape {vectors.shape}"
        )
    return vectors


def gathered(positions, rows):
    """Return positions, and rows of bytes as the vectors, (n_rows, d), that they hold."""
    vectors = np.frombuffer(bytearray().join(rows), dtype="<f4").astype(np.float32, copy=False)
    return np.array(positions, dtype=np.intp), vectors.reshape(len(rows), -1 if rows else 0)
