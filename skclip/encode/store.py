"""Where embeddings are kept so that each is computed once: a directory, or memory.

Both kinds of store have the same interface. `session` gives one call of an embedder its own access
to the store: ``get`` what is there, ``claim`` what is to be computed, ``put`` it or ``release`` it.
A store is a cache: whatever goes wrong with it costs time, never a result.
"""

import ctypes
import errno
import os
import re
import secrets
import sqlite3
import threading
import time
import warnings
import weakref
import zlib
from collections import OrderedDict, namedtuple
from contextlib import contextmanager, suppress
from numbers import Integral
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

CacheInfo = namedtuple("CacheInfo", ["hits", "misses", "entries", "bytes", "max_bytes"])

# 31 vectors of 512 numbers fill 97 % of a page of 64 KiB, one fills 50 % of a page of 4 KiB
_PAGE_SIZE = 65_536
# what one connection may hold of the file; the index of a million keys takes 35 MB
_CACHE_KIB = 65_536
# the write-ahead log is written back when it holds 16 MiB
_LOG_PAGES = 256
# the longest one writer waits for the others
_PATIENCE = 60.0
# a row's time of last use is kept to the minute, so that reading rarely means writing
_TOUCH_SECONDS = 60
_KEYS_PER_STATEMENT = 2000
# an eviction makes room, so that the next few batches need none
_KEPT_BY_EVICTION = 0.9
_SMALLEST_BOUND = 2**20
# of bytes, key and dictionary entry in memory
_ROW_OVERHEAD = 256
# how often a damaged or replaced database is followed by the next
_ATTEMPTS = 5

# Vectors are wide and lie in the order they came in, on pages filled to the brim; what is looked up
# and touched is narrow and apart from them.
_SCHEMA = """
CREATE TABLE entries(key BLOB PRIMARY KEY, id INTEGER NOT NULL, used INTEGER NOT NULL)
WITHOUT ROWID;
CREATE TABLE vectors(id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE claims(key BLOB PRIMARY KEY, owner BLOB NOT NULL) WITHOUT ROWID;
"""
_OWNERS = "SELECT DISTINCT owner FROM claims"
_GENERATION = re.compile(r"vectors-(\d{6,})\.sqlite")
_OF_GENERATION = re.compile(_GENERATION.pattern + "(-wal|-shm|-journal)?")
_TOKEN = re.compile(rb"[0-9a-f]{32}")

# Errors that say something about the machine and nothing about the file.
_NOT_NOW = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_AUTH,
}
# the log ends before the page that its index promises
_SHORT_READ = sqlite3.SQLITE_IOERR_SHORT_READ
_NO_ACCESS = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_AUTH,
}


def resolve_cache(cache):
    """Return the store that an embedder's ``cache=`` stands for.

    Parameters
    ----------
    cache : None, "memory", str, Path, EmbeddingStore or MemoryStore
        "memory" is one store of at most 1 GiB for the whole process; any other str is a directory.

    Returns
    -------
    store : EmbeddingStore, MemoryStore or None

    Raises
    ------
    TypeError
        `cache` is something else.
    ValueError
        `cache` is an empty str.

    Examples
    --------
    >>> from skclip.encode.store import resolve_cache
    >>> resolve_cache("memory") is resolve_cache("memory")
    True
    >>> resolve_cache("embeddings").max_bytes is None
    True
    """
    if cache is None:
        return None
    if isinstance(cache, (str, os.PathLike)):
        if not os.fspath(cache):
            raise ValueError("cache must be None, 'memory' or a directory, got an empty str")
        return _process_wide if cache == "memory" else EmbeddingStore(cache)
    if hasattr(cache, "session") and not isinstance(cache, type):
        return cache
    raise TypeError(
        "cache must be None, 'memory', a directory (str or Path) or an EmbeddingStore, "
        f"got {cache!r}"
    )


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
    >>> from skclip.encode.store import EmbeddingStore
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
        _check_bound(max_bytes, smallest=_SMALLEST_BOUND)
        # absolute, so that a change of the working directory changes nothing
        self.path = Path(os.path.abspath(os.path.expanduser(path)))
        self.max_bytes = max_bytes
        self.hash_files = hash_files

    def session(self):
        """Return a context manager: one call's own access, in one thread at a time."""
        return _Session(self.path, self.max_bytes)

    def cache_info(self):
        """Return how much the store was used, by all processes, and what it holds.

        Returns
        -------
        info : CacheInfo
            A namedtuple of ``hits`` and ``misses`` (embeddings found, and computed, since the store
            was made or cleared; of calls that have ended), ``entries``, ``bytes`` and
            ``max_bytes``.
        """
        if _newest(self.path) is None:
            return CacheInfo(0, 0, 0, 0, self.max_bytes)
        with self.session() as session:
            return CacheInfo(*_counted(self.path), *session.size(), self.max_bytes)

    def clear(self):
        """Drop all embeddings and start counting anew.

        Raises
        ------
        OSError
            The directory cannot be written.
        """
        if _newest(self.path) is not None:
            with _directory_lock(self.path):
                _start_generation(self.path)
            _remove(self.path / "counters")

    def __sklearn_clone__(self):
        return self

    def __repr__(self):
        return (
            f"EmbeddingStore({str(self.path)!r}, max_bytes={self.max_bytes!r}, "
            f"hash_files={self.hash_files!r})"
        )


class _Session:
    """One call's access to a directory; opens the database when it is first needed."""

    def __init__(self, directory, max_bytes):
        self._directory = directory
        self._max_bytes = max_bytes
        self._process = os.getpid()
        self._connection = None
        self._file = None
        self._reading = self._writing = True
        self._reason, self._warned = None, False
        self._lock = self._token = None
        self._claimed = set()
        self._to_touch = []
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
            if self._claimed or self._to_touch:
                self._attempt(self._settle, writes=True)
            if self._writing and (self._hits or self._misses):
                _count(self._directory, self._hits, self._misses)
        finally:
            self._disconnect()
            if self._lock is not None:
                _end_session(_session_file(self._directory, self._token), self._lock)

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
        found, damaged = self._attempt(lambda: self._read(keys), otherwise=({}, ()))
        if damaged and self._writing:
            self._attempt(lambda: self._drop(damaged), writes=True)
        positions = [position for position, key in enumerate(keys) if key in found]
        self._hits += len(positions)
        return _gathered(positions, [found[keys[position]] for position in positions])

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
        taken = self._attempt(lambda: self._standing(keys)[0], otherwise=(), writes=True)
        if not set(keys).issubset(taken):
            taken = self._attempt(lambda: self._take(keys), otherwise=(), writes=True)
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
        vectors = _as_rows(keys, vectors)
        self._attempt(lambda: self._write(keys, vectors), writes=True)
        if not self._writing:
            self._warn()
        self._claimed.difference_update(keys)

    def release(self, keys):
        """Give up claims of keys that will not be stored."""
        mine = self._claimed.intersection(keys)
        if mine:
            self._attempt(lambda: self._unclaim(mine), writes=True)
        self._claimed -= mine

    def size(self):
        """Return the number of entries and the bytes of the database's pages in use."""
        return self._attempt(self._size, otherwise=(0, 0))

    # The rest does the work, on an open connection; `_attempt` deals with what goes wrong.

    def _read(self, keys):
        connection, now = self._connection, _now()
        entries, found, width = {}, {}, None
        with _transaction(connection, "BEGIN"):
            select = "SELECT key, id, used FROM entries WHERE key IN"
            for key, row, used in _select(connection, select, sorted(set(keys))):
                if not isinstance(row, int) or row in entries:
                    raise _Damage(f"row {row}")
                entries[row] = key
                if not isinstance(used, int) or abs(now - used) >= _TOUCH_SECONDS:
                    self._to_touch.append(key)
            # in the order of the file, as the keys above are in that of their table
            select = "SELECT id, crc, data FROM vectors WHERE id IN"
            for row, crc, data in _select(connection, select, sorted(entries)):
                key = entries.get(row)
                if key is None or not isinstance(data, bytes) or _checksum(key, data) != crc:
                    continue
                width = width or len(data)
                if len(data) == width:
                    found[key] = data
                    del entries[row]
        return found, list(entries.items())

    def _drop(self, entries):
        with _transaction(self._connection, "BEGIN IMMEDIATE"):
            _delete(self._connection, entries)

    def _standing(self, keys):
        """Return the keys that are not to be had, and the dead owners of others."""
        connection = self._connection
        taken = {
            key for (key,) in _select(connection, "SELECT key FROM entries WHERE key IN", keys)
        }
        owner_of = dict(_select(connection, "SELECT key, owner FROM claims WHERE key IN", keys))
        dead = set()
        for owner in set(owner_of.values()) - {self._token}:
            if not _is_alive(self._directory, owner):
                dead.add(owner)
        free = dead | {self._token}
        taken.update(key for key, owner in owner_of.items() if owner not in free)
        return taken, dead

    def _take(self, keys):
        joins = self._lock is None
        if joins:
            self._token, self._lock = _join_sessions(self._directory)
        with _transaction(self._connection, "BEGIN IMMEDIATE"):
            taken, dead = self._standing(keys)
            if joins:  # once in a session, what the dead left behind is swept up
                owners = {owner for (owner,) in self._connection.execute(_OWNERS)}
                owners.discard(self._token)
                dead |= {owner for owner in owners if not _is_alive(self._directory, owner)}
            self._connection.executemany(
                "DELETE FROM claims WHERE owner = ?", [(owner,) for owner in dead]
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO claims VALUES(?, ?)",
                [(key, self._token) for key in keys if key not in taken],
            )
        return taken

    def _write(self, keys, vectors):
        connection, now, new = self._connection, _now(), {}
        for key, vector in zip(keys, vectors, strict=True):
            new.setdefault(key, vector)
        with _transaction(connection, "BEGIN IMMEDIATE"):
            for (key,) in _select(connection, "SELECT key FROM entries WHERE key IN", list(new)):
                new.pop(key, None)
            first = 1 + _largest_row(connection)
            # in the order of the keys, which touches every page once
            connection.executemany(
                "INSERT INTO entries VALUES(?, ?, ?)",
                sorted((key, row, now) for row, key in enumerate(new, first)),
            )
            connection.executemany(
                "INSERT INTO vectors VALUES(?, ?, ?)",
                ((row, _checksum(key, new[key]), new[key]) for row, key in enumerate(new, first)),
            )
            self._give_up(keys)
            if self._max_bytes is not None and _live_bytes(connection) > self._max_bytes:
                self._touch()
                _evict(connection, _KEPT_BY_EVICTION * self._max_bytes)

    def _unclaim(self, keys):
        with _transaction(self._connection, "BEGIN IMMEDIATE"):
            self._give_up(keys)

    def _give_up(self, keys):
        if self._token is not None:
            self._connection.executemany(
                "DELETE FROM claims WHERE key = ? AND owner = ?",
                ((key, self._token) for key in keys),
            )

    def _touch(self):
        now = _now()
        self._connection.executemany(
            "UPDATE entries SET used = ? WHERE key = ?", ((now, key) for key in self._to_touch)
        )
        self._to_touch.clear()

    def _settle(self):
        with _transaction(self._connection, "BEGIN IMMEDIATE"):
            self._give_up(self._claimed)
            self._touch()

    def _size(self):
        with _transaction(self._connection, "BEGIN"):
            entries = _number(self._connection, "SELECT count(*) FROM entries")
            return entries, _live_bytes(self._connection)

    # What surrounds the work.

    def _attempt(self, work, *, otherwise=None, writes=False):
        """Return work(), done on the newest generation; `otherwise` where that is not to be had."""
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
                return work()
            except (sqlite3.DatabaseError, UnicodeDecodeError, _Damage, OSError) as error:
                self._disconnect()
                if self._file is not None and not self._file.exists():
                    self._file = None  # replaced while it was read
                elif _is_damage(error):
                    damage = self._file, error
                else:
                    self._stop(error, reading=not writes)
            if not (self._writing if writes else self._reading):
                return otherwise
        self._stop(damage[1] if damage else "it keeps vanishing", reading=True)
        return otherwise

    def _connect(self):
        newest = _newest(self._directory)
        if self._connection is not None and newest == self._file:
            return
        self._disconnect()
        self._file = None
        self._file = newest or _make(self._directory)
        self._connection, writable = _open(self._file)
        if not writable:
            self._writing = False
            self._reason = "it is read-only"

    def _disconnect(self):
        self._to_touch.clear()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(sqlite3.Error):
                connection.close()

    def _replace(self, file, error):
        with _directory_lock(self._directory):
            if _newest(self._directory) not in (file, None):
                return  # another session was faster
            _start_generation(self._directory)
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


class MemoryStore:
    """Embeddings in the memory of this process, shared by its threads.

    Parameters
    ----------
    max_bytes : int, default=2**30
        The most that the embeddings may take. Beyond it, those that were used longest ago are
        dropped.

    Notes
    -----
    The interface is that of `EmbeddingStore`. A pickle of a store holds no embeddings.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.encode.store import MemoryStore
    >>> store = MemoryStore()
    >>> with store.session() as session:
    ...     session.put([b"key"], np.ones((1, 3)))
    >>> store.cache_info().entries
    1
    """

    hash_files = False

    def __init__(self, max_bytes=2**30):
        _check_bound(max_bytes, smallest=0, none=False)
        self.max_bytes = max_bytes
        self._start()
        _memory_stores.add(self)

    def _start(self):
        self._lock = threading.Lock()
        self._rows = OrderedDict()  # the one used longest ago comes first
        self._owner_of = {}
        self._bytes = self._hits = self._misses = 0

    def _drop(self, key):
        self._bytes -= len(self._rows.pop(key)) + _ROW_OVERHEAD

    def session(self):
        """Return a context manager: one call's own access, in one thread at a time."""
        return _MemorySession(self)

    def cache_info(self):
        """Return hits, misses, entries, bytes and max_bytes as a `CacheInfo`."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, len(self._rows), self._bytes, self.max_bytes)

    def clear(self):
        """Drop all embeddings and start counting anew."""
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
    """One call's access to a MemoryStore; the methods are those of `_Session`."""

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
        return _gathered(positions, rows)

    def claim(self, keys):
        store = self._store
        with store._lock:
            granted = {key for key in keys if key not in store._rows}
            granted = {key for key in granted if store._owner_of.get(key, self) is self}
            store._misses += sum(key not in store._owner_of for key in granted)
            store._owner_of.update(dict.fromkeys(granted, self))
        return [key in granted for key in keys]

    def put(self, keys, vectors):
        rows = [row.tobytes() for row in _as_rows(keys, vectors)]
        store = self._store
        with store._lock:
            for key, row in zip(keys, rows, strict=True):
                if key not in store._rows:
                    store._rows[key] = row
                    store._bytes += len(row) + _ROW_OVERHEAD
            while store._bytes > store.max_bytes:
                store._drop(next(iter(store._rows)))
            self._give_up(keys)

    def release(self, keys):
        with self._store._lock:
            self._give_up(keys)

    def _give_up(self, keys):
        owner_of = self._store._owner_of
        for key in keys:
            if owner_of.get(key) is self:
                del owner_of[key]


def _check_bound(max_bytes, *, smallest, none=True):
    if none and max_bytes is None:
        return
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, Integral) or max_bytes < smallest:
        raise ValueError(
            f"max_bytes must be {'None or ' * none}an int of at least {smallest}, got {max_bytes!r}"
        )


def _as_rows(keys, vectors):
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    if vectors.ndim != 2 or len(vectors) != len(keys) or not vectors.shape[1]:
        raise ValueError(
            f"vectors must have one row for each of {len(keys)} keys, got shape {vectors.shape}"
        )
    return vectors


def _gathered(positions, rows):
    vectors = np.frombuffer(bytearray().join(rows), dtype="<f4").astype(np.float32, copy=False)
    return np.array(positions, dtype=np.intp), vectors.reshape(len(rows), -1 if rows else 0)


def _now():
    return int(time.time())


def _checksum(key, data):
    # the key too: a damaged index may lead to another key's vector
    return zlib.crc32(data, zlib.crc32(key))


# ---- the database


class _Damage(Exception):
    """A file that SQLite takes, with something in it that no session has written."""


def _is_damage(error):
    if not isinstance(error, sqlite3.DatabaseError):
        # UnicodeDecodeError: a message of SQLite's that quotes a damaged schema
        return isinstance(error, (_Damage, UnicodeDecodeError))
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        raise error  # not of the database's: wrong use of the module
    return code & 0xFF not in _NOT_NOW or code == _SHORT_READ


def _newest(directory):
    """Return the database of the highest generation, or None."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return None
    numbers = [int(match[1]) for match in map(_GENERATION.fullmatch, names) if match]
    return _generation(directory, max(numbers)) if numbers else None


def _generation(directory, number):
    return directory / f"vectors-{number:06}.sqlite"


def _make(directory):
    directory.mkdir(parents=True, exist_ok=True)
    with _directory_lock(directory):
        return _newest(directory) or _start_generation(directory)


def _start_generation(directory):
    """Make an empty database above all others and remove those; under the directory's lock.

    Never under a name that was used: another process may have that file open.
    """
    numbers = {}
    for name in os.listdir(directory):
        if match := _OF_GENERATION.fullmatch(name):
            numbers[name] = int(match[1])
    unfinished = directory / "unfinished.sqlite"
    for suffix in ("", "-wal", "-shm", "-journal"):
        _remove(Path(f"{unfinished}{suffix}"))
    connection = sqlite3.connect(unfinished, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
    finally:
        connection.close()
    # so that nobody ever sees half a schema
    file = _generation(directory, 1 + max(numbers.values(), default=0))
    os.rename(unfinished, file)
    for name in sorted(numbers, key=len):  # the log of a database goes after it
        _remove(directory / name)
    return file


def _open(file):
    """Return a connection, and whether it may write."""
    with open(file, "rb") as stream:
        header = stream.read(20)
    if header[:16] != b"SQLite format 3\0" or header[18:] != b"\2\2":
        raise _Damage("no SQLite database in write-ahead logging")
    # what cannot be written is read as far as the log's index can be, and else without the log
    for access in ("mode=rw", "mode=ro", "mode=ro&immutable=1"):
        connection = None
        try:
            connection = sqlite3.connect(
                f"{file.as_uri()}?{access}",
                uri=True,
                timeout=_PATIENCE,
                isolation_level=None,
                check_same_thread=False,
            )
            connection.text_factory = bytes  # damaged text is text still
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2**26)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            _number(connection, "SELECT count(*) FROM (SELECT id FROM entries LIMIT 1)")
            _largest_row(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in _NO_ACCESS or access.endswith("immutable=1"):
                raise
        else:
            writable = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
            return connection, access == "mode=rw" and writable


@contextmanager
def _transaction(connection, begin):
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.rollback()
        raise


def _select(connection, select, values):
    for start in range(0, len(values), _KEYS_PER_STATEMENT):
        chunk = values[start : start + _KEYS_PER_STATEMENT]
        yield from connection.execute(f"{select} ({','.join('?' * len(chunk))})", chunk)


def _number(connection, select):
    row = connection.execute(select).fetchone()
    if row is None or not isinstance(row[0], int) or not 0 <= row[0] < 2**60:
        raise _Damage(f"{select!r} gives {row}")
    return row[0]


def _largest_row(connection):
    return _number(connection, "SELECT coalesce(max(id), 0) FROM vectors")


def _live_bytes(connection):
    pages, unused, size = (
        _number(connection, f"PRAGMA {name}")
        for name in ("page_count", "freelist_count", "page_size")
    )
    if unused >= pages:
        raise _Damage(f"{unused} of {pages} pages unused")
    return (pages - unused) * size


def _delete(connection, entries):
    connection.executemany("DELETE FROM vectors WHERE id = ?", [(row,) for row, _ in entries])
    # IS, for a damaged row is of any type
    connection.executemany("DELETE FROM entries WHERE id IS ? AND key = ?", entries)


def _evict(connection, bound):
    while (live := _live_bytes(connection)) > bound:
        entries = _number(connection, "SELECT count(*) FROM entries")
        # a page is given back when it is nearly empty, so that it may take some rounds
        count = max(1, int(entries * (1 - bound / live)))
        select = "SELECT id, key FROM entries ORDER BY used, id LIMIT ?"
        before = connection.total_changes
        _delete(connection, connection.execute(select, (count,)).fetchall())
        if connection.total_changes == before:
            raise _Damage("vectors without keys")


# ---- locks on files, which the operating system gives up with the process that holds them


def _directory_lock(directory, name="store.lock"):
    return FileLock(directory / name, timeout=_PATIENCE, thread_local=False)


def _count(directory, hits, misses):
    """Add to the counters, which have a file of their own.

    In the database, each call that only reads would write at its end, and wait for the disk.
    """
    with suppress(OSError), _directory_lock(directory, "counters.lock"):
        before = _counted(directory)
        descriptor = os.open(directory / "counters", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, b"%020d %020d\n" % (before[0] + hits, before[1] + misses))
        finally:
            os.close(descriptor)


def _counted(directory):
    try:
        hits, misses = (directory / "counters").read_bytes()[:42].split()
        return int(hits), int(misses)
    except (OSError, ValueError):
        return 0, 0


def _join_sessions(directory):
    """Return a new session's name and its lock, held as long as it lives."""
    with _directory_lock(directory):  # nobody may take a lock for a dead one's before it is held
        sessions = directory / "sessions"
        sessions.mkdir(exist_ok=True)
        for name in os.listdir(sessions):
            _is_alive(directory, name.removesuffix(".lock").encode())
        token = secrets.token_hex(16).encode()
        lock = FileLock(_session_file(directory, token), thread_local=False)
        lock.acquire(timeout=_PATIENCE)
    return token, lock


def _session_file(directory, token):
    return directory / "sessions" / f"{token.decode()}.lock"


def _is_alive(directory, token):
    """Whether the session of that name lives; if it does not, its lock is removed."""
    if not isinstance(token, bytes) or not _TOKEN.fullmatch(token):
        return False
    file = _session_file(directory, token)
    if not file.exists():
        return False
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # another user's: to compute twice is better than to wait forever
        return False
    _end_session(file, lock)
    return False


def _end_session(file, lock):
    _remove(file)
    lock.release()
    _remove(file)  # Windows removes nothing that is open


def _remove(file):
    with suppress(OSError):
        file.unlink()


# ---- forks


_open_sessions = set()
_memory_stores = weakref.WeakSet()
_process_wide = MemoryStore()


def _after_fork():
    # To close a connection that was opened before the fork may harm the database, so that these
    # are kept from being collected for as long as the child lives.
    for session in _open_sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    _open_sessions.clear()
    # another thread may have held a lock or a claim, and it is not here
    for store in list(_memory_stores):
        store._lock = threading.Lock()
        store._owner_of.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
