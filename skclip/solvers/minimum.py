"""Minimization of one fit, as a generator that asks for the loss where it needs it.

So many fits can share one pass over the data, though each reads like a minimization of its own.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

# steps that L-BFGS remembers
MEMORY = 10
# the least tolerance that is tried for in float32
FLOAT32_TOL = 1e-7
_MAX_SEARCH = 30
_MAX_PRODUCTS = 500
# a predicted decrease of this part of the objective can be made of rounding errors of float64
_ROUNDING = 1e-8
# the predicted decrease, as a part of the objective, of a fit that needs no step at all
_CLEAR = 1e-14
# steps without a smaller predicted decrease after which L-BFGS ends
_PATIENCE = 80
_DOUBLE = np.dtype(np.float64)


@dataclass(frozen=True)
class Request:
    """What a minimization asks a pass over the rows for.

    Attributes
    ----------
    theta : ndarray of float64, of shape (n_logits, n_columns)
    dtype : dtype
        To compute in.
    direction : ndarray of the shape of ``theta``, or None
        None asks for the `Point` at theta, a direction for its product with the Hessian of the
        loss there.
    """

    theta: np.ndarray
    dtype: np.dtype
    direction: np.ndarray | None = None


@dataclass(frozen=True)
class Point:
    """Coefficients and what a pass found there.

    Attributes
    ----------
    theta : ndarray of float64, of shape (n_logits, n_columns)
    loss : float
        Weighted mean of the rows' losses.
    gradient : ndarray of float64, of the shape of ``theta``
        Of the loss.
    curvature : ndarray of float64, of shape (n_logits,)
        Weighted mean of the absolute residuals, see :func:`~skclip.solvers.softmax.block_loss`.
    dtype : dtype
        In which the pass computed.
    """

    theta: np.ndarray
    loss: float
    gradient: np.ndarray
    curvature: np.ndarray
    dtype: np.dtype


@dataclass(frozen=True)
class Minimum:
    """Where a minimization ended.

    Attributes
    ----------
    point : Point
        Computed in float64.
    n_iter : int
        Number of steps taken.
    converged : bool
        False after ``max_iter`` steps, or if rounding errors hide a larger part of the decrease
        that is left than they do in most problems.
    """

    point: Point
    n_iter: int
    converged: bool


@dataclass(frozen=True)
class Metric:
    """What is known of the Hessian of the objective.

    Attributes
    ----------
    penalty : ndarray of shape (n_columns,)
        Weight of the L2 penalty on each column of theta.
    variance : ndarray of shape (n_columns,)
        Weighted mean square of each column of the features.
    pairs : deque of (ndarray, ndarray, float)
        The last steps, the changes of the gradient along them, and the inverses of their products.
    """

    penalty: np.ndarray
    variance: np.ndarray
    pairs: deque = field(default_factory=lambda: deque(maxlen=MEMORY))

    def objective(self, point):
        """Return the penalized mean loss and its gradient."""
        shrunk = self.penalty * point.theta
        value = point.loss + 0.5 * float(np.vdot(shrunk, point.theta))
        return value, point.gradient + shrunk

    def remember(self, old, new):
        """Learn from a step."""
        step = new.theta - old.theta
        change = new.gradient - old.gradient + self.penalty * step
        product = float(np.vdot(step, change))
        lengths = np.linalg.norm(step) * np.linalg.norm(change)
        if product > np.finfo(old.dtype).eps * lengths:
            self.pairs.append((step, change, 1 / product))

    def solve(self, gradient, curvature):
        """Multiply by the estimated inverse of the Hessian.

        What the last steps do not say is taken from the Hessian that the data would have if the
        probabilities did not depend on the features: in the coordinates of their principal axes
        it is diagonal.

        Parameters
        ----------
        gradient : ndarray of shape (n_logits, n_columns)
        curvature : ndarray of shape (n_logits,)

        Returns
        -------
        solution : ndarray of shape (n_logits, n_columns)
        """
        diagonal = curvature[:, None] * self.variance + self.penalty
        diagonal = np.maximum(diagonal, np.finfo(np.float64).tiny)
        shares = []
        for step, change, inverse in reversed(self.pairs):
            shares.append(inverse * float(np.vdot(step, gradient)))
            gradient = gradient - shares[-1] * change
        solution = gradient / diagonal
        if self.pairs:
            _, change, inverse = self.pairs[-1]
            solution *= 1 / (inverse * float(np.vdot(change, change / diagonal)))
        for step, change, inverse in self.pairs:
            share = shares.pop()
            solution += (share - inverse * float(np.vdot(change, solution))) * step
        if len(solution) > 1:
            # One vector added to the coefficients of all classes does not change the softmax, and
            # the penalty wants their sum to be zero. It stays zero, however weak the penalty.
            solution -= solution.mean(axis=0)
        return solution


def minimize(point, first_step, metric, n_iter, *, tol, max_iter):
    """Minimize a convex objective, the weighted mean loss and an L2 penalty.

    L-BFGS leads near the minimum in few passes over the rows, and where its steps get no shorter,
    Newton's method goes on. For features in float32 the passes are in float32 as far as that is
    enough; then they are in float64, in which alone a fit counts as converged.

    Parameters
    ----------
    point : Point
        Where to begin; its dtype is that of the features.
    first_step : ndarray or None
        The first step, tried at its full length, if it leads down; None leaves it to the method.
    metric : Metric
        It holds the penalty, and learns from the steps.
    n_iter : int
        Number of steps that were taken before.
    tol : float
        Stop where the squared length of the gradient, in the metric of the inverse of the Hessian,
        is at most ``tol`` times the objective. It is twice the decrease that is predicted for the
        next step.
    max_iter : int
        Maximum number of steps.

    Yields
    ------
    request : Request
        The generator must be sent the answer.

    Returns
    -------
    minimum : Minimum
    """
    dtype = point.dtype
    options = {"tol": tol, "max_iter": max_iter}
    if dtype != _DOUBLE:
        rough = {**options, "tol": max(tol, FLOAT32_TOL)}
        point, n_iter, _ = yield from approach(point, first_step, metric, n_iter, **rough)
        point, first_step = (yield Request(point.theta, _DOUBLE)), None
    point, n_iter, is_end = yield from approach(point, first_step, metric, n_iter, **options)
    if is_end:
        return Minimum(point, n_iter, True)
    return (yield from refine(point, metric, dtype, n_iter, **options))


def approach(point, first_step, metric, n_iter, *, tol, max_iter):
    """Minimize by L-BFGS until its steps do not get shorter any more.

    Parameters
    ----------
    point, first_step, metric, n_iter, tol, max_iter
        As in `minimize`.

    Yields
    ------
    request : Request

    Returns
    -------
    point : Point
    n_iter : int
        Number of steps taken.
    is_end : bool
        Whether ``tol`` was reached.

    References
    ----------
    Nocedal and Wright, Numerical Optimization, 2nd edition, 2006, algorithm 7.4.
    """
    smallest, n_waited = np.inf, 0
    while True:
        value, gradient = metric.objective(point)
        is_first = first_step is not None and np.vdot(gradient, first_step) < 0
        if is_first:
            step, first_step = first_step, None
        else:
            step = -metric.solve(gradient, point.curvature)
            decrement = -float(np.vdot(gradient, step))
            # before a step has been compared with the metric, it is believed in clear cases only
            if decrement <= (tol if metric.pairs else min(tol, _CLEAR)) * value:
                return point, n_iter, True
            n_waited = n_waited + 1 if decrement > 0.9 * smallest else 0
            smallest = min(smallest, decrement)
            if n_waited >= _PATIENCE or n_iter >= max_iter:
                return point, n_iter, False
        found = yield from search(point, value, gradient, step, metric)
        if found is not None:
            metric.remember(point, found)
            point = found
            n_iter += 1
        elif not is_first:
            return point, n_iter, False


def search(point, value, gradient, step, metric):
    """Find a point along a step at which the objective is lower.

    The objective is convex, so a step that still leads down where it ends has led down all the way,
    and the bottom lies between a point that leads down and one that leads up.

    Parameters
    ----------
    point : Point
    value, gradient : float, ndarray
        The objective at the point.
    step : ndarray
        Leads down.
    metric : Metric

    Yields
    ------
    request : Request

    Returns
    -------
    found : Point or None
        None if rounding hides every decrease.
    """
    slope = float(np.vdot(gradient, step))
    rounding = 10 * np.finfo(point.dtype).eps * abs(value)
    size = 1.0
    for _ in range(_MAX_SEARCH):
        found = yield Request(point.theta + size * step, point.dtype)
        new_value, new_gradient = metric.objective(found)
        new_slope = float(np.vdot(new_gradient, step))
        if new_slope <= -0.5 * slope and new_value <= value + rounding:
            return found
        # where the slope would be zero if it changed evenly
        shorter = slope / (slope - new_slope) if 0 < new_slope < np.inf else 0.5
        size *= min(max(shorter, 0.1), 0.9)
    return None


def refine(point, metric, dtype, n_iter, *, tol, max_iter):
    """Go to the minimum by Newton's method.

    Each step solves Newton's equations by conjugate gradients, only as accurately as superlinear
    convergence requires. The gradient is that of float64. The products with the Hessian are in the
    dtype of the features as long as that is enough for the steps to converge so fast.

    Parameters
    ----------
    point : Point
        Computed in float64.
    dtype : dtype
        That of the features.
    metric, n_iter, tol, max_iter
        As in `minimize`.

    Yields
    ------
    request : Request

    Returns
    -------
    minimum : Minimum

    References
    ----------
    Nocedal and Wright, Numerical Optimization, 2nd edition, 2006, section 7.1.
    """
    forcing, last = 0.1, np.inf
    while True:
        value, gradient = metric.objective(point)
        step = yield from newton_step(point, gradient, metric, dtype, forcing)
        decrement = -float(np.vdot(gradient, step))
        if not decrement > 0:
            # a step of zero has a reason only where the gradient is zero, or underflows
            if dtype == _DOUBLE or not gradient.any():
                is_zero = np.vdot(gradient, gradient) < np.finfo(np.float64).tiny
                return Minimum(point, n_iter, bool(is_zero))
            dtype = _DOUBLE
            continue
        is_end = decrement <= max(tol, np.finfo(np.float64).eps) * value
        # so near the minimum, a decrement that hardly falls is made of rounding errors
        is_end |= last / 2 < decrement < _ROUNDING * value and dtype == _DOUBLE
        if not is_end and n_iter >= max_iter:
            return Minimum(point, n_iter, False)
        found = yield from search(point, value, gradient, step, metric)
        if is_end or (found is None and dtype == _DOUBLE):
            return Minimum(found or point, n_iter + 1, is_end or decrement < _ROUNDING * value)
        if found is None or decrement > last / 4:
            dtype = _DOUBLE
        if found is not None:
            forcing, last = min(0.1, np.sqrt(decrement / value)), decrement
            point = found
            n_iter += 1


def newton_step(point, gradient, metric, dtype, forcing):
    """Solve Hessian @ step = -gradient by preconditioned conjugate gradients.

    Parameters
    ----------
    point : Point
    gradient : ndarray of shape (n_logits, n_columns)
        Of the objective.
    metric : Metric
        Its estimated inverse of the Hessian is the preconditioner.
    dtype : dtype
        Of the products with the Hessian.
    forcing : float
        Norm of the residual to stop at, relative to that of the gradient.

    Yields
    ------
    request : Request

    Returns
    -------
    step : ndarray of the shape of ``gradient``
    """
    step = np.zeros_like(gradient)
    residual = -gradient
    direction = scaled = metric.solve(residual, point.curvature)
    squared_norm = float(np.vdot(residual, scaled))
    target = forcing**2 * squared_norm
    for _ in range(_MAX_PRODUCTS):
        if not squared_norm > target:
            break
        product = yield Request(point.theta, dtype, direction)
        product = product + metric.penalty * direction
        curvature = float(np.vdot(direction, product))
        if not curvature > 0:
            # the objective is convex: only rounding errors can cause this
            break
        step = step + squared_norm / curvature * direction
        residual = residual - squared_norm / curvature * product
        scaled = metric.solve(residual, point.curvature)
        squared_norm, last = float(np.vdot(residual, scaled)), squared_norm
        direction = scaled + squared_norm / last * direction
    return step
