"""Embeddings kept in a directory."""

import ctypes
import errno
import os
import sqlite3
import warnings
from pathlib import Path

from skclip.encode.cache.database import Damage, Database, is_damage
from skclip.encode.cache.directory import (
    abandon_session,
    count,
    counted,
    directory_lock,
    end_session,
    find_or_make_database,
    forget_counts,
    is_alive,
    join_sessions,
    newest_database,
    session_file,
    start_anew,
)
from skclip.encode.cache.rows import CacheInfo, as_rows, check_bound, gathered

_SMALLEST_BOUND = 2**20
# how often a damaged or replaced database is followed by the next
_ATTEMPTS = 5

_open_sessions = set()


class EmbeddingStore:
    """Embeddings on disk, shared by all processes and threads that name the same directory.

    Parameters
    ----------
    path : str or Path
        The directory, on a local disk; made when it is first used.
    max_bytes : int or None, default=None
        The most that the stored embeddings may take, at least 2**20. Beyond it, those that were
        used longest ago are dropped. None keeps all.
    hash_files : bool, default=False
        Know an image file by its content rather than by its path, size, times and inode: each file
        is read once more, and may be moved, copied or touched.

    Notes
    -----
    An SQLite database in write-ahead logging. Every vector has a checksum: one that is damaged is
    dropped and computed again. A damaged database is left behind for a new one, with a warning.
    Where nothing can be written (a read-only directory, a full disk), what is there is used and the
    rest computed without being kept, with a warning.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skclip import CLIPImageEmbedder
    >>> from skclip.encode.cache.disk import EmbeddingStore
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     store = EmbeddingStore(directory, max_bytes=10_000_000)
    ...     with store.session() as session:
    ...         session.claim([b"a key of 16 byte"])
    ...         session.put([b"a key of 16 byte"], np.ones((1, 3)))
    ...         positions, vectors = session.get([b"another", b"a key of 16 byte"])
    [True]
    >>> positions
    array([1])
    >>> vectors
    array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(self, path, *, max_bytes=None, hash_files=False):
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise TypeError(f"path must be a directory (str or Path), got {path!r}")
        check_bound(max_bytes, smallest=_SMALLEST_BOUND)
        # absolute, so that a change of the working directory changes nothing
        self.path = Path(os.path.abspath(os.path.expanduser(path)))
        self.max_bytes = max_bytes
        self.hash_files = hash_files

    def session(self):
        """Return a context manager: one call's own access, in one thread at a time."""
        return DiskSession(self.path, self.max_bytes)

    def cache_info(self):
        """Return how much the store was used, by all processes, and what it holds.

        Returns
        -------
        info : CacheInfo
            A namedtuple of ``hits`` and ``misses`` (embeddings found, and computed, since the store
            was made or cleared; of calls that have ended), ``entries``, ``bytes`` and
            ``max_bytes``.
        """
        if newest_database(self.path) is None:
            return CacheInfo(0, 0, 0, 0, self.max_bytes)
        with self.session() as session:
            return CacheInfo(*counted(self.path), *session.size(), self.max_bytes)

    def clear(self):
        """Drop all embeddings and start counting anew.

        Raises
        ------
        OSError
            The directory cannot be written.
        """
        if newest_database(self.path) is not None:
            with directory_lock(self.path):
                start_anew(self.path)
            forget_counts(self.path)

    def __sklearn_clone__(self):
        return self

    def __repr__(self):
        return (
            f"EmbeddingStore({str(self.path)!r}, max_bytes={self.max_bytes!r}, "
            f"hash_files={self.hash_files!r})"
        )


class DiskSession:
    """One call's access to a directory; opens the database when it is first needed."""

    def __init__(self, directory, max_bytes):
        self._directory = directory
        self._max_bytes = max_bytes
        self._process = os.getpid()
        self._database = self._file = None
        self._reading = self._writing = True
        self._reason, self._warned = None, False
        self._lock = self._token = None
        self._claimed = set()
        self._hits = self._misses = 0

    def __enter__(self):
        if self._directory.exists() and not self._directory.is_dir():
            raise NotADirectoryError(
                errno.ENOTDIR, "an embedding store needs a directory, got a file", self._directory
            )
        _open_sessions.add(self)
        return self

    def __exit__(self, *_):
        _open_sessions.discard(self)
        if self._process != os.getpid():
            return
        try:
            if self._claimed or (self._database is not None and self._database.has_uses):
                self._attempt(lambda db: db.settle(self._claimed, self._token), writes=True)
            if self._writing and (self._hits or self._misses):
                count(self._directory, self._hits, self._misses)
        finally:
            self._disconnect()
            if self._lock is not None:
                end_session(session_file(self._directory, self._token), self._lock)

    def get(self, keys):
        """Look keys up.

        Parameters
        ----------
        keys : list of bytes

        Returns
        -------
        positions : ndarray of shape (n_found,), int
            Ascending positions in `keys`.
        vectors : ndarray of shape (n_found, d), float32
            Of shape (0, 0) if nothing was found.

        Notes
        -----
        One call with many keys reads the file in its own order and is several times faster than
        many calls whose keys lie scattered.
        """
        found, damaged = self._attempt(lambda db: db.find(keys), otherwise=({}, ()))
        if damaged and self._writing:
            self._attempt(lambda db: db.drop(damaged), writes=True)
        positions = [position for position, key in enumerate(keys) if key in found]
        self._hits += len(positions)
        return gathered(positions, [found[keys[position]] for position in positions])

    def claim(self, keys):
        """Take keys for oneself to compute.

        Parameters
        ----------
        keys : list of bytes

        Returns
        -------
        granted : list of bool
            False where the key is stored or a living session has claimed it: ask again later.
        """
        # asking again and again, for what others compute, must not wait for those who write
        taken = self._attempt(
            lambda db: db.taken(keys, self._token, self._is_alive)[0], otherwise=(), writes=True
        )
        if not set(keys).issubset(taken):
            taken = self._attempt(lambda db: self._take(db, keys), otherwise=(), writes=True)
        granted = {key for key in keys if key not in taken}
        self._misses += len(granted - self._claimed)
        self._claimed |= granted
        return [key in granted for key in keys]

    def put(self, keys, vectors):
        """Store the vectors of keys, and give up what was claimed of them.

        Parameters
        ----------
        keys : list of bytes
        vectors : array of shape (n_keys, d)
            Kept as float32. A key that is stored already keeps the vector it has.
        """
        if not len(keys):
            return
        vectors = as_rows(keys, vectors)
        self._attempt(
            lambda db: db.insert(keys, vectors, self._token, self._max_bytes), writes=True
        )
        if not self._writing:
            self._warn()
        self._claimed.difference_update(keys)

    def release(self, keys):
        """Give up claims of keys that will not be stored."""
        mine = self._claimed.intersection(keys)
        if mine:
            self._attempt(lambda db: db.unclaim(mine, self._token), writes=True)
        self._claimed -= mine

    def size(self):
        """Return the number of entries and the bytes of the database's pages in use."""
        return self._attempt(Database.size, otherwise=(0, 0))

    def _take(self, database, keys):
        joins = self._lock is None
        if joins:
            self._token, self._lock = join_sessions(self._directory)
        # once in a session, what the dead left behind is swept up
        return database.claim(keys, self._token, self._is_alive, sweep=joins)

    def _is_alive(self, token):
        return is_alive(self._directory, token)

    def _attempt(self, work, *, otherwise=None, writes=False):
        """Return work(database) on the newest one, or `otherwise` where that is not to be had."""
        if self._process != os.getpid():
            raise RuntimeError(
                "this session of an embedding store was opened before a fork; open one after it"
            )
        damage = None
        for _ in range(_ATTEMPTS):
            try:
                if damage is not None:
                    self._replace(*damage)
                    damage = None
                self._connect()
                if writes and not self._writing:
                    return otherwise
                return work(self._database)
            except (sqlite3.DatabaseError, UnicodeDecodeError, Damage, OSError) as error:
                self._disconnect()
                if self._file is not None and not self._file.exists():
                    self._file = None  # replaced while it was read
                elif is_damage(error):
                    damage = self._file, error
                else:
                    self._stop(error, reading=not writes)
            if not (self._writing if writes else self._reading):
                return otherwise
        self._stop(damage[1] if damage else "it keeps vanishing", reading=True)
        return otherwise

    def _connect(self):
        newest = newest_database(self._directory)
        if self._database is not None and newest == self._file:
            return
        self._disconnect()
        self._file = None
        self._file = newest or find_or_make_database(self._directory)
        self._database = Database(self._file)
        if not self._database.is_writable:
            self._writing = False
            self._reason = "it is read-only"

    def _disconnect(self):
        if self._database is not None:
            database, self._database = self._database, None
            database.close()

    def _replace(self, file, error):
        with directory_lock(self._directory):
            if newest_database(self._directory) not in (file, None):
                return  # another session was faster
            start_anew(self._directory)
        warnings.warn(
            f"the embedding store in {str(self._directory)!r} is damaged ({error}) and starts "
            "anew; what it held will be computed again",
            stacklevel=2,
        )

    def _stop(self, reason, *, reading):
        self._writing = False
        self._reading = self._reading and not reading
        self._reason = reason
        self._warn()

    def _warn(self):
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"the embedding store in {str(self._directory)!r} keeps nothing of this call "
                f"({self._reason}); embeddings are computed all the same",
                stacklevel=2,
            )


def _after_fork():
    # To close a connection that was opened before the fork may harm the database, so that these
    # are kept from being collected for as long as the child lives.
    for session in _open_sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
        if session._lock is not None:
            abandon_session(session._lock)
    _open_sessions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
