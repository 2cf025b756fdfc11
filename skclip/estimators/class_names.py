"""Labels of classes and their names, for classifiers that read the names."""

from collections.abc import Mapping

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from skclip._messages import shown
from skclip.estimators.labels import as_labels, distinct_labels, label_array, show_first


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
        labels that are missing, of two types, or not what they were in an array of numpy, or
        labels in ``y`` that are not among the classes.
    """
    if y is not None:
        y = as_labels(y)
        if y.dtype.kind not in "OU":
            check_classification_targets(y)
        y = distinct_labels(y)
    named = _names_by_label(classes, y)
    if len(named) < 2:
        raise ValueError(
            f"a classifier needs at least two classes, got {len(named)} class: {show_first(named)}"
        )
    labels = np.unique(label_array(list(named), "y" if classes is None else "classes"))
    _check_distinct(named)
    if y is not None:
        _check_known(y, labels)
    return labels, [named[label] for label in labels.tolist()]


def append_reject_label(labels, reject_label):
    """Return the labels of the classes and, last, that of rejected rows.

    Parameters
    ----------
    labels : ndarray of shape (n_classes,)
    reject_label : str, int or None
        None is "rejected" where labels are strings, and -1 where they are numbers.

    Returns
    -------
    labels : ndarray of shape (n_classes + 1,)

    Raises
    ------
    ValueError
        If it is of another type than the labels, is one of them, or does not fit into one array
        with them.
    """
    of_strings = labels.dtype.kind == "U"
    if reject_label is None:
        reject_label = "rejected" if of_strings else -1
    if isinstance(reject_label, str) != of_strings:
        raise ValueError(f"reject_label must be of the classes' type, got {shown(reject_label)}")
    if reject_label in labels.tolist():
        raise ValueError(
            f"reject_label must not be one of the classes, got {shown(reject_label)}; pass "
            "another one"
        )
    return label_array(
        [*labels.tolist(), reject_label], f"classes and reject_label={shown(reject_label)}"
    )


def _names_by_label(classes, y):
    """Return a dict from label to list of names; y holds each label once."""
    if classes is None:
        if y is None:
            raise ValueError(
                "classes=None takes the names from y, which requires y to be passed, but the "
                "target y is None; pass classes=[...] or fit(X, y)"
            )
        return {label: _as_names(label, _label_to_name(label)) for label in y}
    if isinstance(classes, Mapping):
        return {label: _as_names(label, value) for label, value in classes.items()}
    shape = getattr(classes, "shape", (0,))
    if len(shape) != 1:
        raise ValueError(f"classes must hold names in one dimension, got the shape {tuple(shape)}")
    named = {}
    for name in classes:
        names = _as_names(name, [name])
        if name in named:
            raise ValueError(f"classes must be distinct, got {shown(name)} more than once")
        named[name] = names
    return named


def _label_to_name(label):
    if isinstance(label, str):
        return label
    is_whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if is_whole else label)


def _as_names(label, value):
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple | np.ndarray) or len(names) == 0:
        raise ValueError(
            f"the names of class {shown(label)} must be a str or a list of str, got {shown(value)}"
        )
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(
                f"the names of class {shown(label)} must be non-empty str, got {shown(name)}"
            )
    return [str.__str__(name) for name in names]  # of an Enum's member its value


def _check_distinct(named):
    owners = {}
    for label, names in named.items():
        other = owners.setdefault(tuple(names), label)
        if other != label:
            raise ValueError(
                f"classes {shown(other)} and {shown(label)} have the same names: {shown(names)}"
            )


def _check_known(y, labels):
    unknown = sorted(set(y) - set(labels.tolist()))
    if not unknown:
        return
    hint = ""
    if labels.dtype.kind == "U" and set(unknown) <= set(range(len(labels))):
        hint = (
            "; if they are numbers of the classes, as meta-estimators make them, pass a mapping "
            f"such as {{0: {shown(str(labels[0]))}, ...}}"
        )
    raise ValueError(f"y holds labels that are not among classes: {show_first(unknown)}{hint}")
