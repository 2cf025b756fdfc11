"""What stands at a path: a file that can be read, or something else."""

import os
import stat

from skclip.exceptions import CheckpointError

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def names_in(directory):
    """Return the names of what is in a directory, as a set; raise CheckpointError if it fails."""
    try:
        return set(os.listdir(directory))
    except OSError as error:
        raise CheckpointError(f"{directory} cannot be read ({error.strerror})") from error


def regular_file(path):
    """Check, without opening it, that a path is a file or a link to one.

    Parameters
    ----------
    path : Path

    Returns
    -------
    size : int
        In bytes.

    Raises
    ------
    CheckpointError
        If it is anything else, or may not be read. To open a named pipe or a device could wait
        forever.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        if os.path.islink(path):
            raise CheckpointError(
                f"{path} is a link to {os.readlink(path)}, which cannot be reached "
                f"({error.strerror})"
            ) from error
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise CheckpointError(f"{path} must be a file, but is {kind}")
    if not os.access(path, os.R_OK):
        raise CheckpointError(f"{path} cannot be read (no permission)")
    return status.st_size
