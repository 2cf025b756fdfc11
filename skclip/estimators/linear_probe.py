"""A linear classifier on embeddings: logistic regression, fitted to the exact minimum."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skclip._messages import shown
from skclip._sklearn_compat import Interval, StrOptions, _check_sample_weight, _fit_context
from skclip._warnings import warn
from skclip.estimators.base import EstimatorMixin
from skclip.estimators.labels import as_labels
from skclip.estimators.linear import LinearPredictionMixin
from skclip.solvers.paths import fit_paths
from skclip.solvers.rows import arrange, coefficients

# The largest feature and the largest weight. The solver adds up squares of them.
LARGEST = 1e50
# tolerance of a fit, by the dtype of X
TOL = {"float32": 1e-9, "float64": 1e-10}


def weigh_classes(class_weight, classes, y, sample_weight):
    """Multiply the weights of the rows by the weights of their classes.

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
        If a class has a weight that is no number, negative, not finite or larger than `LARGEST`.
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
        unusable = ~((per_class >= 0) & (per_class <= LARGEST))
        if unusable.any():
            label = classes[unusable].tolist()[0]
            raise ValueError(
                f"class_weight must hold numbers from 0 to {LARGEST:g}, got "
                f"{shown(class_weight[label])} for class {shown(label)}"
            )
    return sample_weight * per_class[y]


def check_size(name, values):
    """Refuse numbers whose squares the solver cannot add up.

    Parameters
    ----------
    name : str
        Of the parameter, for the message.
    values : ndarray of shape (n_samples,) or (n_samples, n_features)
        Finite numbers.

    Raises
    ------
    ValueError
        If a number is larger than `LARGEST`, or smaller than ``-LARGEST``. It names the row.
    """
    if max(float(values.max()), -float(values.min())) > LARGEST:
        row = np.flatnonzero((np.abs(values) > LARGEST).reshape(len(values), -1).any(axis=1))[0]
        raise ValueError(
            f"{name} must hold numbers up to {LARGEST:g} in size, got "
            f"{np.abs(values[row]).max():g} in row {row}; scale {name}"
        )


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


def as_dtype(coefficients, dtype):
    """Return coefficients in the dtype of X; refuse those that are too large for it."""
    if np.abs(coefficients).max() > np.finfo(dtype).max:
        raise ValueError(
            f"the coefficients are too large for {dtype}, the dtype of X: scale X, lower C, or "
            "pass X in float64"
        )
    return coefficients.astype(dtype)


class BaseLinearProbe(LinearPredictionMixin, EstimatorMixin, BaseEstimator):
    """Data checks and the fit at a given ``C``, shared by both linear probes."""

    def _check_training_data(self, X, y, sample_weight):
        """Set ``classes_`` and return checked data.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of int, of shape (n_samples,)
            Positions in ``classes_``.
        sample_weight : ndarray of shape (n_samples,)
        weight : ndarray of shape (n_samples,)
            The sample weights times the weights of the classes.
        """
        if y is not None:
            y = as_labels(y)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_size("X", X)
        check_classification_targets(y)
        self.classes_, y = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of at least two classes, "
                f"got 1 class in y: {shown(self.classes_.tolist())}."
            )
        sample_weight = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        if not sample_weight.any():  # which scikit-learn 1.6 accepts
            raise ValueError("Sample weights must contain at least one non-zero number.")
        check_size("sample_weight", sample_weight)
        weight = weigh_classes(self.class_weight, self.classes_, y, sample_weight)
        check_two_classes(y[weight > 0])
        return X, y, sample_weight, weight

    def _fit_minimum(self, X, y, weight, C):
        """Set ``coef_``, ``intercept_`` and ``n_iter_``."""
        rows = arrange(X, y, len(self.classes_), weight, fit_intercept=self.fit_intercept)
        tol = TOL[X.dtype.name] if self.tol is None else self.tol
        (solution,) = self._solve(rows, [np.arange(len(X))], np.array([C]), tol)
        minimum = solution.minimum
        self.n_iter_ = max(minimum.n_iter, 1)
        if not minimum.converged:
            if minimum.n_iter >= self.max_iter:
                cause = f"after max_iter={self.max_iter} steps; raise max_iter, scale X, or"
            else:
                cause = (
                    f"after {minimum.n_iter} steps, since weights or features are too far "
                    "apart in size for float64; bring them closer together, scale X, or"
                )
            warn(f"{type(self).__name__} has not converged {cause} lower C.", ConvergenceWarning)
        coef, intercept = coefficients(rows, minimum.point.theta)
        self.coef_ = as_dtype(coef, X.dtype)
        self.intercept_ = as_dtype(intercept, X.dtype)

    def _solve(self, rows, folds, Cs, tol):
        """Return the solutions of :func:`~skclip.solvers.paths.fit_paths` for this probe."""
        device = self.device
        if device != "cpu":  # without it, a fit does not import torch
            from skclip.encode.devices import resolve_device

            device = str(resolve_device(device))
        return fit_paths(rows, folds, Cs, tol=tol, max_iter=self.max_iter, device=device)

    def to_sklearn(self):
        """Return the fitted classifier as one of scikit-learn.

        It predicts the same, and goes wherever scikit-learn's own estimators go: export to ONNX,
        explanation by SHAP, files of skops.

        Returns
        -------
        classifier : LogisticRegression
            A fitted :class:`~sklearn.linear_model.LogisticRegression` with the coefficients of this
            probe, and the same ``C``, ``fit_intercept`` and ``class_weight``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skclip import LinearProbe
        >>> X, y = load_iris(return_X_y=True)
        >>> LinearProbe(C=10).fit(X, y).to_sklearn()
        LogisticRegression(C=10)
        """
        check_is_fitted(self)
        classifier = LogisticRegression(
            C=getattr(self, "C_", None) or self.C,
            fit_intercept=self.fit_intercept,
            class_weight=self.class_weight,
        )
        classifier.classes_, classifier.n_features_in_ = self.classes_, self.n_features_in_
        classifier.coef_, classifier.intercept_ = self.coef_.copy(), self.intercept_.copy()
        classifier.n_iter_ = np.array([self.n_iter_], dtype=np.int32)
        if hasattr(self, "feature_names_in_"):
            classifier.feature_names_in_ = self.feature_names_in_
        return classifier

    def _as_features(self, X):
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        check_size("X", X)
        return X


class LinearProbe(BaseLinearProbe):
    """Linear classifier on frozen embeddings (logistic regression with an L2 penalty).

    It minimizes the objective of :class:`~sklearn.linear_model.LogisticRegression` for the
    same ``C``: binomial for two classes, multinomial for more, intercept not penalized.

    Parameters
    ----------
    C : float, default=1.0
        Weight of the loss against the penalty; smaller values regularize more strongly.
    fit_intercept : bool, default=True
        Whether each class has an intercept.
    class_weight : dict of label to weight, "balanced" or None, default=None
        Weights of the classes, multiplied with ``sample_weight``. "balanced" gives all
        classes the same total weight. None gives all classes the weight 1.
    max_iter : int, default=1000
        Maximum number of steps; most fits need ten to a hundred.
    tol : float or None, default=None
        The fit has converged when the squared length of the gradient, in the metric of the inverse
        of the Hessian, is at most ``tol`` times the objective. It is twice the decrease of the
        objective that is predicted for the next step, and so does not depend on the scale of X or
        on ``C``, as the largest entry of the gradient does, on which scikit-learn stops. None means
        1e-9 if X is in float32, and 1e-10 if it is in float64.
    device : str, default="cpu"
        Where the passes over the rows run. "auto" takes the first CUDA device, or the CPU if there
        is none.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights, of the dtype of X; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts, zero without ``fit_intercept``.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_iter_ : int
        Number of steps taken, at least 1.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns of X. Defined only if X is a frame with column names that are
        strings.

    See Also
    --------
    LinearProbeCV : Chooses ``C`` by cross-validation.

    Notes
    -----
    A linear probe measures what an embedding contains: the image tower is frozen, and only a
    linear classifier is trained on its outputs, as in appendix A.3 of [1]_. The paper minimizes
    the objective by L-BFGS with at most 1000 iterations, which ends far from the minimum where
    ``C`` is large. Here the result does not depend on where a solver stopped: L-BFGS on the
    principal axes of the features comes near the minimum, and where its steps get no shorter,
    Newton's method takes over.

    Rows in float64 are computed with in float64. Of rows in float32 the first passes are in
    float32. The fit goes on in float64 where float32 does not suffice, and only a pass in float64
    decides that it has converged.

    The memory that a fit takes is that of one copy of X, in the dtype of X.

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
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "device": [str],
    }

    def __init__(
        self,
        C=1.0,
        *,
        fit_intercept=True,
        class_weight=None,
        max_iter=1000,
        tol=None,
        device="cpu",
    ):
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train the classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Weight of each row, not negative; a row of weight 2 counts as two rows. None gives
            all rows the weight 1.

        Returns
        -------
        self : LinearProbe

        Raises
        ------
        ValueError
            If y has fewer than two classes, fewer than two have a positive weight, or a weight is
            negative, or a number in X or a weight is larger than 1e50.
        """
        X, y, _, weight = self._check_training_data(X, y, sample_weight)
        self._fit_minimum(X, y, weight, self.C)
        return self
