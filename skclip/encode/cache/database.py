"""One SQLite database of vectors, and everything that is asked of it."""

import os
import sqlite3
import time
import zlib
from contextlib import contextmanager, suppress

# the longest one writer waits for the others, in seconds
PATIENCE = 60.0
# 7 vectors of 512 numbers fill 88 % of a page of 16 KiB, one fills 50 % of a page of 4 KiB; on
# larger pages scattered vectors are found more slowly, for a page is read as a whole. Worst off are
# those of 1,024 numbers: 75 % here, 88 % on 32 KiB.
_PAGE_SIZE = 16_384
# what one connection may hold of the file; the index of a million keys takes 35 MB
_CACHE_KIB = 65_536
# the write-ahead log is written back when it holds 16 MiB
_LOG_PAGES = 1024
# a row's time of last use is kept to the minute, so that reading rarely means writing
_TOUCH_SECONDS = 60
_KEYS_PER_STATEMENT = 2000
# an eviction makes room, so that the next few batches need none
_KEPT_BY_EVICTION = 0.9

# Vectors are wide and lie in the order they came in, on pages filled to the brim; what is looked up
# and touched is narrow and apart from them.
_SCHEMA = """
CREATE TABLE entries(key BLOB PRIMARY KEY, id INTEGER NOT NULL, used INTEGER NOT NULL)
WITHOUT ROWID;
CREATE TABLE vectors(id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE claims(key BLOB PRIMARY KEY, owner BLOB NOT NULL) WITHOUT ROWID;
"""

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


class Damage(Exception):
    """A file that SQLite takes, with something in it that no session has written."""


def is_damage(error):
    """Whether an error of SQLite's says that the file is not what was written."""
    if not isinstance(error, sqlite3.DatabaseError):
        # UnicodeDecodeError: a message of SQLite's that quotes a damaged schema
        return isinstance(error, (Damage, UnicodeDecodeError))
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        raise error  # not of the database's: wrong use of the module
    return code & 0xFF not in _NOT_NOW or code == _SHORT_READ


def create_database(file):
    """Make an empty database."""
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

    A `token` is the name of the session that asks, and ``is_alive(token)`` says whether the session
    of that name still lives.
    """

    def __init__(self, file):
        self._connection, self.is_writable = _open(file)
        self._to_touch = []

    def close(self):
        """Close the file; what was read is not marked as used."""
        with suppress(sqlite3.Error):
            self._connection.close()

    @property
    def has_uses(self):
        """Whether `settle` would mark anything as used."""
        return bool(self._to_touch)

    def find(self, keys):
        """Return a dictionary of keys and vectors, and the entries that turned out damaged."""
        now = _now()
        entries, found, width = {}, {}, None
        with self._transaction("BEGIN"):
            select = "SELECT key, id, used FROM entries WHERE key IN"
            for key, row, used in self._select(select, sorted(set(keys))):
                if not isinstance(row, int) or row in entries:
                    raise Damage(f"row {row}")
                entries[row] = key
                if not isinstance(used, int) or abs(now - used) >= _TOUCH_SECONDS:
                    self._to_touch.append(key)
            # in the order of the file, as the keys above are in that of their table
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
        """Forget damaged entries."""
        with self._transaction("BEGIN IMMEDIATE"):
            self._delete(entries)

    def taken(self, keys, token, is_alive):
        """Return the keys that are stored or claimed by another, and the dead owners of others."""
        taken = {key for (key,) in self._select("SELECT key FROM entries WHERE key IN", keys)}
        owner_of = dict(self._select("SELECT key, owner FROM claims WHERE key IN", keys))
        dead = {owner for owner in set(owner_of.values()) - {token} if not is_alive(owner)}
        free = dead | {token}
        taken.update(key for key, owner in owner_of.items() if owner not in free)
        return taken, dead

    def claim(self, keys, token, is_alive, *, sweep):
        """Claim what is to be had and return the other keys.

        With `sweep`, claims of the dead are given up whatever their keys.
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
        """Store vectors of keys that are not stored, give claims up, and evict what is too much."""
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
            self._give_up(keys, token)
            if max_bytes is not None and _live_bytes(self._connection) > max_bytes:
                self._touch()
                self._evict(_KEPT_BY_EVICTION * max_bytes)

    def unclaim(self, keys, token):
        """Give claims up."""
        with self._transaction("BEGIN IMMEDIATE"):
            self._give_up(keys, token)

    def settle(self, keys, token):
        """Give claims up, and mark what was found as used."""
        with self._transaction("BEGIN IMMEDIATE"):
            self._give_up(keys, token)
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

    def _give_up(self, keys, token):
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
        # IS, for a damaged row is of any type
        self._connection.executemany("DELETE FROM entries WHERE id IS ? AND key = ?", entries)

    def _evict(self, bound):
        connection = self._connection
        while (live := _live_bytes(connection)) > bound:
            entries = _number(connection, "SELECT count(*) FROM entries")
            # a page is given back when it is nearly empty, so that it may take some rounds
            count = max(1, int(entries * (1 - bound / live)))
            select = "SELECT id, key FROM entries ORDER BY used, id LIMIT ?"
            before = connection.total_changes
            self._delete(connection.execute(select, (count,)).fetchall())
            if connection.total_changes == before:
                raise Damage("vectors without keys")


def _open(file):
    """Return a connection, and whether it may write."""
    with open(file, "rb") as stream:
        header = stream.read(20)
    if header[:16] != b"SQLite format 3\0" or header[18:] != b"\2\2":
        raise Damage("no SQLite database in write-ahead logging")
    # what cannot be written is read as far as the log's index can be, and else without the log
    for access in ("mode=rw", "mode=ro", "mode=ro&immutable=1"):
        connection = None
        try:
            connection = sqlite3.connect(
                f"{file.as_uri()}?{access}",
                uri=True,
                timeout=PATIENCE,
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


def _number(connection, select):
    row = connection.execute(select).fetchone()
    if row is None or not isinstance(row[0], int) or not 0 <= row[0] < 2**60:
        raise Damage(f"{select!r} gives {row}")
    return row[0]


def _largest_row(connection):
    return _number(connection, "SELECT coalesce(max(id), 0) FROM vectors")


def _live_bytes(connection):
    pages, unused, size = (
        _number(connection, f"PRAGMA {name}")
        for name in ("page_count", "freelist_count", "page_size")
    )
    if unused >= pages:
        raise Damage(f"{unused} of {pages} pages unused")
    return (pages - unused) * size


def _now():
    return int(time.time())


def _checksum(key, data):
    # the key too: a damaged index may lead to another key's vector
    return zlib.crc32(data, zlib.crc32(key))
