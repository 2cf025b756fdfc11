"""Arrays and tensors, of whatever library, without importing it."""

import numpy as np


def is_tensor(item):
    """Whether an item is a tensor of torch, or of a library with the same methods."""
    return all(hasattr(item, method) for method in ("detach", "cpu", "numpy"))


def is_numeric_array(X):
    """Whether X is an array, a numpy scalar or a tensor that holds numbers."""
    if isinstance(X, (np.ndarray, np.generic)):
        return X.dtype.kind in "biufc"
    return is_tensor(X) and hasattr(X, "shape")


def to_numpy(item):
    """Return an array, or a tensor of any device and number format, as a numpy array."""
    if not is_tensor(item):
        return np.asarray(item)
    item = item.detach().cpu()
    try:
        return item.numpy()
    except TypeError:  # bfloat16, which numpy does not know
        return item.float().numpy()
