"""One row of a column of images: its kind, its identity, and how it is opened.

`as_item` finds out once what kind of object a row is. All other questions are answered by the
methods of the item that it returns.
"""

import hashlib
import io
import os
import stat
from contextlib import contextmanager

import numpy as np
from PIL import Image

from skclip._messages import first_line, shorten, shown
from skclip.inputs.arrays import is_numeric_array, is_tensor, to_numpy
from skclip.inputs.columns import is_missing
from skclip.inputs.decode import OpenedImage, array_to_rgb, open_file, open_stream
from skclip.inputs.identify import Unreadable
from skclip.inputs.pillow_warnings import pillow_without_warnings
from skclip.inputs.ranges import FileRange

_LONGEST_PATH = 300  # in messages


class ImageUnreadableError(Exception):
    """Why an item cannot be read, as a sentence; it does not know the row of the item."""


class ImageItem:
    """Base class of the kinds of images.

    Parameters
    ----------
    given : object
        What the user passed, for messages.
    """

    __slots__ = ("given",)

    def __init__(self, given):
        self.given = given

    def key(self):
        """Return a key by which duplicates in a column are found.

        Returns
        -------
        key : hashable or None
            Items with equal keys have equal pictures, as long as both items exist. None for an
            object that is not an image.
        """
        return None

    def content(self, hash_files=False):
        """Return what identifies the image in a store.

        Parameters
        ----------
        hash_files : bool, default=False
            Whether to identify a file by its content instead of its path, size, times and inode.
            This reads the whole file, but a file may then be moved, copied or touched without being
            embedded again.

        Returns
        -------
        content : bytes or None
            Equal contents mean equal pictures, in any process. None if there is no picture that
            could be read.
        """
        return None

    @contextmanager
    def open(self):
        """Yield an `OpenedImage`, valid while the context lasts.

        Raises
        ------
        ImageUnreadableError
            If the item is not an image, its header cannot be read, or an exception is raised inside
            the context, which is for decoding alone.
        """
        try:
            with pillow_without_warnings(), self._open() as opened:
                yield opened
        except Unreadable as error:
            raise ImageUnreadableError(f"{_label(self.given)} {error}") from error
        # Pillow raises all kinds of exceptions for damaged files
        except Exception as error:
            raise ImageUnreadableError(
                f"{_label(self.given)} cannot be decoded ({type(error).__name__}: "
                f"{first_line(error)}); it may be damaged or incomplete"
            ) from error

    # Each kind of image has a method `_open`: a context manager that yields an `OpenedImage` or
    # raises `Unreadable`.


class NoImageItem(ImageItem):
    """An object that is not an image.

    Parameters
    ----------
    given : object
    problem : str
        What is wrong with it: the message of an `Unreadable`.
    """

    __slots__ = ("problem",)

    def __init__(self, given, problem):
        super().__init__(given)
        self.problem = problem

    def _open(self):
        raise Unreadable(self.problem)


class AbsentItem(ImageItem):
    """A row without an object: a missing value, or one that a sequence failed to return.

    Parameters
    ----------
    cause : str
        The whole message, since there is no object to name.
    """

    __slots__ = ("cause",)

    def __init__(self, cause):
        super().__init__(None)
        self.cause = cause

    def open(self):
        raise ImageUnreadableError(self.cause)


class PathItem(ImageItem):
    """An image file."""

    __slots__ = ("path",)

    def __init__(self, given, path):
        super().__init__(given)
        self.path = os.fspath(path)

    def key(self):
        return "path", self.path

    def content(self, hash_files=False):
        try:
            status = os.stat(self.path)
            # opening a pipe would wait for its other end
            if not stat.S_ISREG(status.st_mode):
                return None
            if hash_files:
                with open(self.path, "rb") as file:
                    return _packed("content", hashlib.file_digest(file, "blake2b").digest())
        except (OSError, ValueError):  # ValueError: a null byte in the path
            return None
        # ctime and inode differ if a file was replaced by another one of the same size and mtime
        numbers = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        return _packed("file", os.fsencode(os.path.abspath(self.path)), numbers)

    def _open(self):
        return open_file(self.path)


class BytesItem(ImageItem):
    """The content of an image file."""

    __slots__ = ("data", "digest")

    def __init__(self, given, data):
        super().__init__(given)
        # the bytes of a view may lie apart, which `BytesIO` refuses
        self.data = bytes(data) if getattr(data, "c_contiguous", True) is False else data
        self.digest = None

    def key(self):
        if self.digest is None:
            self.digest = hashlib.blake2b(bytes(self.data)).digest()
        return "bytes", self.digest

    def content(self, hash_files=False):
        return _packed(*self.key())

    @contextmanager
    def _open(self):
        yield open_stream(io.BytesIO(self.data), memoryview(self.data).nbytes)


class RangeItem(ImageItem):
    """An image file within another file."""

    __slots__ = ()

    def content(self, hash_files=False):
        try:
            with self.given.open() as stream:  # equal to that of a `BytesItem` with these bytes
                return _packed("bytes", hashlib.file_digest(stream, "blake2b").digest())
        except OSError:
            return None

    @contextmanager
    def _open(self):
        with self.given.open() as stream:
            yield open_stream(stream, self.given.size)


class PictureItem(ImageItem):
    """A PIL image."""

    __slots__ = ()

    def key(self):
        # a picture equals only itself, so that none is decoded for its key
        return "picture", id(self.given)

    def content(self, hash_files=False):
        try:
            with self.open() as opened:
                picture = opened.rgb()
        except ImageUnreadableError:
            return None
        return _packed("picture", picture.size, hashlib.blake2b(picture.tobytes()).digest())

    @contextmanager
    def _open(self):
        yield OpenedImage(self.given)


class ArrayItem(ImageItem):
    """Pixels in an array, or in a tensor whose first axis is the channels."""

    __slots__ = ("digest",)

    def __init__(self, given):
        super().__init__(given)
        self.digest = None

    def key(self):
        if not is_numeric_array(self.given):
            return None
        pixels = to_numpy(self.given)
        if self.digest is None:
            flat = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
            self.digest = hashlib.blake2b(flat).digest()
        layout = "tensor" if is_tensor(self.given) else "array"
        return layout, pixels.dtype.str, pixels.shape, self.digest

    def content(self, hash_files=False):
        key = self.key()
        return None if key is None else _packed(*key)

    @contextmanager
    def _open(self):
        channels_first = is_tensor(self.given)
        pixels = array_to_rgb(to_numpy(self.given), channels_first=channels_first)
        yield OpenedImage(pixels=pixels)


class ItemsOnAccess:
    """The items of a sequence, each made when it is accessed.

    It is for sequences that may read or decode a row on access, such as a column of a Hugging Face
    dataset. No row and no item is kept.

    Parameters
    ----------
    images : sequence
    """

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        try:
            return as_item(self.images[row])
        except Exception as error:  # a sequence may raise any exception
            return AbsentItem(
                f"the collection failed to return it ({type(error).__name__}: {error})"
            )


def as_item(given):
    """Return the item of one row of `skclip.inputs.images.as_images`.

    Parameters
    ----------
    given : str, Path, bytes, PIL image, array, tensor or dict

    Returns
    -------
    item : ImageItem
        Nothing is opened or decoded. The item of an object that is not an image raises
        `ImageUnreadableError` when it is opened.

    Notes
    -----
    When an item is opened and decoded, the EXIF orientation is applied. Transparent pixels are
    drawn over white. 16-bit gray keeps its high byte, as in Pillow's decoding of 16-bit color. An
    animated file is represented by its first frame. Embedded color profiles are not applied: the
    published recipes take the pixels as they are stored. Float pixels must lie in [0, 1], integers
    other than uint8 and uint16 in 0 to 255. A file whose header claims more pixels than
    ``PIL.Image.MAX_IMAGE_PIXELS`` is refused before it is decoded; set this to None to remove the
    limit. Pillow's warnings are not issued.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.inputs.items import as_item
    >>> with as_item(np.ones((2, 3))).open() as opened:
    ...     opened.rgb().getpixel((0, 0))
    (255, 255, 255)
    >>> as_item("cat.jpg").key() == as_item({"bytes": None, "path": "cat.jpg"}).key()
    True
    """
    item = given
    if is_missing(item):
        return AbsentItem("the image is missing (None or NaN)")
    if isinstance(item, dict):
        if item.get("bytes") is None and item.get("path") is None:
            return NoImageItem(given, "has neither 'bytes' nor 'path'")
        item = item["path"] if item.get("bytes") is None else item["bytes"]
    if isinstance(item, (str, os.PathLike)):
        return PathItem(given, item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return BytesItem(given, item)
    if isinstance(item, FileRange):
        return RangeItem(item)
    if isinstance(item, Image.Image):
        return PictureItem(item)
    if is_tensor(item) or (hasattr(item, "shape") and hasattr(item, "__array__")):
        return ArrayItem(item)
    return NoImageItem(given, f"is not an image; {_how_to_pass(item)}")


def distinct_items(images):
    """Return the distinct items of a column of images, and which of them each row is.

    Parameters
    ----------
    images : sequence
        What `skclip.inputs.images.as_images` returns.

    Returns
    -------
    items : sequence of ImageItem
        In the order of their first rows. A sequence that is not a list, tuple or array is not
        searched for duplicates, because that would read all its rows in one thread.
    first_rows : ndarray of shape (n_items,), int
        The first row of each item.
    item_of : ndarray of shape (n_images,), int
        For each row, the position of its item in `items`.

    Examples
    --------
    >>> from skclip.inputs.items import distinct_items
    >>> _, first_rows, item_of = distinct_items(["cat.jpg", "dog.jpg", "cat.jpg"])
    >>> first_rows.tolist(), item_of.tolist()
    ([0, 1], [0, 1, 0])
    """
    if not isinstance(images, (list, tuple, np.ndarray)):
        rows = np.arange(len(images))
        return ItemsOnAccess(images), rows, rows
    items, first_rows, position_of = [], [], {}
    item_of = np.empty(len(images), dtype=np.intp)
    for row in range(len(images)):
        item = as_item(images[row])
        key = item.key()
        position = position_of.get(key) if key is not None else None
        if position is None:
            position = len(items)
            items.append(item)
            first_rows.append(row)
            if key is not None:
                position_of[key] = position
        item_of[row] = position
    return items, np.array(first_rows, dtype=np.intp), item_of


def contents_of(items, hash_files, positions):
    """Return the list of `ImageItem.content` for some items of a column.

    Parameters
    ----------
    items : sequence of ImageItem
    hash_files : bool
        As for `ImageItem.content`.
    positions : sequence of int

    Returns
    -------
    contents : list of bytes or None
    """
    return [items[position].content(hash_files) for position in positions]


def _packed(*parts):
    # repr of str, bytes, int and tuples of them is unambiguous
    return repr(parts).encode("utf-8", "surrogatepass")


def _how_to_pass(item):
    """Return what to do with an object that is not an image."""
    if hasattr(item, "read"):
        return "pass the file's path or its content, the bytes that read() returns"
    if isinstance(item, tuple):
        return "if it is an image with its label, pass the images alone: [image for image, _ in X]"
    return (
        "an image is a path, bytes, a PIL image, an array (H, W) or (H, W, 3), a tensor (3, H, W), "
        "or a dict with 'bytes' or 'path'"
    )


def _label(given):
    """Return how an image is named in messages."""
    path = given.get("path") if isinstance(given, dict) else given
    if isinstance(path, (str, os.PathLike)):
        return f"the file {shorten(repr(os.fspath(path)), _LONGEST_PATH)}"
    if isinstance(given, dict) and isinstance(given.get("bytes"), bytes):
        given = given["bytes"]
    if isinstance(given, (bytes, bytearray, memoryview)):
        # an item of a view may have several bytes
        return f"the image of {getattr(given, 'nbytes', len(given))} bytes"
    if isinstance(given, FileRange):
        return f"the image of {given.size} bytes at byte {given.offset} of {given.path!r}"
    if isinstance(given, Image.Image):
        return f"the PIL image of size {given.size} and mode {given.mode}"
    if isinstance(given, dict):
        return f"the dict with the keys {shown(list(given))}"
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        what = "tensor" if is_tensor(given) else "array"
        return f"the {what} of shape {tuple(given.shape)} and dtype {given.dtype}"
    return f"{type(given).__name__} {shown(given)}"
