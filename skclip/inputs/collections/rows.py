"""A range of rows of a collection, and what all kinds of sources need to make one.

A source holds the rows of one kind of input: `ImagePaths`, `Shard` or `ParquetTable`. It has a
length, ``rows(start, stop)``, which returns `Rows`, and ``entries()``, which yields one tuple for
each file with its name, size and modification time. `Collection.digest` hashes the ``repr`` of
these tuples, and a stopped run can only be resumed if the digest is the same. So a change of what
the tuples contain makes the unfinished runs of earlier versions useless.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a collection: where each image is, not the image itself.

    An image is read when it is taken from `images`. So the rows of a large collection need little
    memory, and their pickle is small; it can be used wherever the same files are.

    Parameters
    ----------
    ids : list of str
        One for each row.
    paths : list of str or None
        Absolute path of each image file; None if the image is bytes inside another file, or if a
        table has no path in this row.
    images : sequence
        The images, as `skclip.inputs.images.as_images` takes them: paths, bytes or None. Bytes are
        read from the disk each time an item is taken.
    """

    ids: list
    paths: list
    images: object


def select(images, rows):
    """Return some of the images of `Rows`, without reading any.

    Parameters
    ----------
    images : sequence
    rows : ndarray of int
        Which ones, in ascending order.

    Returns
    -------
    selected : sequence
    """
    if len(rows) == len(images):
        return images
    if isinstance(images, list):  # in a list, duplicates are found
        return [images[row] for row in rows]
    return _Selected(images, rows)


class _Selected:
    """Some items of a sequence, each of which is taken from it when it is asked for."""

    def __init__(self, images, rows):
        self.images = images
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return self.images[int(self.rows[row])]


def resolve_path(name, folder):
    """Return the path of an image that a table names.

    Parameters
    ----------
    name : str or None
        What the table holds. A URL stays as it is, and so does None.
    folder : str
        The folder of the table, where relative paths start.

    Returns
    -------
    path : str or None
    """
    return name if name is None or "://" in name else os.path.join(folder, name)


def file_status(path):
    """Return a file's size in bytes and its modification time in ns; None twice without a file."""
    try:
        status = os.stat(path)
    except (OSError, TypeError, ValueError):  # missing, None, or not a valid file name
        return None, None
    return status.st_size, status.st_mtime_ns
