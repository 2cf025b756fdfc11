"""Logistic regression with an L2 penalty on dense arrays: the objective and its minimum.

The objective is scikit-learn's own::

    C * sum_i weight_i * loss(y_i, logits_i) + 1/2 * sum_kj coef_kj ** 2

with the intercept left out of the penalty, one logit and the binomial loss for two classes,
one logit for each class and the softmax loss for more.
"""

from dataclasses import dataclass

import numpy as np

# conjugate gradients are far below this bound unless the data leave no better way
MAX_INNER_ITERATIONS = 1000


def log_probabilities(logits):
    """Logarithm of the class probabilities.

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_logits)
        One column stands for the second of two classes, more columns for a class each.

    Returns
    -------
    log_proba : ndarray of shape (n_samples, max(n_logits, 2))
        Log-sigmoid for one column, log-softmax for more.
    """
    if logits.shape[1] == 1:
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
    """Gradient of each row's loss with respect to its logits, of their shape."""
    rows = np.arange(len(y))
    residual = np.exp(log_probabilities(logits))
    # minus the sum of the others keeps the digits that "probability - 1" loses
    residual[rows, y] = 0
    residual[rows, y] = -residual.sum(axis=1)
    return residual[:, -logits.shape[1] :]


@dataclass(frozen=True)
class LogisticProblem:
    """The rows of one fit, in coordinates in which the solver converges fast.

    The features are centred and turned onto their principal axes: the penalty does not see a
    rotation and does not reach the intercept, so that the minimum is the same one.

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
    penalised : ndarray of shape (n_axes,) or (n_axes + 1,)
        1, and 0 for the intercept.
    center : ndarray of shape (n_features,)
    axes : ndarray of shape (n_features, n_axes)
    """

    features: np.ndarray
    y: np.ndarray
    n_logits: int
    weight: np.ndarray
    penalised: np.ndarray
    center: np.ndarray
    axes: np.ndarray


def logistic_problem(X, y, n_classes, sample_weight, *, fit_intercept):
    """Prepare the rows for :func:`minimise`.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
        Class numbers in ``range(n_classes)``.
    n_classes : int
        At least 2.
    sample_weight : ndarray of shape (n_samples,)
        Not negative; rows of weight 0 are left out.
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
    if y.min() == y.max():
        # the minimum would lie at infinity
        raise ValueError("The rows of positive weight to fit on hold 1 class, need at least two.")
    center = np.zeros(X.shape[1])
    if fit_intercept:
        center = (weight * X).sum(axis=0) / weight.sum()
        X -= center
    axes = principal_axes(X * np.sqrt(weight))
    n_axes = axes.shape[1]
    features, penalised = np.ones((len(X), n_axes + fit_intercept)), np.ones(n_axes + fit_intercept)
    np.matmul(X, axes, out=features[:, :n_axes])
    penalised[n_axes:] = 0
    n_logits = n_classes if n_classes > 2 else 1
    return LogisticProblem(features, y, n_logits, weight, penalised, center, axes)


def principal_axes(X):
    """Orthonormal axes of shape (n_features, n_axes) that span the rows of X."""
    if X.shape[0] < X.shape[1]:
        return np.linalg.svd(X, full_matrices=False)[2].T
    return np.linalg.eigh(X.T @ X)[1]


def coefficients(problem, theta):
    """Turn the solver's ``theta`` back into ``coef`` and ``intercept`` of the given features.

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
    """Value of the objective at ``theta``, whose logits are given."""
    penalty = 0.5 * np.sum(problem.penalised * theta**2)
    return C * np.vdot(problem.weight, loss(problem.y, logits)) + penalty


def gradient(problem, C, theta, logits):
    """Gradient of the objective with respect to ``theta``, of its shape."""
    residual = problem.weight * loss_gradient(problem.y, logits)
    return C * (residual.T @ problem.features) + problem.penalised * theta


def minimise(problem, C, *, start=None, tol, max_iter):
    """Minimise the objective by Newton's method.

    Each step solves Newton's equations by conjugate gradients, just well enough for
    convergence to stay superlinear, and is halved until the objective falls [1]_.

    Parameters
    ----------
    problem : LogisticProblem
    C : float
        Weight of the loss against the penalty.
    start : ndarray or None
        Where to begin; None begins at zero.
    tol : float
        Stop after the step that promises to lower the objective by less than ``tol`` times
        its value.
    max_iter : int
        Largest number of Newton steps.

    Returns
    -------
    theta : ndarray of shape (n_logits, n_axes) or (n_logits, n_axes + 1)
    n_iter : int
        Newton steps taken.
    converged : bool

    References
    ----------
    .. [1] Nocedal and Wright, Numerical Optimization, 2nd edition, 2006, section 7.1
       (inexact Newton methods).
    """
    features = problem.features
    theta = np.zeros((problem.n_logits, features.shape[1])) if start is None else start
    logits = features @ theta.T
    value = objective(problem, C, theta, logits)
    forcing, last_promise = 0.1, np.inf
    for n_iter in range(1, max_iter + 1):
        proba = np.exp(log_probabilities(logits))[:, -problem.n_logits :]
        slope = gradient(problem, C, theta, logits)
        step = _newton_step(problem, C, proba, slope, forcing)
        # on a quadratic the full step lowers the objective by half of this
        promise = -np.vdot(slope, step)
        moved = features @ step.T
        # this near the minimum a step that helps no more is made of rounding
        stalled = last_promise / 2 < promise < 1e-8 * value
        if stalled or promise <= max(tol, np.finfo(np.float64).eps) * value:
            return theta + step, n_iter, True
        size = 1.0
        while True:
            trial = objective(problem, C, theta + size * step, logits + size * moved)
            if trial <= value - 1e-4 * size * promise:
                break
            size /= 2
            if size < 1e-10:
                # what is left to gain is below the rounding of the objective
                return theta, n_iter, True
        forcing, last_promise = min(0.1, np.sqrt(promise / value)), promise
        theta, logits, value = theta + size * step, logits + size * moved, trial
    return theta, max_iter, False


def _newton_step(problem, C, proba, slope, forcing):
    """Solve Hessian @ step = -slope by preconditioned conjugate gradients.

    ``forcing`` is the residual, relative to the slope, to stop at. The Hessian comes from
    the probabilities, and so does its diagonal, the preconditioner.
    """
    features, weight, penalised = problem.features, problem.weight, problem.penalised

    def hessian(direction):
        change = features @ direction.T  # (n_samples, n_logits)
        change = proba * (change - (proba * change).sum(axis=1, keepdims=True))
        return C * ((weight * change).T @ features) + penalised * direction

    def precondition(residual):
        scaled = residual / diagonal
        if problem.n_logits > 1:
            # softmax does not see what all intercepts have in common, and rounding would
            # send it anywhere
            scaled -= (1 - penalised) * scaled.mean(axis=0)
        return scaled

    diagonal = C * ((weight * proba * (1 - proba)).T @ features**2) + penalised
    diagonal = np.maximum(diagonal, np.finfo(np.float64).tiny)
    step = np.zeros_like(slope)
    residual = -slope
    direction = scaled = precondition(residual)
    power = np.vdot(residual, scaled)
    enough = forcing**2 * power
    for _ in range(MAX_INNER_ITERATIONS):
        if power <= enough:
            break
        image = hessian(direction)
        curvature = np.vdot(direction, image)
        if curvature <= 0:
            # the objective is convex: only rounding leads here
            break
        step = step + power / curvature * direction
        residual = residual - power / curvature * image
        scaled = precondition(residual)
        power, last = np.vdot(residual, scaled), power
        direction = scaled + power / last * direction
    return step
