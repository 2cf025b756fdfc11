"""Labels of classes and their names, for classifiers that read the names."""

from collections.abc import Mapping
from numbers import Real

import numpy as np
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import column_or_1d


def name_classes(classes, y):
    """Return the labels, sorted, and the names of each.

    Parameters
    ----------
    classes : array-like of str, mapping or None
        Names, which are also the labels; or a mapping from label to name or names. None takes
        both from ``y``.
    y : array-like of shape (n_samples,) or None
        Labels of the rows.

    Returns
    -------
    labels : ndarray of shape (n_classes,)
    names : list of list of str
        One list for each label.

    Raises
    ------
    ValueError
        If there are neither classes nor labels in ``y``, fewer than two classes, a name twice,
        labels of two types, or labels in ``y`` that are not among the classes.
    """
    if y is not None:
        y = _check_target(y)
    named = _names_by_label(classes, y)
    if len(named) < 2:
        raise ValueError(
            f"a classifier needs at least two classes, got {len(named)} class: {_show_first(named)}"
        )
    kinds = {str if isinstance(label, str) else Real for label in named}
    if len(kinds) == 2 or not all(isinstance(label, (str, Real)) for label in named):
        raise ValueError(
            f"labels in classes must be all str or all numbers, got {_show_first(named)}"
        )
    labels = np.unique(np.asarray(list(named)))
    if y is not None:
        _check_known(y, labels)
    return labels, [named[label] for label in labels.tolist()]


def resolve_reject_label(reject_label, labels):
    """Return the label of rejected rows.

    Parameters
    ----------
    reject_label : str, int or None
        None is "rejected" where labels are strings, and -1 where they are numbers.
    labels : ndarray of shape (n_classes,)

    Returns
    -------
    reject_label : str or int

    Raises
    ------
    ValueError
        If it is of another type than the labels, or is one of them.
    """
    of_strings = labels.dtype.kind in "UO"
    if reject_label is None:
        reject_label = "rejected" if of_strings else -1
    if isinstance(reject_label, str) != of_strings:
        raise ValueError(f"reject_label must be of the classes' type, got {reject_label!r}")
    if reject_label in labels.tolist():
        raise ValueError(
            f"reject_label must not be one of the classes, got {reject_label!r}; pass another one"
        )
    return reject_label


def _check_target(y):
    if hasattr(y, "tolist") and not isinstance(getattr(y, "dtype", None), np.dtype):
        # numpy would turn columns of pandas' own dtypes into floats
        y = np.asarray(y.tolist())
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    return y


def _names_by_label(classes, y):
    """Return a dict from label to list of names."""
    if classes is None:
        if y is None:
            raise ValueError(
                "classes=None takes the names from y, which requires y to be passed, but the "
                "target y is None; pass classes=[...] or fit(X, y)"
            )
        return {label: [_label_to_name(label)] for label in unique_labels(y).tolist()}
    if isinstance(classes, Mapping):
        named = {label: _as_names(label, value) for label, value in classes.items()}
        _check_distinct(named)
        return named
    named = {}
    for name in classes:
        names = _as_names(name, [name])
        if name in named:
            raise ValueError(f"classes must be distinct, got {name!r} more than once")
        named[name] = names
    return named


def _label_to_name(label):
    is_whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if is_whole else label)


def _as_names(label, value):
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple | np.ndarray) or len(names) == 0:
        raise ValueError(
            f"the names of class {label!r} must be a str or a list of str, got {value!r}"
        )
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"the names of class {label!r} must be non-empty str, got {name!r}")
    return [str(name) for name in names]


def _check_distinct(named):
    owners = {}
    for label, names in named.items():
        other = owners.setdefault(tuple(names), label)
        if other != label:
            raise ValueError(f"classes {other!r} and {label!r} have the same names: {names}")


def _check_known(y, labels):
    unknown = sorted(set(np.unique(y).tolist()) - set(labels.tolist()))
    if not unknown:
        return
    hint = ""
    if labels.dtype.kind == "U" and set(unknown) <= set(range(len(labels))):
        hint = (
            "; if they are numbers of the classes, as meta-estimators make them, pass a mapping "
            f"such as {{0: {str(labels[0])!r}, ...}}"
        )
    raise ValueError(f"y holds labels that are not among classes: {_show_first(unknown)}{hint}")


def _show_first(labels):
    shown = ", ".join(repr(label) for label in list(labels)[:5])
    return f"[{shown}{', ...' * (len(labels) > 5)}]"
