"""One column of items from a list, a Series, a data frame or an array."""

import os
from collections.abc import Mapping

import numpy as np


def as_column(X, *, name, items):
    """Return the items of X as a sequence that has a length and is indexed by position, from 0.

    Parameters
    ----------
    X : list, tuple, sequence, Series, one-column frame, or array of shape (n,) or (n, 1)
    name : str
        The parameter's name, for messages.
    items : str
        What the items are called in messages: "images" or "texts".

    Returns
    -------
    column : list, tuple, ndarray or another sequence

    Raises
    ------
    TypeError
        If X is one item, sparse, or not a sequence.
    ValueError
        If X is empty, or has several columns or more than two dimensions.
    """
    if isinstance(X, (str, bytes, bytearray, memoryview, os.PathLike, Mapping)):
        raise TypeError(
            f"{name} must be a collection of {items}, got one {type(X).__name__}; "
            f"put it into a list: [{name}]"
        )
    if hasattr(X, "tocsr"):
        raise TypeError(f"{name} must be a collection of {items}, got sparse input")
    shape = getattr(X, "shape", None)
    if shape is None:
        if not (hasattr(X, "__len__") and hasattr(X, "__getitem__")):
            raise TypeError(
                f"{name} must be a list, array, Series or one-column frame of {items}, "
                f"got {type(X).__name__}"
            )
        shape = (len(X),)
    shape = tuple(shape)
    if len(shape) not in (1, 2):
        raise ValueError(
            f"{name} must hold {items} in one dimension or in one column, got an array of "
            f"shape {shape} and dtype {X.dtype}"
        )
    check_not_empty(shape)
    if len(shape) == 2:
        if shape[1] != 1:
            raise ValueError(_several_columns(X, shape, name, items))
        X = X.iloc[:, 0] if hasattr(X, "iloc") else X[:, 0]
    # a Series of pandas or polars; that of pandas is indexed by label, a list by position
    return X.to_list() if hasattr(X, "to_list") else X


def check_not_empty(shape):
    """Raise scikit-learn's ValueError if a collection has no rows or no columns.

    Parameters
    ----------
    shape : tuple of int
        (n_rows,) or (n_rows, n_columns).
    """
    for count, what in zip(shape, ("sample", "feature"), strict=False):
        if count == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={tuple(shape)}) "
                "while a minimum of 1 is required."
            )


def is_missing(item):
    """Whether an item is a missing value: None, NaN, or the NA or NaT of pandas.

    A dict in the form of Hugging Face datasets is missing if its ``bytes`` and ``path`` are None.

    Parameters
    ----------
    item : object

    Returns
    -------
    missing : bool

    Examples
    --------
    >>> from skclip.inputs.columns import is_missing
    >>> [is_missing(item) for item in (None, float("nan"), "cat.jpg")]
    [True, True, False]
    """
    if item is None:
        return True
    if isinstance(item, (str, bytes)):
        return False
    if isinstance(item, (float, np.floating)):
        return bool(item != item)
    if isinstance(item, dict):
        known = [item[key] for key in ("bytes", "path") if key in item]
        return bool(known) and all(value is None for value in known)
    # compared by name, so that pandas need not be installed
    return type(item).__name__ in ("NAType", "NaTType")


def _several_columns(X, shape, name, items):
    columns = list(getattr(X, "columns", ()))
    shown = f" ({', '.join(map(repr, columns[:5]))}{', ...' * (len(columns) > 5)})"
    return (
        f"{name} must be one column of {items}, got {shape[1]} columns{shown if columns else ''}; "
        f"select the one that holds the {items}, or let ColumnTransformer do it: "
        f"make_column_transformer((estimator, [{(columns or [0])[0]!r}]))"
    )
