"""One column of items from a list, a Series, a data frame or an array."""

import os
from collections.abc import Iterable, Iterator, Mapping, MappingView, Set

import numpy as np

from skclip._messages import shown
from skclip.inputs.paths import how_to_list


def as_column(X, *, name, items):
    """Return the items of X as a sequence that has a length and is indexed by position, from 0.

    Parameters
    ----------
    X : list, tuple, sequence, Series, one-column frame or table, or array of shape (n,) or (n, 1)
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
        raise TypeError(_one_item(X, name, items))
    if hasattr(X, "tocsr"):
        raise TypeError(f"{name} must be a collection of {items}, got sparse input")
    shape = getattr(X, "shape", None)
    if shape is None:
        if not (hasattr(X, "__len__") and hasattr(X, "__getitem__")):
            raise TypeError(
                f"{name} must be a list, array, Series or one-column frame of {items}, "
                f"got {type(X).__name__}{_how_to_collect(X, name, items)}"
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
        X = _only_column(X)
    # a Series of pandas is indexed by label, a list by position; an array of pyarrow has items of
    # its own kinds
    for method in ("to_list", "to_pylist"):
        if hasattr(X, method):
            return getattr(X, method)()
    return X


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


def _only_column(X):
    if hasattr(X, "iloc"):
        return X.iloc[:, 0]
    if hasattr(X, "to_pylist"):  # a table of pyarrow
        return X.column(0)
    return X[:, 0]


def _one_item(X, name, items):
    """Return what is wrong with a single item in place of a collection."""
    advice = None
    if items == "images" and isinstance(X, (str, os.PathLike)):
        advice = how_to_list(X)
    if advice:
        return f"{name} must be a collection of images, got the path {os.fspath(X)!r}; {advice}"
    return (
        f"{name} must be a collection of {items}, got one {type(X).__name__}; "
        f"put it into a list: [{name}]"
    )


def _how_to_collect(X, name, items):
    """Return the end of a message: what to do with an object that is not a sequence."""
    if hasattr(X, "read"):
        return f"; pass its content in a list: [{name}.read()]"
    if isinstance(X, (Iterator, Set, MappingView)):
        return f"; make a list of it: list({name})"
    if isinstance(X, Iterable):
        return f"; put the {items} that it yields into a list"
    if hasattr(X, "collect"):  # a lazy frame of polars
        return f"; compute it first: {name}.collect()"
    return ""


def _several_columns(X, shape, name, items):
    # a table of pyarrow has the columns themselves under `columns`
    columns = X.column_names if hasattr(X, "to_pylist") else list(getattr(X, "columns", ()))
    listed = f" ({', '.join(map(shown, columns[:5]))}{', ...' * (len(columns) > 5)})"
    return (
        f"{name} must be one column of {items}, got {shape[1]} columns{listed if columns else ''}; "
        f"select the one that holds the {items}, or let ColumnTransformer do it: "
        f"make_column_transformer((estimator, [{shown((columns or [0])[0])}]))"
    )
