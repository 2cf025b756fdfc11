"""What to write instead of a folder or a pattern, where images are expected."""

import os

_LONGEST = 300


def how_to_list(path):
    """Return how the files that a folder or a pattern stands for are listed.

    Parameters
    ----------
    path : str, bytes or path

    Returns
    -------
    advice : str or None
        None if the path is that of a file, or of nothing.

    Examples
    --------
    >>> from skclip.inputs.paths import how_to_list
    >>> how_to_list("photos/*.jpg")
    "list the files that match: sorted(glob.glob('photos/*.jpg'))"
    """
    if len(os.fspath(path)) > _LONGEST:
        return None
    shown = repr(os.fspath(path))
    if os.path.isdir(path):
        return f"list the images in it: sorted(pathlib.Path({shown}).rglob('*.jpg'))"
    if any(character in os.fsdecode(path) for character in "*?[") and not os.path.exists(path):
        return f"list the files that match: sorted(glob.glob({shown}))"
    return None
