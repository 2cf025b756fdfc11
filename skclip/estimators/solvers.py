"""Logistic regression with an L2 penalty on dense arrays: the objective and its minimum.

The objective is scikit-learn's own::

    C * sum_i weight_i * loss(y_i, logits_i) + 1/2 * sum_kj coef_kj ** 2

where the intercept is not penalized. Two classes have one logit and the binomial loss; more have
one logit for each class and the softmax loss.
"""

from dataclasses import dataclass, replace

import numpy as np

# reached on ill-conditioned data only; conjugate gradients need far fewer iterations on others
MAX_INNER_ITERATIONS = 1000
# The largest feature and the largest weight. Sums of C * weight * class_weight * feature ** 2 are
# the largest numbers that the solver computes; beyond this they would overflow.
LARGEST = 1e50
# a squared Newton decrement of this part of the objective can be made of rounding errors
_ROUNDING = 1e-8


def log_probabilities(logits):
    """Logarithm of the class probabilities.

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_logits)
        One column stands for the second of two classes, more columns for a class each.

    Returns
    -------
    log_proba : ndarray of shape (n_samples, max(n_logits, 2))
        Log-sigmoid for one column, log-softmax for more; NaN in the rows of NaN.
    """
    if logits.shape[1] == 1:
        with np.errstate(invalid="ignore"):  # NaN stays NaN, without a warning
            return -np.logaddexp(0, np.hstack([logits, -logits]))
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def loss(y, logits):
    """Negative log-likelihood of each row.

    Parameters
    ----------
    y : ndarray of int, of shape (n_samples,)
        Class numbers.
    logits : ndarray of shape (n_samples, n_logits)

    Returns
    -------
    loss : ndarray of shape (n_samples,)
    """
    return -log_probabilities(logits)[np.arange(len(y)), y]


def loss_gradient(y, logits):
    """Gradient of each row's loss with respect to its logits.

    Parameters are those of `loss`.

    Returns
    -------
    gradient : ndarray of shape (n_samples, n_logits)
    """
    rows = np.arange(len(y))
    residual = np.exp(log_probabilities(logits))
    # "probability - 1" would lose digits that minus the sum of the other probabilities keeps
    residual[rows, y] = 0
    residual[rows, y] = -residual.sum(axis=1)
    return residual[:, -logits.shape[1] :]


@dataclass(frozen=True)
class LogisticProblem:
    """The rows of one fit, in coordinates in which the solver converges fast.

    The features are centered, if there is an intercept, and rotated onto their principal axes.
    Neither changes the minimum: the penalty is the same after a rotation, and the intercept, which
    absorbs the shift, is not penalized.

    Attributes
    ----------
    features : ndarray of shape (n_samples, n_axes) or (n_samples, n_axes + 1)
        The last column is 1 where there is an intercept.
    y : ndarray of int, of shape (n_samples,)
        Class numbers.
    n_logits : int
        1 for two classes, else the number of classes.
    weight : ndarray of shape (n_samples, 1)
        All positive.
    penalized : ndarray of shape (n_axes,) or (n_axes + 1,)
        1, and 0 for the intercept.
    center : ndarray of shape (n_features,)
        Subtracted from the given features.
    axes : ndarray of shape (n_features, n_axes)
        Principal axes, one in each column.
    """

    features: np.ndarray
    y: np.ndarray
    n_logits: int
    weight: np.ndarray
    penalized: np.ndarray
    center: np.ndarray
    axes: np.ndarray


def logistic_problem(X, y, n_classes, sample_weight, *, fit_intercept):
    """Prepare the rows for :func:`minimize`.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        No value is beyond `LARGEST` in size.
    y : ndarray of shape (n_samples,)
        Class numbers in ``range(n_classes)``.
    n_classes : int
        At least 2.
    sample_weight : ndarray of shape (n_samples,)
        Not negative; rows of weight 0 are dropped. At most ``LARGEST ** 2``, for the product of the
        weight of a row and that of its class.
    fit_intercept : bool

    Returns
    -------
    problem : LogisticProblem

    Raises
    ------
    ValueError
        If the rows of positive weight are all of one class.
    """
    kept = sample_weight > 0
    X, y, weight = X[kept].astype(np.float64), y[kept], sample_weight[kept][:, None]
    check_two_classes(y)
    center = np.zeros(X.shape[1])
    if fit_intercept:
        center = (weight * X).sum(axis=0) / weight.sum()
        X -= center
    axes = principal_axes(X * np.sqrt(weight))
    n_axes = axes.shape[1]
    features, penalized = np.ones((len(X), n_axes + fit_intercept)), np.ones(n_axes + fit_intercept)
    np.matmul(X, axes, out=features[:, :n_axes])
    penalized[n_axes:] = 0
    n_logits = n_classes if n_classes > 2 else 1
    return LogisticProblem(features, y, n_logits, weight, penalized, center, axes)


def check_two_classes(y):
    """Refuse rows of fewer than two classes, for which the minimum would lie at infinity.

    Parameters
    ----------
    y : ndarray of int
        The classes of the rows of positive weight.
    """
    found = len(np.unique(y))
    if found < 2:
        raise ValueError(
            f"The rows of positive weight to fit on hold {found} class{'es' * (found == 0)}, need "
            "at least two; check sample_weight and class_weight."
        )


def principal_axes(X):
    """Orthonormal axes of shape (n_features, n_axes) that span the rows of X."""
    if X.shape[0] < X.shape[1]:
        return np.linalg.svd(X, full_matrices=False)[2].T
    return np.linalg.eigh(X.T @ X)[1]


def coefficients(problem, theta):
    """Transform the solver's ``theta`` back to the coordinates of the given features.

    Parameters
    ----------
    problem : LogisticProblem
    theta : ndarray of shape (n_logits, n_axes) or (n_logits, n_axes + 1)

    Returns
    -------
    coef : ndarray of shape (n_logits, n_features)
    intercept : ndarray of shape (n_logits,)
    """
    n_axes = problem.axes.shape[1]
    coef = theta[:, :n_axes] @ problem.axes.T
    if theta.shape[1] == n_axes:
        return coef, np.zeros(len(coef))
    return coef, theta[:, -1] - coef @ problem.center


def objective(problem, C, theta, logits):
    """Value of the objective at ``theta``, where the logits are ``features @ theta.T``."""
    penalty = 0.5 * np.sum(problem.penalized * theta**2)
    return C * np.vdot(problem.weight, loss(problem.y, logits)) + penalty


def objective_gradient(problem, C, theta, logits):
    """Gradient of the objective with respect to ``theta``, an ndarray of the same shape."""
    residual = problem.weight * loss_gradient(problem.y, logits)
    return C * (residual.T @ problem.features) + problem.penalized * theta


# numbers too far apart in size overflow; a step made of them does not lower the objective
@np.errstate(over="ignore", invalid="ignore")
def minimize(problem, C, *, start=None, tol, max_iter):
    """Minimize the objective by Newton's method.

    Each step solves Newton's equations by conjugate gradients, only as accurately as superlinear
    convergence requires, and is halved until the objective decreases enough [1]_.

    Parameters
    ----------
    problem : LogisticProblem
    C : float
        Weight of the loss against the penalty.
    start : ndarray or None
        The first ``theta``; None is zero.
    tol : float
        Stop after the step whose squared Newton decrement, twice the predicted decrease of the
        objective, is at most ``tol`` times its value.
    max_iter : int
        Maximum number of Newton steps.

    Returns
    -------
    theta : ndarray of shape (n_logits, n_axes) or (n_logits, n_axes + 1)
    n_iter : int
        Number of Newton steps taken.
    converged : bool
        False after `max_iter` steps, or if rounding errors hide a larger part of the decrease that
        is left than they do in most problems.

    References
    ----------
    .. [1] Nocedal and Wright, Numerical Optimization, 2nd edition, 2006, section 7.1
       (inexact Newton methods).
    """
    if C > LARGEST:
        # an objective divided by a number has the same minimum
        problem = replace(problem, penalized=problem.penalized * (LARGEST / C))
        C = LARGEST
    features = problem.features
    theta = np.zeros((problem.n_logits, features.shape[1])) if start is None else start
    logits = features @ theta.T
    value = objective(problem, C, theta, logits)
    forcing, last_decrement = 0.1, np.inf
    for n_iter in range(1, max_iter + 1):
        proba = np.exp(log_probabilities(logits))[:, -problem.n_logits :]
        gradient = objective_gradient(problem, C, theta, logits)
        step = _newton_step(problem, C, proba, gradient, forcing)
        # squared Newton decrement: on a quadratic the full step lowers the objective by half of it
        decrement = -np.vdot(gradient, step)
        logits_step = features @ step.T
        # so near the minimum, a decrement that hardly falls is made of rounding errors
        stalled = last_decrement / 2 < decrement < _ROUNDING * value
        if stalled or decrement <= max(tol, np.finfo(np.float64).eps) * value:
            # a step of zero has a reason only where the gradient is zero, or underflows
            is_descent = decrement > 0 or np.vdot(gradient, gradient) < np.finfo(np.float64).tiny
            return theta + step, n_iter, bool(is_descent)
        step_size = 1.0
        while True:
            new_value = objective(
                problem, C, theta + step_size * step, logits + step_size * logits_step
            )
            if new_value <= value - 1e-4 * step_size * decrement:
                break
            step_size /= 2
            if step_size < 1e-10:
                # the decrease that is left is below the rounding error of the objective, or the
                # numbers are too far apart in size for float64
                return theta, n_iter, bool(decrement < _ROUNDING * value)
        forcing, last_decrement = min(0.1, np.sqrt(decrement / value)), decrement
        theta, logits = theta + step_size * step, logits + step_size * logits_step
        value = new_value
    return theta, max_iter, False


def _newton_step(problem, C, proba, gradient, forcing):
    """Solve Hessian @ step = -gradient by preconditioned conjugate gradients.

    Parameters
    ----------
    problem : LogisticProblem
    C : float
    proba : ndarray of shape (n_samples, n_logits)
        Probabilities that belong to the logits. The Hessian follows from them, and so does its
        diagonal, the preconditioner.
    gradient : ndarray of shape (n_logits, n_axes) or (n_logits, n_axes + 1)
    forcing : float
        Norm of the residual to stop at, relative to that of the gradient.

    Returns
    -------
    step : ndarray of the shape of ``gradient``
    """
    features, weight, penalized = problem.features, problem.weight, problem.penalized
    diagonal = C * ((weight * proba * (1 - proba)).T @ features**2) + penalized
    diagonal = np.maximum(diagonal, np.finfo(np.float64).tiny)

    def apply_hessian(direction):
        logits_change = features @ direction.T  # (n_samples, n_logits)
        mean = (proba * logits_change).sum(axis=1, keepdims=True)
        residual_change = proba * (logits_change - mean)
        return C * ((weight * residual_change).T @ features) + penalized * direction

    def precondition(residual):
        scaled = residual / diagonal
        if problem.n_logits > 1:
            # adding one number to all intercepts does not change the softmax: without this,
            # rounding errors would add up in that direction
            scaled -= (penalized == 0) * scaled.mean(axis=0)
        return scaled

    step = np.zeros_like(gradient)
    residual = -gradient
    direction = scaled = precondition(residual)
    squared_norm = np.vdot(residual, scaled)
    target = forcing**2 * squared_norm
    for _ in range(MAX_INNER_ITERATIONS):
        if squared_norm <= target:
            break
        hessian_direction = apply_hessian(direction)
        curvature = np.vdot(direction, hessian_direction)
        if curvature <= 0:
            # the objective is convex: only rounding errors can cause this
            break
        step = step + squared_norm / curvature * direction
        residual = residual - squared_norm / curvature * hessian_direction
        scaled = precondition(residual)
        squared_norm, last = np.vdot(residual, scaled), squared_norm
        direction = scaled + squared_norm / last * direction
    return step
