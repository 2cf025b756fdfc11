"""Arrays and tensors of any library, without importing that library."""

import numpy as np


def is_tensor(item):
    """Whether an object is a tensor of torch, or of a library with the same methods."""
    return all(hasattr(item, method) for method in ("detach", "cpu", "numpy"))


def is_numeric_array(X):
    """Whether X is a numpy array or scalar of numbers or booleans, or a tensor."""
    if isinstance(X, (np.ndarray, np.generic)):
        return X.dtype.kind in "biufc"
    return is_tensor(X) and hasattr(X, "shape")


def to_numpy(item):
    """Return an array, or a tensor on any device and of any dtype, as a numpy array.

    Parameters
    ----------
    item : array or tensor

    Returns
    -------
    array : ndarray
        Of the same shape; bfloat16 becomes float32.
    """
    if not is_tensor(item):
        return np.asarray(item)
    item = item.detach().cpu()
    try:
        return item.numpy()
    except TypeError:  # bfloat16, which numpy does not know
        return item.float().numpy()
