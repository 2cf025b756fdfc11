"""Logistic regression for many penalties and many folds of one matrix, side by side."""

from dataclasses import dataclass, replace

import numpy as np

from skclip.solvers.minimum import Metric, Minimum, Request, approach, minimize
from skclip.solvers.passes import passes_on

# logits that one pass computes for each row: enough for fast products
_COLUMNS = 64
# a fit that is far from the last one goes there in stages: the ratio of their penalties, their
# tolerance and their largest number
_STAGE, _STAGE_TOL, _MAX_STAGES = 16.0, 1e-2, 20
# the first logit of a class that a fold has no rows of, e ** -40 times as probable as others
_ABSENT = -40.0
# decimal exponents of the weight of the penalty; beyond them it, or the loss, counts for nothing
_LARGEST = 200


@dataclass(frozen=True)
class Solution:
    """The fit of one fold for one C.

    Attributes
    ----------
    fold : int
        Position of the fold.
    position : int
        Position of the C.
    minimum : Minimum
        Its theta is in the coordinates of the rows, see :func:`~skclip.solvers.rows.coefficients`.
    """

    fold: int
    position: int
    minimum: Minimum


def fit_paths(rows, folds, Cs, *, tol, max_iter, device="cpu"):
    """Minimize the objective of scikit-learn for each fold and each C.

    It is ``C * sum_i weight_i * loss_i + 1/2 * sum(coef ** 2)``, where the intercept is not
    penalized. The folds that share a pass go through the values of C at their own pace, each from
    the minimum for the last value and in the direction in which the minimum moved.

    Parameters
    ----------
    rows : Rows
    folds : list of ndarray of int
        Numbers of the samples that each fold is fitted on. A number that is repeated counts
        repeatedly.
    Cs : ndarray of shape (n_Cs,)
        Ascending and positive.
    tol : float
        See :func:`~skclip.solvers.minimum.minimize`.
    max_iter : int
        Maximum number of steps for each fold and C.
    device : str, default="cpu"
        Where the passes over the rows run: a device of torch, or "cpu", which needs no torch.

    Yields
    ------
    solution : Solution
        In the order in which they are found; those of a fold ascend with C.
    """
    n_abreast = max(1, _COLUMNS // rows.n_logits)
    for start in range(0, len(folds), n_abreast):
        group = folds[start : start + n_abreast]
        n_samples = rows.numbers.max() + 1
        counts = [np.bincount(fold, minlength=n_samples)[rows.numbers] for fold in group]
        weight = rows.weight * np.array(counts)
        totals = weight.sum(axis=1, keepdims=True)
        weight /= totals
        paths = [
            follow_path(rows, first_theta(rows, share), total, Cs, tol=tol, max_iter=max_iter)
            for share, total in zip(weight, totals.ravel().tolist(), strict=True)
        ]
        with passes_on(device, rows, weight) as passes:
            for number, position, minimum in run_abreast(paths, passes):
                yield Solution(start + number, position, minimum)


def first_theta(rows, weight):
    """Return where the path of a fold with these weights of the rows begins.

    That is zero, but for the intercepts of classes of which the fold has no row: their minimum lies
    at minus infinity, and the way there would take one step for each unit.
    """
    theta = np.zeros((rows.n_logits, rows.features.shape[1]))
    if rows.has_intercept and rows.n_logits > 1:
        found = np.bincount(rows.y, weights=weight, minlength=rows.n_logits)
        theta[found == 0, -1] = _ABSENT
        theta -= theta.mean(axis=0)
    return theta


def follow_path(rows, theta, total_weight, Cs, *, tol, max_iter):
    """Minimize for ascending values of C.

    Parameters
    ----------
    rows : Rows
    theta : ndarray of float64, of shape (n_logits, n_columns)
        Where to begin.
    total_weight : float
        Of the rows in this fold.
    Cs, tol, max_iter
        As in `fit_paths`.

    Yields
    ------
    request : Request or Minimum
        What :func:`~skclip.solvers.minimum.minimize` asks for; and after the last request for a
        value of C, its minimum.
    """
    n_columns = rows.features.shape[1]
    point = yield Request(theta, rows.features.dtype)
    # the penalty that equals the largest curvature; with a larger one the minimum is near zero
    strongest = float(np.max(point.curvature) * np.max(rows.variance))
    weights = [penalty_weight(C, total_weight, rows.scale) for C in Cs]
    way = []  # the last two minima
    n_iter = 0
    for weight, is_asked in stages(strongest, weights):
        penalty = np.full(n_columns, weight)
        if rows.has_intercept:
            penalty[-1] = 0
        first_step = None
        if len(way) == 2 and way[0][0] > way[1][0]:
            (weight_0, theta_0), (weight_1, theta_1) = way
            speed = (theta_1 - theta_0) / np.log(weight_1 / weight_0)
            first_step = speed * np.log(weight / weight_1)
        metric = Metric(penalty, rows.variance)
        point = replace(point, dtype=rows.features.dtype)
        if is_asked:
            minimum = yield from minimize(
                point, first_step, metric, n_iter, tol=tol, max_iter=max_iter
            )
            yield minimum
            point, n_iter = minimum.point, 0
        else:
            point, n_iter, _ = yield from approach(
                point, first_step, metric, n_iter, tol=_STAGE_TOL, max_iter=max_iter
            )
        way = [*way[-1:], (weight, point.theta)]


def stages(strongest, weights):
    """Put weights of the penalty between the given ones where these are far apart.

    Far from the minimum the second derivatives say little of the way: from zero, the first step
    for a weak penalty would lead to logits so large that the softmax is flat around them.

    Parameters
    ----------
    strongest : float
        A weight with which the minimum is near zero.
    weights : list of float
        Descending.

    Yields
    ------
    weight : float
    is_asked : bool
        Whether it is one of ``weights``.
    """
    last = strongest
    for weight in weights:
        n_steps = 1
        if weight < last:
            n_steps = min(int(np.ceil(np.log(last / weight) / np.log(_STAGE))), _MAX_STAGES)
        for between in np.geomspace(last, weight, n_steps + 1)[1:-1].tolist():
            yield between, False
        yield weight, True
        last = weight


def penalty_weight(C, total_weight, scale):
    """Weight of the penalty against the weighted mean loss of the scaled features."""
    # by logarithms, since the product of three large numbers can overflow
    exponent = np.log10(C) + np.log10(total_weight) + 2 * np.log10(scale)
    return float(10 ** np.clip(-exponent, -_LARGEST, _LARGEST))


def run_abreast(paths, passes):
    """Advance paths with one pass over the rows for what all of them ask for, until all have ended.

    Parameters
    ----------
    paths : list of generator
        See `follow_path`.
    passes : callable
        See :class:`~skclip.solvers.passes.Passes`.

    Yields
    ------
    number : int
        Of a path.
    position : int
        Of the minimum among those of the path.
    minimum : Minimum
    """
    n_found = [0] * len(paths)
    answers = dict.fromkeys(range(len(paths)))
    while answers:
        asked = {}
        for number, answer in answers.items():
            try:
                request = paths[number].send(answer)
                while isinstance(request, Minimum):
                    yield number, n_found[number], request
                    n_found[number] += 1
                    request = next(paths[number])
            except StopIteration:
                continue
            kind = request.dtype, request.direction is None
            asked.setdefault(kind, {})[number] = request
        answers = {}
        for (dtype, _), requests in asked.items():
            found = passes(list(requests), list(requests.values()), dtype)
            answers.update(zip(requests, found, strict=True))
