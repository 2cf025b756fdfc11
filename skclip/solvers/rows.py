"""The copy of the features that all fits share, in coordinates in which they converge fast."""

from dataclasses import dataclass

import numpy as np

# with more features the eigenvectors would take longer than the fits that they speed up
MAX_AXES = 2048
# rows for each feature from which the principal axes are estimated
_ROWS_PER_AXIS = 8
_BLOCK = 1024


@dataclass(frozen=True)
class Rows:
    """The rows of positive weight, centered, scaled, and rotated onto their principal axes.

    None of that changes the minimum: the intercept, which is not penalized, absorbs the shift, a
    rotation keeps the penalty, and the scale is made up for in its weight.

    Attributes
    ----------
    features : ndarray of shape (n_rows, n_columns)
        Of the dtype of the given features. One column for each axis, and a last one of ones if
        there is an intercept.
    variance : ndarray of float64, of shape (n_columns,)
        Weighted mean square of each column.
    y : ndarray of int, of shape (n_rows,)
        Class numbers.
    weight : ndarray of float64, of shape (n_rows,)
    numbers : ndarray of int, of shape (n_rows,)
        The place of each row among the given ones.
    n_logits : int
        1 for two classes, else the number of classes.
    has_intercept : bool
    center : ndarray of float64, of shape (n_features,)
        Subtracted from the given features.
    scale : float
        A power of two, by which they were divided.
    axes : ndarray of shape (n_features, n_axes) or None
        Orthonormal, one in each column; None if the features were not rotated.
    """

    features: np.ndarray
    variance: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    numbers: np.ndarray
    n_logits: int
    has_intercept: bool
    center: np.ndarray
    scale: float
    axes: np.ndarray | None


def arrange(X, y, n_classes, weight, *, fit_intercept, members=None, n_fits=1):
    """Copy the rows of positive weight for the fits that are to come.

    Parameters
    ----------
    X : ndarray of float32 or float64, of shape (n_samples, n_features)
        Finite.
    y : ndarray of shape (n_samples,)
        Class numbers in ``range(n_classes)``.
    n_classes : int
        At least 2.
    weight : ndarray of shape (n_samples,)
        Not negative; rows of weight 0 are left out.
    fit_intercept : bool
    members : ndarray of bool, of shape (n_groups, n_samples), or None
        Rows that belong to the same groups are put next to each other, so that a fit skips the
        blocks that it does not need. None keeps the order.
    n_fits : int
        How many fits are to come. For many a rotation is worth its time, for a few small ones
        it is not.

    Returns
    -------
    rows : Rows
    """
    numbers = np.flatnonzero(weight > 0)
    if members is not None:
        numbers = numbers[np.lexsort(members[:, numbers])]
    y, weight = y[numbers], weight[numbers]
    n_rows, n_features = len(numbers), X.shape[1]
    n_logits = n_classes if n_classes > 2 else 1
    share = weight / weight.sum()
    scale = X.dtype.type(_power_of_two(max(abs(float(X.max())), abs(float(X.min())))))
    center = np.zeros(n_features, dtype=X.dtype)
    if fit_intercept:
        for block in _blocks(n_rows):
            center += share[block].astype(X.dtype) @ (X[numbers[block]] / scale)

    def prepared(part):
        rows = X[numbers[part]]  # a copy
        rows /= scale
        rows -= center
        return rows

    axes = None
    if is_worth_rotating(n_rows, n_features, n_logits * n_fits):
        axes = principal_axes(prepared, share)
    n_axes = n_features if axes is None else axes.shape[1]
    features = np.ones((n_rows, n_axes + fit_intercept), dtype=X.dtype)
    variance = np.zeros(n_axes + fit_intercept)
    for block in _blocks(n_rows):
        part = prepared(block)
        features[block, :n_axes] = part if axes is None else part @ axes
        variance += share[block] @ np.square(features[block], dtype=np.float64)
    given_center, scale = center.astype(np.float64) * float(scale), float(scale)
    return Rows(
        features, variance, y, weight, numbers, n_logits, fit_intercept, given_center, scale, axes
    )


def _blocks(n_rows):
    return [slice(start, start + _BLOCK) for start in range(0, n_rows, _BLOCK)]


def _power_of_two(size):
    """Return the largest power of two up to a size, by which a division loses no digit."""
    return float(np.ldexp(1.0, np.frexp(size)[1] - 1)) if size > 0 else 1.0


def is_worth_rotating(n_rows, n_features, n_columns):
    """Return whether finding the principal axes takes less time than they save.

    Parameters
    ----------
    n_rows, n_features : int
    n_columns : int
        Number of logits of all fits together.

    Returns
    -------
    bool
    """
    n_axes = min(n_rows, n_features)
    # multiplications for the eigenvectors and the rotation, against those of some thirty passes
    return n_features <= MAX_AXES and n_axes * (2 * n_rows + 12 * n_axes) < 360 * n_rows * n_columns


def principal_axes(prepared, share):
    """Orthonormal axes that span the rows, near their principal axes.

    Parameters
    ----------
    prepared : callable
        ``prepared(part)`` returns the rows of a slice or of row numbers, centered and scaled.
    share : ndarray of shape (n_rows,)
        Weight of each row.

    Returns
    -------
    axes : ndarray of shape (n_features, min(n_rows, n_features))
    """
    n_features = prepared(slice(0, 1)).shape[1]
    n_rows = len(share)
    n_sampled = min(n_rows, max(_ROWS_PER_AXIS * n_features, 1))
    sampled = np.linspace(0, n_rows - 1, n_sampled).astype(int)
    rows = prepared(sampled)
    share = np.sqrt(share[sampled] / share[sampled].max()).astype(rows.dtype)[:, None]
    if n_rows >= n_features:
        rows *= share
        return np.linalg.eigh((rows.T @ rows).astype(np.float64))[1].astype(rows.dtype)
    # first the space that the rows span, to the last digit, then its principal axes
    basis = np.linalg.qr(rows.astype(np.float64).T)[0]  # (n_features, n_rows)
    inside = (rows * share) @ basis
    return (basis @ np.linalg.eigh(inside.T @ inside)[1]).astype(rows.dtype)


def coefficients(rows, theta):
    """Transform the solver's ``theta`` back to the coordinates of the given features.

    Parameters
    ----------
    rows : Rows
    theta : ndarray of float64, of shape (n_logits, n_columns)

    Returns
    -------
    coef : ndarray of float64, of shape (n_logits, n_features)
    intercept : ndarray of float64, of shape (n_logits,)
    """
    slopes = theta[:, :-1] if rows.has_intercept else theta
    coef = (slopes if rows.axes is None else slopes @ rows.axes.T) / rows.scale
    if not rows.has_intercept:
        return coef, np.zeros(len(coef))
    return coef, theta[:, -1] - coef @ rows.center
