"""Splits of a cross-validation, checked before anything is fitted."""

import numpy as np

from skclip._messages import shown


def default_n_folds(classes, y):
    """Return five, or as many as the smallest class has rows; refuse a class with one row."""
    count = np.bincount(y, minlength=len(classes))
    if count.min() < 2:
        label = classes.tolist()[count.argmin()]
        raise ValueError(
            f"cv=None needs two rows of each class, but class {shown(label)} has one sample; "
            "add rows, leave that class out, or pass cv."
        )
    return min(5, int(count.min()))


def check_folds(folds, y, weight, score_weight):
    """Return folds that can be fitted and scored; refuse others by their number.

    Parameters
    ----------
    folds : list
        What a splitter gave: pairs of row numbers, or of masks.
    y, weight : ndarray of shape (n_samples,)
    score_weight : ndarray of shape (n_samples,) or None
        The weights that the score takes into account.

    Returns
    -------
    folds : list of (ndarray of int, ndarray of int)
        The row numbers to train and to test on.

    Raises
    ------
    ValueError
        If there is no fold; or if one is not a pair of row numbers, trains on a single class, or
        has no row to test on, or none of positive weight.
    """
    if not folds:
        raise ValueError("cv must give at least one split, got none.")
    checked = []
    for number, fold in enumerate(folds):
        try:
            train, test = (np.arange(len(y))[row_numbers(rows)] for rows in fold)
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(
                f"cv must give pairs of row numbers below {len(y)}, to train and to test on; fold "
                f"{number} is {shown(fold)}."
            ) from error
        if len(np.unique(y[train][weight[train] > 0])) < 2:
            raise ValueError(
                f"the training rows of fold {number} that have a positive weight are of one class; "
                "choose a cv that stratifies or shuffles."
            )
        if not len(test):
            raise ValueError(f"fold {number} has no rows to test on; choose another cv.")
        if score_weight is not None and not score_weight[test].any():
            raise ValueError(
                f"all rows to test on in fold {number} have the sample_weight 0, so they have no "
                "score; choose another cv, or leave these rows out."
            )
        checked.append((train, test))
    return checked


def row_numbers(rows):
    """Return one side of a split as what numpy indexes by: a slice, or 1-D ints or booleans."""
    if isinstance(rows, slice):
        return rows
    rows = np.asarray(rows)
    if rows.ndim != 1:
        raise ValueError(f"rows of shape {rows.shape}")
    return rows if len(rows) else rows.astype(int)


def take_rows(params, rows, n_samples):
    """Take the given rows of those params that have one entry for each sample."""
    return {
        name: np.asarray(value)[rows] if np.shape(value)[:1] == (n_samples,) else value
        for name, value in params.items()
    }
