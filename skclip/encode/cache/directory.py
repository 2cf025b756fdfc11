"""The directory of a store: numbered databases, counters, and one lock file for each session.

When a process ends, however it ends, the operating system releases its locks. So a session whose
lock file is not locked no longer runs.
"""

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from skclip._messages import shown
from skclip.encode.cache.database import LOCK_TIMEOUT, create_database

_GENERATION = re.compile(r"vectors-(\d{6,})\.sqlite")
_OF_GENERATION = re.compile(_GENERATION.pattern + "(-wal|-shm|-journal)?")
# also one that went through pathlib, which joins slashes; the name of a drive has one letter
_URL = re.compile(r"[A-Za-z][\w+.-]+:/")
_TOKEN = re.compile(rb"[0-9a-f]{32}")


def check_directory(path, name):
    """Refuse a path at which there can be no directory of a store.

    Parameters
    ----------
    path : str or Path
    name : str
        Of the parameter that the user passed, for the message.

    Raises
    ------
    ValueError
        If it is a URL, a file, or no valid path. A directory that cannot be made, read or written
        is no error: then nothing is stored, with a warning.
    """
    if _URL.match(os.fspath(path)):
        reason = "a URL is not supported"
    else:
        try:
            if stat.S_ISDIR(os.stat(os.path.expanduser(path)).st_mode):
                return
            reason = "there is a file of that name"
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
    raise ValueError(
        f"{name} must be a directory on this machine, got {shown(os.fspath(path))}: {reason}"
    )


def newest_database(directory):
    """Return the path of the database with the highest number, or None if there is none."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return None
    numbers = [int(match[1]) for match in map(_GENERATION.fullmatch, names) if match]
    return _generation(directory, max(numbers)) if numbers else None


def _generation(directory, number):
    return directory / f"vectors-{number:06}.sqlite"


def find_or_make_database(directory):
    """Return the path of the newest database; create the directory and a database if needed."""
    directory.mkdir(parents=True, exist_ok=True)
    with directory_lock(directory):
        return newest_database(directory) or start_new_database(directory)


def start_new_database(directory):
    """Create an empty database, remove all others, and return its path.

    The caller must hold `directory_lock`. The new database gets a higher number than all others. A
    name that is in use is not used again, because another process may have that file open.
    """
    numbers = {}
    for name in os.listdir(directory):
        if match := _OF_GENERATION.fullmatch(name):
            numbers[name] = int(match[1])
    unfinished = directory / "unfinished.sqlite"
    for suffix in ("", "-wal", "-shm", "-journal"):
        _remove(Path(f"{unfinished}{suffix}"))
    create_database(unfinished)
    # renamed when it is complete, so that no process sees half a schema
    file = _generation(directory, 1 + max(numbers.values(), default=0))
    os.rename(unfinished, file)
    for name in sorted(numbers, key=len):  # a database before its log
        _remove(directory / name)
    return file


def directory_lock(directory, name="store.lock"):
    """Return the lock to hold while files of the directory change."""
    return FileLock(directory / name, timeout=LOCK_TIMEOUT, thread_local=False)


def add_counts(directory, hits, misses):
    """Add to the counters of hits and misses.

    They are in a file of their own: in the database, a call that only reads would have to write at
    its end, and wait for the disk.
    """
    with suppress(OSError), directory_lock(directory, "counters.lock"):
        before = read_counts(directory)
        descriptor = os.open(directory / "counters", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, b"%020d %020d\n" % (before[0] + hits, before[1] + misses))
        finally:
            os.close(descriptor)


def read_counts(directory):
    """Return the hits and misses since the store was created or cleared."""
    try:
        hits, misses = (directory / "counters").read_bytes()[:42].split()
        return int(hits), int(misses)
    except (OSError, ValueError):
        return 0, 0


def reset_counts(directory):
    """Set hits and misses to zero."""
    _remove(directory / "counters")


def start_session(directory):
    """Name a new session and lock its file.

    Returns
    -------
    token : bytes
        The session's name.
    lock : FileLock
        Held until `end_session`.
    """
    # under the lock, because a file that is not locked yet looks like that of a dead session
    with directory_lock(directory):
        sessions = directory / "sessions"
        sessions.mkdir(exist_ok=True)
        for name in os.listdir(sessions):
            is_alive(directory, name.removesuffix(".lock").encode())
        token = secrets.token_hex(16).encode()
        lock = FileLock(session_file(directory, token), thread_local=False)
        lock.acquire(timeout=LOCK_TIMEOUT)
    return token, lock


def session_file(directory, token):
    """Return the file that a session of that name keeps locked."""
    return directory / "sessions" / f"{token.decode()}.lock"


def is_alive(directory, token):
    """Whether the session of that name still runs; if not, its lock file is removed."""
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
    except OSError:  # another user's file: computing twice is better than waiting forever
        return False
    end_session(file, lock)
    return False


def end_session(file, lock):
    """Release a session's lock and remove its file."""
    _remove(file)
    lock.release()
    _remove(file)  # again, since Windows does not remove an open file


def close_inherited_lock(lock):
    """Close a lock file that a child process inherited through a fork.

    The parent still holds the lock. If the child kept the file open, the lock would be held after
    the parent's death. Newer versions of filelock do this by themselves; none has a public function
    for it.
    """
    context = getattr(lock, "_context", None)
    descriptor = getattr(context, "lock_file_fd", None)
    if descriptor is not None:
        context.lock_file_fd = None
        os.close(descriptor)


def _remove(file):
    with suppress(OSError):
        file.unlink()
