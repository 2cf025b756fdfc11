"""Labels of rows and of classes, in numpy arrays that hold every label as it is.

An array of numpy has one type for all labels. It drops NUL characters at the end of strings, rounds
integers beside floats, and makes strings of numbers beside strings. Such labels are refused.
"""

from numbers import Integral

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import column_or_1d

from skclip._messages import shown
from skclip._warnings import warn
from skclip.inputs.arrays import is_tensor, to_numpy
from skclip.inputs.columns import is_missing

# an array takes four bytes for each character of its longest label, in every row
MAX_LABEL_LENGTH = 10_000


def as_labels(y):
    """Return the labels of rows as an array, none of them changed.

    Parameters
    ----------
    y : list, series, array, tensor or one-column frame, of shape (n_samples,) or (n_samples, 1)

    Returns
    -------
    labels : ndarray of shape (n_samples,)
        Strings of a list are in an array of str. Those of a series or frame stay objects, as
        scikit-learn leaves them.

    Raises
    ------
    ValueError
        If a label is missing (None, NaN, NA, NaT or masked) or infinite, labels are not all str or
        all numbers, or numpy cannot hold them as they are.
    """
    array = _as_array(y)
    if array.ndim == 2 and array.shape[1] == 1:
        warn(
            "A column-vector y was passed when a 1d array was expected; pass y.ravel(), or the "
            "column itself",
            DataConversionWarning,
        )
    column = column_or_1d(array)
    if len(column) == 0:
        return column
    if column.dtype.kind != "O":
        if column.dtype.kind in "fmM":
            _check_present(column, column != column)  # as NaN and NaT are
        assert_all_finite(column, input_name="y")
        return column
    # a data set of torch gives each label as a tensor without axes
    labels = [_number(label) for label in column.tolist()]
    if not _all_are(labels, (str, int)):
        _check_present(column, np.array([is_missing(label) for label in labels]))
    if isinstance(y, (list, tuple)) or not _all_are(labels, str):
        return label_array(labels, "y")
    label_array(list(set(labels)), "y")
    return column


def label_array(labels, name):
    """Return labels as an array that holds each of them as it is.

    Parameters
    ----------
    labels : list
        Not empty.
    name : str
        Where the labels come from, for messages.

    Returns
    -------
    labels : ndarray of shape (n_labels,)
        Of str, bool, integers or floats.

    Raises
    ------
    ValueError
        If labels are not all str or all numbers, a number is not finite, a str is too long, or a
        label would become another one.
    """
    if _all_are(labels, str):
        kinds = "U"
        labels = [str.__str__(label) for label in labels]  # members of an Enum become their value
        _check_length(labels, name)
    elif _all_are(labels, (Integral, np.bool_)):
        kinds = "biu"
    elif _all_are(labels, (Integral, np.bool_, float, np.floating)):
        kinds = "f"
    else:
        raise ValueError(
            f"labels in {name} must be all str or all numbers, got {show_first(labels)}"
        )
    array = np.asarray(labels)
    if array.dtype.kind not in kinds:
        largest = max(labels, key=abs)
        raise ValueError(
            f"the label {shown(largest)} in {name} does not fit into one array of 64-bit "
            "integers with the others; use smaller numbers, or str"
        )
    if kinds == "f":
        assert_all_finite(array, input_name=name)
    held = array.tolist()
    if held != labels:
        label, other = next(pair for pair in zip(labels, held, strict=True) if pair[0] != pair[1])
        reason = "drop NUL characters at the end" if kinds == "U" else "round such an integer"
        raise ValueError(
            f"the label {shown(label)} in {name} would become {shown(other)}, "
            f"because numpy's arrays {reason}; use another label"
        )
    return array


def distinct_labels(labels):
    """Return the labels of rows as a sorted list, each once.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
        What `as_labels` returns.

    Returns
    -------
    labels : list
    """
    if labels.dtype.kind == "O":  # numpy would compare all of them
        return sorted(set(labels.tolist()))
    return np.unique(labels).tolist()


def show_first(labels):
    """Return the first five labels as text for a message."""
    first = ", ".join(shown(label) for label in list(labels)[:5])
    return f"[{first}{', ...' * (len(labels) > 5)}]"


def _as_array(y):
    """Return y as an array; what numpy would convert becomes objects."""
    if is_tensor(y):
        return to_numpy(y)
    if isinstance(y, np.ma.MaskedArray):
        labels = np.array(y.data, dtype=object)
        labels[np.ma.getmaskarray(y)] = None
        return labels
    dtype = getattr(y, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind != "T":
        return np.asarray(y)
    return np.asarray(y, dtype=object)


def _number(label):
    """Return the number in an array or tensor without axes; anything else as it is."""
    return label.item() if getattr(label, "shape", None) == () and hasattr(label, "item") else label


def _all_are(labels, types):
    """Whether all labels are instances of the types."""
    return all(issubclass(kind, types) for kind in set(map(type, labels)))


def _check_present(column, missing):
    """Raise for the first row that is missing, if there is one."""
    if missing.any():
        row = int(missing.argmax())
        label = column.tolist()[row]
        raise ValueError(
            f"the label in row {row} of y is missing ({shown(label)}); fill it in or drop the row"
        )


def _check_length(labels, name):
    longest = max(labels, key=len)
    if len(longest) > MAX_LABEL_LENGTH:
        raise ValueError(
            f"the label {shown(longest)} in {name} has {len(longest)} characters; a label "
            f"has at most {MAX_LABEL_LENGTH}, and a mapping gives it names of any length"
        )
