"""Find the files that folders, glob patterns and brace patterns name."""

import glob
import os
import re
from pathlib import Path

from skclip.inputs.collections.suffixes import (
    COMPRESSED_SUFFIXES,
    CSV_SUFFIXES,
    IMAGE_SUFFIXES,
    PARQUET_SUFFIXES,
    SHARD_SUFFIXES,
    suffix_of,
)

_KNOWN_SUFFIXES = (*IMAGE_SUFFIXES, *CSV_SUFFIXES, *PARQUET_SUFFIXES, *SHARD_SUFFIXES)
# what a folder may hold
_KINDS = {"images": IMAGE_SUFFIXES, "Parquet files": PARQUET_SUFFIXES, "shards": SHARD_SUFFIXES}


def find_files(inputs):
    """Find the images, tables and shards that inputs name.

    Parameters
    ----------
    inputs : list of str or Path
        Files, folders and patterns, as `skclip.inputs.collections.collection.open_collection` takes
        them.

    Returns
    -------
    files : list of str
        In the order of the inputs; those of a folder or a glob pattern sorted by path. A file that
        is named several times is listed once, under its first name.

    Raises
    ------
    ValueError
        An input does not exist, is a compressed archive, is a folder of several kinds of files or
        of none, or is a pattern that matches nothing.
    """
    inputs = [os.fspath(item) for item in inputs]
    files = [file for item in inputs for file in _files_of(item)]
    if len(inputs) == 1 and not _is_pattern(inputs[0]):
        return files  # one file or one folder has no duplicates
    first_names = {}
    for file in files:
        first_names.setdefault(os.path.abspath(file), file)
    return list(first_names.values())


def expand_braces(pattern):
    """Return the names that ``{a,b}`` and ``{000..010}`` in a pattern stand for, as in a shell.

    Parameters
    ----------
    pattern : str

    Returns
    -------
    names : list of str

    Examples
    --------
    >>> from skclip.inputs.collections.find import expand_braces
    >>> expand_braces("{train,test}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'test-08.tar']
    """
    for match in re.finditer(r"\{([^{}]*)\}", pattern):
        span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
        if span:
            first, last = int(span[1]), int(span[2])
            padded = any(end.startswith("0") and len(end) > 1 for end in span.groups())
            width = max(map(len, span.groups())) if padded else 0
            step = 1 if first <= last else -1
            choices = [f"{number:0{width}}" for number in range(first, last + step, step)]
        elif "," in match[1]:
            choices = match[1].split(",")
        else:
            continue
        before, after = pattern[: match.start()], pattern[match.end() :]
        names = [name for choice in choices for name in expand_braces(before + choice + after)]
        return list(dict.fromkeys(names))
    return [pattern]


def _files_of(item):
    """Return the files that one input names."""
    if not os.path.lexists(item) and _is_pattern(item):
        return _files_of_pattern(item)
    item = str(Path(item))  # "./photos/" and "photos" give the same ids
    if os.path.isdir(item):
        return _files_in(item)
    if not os.path.exists(item):
        raise ValueError(f"the input {item!r} does not exist")
    if item.lower().endswith(COMPRESSED_SUFFIXES):
        raise ValueError(f"the archive {item!r} is compressed; decompress it to a .tar file first")
    return [item]


def _files_of_pattern(item):
    found = []
    for pattern in expand_braces(item):
        if not glob.has_magic(pattern):
            found += _files_of(pattern)
            continue
        for match in sorted(glob.glob(pattern, recursive=True)):
            if os.path.isdir(match) or suffix_of(match) in _KNOWN_SUFFIXES:
                found += _files_of(match)
    if not found:
        raise ValueError(f"no image, table or shard matches the pattern {item!r}")
    return found


def _files_in(folder):
    """Return the images in a folder and in those below it, or its Parquet files, or its shards."""
    found = {kind: [] for kind in _KINDS}
    visited = set()
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(directory)
        if real in visited:  # a link to a folder that was searched already
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            kind = _kind_of(name)
            if kind is not None:
                found[kind].append(os.path.join(directory, name))
    held = [kind for kind in _KINDS if found[kind]]
    if not held:
        raise ValueError(
            f"the folder {folder!r} holds no images, Parquet files or shards; image files end in "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    if len(held) > 1:
        raise ValueError(
            f"the folder {folder!r} holds {' and '.join(held)}; choose one kind by a pattern, "
            f"such as {os.path.join(folder, '**', '*' + _KINDS[held[0]][0])!r}"
        )
    return sorted(found[held[0]])


def _kind_of(name):
    """Return the kind of a file in a folder; None if it is hidden or of no known kind."""
    suffix = suffix_of(name)
    for kind, suffixes in _KINDS.items():
        if suffix in suffixes:
            # other programs write "_metadata" and the like next to Parquet files
            hidden = (".", "_") if kind == "Parquet files" else "."
            return None if name.startswith(hidden) else kind
    return None


def _is_pattern(item):
    return glob.has_magic(item) or expand_braces(item) != [item]


def _raise(error):
    raise error
