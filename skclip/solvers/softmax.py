"""The loss of logistic regression and its derivatives, on one block of rows."""

import numpy as np


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


def block_loss(xp, features, y, theta, weight):
    """Weighted loss of a block of rows under several sets of coefficients.

    Two classes have one logit and the binomial loss; more have one logit for each class and the
    softmax loss. Whatever the size of the logits, small residuals keep their digits and nothing
    overflows.

    Parameters
    ----------
    xp : module
        numpy or torch, of which the arrays are.
    features : array of shape (n_rows, n_columns)
    y : array of int, of shape (n_rows,)
        Class numbers.
    theta : array of shape (n_fits, n_logits, n_columns)
        The logits of the rows in one fit are ``features @ theta.T``.
    weight : array of shape (n_fits, n_rows)

    Returns
    -------
    loss : array of float64, of shape (n_fits,)
        Weighted sum of the negative log-likelihoods.
    gradient : array of shape (n_fits, n_logits, n_columns)
        With respect to ``theta``.
    curvature : array of shape (n_fits, n_logits)
        Weighted sum of the absolute residuals. It bounds ``proba * (1 - proba)``, the second
        derivative of the loss with respect to a shift of each logit, and is near it where rows are
        classified right. Unlike it, it does not vanish where they are certainly wrong, so no step
        that is computed with it leads further than the residuals warrant.
    """
    n_fits, n_logits, n_columns = theta.shape
    logits = (theta.reshape(-1, n_columns) @ features.T).reshape(n_fits, n_logits, -1)
    kind = _binomial if n_logits == 1 else _softmax
    loss, residual, curvature = kind(xp, logits, y, weight[:, None])
    gradient = residual.reshape(n_fits * n_logits, -1) @ features
    return (
        xp.sum(loss * weight, axis=1, dtype=xp.float64),
        gradient.reshape(theta.shape),
        curvature,
    )


def block_product(xp, features, y, theta, weight, direction):
    """Second derivative of the weighted loss of a block of rows along a direction.

    Parameters are those of `block_loss`, and:

    Parameters
    ----------
    direction : array of the shape of ``theta``

    Returns
    -------
    product : array of the shape of ``theta``
        The Hessian times the direction.
    """
    n_fits, n_logits, n_columns = theta.shape
    both = xp.concatenate([theta, direction], axis=1).reshape(-1, n_columns)
    both = (both @ features.T).reshape(n_fits, 2 * n_logits, -1)
    logits, change = both[:, :n_logits], both[:, n_logits:]
    if n_logits == 1:
        small = xp.exp(-abs(logits))
        residual_change = change * (small / (1 + small) ** 2)
    else:
        proba = xp.exp(logits - xp.amax(logits, axis=1, keepdims=True))
        proba *= (1 / proba.sum(1))[:, None]
        change -= (proba * change).sum(1)[:, None]
        residual_change = proba * change
    residual_change *= weight[:, None]
    product = residual_change.reshape(n_fits * n_logits, -1) @ features
    return (product.reshape(theta.shape),)


def _binomial(xp, logits, y, weight):
    """Return the loss of each row, its weighted derivative by the logit, and the curvature."""
    sign = xp.asarray(2 * y - 1, dtype=logits.dtype)
    margin = logits * sign  # (n_fits, 1, n_rows), positive where the row is classified right
    small = xp.exp(-abs(margin))
    loss = (-margin).clip(0) + xp.log1p(small)
    wrong = xp.where(margin > 0, small, 1) / (1 + small)  # probability of the other class
    residual = weight * wrong
    return loss[:, 0], -sign * residual, residual.sum(2)


def _softmax(xp, logits, y, weight):
    """Return the loss of each row, its weighted derivative by the logits, and the curvature."""
    logits -= xp.amax(logits, axis=1, keepdims=True)
    classes = xp.arange(logits.shape[1], device=y.device)
    own = xp.asarray(classes[:, None] == y, dtype=logits.dtype)  # (n_logits, n_rows), 0 or 1
    own_logit = (logits * own).sum(1)  # (n_fits, n_rows)
    # "probability - 1" would lose digits that minus the sum of the other probabilities keeps
    proba = xp.exp(logits, out=logits)
    proba *= 1 - own
    own_part, others = xp.exp(own_logit), proba.sum(1)
    total = own_part + others
    loss = xp.log1p(others + (own_part - 1)) - own_logit
    proba *= (1 / total)[:, None]
    residual = weight * proba
    own_residual = weight[:, 0] * (others / total)
    curvature = residual.sum(2) + own_residual @ own.T
    residual -= own_residual[:, None] * own
    return loss, residual, curvature
