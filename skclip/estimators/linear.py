"""Prediction from ``coef_``, ``intercept_`` and ``classes_``, for all linear classifiers."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from skclip._warnings import warn
from skclip.estimators.labels import as_labels, distinct_labels, show_first
from skclip.solvers.softmax import log_probabilities


def logits_per_class(logits):
    """Return one column for each class.

    The class with the largest logit is the prediction. Probabilities would not do: those of
    different logits can round to equal numbers.

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_logits)
        One column stands for the second of two classes, more columns for a class each.

    Returns
    -------
    logits : ndarray of shape (n_samples, max(n_logits, 2))
    """
    return np.hstack([-logits, logits]) if logits.shape[1] == 1 else logits


def check_some_known(y, classifier):
    """Return the true labels of a score as an array; warn if none is among the classes.

    Labels of the classes' type are no error: cross-validation meets them where all rows of a class
    are in one fold, and the score, which is zero, is right.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    classifier : LinearPredictionMixin

    Returns
    -------
    y : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If y holds numbers and the classes are str, or the other way round.
    """
    check_is_fitted(classifier)
    y = as_labels(y)
    labels, classes = distinct_labels(y), classifier.classes_.tolist()
    if labels and set(labels).isdisjoint(classes):
        message = (
            f"none of the labels in y is among the classes: y holds {show_first(labels)}, the "
            f"classes are {show_first(classes)}"
        )
        if isinstance(labels[0], str) != isinstance(classes[0], str):
            raise ValueError(message)
        warn(f"{message}; the score is zero")
    return y


class LinearPredictionMixin(ClassifierMixin):
    """Mixin for classifiers whose logits are ``features @ coef_.T + intercept_``.

    A subclass sets ``coef_``, ``intercept_`` and ``classes_`` in `fit`, with one row of ``coef_``
    for two classes, and says in ``_as_features(X)`` how X becomes an ndarray of shape
    (n_samples, n_features).
    """

    def _logits(self, X):
        check_is_fitted(self)
        return self._as_features(X) @ self.coef_.T + self.intercept_

    def decision_function(self, X):
        """Logits of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings; `ZeroShotClassifier` also takes images.

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
            Embeddings; `ZeroShotClassifier` also takes images.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels out of ``classes_``.
        """
        logits = self._logits(X)
        return self.classes_[logits_per_class(logits).argmax(axis=1)]

    def predict_log_proba(self, X):
        """Logarithm of the class probabilities, finite where these underflow to zero.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings; `ZeroShotClassifier` also takes images.

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
            Embeddings; `ZeroShotClassifier` also takes images.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; each row sums to one.
        """
        return np.exp(self.predict_log_proba(X))

    def score(self, X, y, sample_weight=None):
        """Accuracy of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings; `ZeroShotClassifier` also takes images.
        y : array-like of shape (n_samples,)
            True labels, of the type of ``classes_``. Rows whose label is not among these count as
            wrong; if that holds for all rows, a warning says so.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each row.

        Returns
        -------
        score : float
            Fraction of the rows, or of their weight, that is predicted right.
        """
        return super().score(X, check_some_known(y, self), sample_weight)
