"""What lies in the directory of a store: databases by number, counters, and locks of sessions.

The operating system gives up a lock on a file with the process that holds it.
"""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from skclip.encode.cache.database import PATIENCE, create_database

_GENERATION = re.compile(r"vectors-(\d{6,})\.sqlite")
_OF_GENERATION = re.compile(_GENERATION.pattern + "(-wal|-shm|-journal)?")
_TOKEN = re.compile(rb"[0-9a-f]{32}")


def newest_database(directory):
    """Return the database of the highest generation, or None."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return None
    numbers = [int(match[1]) for match in map(_GENERATION.fullmatch, names) if match]
    return _generation(directory, max(numbers)) if numbers else None


def _generation(directory, number):
    return directory / f"vectors-{number:06}.sqlite"


def find_or_make_database(directory):
    """Return the newest database, a new one if there is none."""
    directory.mkdir(parents=True, exist_ok=True)
    with directory_lock(directory):
        return newest_database(directory) or start_anew(directory)


def start_anew(directory):
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
    create_database(unfinished)
    # so that nobody ever sees half a schema
    file = _generation(directory, 1 + max(numbers.values(), default=0))
    os.rename(unfinished, file)
    for name in sorted(numbers, key=len):  # the log of a database goes after it
        _remove(directory / name)
    return file


def directory_lock(directory, name="store.lock"):
    """Return a lock, to be held while files of the directory change."""
    return FileLock(directory / name, timeout=PATIENCE, thread_local=False)


def count(directory, hits, misses):
    """Add to the counters, which have a file of their own.

    In the database, each call that only reads would write at its end, and wait for the disk.
    """
    with suppress(OSError), directory_lock(directory, "counters.lock"):
        before = counted(directory)
        descriptor = os.open(directory / "counters", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, b"%020d %020d\n" % (before[0] + hits, before[1] + misses))
        finally:
            os.close(descriptor)


def counted(directory):
    """Return hits and misses since the store was made or cleared."""
    try:
        hits, misses = (directory / "counters").read_bytes()[:42].split()
        return int(hits), int(misses)
    except (OSError, ValueError):
        return 0, 0


def forget_counts(directory):
    """Start counting anew."""
    _remove(directory / "counters")


def join_sessions(directory):
    """Return a new session's name and its lock, held as long as it lives."""
    with directory_lock(directory):  # nobody may take a lock for a dead one's before it is held
        sessions = directory / "sessions"
        sessions.mkdir(exist_ok=True)
        for name in os.listdir(sessions):
            is_alive(directory, name.removesuffix(".lock").encode())
        token = secrets.token_hex(16).encode()
        lock = FileLock(session_file(directory, token), thread_local=False)
        lock.acquire(timeout=PATIENCE)
    return token, lock


def session_file(directory, token):
    """Return the file that a session of that name keeps locked."""
    return directory / "sessions" / f"{token.decode()}.lock"


def is_alive(directory, token):
    """Whether the session of that name lives; if it does not, its lock is removed."""
    if not isinstance(token, bytes) or not _TOKEN.fullmatch(token):
        return False
    file = session_file(directory, token)
    if not file.exists():
        return False
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # another user's: to compute twice is better than to wait forever
        return False
    end_session(file, lock)
    return False


def end_session(file, lock):
    """Give a session's lock up, and remove it."""
    _remove(file)
    lock.release()
    _remove(file)  # Windows removes nothing that is open


def abandon_session(lock):
    """Let go of a lock that was inherited through a fork; the parent's stays held.

    Otherwise the child would hold it when the parent is dead. Newer versions of filelock do so by
    themselves; none of them says how to do it.
    """
    context = getattr(lock, "_context", None)
    descriptor = getattr(context, "lock_file_fd", None)
    if descriptor is not None:
        context.lock_file_fd = None
        os.close(descriptor)


def _remove(file):
    with suppress(OSError):
        file.unlink()
