"""A column of images in any container: checked, and indexed by row, without opening any."""

import numpy as np
from PIL import Image

from skclip.inputs.arrays import is_numeric_array, is_tensor
from skclip.inputs.columns import as_column, check_not_empty


def as_images(X, *, name="X"):
    """Return the images in X as a sequence, without opening any of them.

    Parameters
    ----------
    X : list, tuple, sequence, Series, one-column frame or table, or array
        Of paths (str, Path), bytes, PIL images, arrays (H, W) or (H, W, 3 or 4), tensors
        (3, H, W), dicts with ``bytes`` or ``path``; None and NaN are missing images.
        Or one numeric array of shape (n, H, W) or (n, H, W, C), or one tensor of shape
        (n, H, W) or (n, C, H, W).
    name : str, default="X"
        The parameter's name, for messages.

    Returns
    -------
    images : sequence
        Has a length and is indexed by row, from 0. A list is returned as it is; of an array the
        rows are views.

    Raises
    ------
    TypeError
        If X is one image, a column of numbers, or not a sequence.
    ValueError
        If X is empty, has several columns, or is an array whose shape is not that of images.

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
    is_numeric = is_numeric_array(X)
    if is_numeric and len(X.shape) != 1:
        shape = tuple(X.shape)
        if len(shape) in (3, 4):
            return _check_pixel_array(X, shape, name)
        if not _is_all_nan(X):
            raise ValueError(
                f"{name} must hold images, got a numeric array of shape {shape}; one array of "
                "images has shape (n, H, W) or (n, H, W, C): reshape rows of pixels"
            )
    images = as_column(X, name=name, items="images")
    if images is not X:
        is_numeric = is_numeric_array(images)
    if is_numeric and not _is_all_nan(images):
        raise TypeError(
            f"{name} must hold images, got {len(images)} numbers of dtype {images.dtype}"
        )
    return images


def is_embeddings(X):
    """Whether X is embeddings: a 2-D numeric array, tensor or frame. Everything else is images.

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
    return is_numeric_array(X) and len(X.shape) == 2


def _is_all_nan(X):
    """Whether X is a column of missing images only, which becomes an array of NaN."""
    kind_is_float = isinstance(X, np.ndarray) and X.dtype.kind == "f"
    return kind_is_float and X.shape[1:] in ((), (1,)) and bool(np.isnan(X).all())


def _check_pixel_array(X, shape, name):
    check_not_empty(shape[:1])
    channels, layout = (0, "(C, H, W)") if is_tensor(X) else (2, "(H, W, C)")
    if len(shape) == 3 and shape[channels] in (3, 4):
        raise ValueError(
            f"{name} has shape {shape}, that of one image {layout}; put it into a list: [{name}]; "
            "or give gray images an axis for their channel"
        )
    return X
