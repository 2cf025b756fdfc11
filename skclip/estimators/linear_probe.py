"""A linear classifier on embeddings: logistic regression, solved to the minimum."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skclip._sklearn_compat import Interval, StrOptions, _fit_context
from skclip.estimators.solvers import (
    coefficients,
    log_probabilities,
    logistic_problem,
    minimise,
)


def check_sample_weight(sample_weight, n_samples):
    """Return the weight of each row as a float64 array of shape (n_samples,)."""
    if sample_weight is None:
        return np.ones(n_samples)
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight must have one weight for each of the {n_samples} rows of X, "
            f"got shape {weight.shape}."
        )
    if weight.min() < 0:
        row = int(np.argmin(weight))
        raise ValueError(f"sample_weight must not be negative, got {weight[row]} in row {row}.")
    if weight.max() == 0:
        raise ValueError("sample_weight is zero in all rows; give some row a positive weight.")
    return weight


def weigh_classes(class_weight, classes, y, sample_weight):
    """Multiply the sample weights by those of the classes.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
    classes : ndarray of shape (n_classes,)
    y : ndarray of int, of shape (n_samples,)
        Positions in ``classes``.
    sample_weight : ndarray of shape (n_samples,)

    Returns
    -------
    weight : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If a class has a weight that is negative or not finite.
    """
    if class_weight is None:
        return sample_weight
    if class_weight == "balanced":
        # a row of weight 2 counts as two rows
        total = np.bincount(y, weights=sample_weight, minlength=len(classes))
        per_class = np.zeros(len(classes))
        np.divide(total.sum(), len(classes) * total, out=per_class, where=total > 0)
    else:
        per_class = compute_class_weight(class_weight, classes=classes, y=classes[y])
        unusable = ~(np.isfinite(per_class) & (per_class >= 0))
        if unusable.any():
            label = classes[unusable].tolist()[0]
            raise ValueError(
                "class_weight must hold finite numbers that are not negative, got "
                f"{class_weight[label]!r} for class {label!r}"
            )
    return sample_weight * per_class[y]


class LinearClassifier(ClassifierMixin, BaseEstimator):
    """What a classifier predicts from ``coef_``, ``intercept_`` and ``classes_``."""

    def _check_training_data(self, X, y, sample_weight):
        """Set ``classes_`` and return X, the rows' class numbers, and both kinds of weights."""
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, y = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of at least two classes, "
                f"got 1 class in y: {self.classes_.tolist()}."
            )
        sample_weight = check_sample_weight(sample_weight, len(X))
        weight = weigh_classes(self.class_weight, self.classes_, y, sample_weight)
        return X, y, sample_weight, weight

    def _fit_minimum(self, X, y, weight, C):
        """Set ``coef_``, ``intercept_`` and ``n_iter_``."""
        problem = logistic_problem(
            X, y, len(self.classes_), weight, fit_intercept=self.fit_intercept
        )
        theta, self.n_iter_, converged = minimise(problem, C, tol=self.tol, max_iter=self.max_iter)
        if not converged:
            warnings.warn(
                f"{type(self).__name__} has not converged after max_iter={self.max_iter} "
                "Newton steps; raise max_iter, scale X, or lower C.",
                ConvergenceWarning,
                stacklevel=3,
            )
        coef, intercept = coefficients(problem, theta)
        self.coef_ = coef.astype(X.dtype)
        self.intercept_ = intercept.astype(X.dtype)

    def _logits(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return X @ self.coef_.T + self.intercept_

    def decision_function(self, X):
        """Logits of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            With two classes the logit of ``classes_[1]``, else one column for each class.
        """
        logits = self._logits(X)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict(self, X):
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels out of ``classes_``.
        """
        logits = self._logits(X)
        if logits.shape[1] == 1:
            return self.classes_[(logits[:, 0] > 0).astype(int)]
        return self.classes_[logits.argmax(axis=1)]

    def predict_log_proba(self, X):
        """Logarithm of the class probabilities, finite where these underflow to zero.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return log_probabilities(self._logits(X))

    def predict_proba(self, X):
        """Class probabilities: the sigmoid (two classes) or the softmax of the logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; each row sums to one.
        """
        return np.exp(self.predict_log_proba(X))


class LinearProbe(LinearClassifier):
    """Linear classifier on frozen embeddings (logistic regression with an L2 penalty).

    It minimises the objective of :class:`~sklearn.linear_model.LogisticRegression` for the
    same ``C``: binomial for two classes, multinomial for more, intercept not penalised.

    Parameters
    ----------
    C : float, default=1.0
        Weight of the loss against the penalty; smaller values regularise more strongly.
    fit_intercept : bool, default=True
        Whether each class has an intercept.
    class_weight : dict of label to weight, "balanced" or None, default=None
        Weights of the classes, multiplied with ``sample_weight``. "balanced" gives all
        classes the same total weight. None weighs all classes 1.
    max_iter : int, default=1000
        Largest number of Newton steps; ten to twenty are usual.
    tol : float, default=1e-12
        The fit has converged when the next step promises to lower the objective by less than
        ``tol`` times its value. The default leaves the coefficients right to about eight
        digits.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights, of the dtype of X; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts, zero without ``fit_intercept``.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_iter_ : int
        Newton steps taken, at least 1.
    n_features_in_ : int
        Width of the embeddings.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns of X, where X has them.

    See Also
    --------
    LinearProbeCV : Chooses ``C`` by cross-validation.

    Notes
    -----
    A linear probe shows what an embedding holds: the image tower stays as it is and only a
    linear classifier is trained on its outputs, as in appendix A.3 of [1]_. There the
    objective is left to L-BFGS with at most 1000 iterations. Here Newton's method with
    conjugate gradients finds the same minimum in fewer passes over the data and much more
    closely, so that the result does not hang on where a solver stopped. It computes in float64
    whatever the dtype of X.

    References
    ----------
    .. [1] Radford et al., "Learning Transferable Visual Models From Natural Language
       Supervision", ICML 2021, arXiv:2103.00020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skclip import LinearProbe
    >>> X, y = load_iris(return_X_y=True)
    >>> probe = LinearProbe().fit(X, y)
    >>> probe.predict(X[[0, 60, 120]])
    array([0, 1, 2])
    >>> probe.predict_proba(X[:1]).round(3)
    array([[0.982, 0.018, 0.   ]])
    """

    _parameter_constraints: dict = {
        "C": [Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, C=1.0, *, fit_intercept=True, class_weight=None, max_iter=1000, tol=1e-12):
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train the classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each row, not negative; a row of weight 2 counts as two rows. None
            weighs all rows 1.

        Returns
        -------
        self : LinearProbe

        Raises
        ------
        ValueError
            If y has fewer than two classes, or a weight is negative, or all are zero.
        """
        X, y, _, weight = self._check_training_data(X, y, sample_weight)
        self._fit_minimum(X, y, weight, self.C)
        return self
