"""Prediction from given coefficients, the same for all linear classifiers."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from toy import ColorEncoder

from skclip import LinearProbe, LinearProbeCV, ZeroShotClassifier
from skclip.estimators.linear import logits_per_class

METHODS = ("decision_function", "predict", "predict_proba", "predict_log_proba")


def with_coefficients(estimator, coef, labels):
    estimator.coef_, estimator.classes_ = coef, np.array(labels)
    estimator.intercept_ = np.zeros(len(coef))
    estimator.n_features_in_ = coef.shape[1]
    return estimator


@pytest.mark.parametrize("labels", [["cat", "dog"], ["cat", "dog", "fox"]])
@pytest.mark.parametrize(
    "estimator",
    [LinearProbe(), LinearProbeCV(), ZeroShotClassifier(["cat", "dog"], model=ColorEncoder())],
    ids=lambda estimator: type(estimator).__name__,
)
def test_predicts_as_logistic_regression(estimator, labels):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4))
    X /= np.linalg.norm(X, axis=1, keepdims=True)  # the zero-shot classifier normalizes its rows
    coef = rng.normal(size=(len(labels) if len(labels) > 2 else 1, 4))
    ours = with_coefficients(estimator, coef, labels)
    reference = with_coefficients(LogisticRegression(), coef, labels)
    for method in METHODS:
        found, expected = getattr(ours, method)(X), getattr(reference, method)(X)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        if method == "predict":
            assert (found == expected).all()
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("labels", [["cat", "dog"], ["cat", "dog", "fox"]])
def test_of_equal_logits_the_first_class_is_predicted(labels):
    coef = np.zeros((len(labels) if len(labels) > 2 else 1, 4))
    probe = with_coefficients(LinearProbe(), coef, labels)
    assert probe.predict(np.eye(4)).tolist() == ["cat"] * 4


def test_one_logit_is_that_of_the_second_class():
    np.testing.assert_array_equal(logits_per_class(np.array([[3.0], [-1.0]])), [[-3, 3], [1, -1]])
    three = np.array([[3.0, 1.0, 2.0]])
    np.testing.assert_array_equal(logits_per_class(three), three)


def test_score_warns_if_no_label_is_among_the_classes():
    probe = with_coefficients(LinearProbe(), np.eye(4)[:3], ["cat", "dog", "fox"])
    message = r"y holds \['Cat', 'Dog'\], the classes are \['cat', 'dog', 'fox'\]"
    with pytest.warns(UserWarning, match=message) as caught:
        assert probe.score(np.eye(4)[:2], ["Cat", "Dog"]) == 0
    assert caught[0].filename == __file__
    assert probe.score(np.eye(4)[:2], ["cat", "Dog"]) == 0.5
    assert probe.score(np.eye(4)[:2], ["cat", "Dog"], sample_weight=[3, 1]) == 0.75
