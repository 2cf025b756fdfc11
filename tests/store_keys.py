"""Keys for tests of embedding stores, each with one vector that belongs to it.

The vector follows from the key alone, so that every process can tell whether a stored vector is
right. Scripts that tests start import this file too, so it imports nothing that loads slowly.
"""

import random
import time
from functools import cache
from hashlib import blake2b

import numpy as np

WIDTH = 24
KEYS = [blake2b(str(i).encode(), digest_size=16).digest() for i in range(300)]


@cache
def vector_of(key):
    return np.random.default_rng(list(key)).standard_normal(WIDTH).astype(np.float32)


def vectors_of(keys):
    return np.array([vector_of(key) for key in keys], dtype=np.float32).reshape(len(keys), WIDTH)


def fill(store, keys=KEYS):
    """Store the vectors of keys that no session has claimed."""
    with store.session() as session:
        assert all(session.claim(keys))
        session.put(keys, vectors_of(keys))


def check(session, keys=KEYS):
    """Check the vectors of the keys that are stored; return those keys."""
    positions, vectors = session.get(keys)
    assert vectors.dtype == np.float32
    found = [keys[position] for position in positions]
    expected = vectors_of(found) if found else np.empty((0, 0))
    assert np.array_equal(vectors, expected), "a wrong vector"
    return found


def found_in(store, keys=KEYS):
    """Check what a new session finds; return the stored keys."""
    with store.session() as session:
        return check(session, keys)


def embed(session, keys, batch_size, computed=lambda keys: None):
    """Store what is missing as an embedder does, sharing the work with other processes.

    `computed` is called with each batch of keys that this process computes.
    """
    missing = set(keys)
    while missing:
        batch = random.sample(sorted(missing), min(batch_size, len(missing)))
        missing.difference_update(check(session, batch))
        batch = [key for key in batch if key in missing]
        mine = [key for key, granted in zip(batch, session.claim(batch), strict=True) if granted]
        computed(mine)
        time.sleep(0.0005)
        session.put(mine, vectors_of(mine))
        missing.difference_update(mine)
