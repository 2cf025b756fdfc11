"""An SQLite database of vectors: its schema, and all reads and writes."""

import errno
import os
import sqlite3
import time
import zlib
from contextlib import contextmanager, suppress

# how long a writer waits for other writers, in seconds
LOCK_TIMEOUT = 60.0
# 7 vectors of 512 numbers fill 88 % of a page of 16 KiB; one fills 50 % of a page of 4 KiB. Larger
# pages make lookups of scattered vectors slower, because a page is always read as a whole. Vectors
# of 1,024 numbers use the space worst: 75 % of a page here, 88 % of a page of 32 KiB.
_PAGE_SIZE = 16_384
# how much of the file one connection keeps in memory; the index of a million keys takes 35 MB
_CACHE_KIB = 65_536
# the write-ahead log is written back when it holds 16 MiB
_LOG_PAGES = 1024
# the time of last use is stored to the minute, so that lookups rarely have to write
_TOUCH_SECONDS = 60
_KEYS_PER_STATEMENT = 2000
# an eviction leaves some room, so that the next few batches need none
_KEPT_BY_EVICTION = 0.9

# Vectors are large. They are stored in the order of insertion, which fills their pages completely.
# What is searched and updated is small, and is in a table of its own.
_SCHEMA = """
CREATE TABLE entries(key BLOB PRIMARY KEY, id INTEGER NOT NULL, used INTEGER NOT NULL)
WITHOUT ROWID;
CREATE TABLE vectors(id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE claims(key BLOB PRIMARY KEY, owner BLOB NOT NULL) WITHOUT ROWID;
"""

# Errors of the environment (locks, permissions, a full disk), which do not mean a corrupt file.
_ENVIRONMENT_ERRORS = {
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
# the log ends before a page that its index lists, which does mean a corrupt file
_SHORT_READ = sqlite3.SQLITE_IOERR_SHORT_READ
# Errors after which the file is opened with fewer rights.
_NO_ACCESS = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_AUTH,
}


class CorruptDatabaseError(Exception):
    """SQLite accepts the file, but its content cannot have been written by a session."""


def is_corruption(error):
    """Whether an error means that the file is corrupt.

    Parameters
    ----------
    error : Exception
        What was raised while the database was used.

    Raises
    ------
    sqlite3.DatabaseError
        The error itself if it is not of the database, but a wrong use of the module `sqlite3`.
    """
    if not isinstance(error, sqlite3.DatabaseError):
        # UnicodeDecodeError: SQLite's message quotes a corrupt schema
        return isinstance(error, (CorruptDatabaseError, UnicodeDecodeError))
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        raise error  # a wrong use of the module, not an error of the database
    return code & 0xFF not in _ENVIRONMENT_ERRORS or code == _SHORT_READ


def create_database(file):
    """Create an empty database in a new file (a path)."""
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
    finally:
        connection.close()


class Database:
    """An open database.

    Parameters
    ----------
    file : Path
        A database that `create_database` made.

    Attributes
    ----------
    is_writable : bool
        Whether the file and its directory can be written.

    Notes
    -----
    In the methods, `keys` are bytes, `token` is the name of the calling session (None before it has
    claimed anything), and ``is_alive(token)`` tells whether the session of that name still runs.
    """

    def __init__(self, file):
        self._connection, self.is_writable = _open(file)
        self._to_touch = []

    def close(self):
        """Close the file without marking anything as used."""
        with suppress(sqlite3.Error):
            self._connection.close()

    @property
    def has_unsaved_uses(self):
        """Whether entries were found that `finish` would mark as used."""
        return bool(self._to_touch)

    def find(self, keys):
        """Look up vectors.

        Parameters
        ----------
        keys : list of bytes

        Returns
        -------
        found : dict of bytes to bytes
            The vectors, little-endian float32, by their keys. All have the same length.
        damaged : list of tuple (row, key)
            Entries whose vector is missing, fails its checksum or has another length, for `drop`.
        """
        now = _now()
        entries, found, width = {}, {}, None
        with self._transaction("BEGIN"):
            select = "SELECT key, id, used FROM entries WHERE key IN"
            for key, row, used in self._select(select, sorted(set(keys))):
                if not isinstance(row, int) or row in entries:
                    raise CorruptDatabaseError(f"row {row}")
                entries[row] = key
                if not isinstance(used, int) or abs(now - used) >= _TOUCH_SECONDS:
                    self._to_touch.append(key)
            # sorted by row, so that pages are read in the order of the file
            select = "SELECT id, crc, data FROM vectors WHERE id IN"
            for row, crc, data in self._select(select, sorted(entries)):
                key = entries.get(row)
                if key is None or not isinstance(data, bytes) or _checksum(key, data) != crc:
                    continue
                width = width or len(data)
                if len(data) == width:
                    found[key] = data
                    del entries[row]
        return found, list(entries.items())

    def drop(self, entries):
        """Delete entries (row, key) that `find` returned as damaged."""
        with self._transaction("BEGIN IMMEDIATE"):
            self._delete(entries)

    def taken(self, keys, token, is_alive):
        """Find the keys that this session cannot claim.

        Returns
        -------
        taken : set of bytes
            Keys that are stored, or claimed by another session that still runs.
        dead : set of bytes
            Sessions that have claimed some of `keys` and no longer run.
        """
        taken = {key for (key,) in self._select("SELECT key FROM entries WHERE key IN", keys)}
        owner_of = dict(self._select("SELECT key, owner FROM claims WHERE key IN", keys))
        dead = {owner for owner in set(owner_of.values()) - {token} if not is_alive(owner)}
        free = dead | {token}
        taken.update(key for key, owner in owner_of.items() if owner not in free)
        return taken, dead

    def claim(self, keys, token, is_alive, *, sweep):
        """Claim all keys that can be claimed, and return the set of those that cannot.

        With `sweep`, claims of sessions that no longer run are deleted for all keys of the
        database; without it, only those of sessions that have claimed some of `keys`.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            taken, dead = self.taken(keys, token, is_alive)
            if sweep:
                owners = self._connection.execute("SELECT DISTINCT owner FROM claims").fetchall()
                dead |= {owner for (owner,) in owners if owner != token and not is_alive(owner)}
            self._connection.executemany(
                "DELETE FROM claims WHERE owner = ?", [(owner,) for owner in dead]
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO claims VALUES(?, ?)",
                [(key, token) for key in keys if key not in taken],
            )
        return taken

    def insert(self, keys, vectors, token, max_bytes):
        """Store vectors, release the claims of their keys, and evict entries beyond `max_bytes`.

        Parameters
        ----------
        keys : list of bytes
            Those that are stored already keep their vectors.
        vectors : ndarray of shape (n_keys, d), little-endian float32
        token : bytes or None
        max_bytes : int or None
        """
        now, new = _now(), {}
        for key, vector in zip(keys, vectors, strict=True):
            new.setdefault(key, vector)
        with self._transaction("BEGIN IMMEDIATE"):
            for (key,) in self._select("SELECT key FROM entries WHERE key IN", list(new)):
                new.pop(key, None)
            first = 1 + _largest_row(self._connection)
            # in the order of the keys, which touches every page once
            self._connection.executemany(
                "INSERT INTO entries VALUES(?, ?, ?)",
                sorted((key, row, now) for row, key in enumerate(new, first)),
            )
            self._connection.executemany(
                "INSERT INTO vectors VALUES(?, ?, ?)",
                ((row, _checksum(key, new[key]), new[key]) for row, key in enumerate(new, first)),
            )
            self._release(keys, token)
            if max_bytes is not None and _live_bytes(self._connection) > max_bytes:
                self._touch()
                self._evict(_KEPT_BY_EVICTION * max_bytes)

    def release(self, keys, token):
        """Release the claims that a session has on keys."""
        with self._transaction("BEGIN IMMEDIATE"):
            self._release(keys, token)

    def finish(self, keys, token):
        """Release the claims that a session has on keys, and mark what `find` found as used."""
        with self._transaction("BEGIN IMMEDIATE"):
            self._release(keys, token)
            self._touch()

    def size(self):
        """Return the number of entries and the bytes of the pages in use."""
        with self._transaction("BEGIN"):
            entries = _number(self._connection, "SELECT count(*) FROM entries")
            return entries, _live_bytes(self._connection)

    @contextmanager
    def _transaction(self, begin):
        self._connection.execute(begin)
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.rollback()
            raise

    def _select(self, select, values):
        for start in range(0, len(values), _KEYS_PER_STATEMENT):
            chunk = values[start : start + _KEYS_PER_STATEMENT]
            yield from self._connection.execute(f"{select} ({','.join('?' * len(chunk))})", chunk)

    def _release(self, keys, token):
        if token is not None:
            self._connection.executemany(
                "DELETE FROM claims WHERE key = ? AND owner = ?", [(key, token) for key in keys]
            )

    def _touch(self):
        now = _now()
        self._connection.executemany(
            "UPDATE entries SET used = ? WHERE key = ?", [(now, key) for key in self._to_touch]
        )
        self._to_touch.clear()

    def _delete(self, entries):
        self._connection.executemany(
            "DELETE FROM vectors WHERE id = ?", [(row,) for row, _ in entries]
        )
        # IS, because a damaged row may be NULL
        self._connection.executemany("DELETE FROM entries WHERE id IS ? AND key = ?", entries)

    def _evict(self, max_bytes):
        connection = self._connection
        while (live := _live_bytes(connection)) > max_bytes:
            entries = _number(connection, "SELECT count(*) FROM entries")
            # SQLite frees a page only when it is nearly empty, so several rounds may be needed
            count = max(1, int(entries * (1 - max_bytes / live)))
            select = "SELECT id, key FROM entries ORDER BY used, id LIMIT ?"
            before = connection.total_changes
            self._delete(connection.execute(select, (count,)).fetchall())
            if connection.total_changes == before:
                raise CorruptDatabaseError("vectors without keys")


def _open(file):
    """Return a connection, and whether it may write."""
    with open(file, "rb") as stream:
        header = stream.read(20)
    if header[:16] != b"SQLite format 3\0" or header[18:] != b"\2\2":
        raise CorruptDatabaseError("no SQLite database in write-ahead logging")
    # a file that cannot be written is read with its log if the log's index can be read, else
    # without the log
    for access in ("mode=rw", "mode=ro", "mode=ro&immutable=1"):
        connection = None
        try:
            connection = sqlite3.connect(
                f"{file.as_uri()}?{access}",
                uri=True,
                timeout=LOCK_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
            connection.text_factory = bytes  # corrupt text need not be valid UTF-8
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
            if not writable and not file.exists():
                # another process has cleared the store meanwhile
                connection.close()
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
            return connection, access == "mode=rw" and writable


def _number(connection, select):
    row = connection.execute(select).fetchone()
    if row is None or not isinstance(row[0], int) or not 0 <= row[0] < 2**60:
        raise CorruptDatabaseError(f"{select!r} gives {row}")
    return row[0]


def _largest_row(connection):
    return _number(connection, "SELECT coalesce(max(id), 0) FROM vectors")


def _live_bytes(connection):
    pages, unused, size = (
        _number(connection, f"PRAGMA {name}")
        for name in ("page_count", "freelist_count", "page_size")
    )
    if unused >= pages:
        raise CorruptDatabaseError(f"{unused} of {pages} pages unused")
    return (pages - unused) * size


def _now():
    return int(time.time())


def _checksum(key, data):
    # of the key too, because a corrupt index may point to the vector of another key
    return zlib.crc32(data, zlib.crc32(key))
