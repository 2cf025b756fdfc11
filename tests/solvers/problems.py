"""Random problems, and the objective written out row by row."""

import numpy as np


def make_problem(n_samples, n_features, n_classes, seed=0):
    """Return features, class numbers and weights; the labels have nothing to do with the rest."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) + 3 * rng.normal(size=n_features)
    y = np.r_[np.arange(n_classes), rng.integers(n_classes, size=n_samples - n_classes)]
    return X, y, rng.uniform(0.1, 3, size=n_samples)


def make_clusters(n_samples, n_features, n_classes, seed=0):
    """Return features and class numbers that belong together, some of them wrong."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_samples)
    X = rng.normal(size=(n_classes, n_features))[y] + rng.normal(size=(n_samples, n_features))
    wrong = rng.random(n_samples) < 0.1
    return X, np.where(wrong, rng.integers(n_classes, size=n_samples), y)


def naive_loss(logits, label):
    """scikit-learn user guide, "Logistic regression": one row."""
    if len(logits) == 1:
        proba = 1 / (1 + np.exp(-logits[0]))
        return -np.log([1 - proba, proba][label])
    return -np.log(np.exp(logits[label]) / np.exp(logits).sum())


def naive_objective(coef, intercept, X, y, weight, C):
    total = 0.5 * np.sum(coef**2)
    for x, label, row_weight in zip(X, y, weight, strict=True):
        total += C * row_weight * naive_loss(coef @ x + intercept, label)
    return total


def wide_objective(coef, intercept, X, y, weight, C):
    """The same in numpy.longdouble, with the digits of losses far below one."""
    wide = np.longdouble
    logits = X.astype(wide) @ coef.astype(wide).T + intercept.astype(wide)
    logits -= logits.max(axis=1, keepdims=True)
    rows = np.arange(len(y))
    parts = np.exp(logits)
    own, parts[rows, y] = parts[rows, y], 0
    losses = np.log1p(parts.sum(axis=1) + (own - 1)) - logits[rows, y]
    return wide(C) * (weight * losses).sum() + np.sum(coef.astype(wide) ** 2) / 2
