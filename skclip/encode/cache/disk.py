"""A store of embeddings in a directory."""

import ctypes
import os
import sqlite3
from pathlib import Path

from skclip._messages import shown
from skclip._warnings import warn
from skclip.encode.cache.database import CorruptDatabaseError, Database, is_corruption
from skclip.encode.cache.directory import (
    add_counts,
    check_directory,
    close_inherited_lock,
    directory_lock,
    end_session,
    find_or_make_database,
    is_alive,
    newest_database,
    read_counts,
    reset_counts,
    session_file,
    start_new_database,
    start_session,
)
from skclip.encode.cache.rows import CacheInfo, check_max_bytes, check_vectors, lookup_result

_SMALLEST_BOUND = 2**20
# how often an operation is tried, each time on the newest database
_ATTEMPTS = 5

_open_sessions = set()


class EmbeddingStore:
    """Embeddings on disk, shared by all processes and threads that use the same directory.

    Parameters
    ----------
    path : str or Path
        The directory, on a local disk. It is created at the first use.
    max_bytes : int or None, default=None
        The most space that the stored embeddings may take, at least 2**20. Beyond it, the least
        recently used ones are deleted. None keeps all.
    hash_files : bool, default=False
        Identify an image file by its content instead of its path, size, times and inode. Each file
        is read once more, but may be moved, copied or touched without being embedded again.

    Notes
    -----
    The directory contains an SQLite database in write-ahead logging mode. Every vector has a
    checksum; a damaged vector is deleted and computed again. A damaged database is replaced by an
    empty one, with a warning. Where nothing can be written (a read-only directory, a full disk),
    stored embeddings are used and the others are computed without being stored, with a warning.

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
            raise TypeError(f"path must be a directory (str or Path), got {shown(path)}")
        check_directory(path, "path")
        check_max_bytes(max_bytes, smallest=_SMALLEST_BOUND)
        # absolute, so that a change of the working directory changes nothing
        self.path = Path(os.path.abspath(os.path.expanduser(path)))
        self.max_bytes = max_bytes
        self.hash_files = hash_files

    def session(self):
        """Return a context manager with one call's access, for one thread at a time."""
        return DiskSession(self.path, self.max_bytes)

    def cache_info(self):
        """Return how much all processes have used the store, and what it contains.

        Returns
        -------
        info : CacheInfo
            A namedtuple of ``hits`` and ``misses`` (the embeddings that were found and those that
            were computed since the store was created or cleared, by calls that have ended),
            ``entries``, ``bytes`` and ``max_bytes``.
        """
        if newest_database(self.path) is None:
            return CacheInfo(0, 0, 0, 0, self.max_bytes)
        with self.session() as session:
            return CacheInfo(*read_counts(self.path), *session.size(), self.max_bytes)

    def clear(self):
        """Delete all embeddings and set the counters to zero.

        Raises
        ------
        OSError
            If the directory cannot be written.
        """
        if newest_database(self.path) is not None:
            with directory_lock(self.path):
                start_new_database(self.path)
            reset_counts(self.path)

    def __sklearn_clone__(self):
        return self

    def __repr__(self):
        return (
            f"EmbeddingStore({str(self.path)!r}, max_bytes={self.max_bytes!r}, "
            f"hash_files={self.hash_files!r})"
        )


class DiskSession:
    """One call's access to a store on disk. The database is opened when it is first needed.

    Parameters
    ----------
    directory : Path
    max_bytes : int or None
    """

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
        check_directory(self._directory, "path")  # it may have changed since
        _open_sessions.add(self)
        return self

    def __exit__(self, *_):
        _open_sessions.discard(self)
        if self._process != os.getpid():
            return
        try:
            if self._claimed or (self._database is not None and self._database.has_unsaved_uses):
                self._attempt(lambda db: db.finish(self._claimed, self._token), writes=True)
            if self._writing and (self._hits or self._misses):
                add_counts(self._directory, self._hits, self._misses)
        finally:
            self._disconnect()
            if self._lock is not None:
                end_session(session_file(self._directory, self._token), self._lock)

    def get(self, keys):
        """Look up the vectors of keys.

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
        One call with many keys reads the file in the order of its pages, which is several times
        faster than many calls with few keys.
        """
        found, damaged = self._attempt(lambda db: db.find(keys), otherwise=({}, ()))
        if damaged and self._writing:
            self._attempt(lambda db: db.drop(damaged), writes=True)
        positions = [position for position, key in enumerate(keys) if key in found]
        self._hits += len(positions)
        return lookup_result(positions, [found[keys[position]] for position in positions])

    def claim(self, keys):
        """Reserve keys that this session will compute.

        Parameters
        ----------
        keys : list of bytes

        Returns
        -------
        granted : list of bool
            False where the key is stored, or claimed by another session that still runs: look it
            up again later.
        """
        # first without a write transaction: a session that waits for keys of others asks often, and
        # must not queue behind those who write
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
        """Store the vectors of keys, and release the claims of these keys.

        Parameters
        ----------
        keys : list of bytes
        vectors : array of shape (n_keys, d)
            Stored as float32. A key that is stored already keeps its vector.
        """
        if not len(keys):
            return
        vectors = check_vectors(keys, vectors)
        self._attempt(
            lambda db: db.insert(keys, vectors, self._token, self._max_bytes), writes=True
        )
        if not self._writing:
            self._warn()
        self._claimed.difference_update(keys)

    def release(self, keys):
        """Release the claims of keys (a list of bytes) that will not be stored."""
        mine = self._claimed.intersection(keys)
        if mine:
            self._attempt(lambda db: db.release(mine, self._token), writes=True)
        self._claimed -= mine

    def size(self):
        """Return the number of entries and the bytes of the database's pages in use."""
        return self._attempt(Database.size, otherwise=(0, 0))

    def _take(self, database, keys):
        is_first_claim = self._lock is None
        if is_first_claim:
            self._token, self._lock = start_session(self._directory)
        # once in a session, the claims of all sessions that no longer run are deleted
        return database.claim(keys, self._token, self._is_alive, sweep=is_first_claim)

    def _is_alive(self, token):
        return is_alive(self._directory, token)

    def _attempt(self, work, *, otherwise=None, writes=False):
        """Apply a function to the newest database; replace the database if it is corrupt.

        Parameters
        ----------
        work : callable
            From a `Database` to a result.
        otherwise : object, default=None
            The result where the store cannot be used.
        writes : bool, default=False
            Whether `work` writes.

        Returns
        -------
        result : object
            What `work` returned, or `otherwise`.
        """
        if self._process != os.getpid():
            raise RuntimeError(
                "this session of an embedding store was opened before a fork; open another one in "
                "the child process"
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
            except (
                sqlite3.DatabaseError,
                UnicodeDecodeError,
                CorruptDatabaseError,
                OSError,
            ) as error:
                self._disconnect()
                if self._file is not None and not self._file.exists():
                    self._file = None  # another process has replaced or removed it
                elif is_corruption(error):
                    damage = self._file, error
                else:
                    self._stop(error, reading=not writes)
            if not (self._writing if writes else self._reading):
                return otherwise
        self._stop(damage[1] if damage else "its database keeps disappearing", reading=True)
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
                return  # another session has replaced it
            start_new_database(self._directory)
        warn(
            f"the embedding store in {str(self._directory)!r} is damaged ({error}) and was "
            "replaced by an empty one; its embeddings will be computed again"
        )

    def _stop(self, reason, *, reading):
        self._writing = False
        self._reading = self._reading and not reading
        self._reason = reason
        self._warn()

    def _warn(self):
        if not self._warned:
            self._warned = True
            warn(
                f"the embedding store in {str(self._directory)!r} stores nothing more in this "
                f"call ({self._reason}); the missing embeddings are computed as usual"
            )


def _after_fork():
    # Closing a connection that was opened before the fork may damage the database. The extra
    # reference keeps these sessions from being garbage-collected, and so closed, in the child.
    for session in _open_sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
        if session._lock is not None:
            close_inherited_lock(session._lock)
    _open_sessions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
