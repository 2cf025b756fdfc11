"""Images as users have them: collections of them, and each one to an RGB picture."""

import hashlib
import io
import os
import reprlib
import weakref

import numpy as np
from PIL import Image

from skclip.exceptions import ImageReadError
from skclip.inputs.columns import as_column, check_not_empty, is_missing
from skclip.inputs.decode import (
    Unreadable,
    array_to_rgb,
    decode_file,
    decode_stream,
    picture_to_rgb,
)

_MISSING = "the image is missing (None or NaN)"


def as_images(X, *, name="X"):
    """Return the images in X as a sequence, without opening any of them.

    Parameters
    ----------
    X : list, tuple, sequence, Series, one-column frame, or array
        Of paths (str, Path), bytes, PIL images, arrays (H, W) or (H, W, 3 or 4), tensors
        (3, H, W), dicts with ``bytes`` or ``path``; None and NaN are missing images.
        Or one numeric array of shape (n, H, W) or (n, H, W, C), or one tensor of shape
        (n, H, W) or (n, C, H, W).
    name : str, default="X"
        The parameter's name, for messages.

    Returns
    -------
    images : sequence
        Has a length and is indexed from 0; the rows are views of an array, the very items of a
        list.

    Raises
    ------
    TypeError
        X is one image, holds numbers, or is no sequence.
    ValueError
        X is empty, has several columns, or a shape that is not that of images.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.inputs.images import as_images
    >>> as_images(("cat.jpg", None))
    ('cat.jpg', None)
    >>> len(as_images(np.zeros((5, 8, 8))))
    5
    """
    if isinstance(X, Image.Image):
        raise TypeError(
            f"{name} must be a collection of images, got one PIL image; "
            f"put it into a list: [{name}]"
        )
    if _is_numeric_array(X) and len(X.shape) != 1:
        shape = tuple(X.shape)
        if len(shape) in (3, 4):
            return _check_pixel_array(X, shape, name)
        if not _is_all_nan(X):
            raise ValueError(
                f"{name} must hold images, got a numeric array of shape {shape}; one array of "
                "images has shape (n, H, W) or (n, H, W, C): reshape rows of pixels"
            )
    images = as_column(X, name=name, items="images")
    if _is_numeric_array(images) and not _is_all_nan(images):
        raise TypeError(
            f"{name} must hold images, got {len(images)} numbers of dtype {images.dtype}"
        )
    return images


def is_embeddings(X):
    """Whether X is embeddings: a 2-D numeric array, tensor or frame. All else is images.

    Parameters
    ----------
    X : object

    Returns
    -------
    embeddings : bool

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.inputs.images import is_embeddings
    >>> is_embeddings(np.zeros((5, 512))), is_embeddings(np.zeros((5, 8, 8)))
    (True, False)
    """
    if hasattr(X, "iloc") and hasattr(X, "dtypes"):
        return len(X.shape) == 2 and all(dtype.kind in "biufc" for dtype in X.dtypes)
    if hasattr(X, "to_series") and hasattr(X, "schema"):
        return all(dtype.is_numeric() for dtype in X.dtypes)
    return _is_numeric_array(X) and len(X.shape) == 2


def read_image(item, *, row, reader=None):
    """Return one item of :func:`as_images` as the RGB picture that a viewer shows.

    Parameters
    ----------
    item : str, Path, bytes, PIL image, array, tensor or dict
    row : int
        Its position, for the error.
    reader : callable (image, stream) -> object, default=None
        Asked first about each file, once Pillow has read its header and its size is allowed; what
        it returns is returned in place of the picture, unless it is None.

    Returns
    -------
    image : PIL.Image.Image
        Of mode RGB. A PIL image that is RGB already is returned as it is.

    Raises
    ------
    ImageReadError
        Whatever keeps it from being read.

    Notes
    -----
    The EXIF orientation is applied. Alpha and transparent colours are laid over white. 16-bit
    grey keeps its high byte, as Pillow does with 16-bit colour. Of an animation the first frame
    counts. Embedded colour profiles are not applied: the published recipes read the pixels as they
    are stored. Float pixels must lie in [0, 1]; integers other than uint8 and uint16 in 0 to 255.
    A file that claims more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` is refused before any are
    decoded; set that to None to lift the limit.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.inputs.images import read_image
    >>> read_image(np.ones((2, 3)), row=0).getpixel((0, 0))
    (255, 255, 255)
    >>> read_image(np.full((2, 3), 16.0), row=7)
    Traceback (most recent call last):
        ...
    skclip.exceptions.ImageReadError: image in row 7: the array of shape (2, 3) and dtype float64
    has pixels from 16.0 to 16.0, where floats must lie in [0, 1]; divide the whole collection by
    the largest value possible (such as 16)
    """
    try:
        return _rgb(item, reader)
    except Unreadable as error:
        cause = _MISSING if is_missing(item) else f"{_label(item)} {error}"
        raise ImageReadError(row, cause) from error
    # whatever a damaged file makes Pillow raise, and a warning that a filter made an error
    except Exception as error:
        cause = f"{_label(item)} cannot be decoded ({type(error).__name__}: {error})"
        raise ImageReadError(row, f"{cause}; it may be damaged or incomplete") from error


def image_key(item):
    """Return a key for an item: equal keys mean equal pictures.

    Parameters
    ----------
    item : str, Path, bytes, PIL image, array, tensor or dict

    Returns
    -------
    key : hashable or None
        The path, or a digest of the content; a PIL image is equal to itself alone, so that none is
        decoded for its key. None where nothing is known about the item.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skclip.inputs.images import image_key
    >>> image_key("cat.jpg") == image_key(Path("cat.jpg"))
    True
    """
    if isinstance(item, dict):
        content = item.get("bytes")
        item = item.get("path") if content is None else content
    if isinstance(item, (str, os.PathLike)):
        return "path", os.fspath(item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return "bytes", hashlib.blake2b(bytes(item)).digest()
    if isinstance(item, Image.Image):
        return _Same(item)
    if _is_numeric_array(item):
        pixels = to_numpy(item)
        flat = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        layout = "tensor" if _is_tensor(item) else "array"
        return layout, pixels.dtype.str, pixels.shape, hashlib.blake2b(flat).digest()
    return None


class _Same:
    """Equal for one living object only, which it does not keep alive.

    An id alone would be given anew once the object is gone, as in a sequence that decodes its
    items on access.
    """

    __slots__ = ("hash", "reference")

    def __init__(self, item):
        self.hash = id(item)
        self.reference = weakref.ref(item)

    def __hash__(self):
        return self.hash

    def __eq__(self, other):
        if not isinstance(other, _Same):
            return NotImplemented
        item = self.reference()
        return item is not None and item is other.reference()


def _rgb(item, reader):
    if is_missing(item):
        raise Unreadable("is missing")
    if isinstance(item, dict):
        if item.get("bytes") is None and item.get("path") is None:
            raise Unreadable("has neither 'bytes' nor 'path'")
        item = item["path"] if item.get("bytes") is None else item["bytes"]
    if isinstance(item, (str, os.PathLike)):
        return decode_file(os.fspath(item), reader)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return decode_stream(io.BytesIO(item), reader)
    if isinstance(item, Image.Image):
        return picture_to_rgb(item)
    if _is_tensor(item):
        return array_to_rgb(to_numpy(item), channels_first=True)
    if hasattr(item, "shape") and hasattr(item, "__array__"):
        return array_to_rgb(np.asarray(item), channels_first=False)
    raise Unreadable(
        "is not an image; an image is a path, bytes, a PIL image, an array (H, W) or (H, W, 3), a "
        "tensor (3, H, W), or a dict with 'bytes' or 'path'"
    )


def _label(item):
    path = item.get("path") if isinstance(item, dict) else item
    if isinstance(path, (str, os.PathLike)):
        shown = repr(os.fspath(path))
        return f"the file {shown if len(shown) <= 300 else shown[:300] + '...'}"
    if isinstance(item, dict) and isinstance(item.get("bytes"), bytes):
        item = item["bytes"]
    if isinstance(item, (bytes, bytearray, memoryview)):
        return f"the image of {len(item)} bytes"
    if isinstance(item, Image.Image):
        return f"the PIL image of size {item.size} and mode {item.mode}"
    if isinstance(item, dict):
        return f"the dict with the keys {list(item)}"
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        what = "tensor" if _is_tensor(item) else "array"
        return f"the {what} of shape {tuple(item.shape)} and dtype {item.dtype}"
    return f"{type(item).__name__} {reprlib.repr(item)}"


def _is_tensor(item):
    return all(hasattr(item, method) for method in ("detach", "cpu", "numpy"))


def to_numpy(item):
    """Return an array, or a tensor of any device and number format, as an array of numpy's."""
    if not _is_tensor(item):
        return np.asarray(item)
    item = item.detach().cpu()
    try:
        return item.numpy()
    except TypeError:  # bfloat16, which numpy does not know
        return item.float().numpy()


def _is_numeric_array(X):
    if isinstance(X, (np.ndarray, np.generic)):
        return X.dtype.kind in "biufc"
    return _is_tensor(X) and hasattr(X, "shape")


def _is_all_nan(X):
    """Whether X is a column of missing images, which pandas and numpy hold as floats."""
    kind_is_float = isinstance(X, np.ndarray) and X.dtype.kind == "f"
    return kind_is_float and X.shape[1:] in ((), (1,)) and bool(np.isnan(X).all())


def _check_pixel_array(X, shape, name):
    check_not_empty(shape[:1])
    channels, layout = (0, "(C, H, W)") if _is_tensor(X) else (2, "(H, W, C)")
    if len(shape) == 3 and shape[channels] in (3, 4):
        raise ValueError(
            f"{name} has shape {shape}, that of one image {layout}; put it into a list: [{name}]; "
            "or give grey images an axis for their channel"
        )
    return X
