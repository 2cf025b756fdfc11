"""A store of embeddings in memory."""

import os
import threading
import weakref
from collections import OrderedDict

from skclip.encode.cache.rows import CacheInfo, check_max_bytes, check_vectors, lookup_result

# bytes that an entry takes besides its vector: objects, key and place in the dictionary
_ROW_OVERHEAD = 256

_stores = weakref.WeakSet()


class MemoryStore:
    """Embeddings in the memory of this process, shared by its threads.

    Parameters
    ----------
    max_bytes : int, default=2**30
        The most memory that the embeddings may take. Beyond it, the least recently used ones are
        deleted.

    Notes
    -----
    The methods are those of `EmbeddingStore`. A pickle of a store contains no embeddings.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.encode.cache.memory import MemoryStore
    >>> store = MemoryStore()
    >>> with store.session() as session:
    ...     session.put([b"key"], np.ones((1, 3)))
    >>> store.cache_info().entries
    1
    """

    hash_files = False

    def __init__(self, max_bytes=2**30):
        check_max_bytes(max_bytes, smallest=0, allow_none=False)
        self.max_bytes = max_bytes
        self._start()
        _stores.add(self)

    def _start(self):
        self._lock = threading.Lock()
        self._rows = OrderedDict()  # the least recently used one comes first
        self._owner_of = {}
        self._bytes = self._hits = self._misses = 0

    def _drop(self, key):
        self._bytes -= len(self._rows.pop(key)) + _ROW_OVERHEAD

    def session(self):
        """Return a context manager with one call's access, for one thread at a time."""
        return _MemorySession(self)

    def cache_info(self):
        """Return hits, misses, entries, bytes and max_bytes as a `CacheInfo`."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, len(self._rows), self._bytes, self.max_bytes)

    def clear(self):
        """Delete all embeddings and set the counters to zero."""
        with self._lock:
            self._rows.clear()
            self._bytes = self._hits = self._misses = 0

    def __sklearn_clone__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return MemoryStore, (self.max_bytes,)

    def __repr__(self):
        return f"MemoryStore({self.max_bytes!r})"


class _MemorySession:
    """One call's access to a MemoryStore; the methods are those of `DiskSession`."""

    def __init__(self, store):
        self._store = store

    def __enter__(self):
        return self

    def __exit__(self, *_):
        store = self._store
        with store._lock:
            for key in [key for key, owner in store._owner_of.items() if owner is self]:
                del store._owner_of[key]

    def get(self, keys):
        store = self._store
        positions, rows, width = [], [], None
        with store._lock:
            for position, key in enumerate(keys):
                row = store._rows.get(key)
                if row is None:
                    continue
                width = width or len(row)
                if len(row) != width:
                    store._drop(key)
                    continue
                store._rows.move_to_end(key)
                positions.append(position)
                rows.append(row)
            store._hits += len(rows)
        return lookup_result(positions, rows)

    def claim(self, keys):
        store = self._store
        with store._lock:
            granted = {key for key in keys if key not in store._rows}
            granted = {key for key in granted if store._owner_of.get(key, self) is self}
            store._misses += sum(key not in store._owner_of for key in granted)
            store._owner_of.update(dict.fromkeys(granted, self))
        return [key in granted for key in keys]

    def put(self, keys, vectors):
        rows = [row.tobytes() for row in check_vectors(keys, vectors)]
        store = self._store
        with store._lock:
            for key, row in zip(keys, rows, strict=True):
                if key not in store._rows:
                    store._rows[key] = row
                    store._bytes += len(row) + _ROW_OVERHEAD
            while store._bytes > store.max_bytes:
                store._drop(next(iter(store._rows)))
            self._release(keys)

    def release(self, keys):
        with self._store._lock:
            self._release(keys)

    def _release(self, keys):
        owner_of = self._store._owner_of
        for key in keys:
            if owner_of.get(key) is self:
                del owner_of[key]


def _after_fork():
    # other threads of the parent may have held locks and claims; they do not exist in the child
    for store in list(_stores):
        store._lock = threading.Lock()
        store._owner_of.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
