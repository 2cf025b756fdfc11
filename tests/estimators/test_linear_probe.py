"""LinearProbe against scikit-learn's LogisticRegression."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression

from skclip._sklearn_compat import InvalidParameterError
from skclip.estimators.linear_probe import LinearProbe


def random_problem(seed):
    """Return a random problem; problems of odd seeds have two classes."""
    rng = np.random.default_rng(seed)
    n_classes = 2 if seed % 2 else int(rng.integers(3, 9))
    n_samples, n_features = int(rng.integers(30, 300)), int(rng.integers(2, 80))
    centers = rng.normal(size=(n_classes, n_features))
    y = np.r_[np.arange(n_classes), rng.integers(n_classes, size=n_samples - n_classes)]
    X = centers[y] * rng.uniform(0.2, 1) + rng.normal(size=(n_samples, n_features))
    X += 2 * rng.normal(size=n_features)
    sample_weight = rng.uniform(0, 2, size=n_samples) if seed % 3 == 0 else None
    class_weight = (None, "balanced", {0: 2.0, 1: 0.5})[seed % 5 % 3]
    if sample_weight is not None and class_weight == "balanced":
        # before 1.7 scikit-learn balances the numbers of rows, not their weights
        class_weight = None
    params = {
        "C": float(10 ** rng.uniform(-3, 3)),
        "fit_intercept": bool(seed % 4),
        "class_weight": class_weight,
    }
    return X, y, sample_weight, params


@pytest.mark.parametrize("seed", range(30))
def test_agrees_with_logistic_regression(seed):
    X, y, sample_weight, params = random_problem(seed)
    probe = LinearProbe(**params).fit(X, y, sample_weight=sample_weight)
    # L-BFGS stops too far from the minimum of these problems for a close comparison
    reference = LogisticRegression(**params, solver="newton-cg", tol=1e-8, max_iter=10_000)
    reference.fit(X, y, sample_weight=sample_weight)
    assert probe.coef_.shape == reference.coef_.shape
    assert probe.intercept_.shape == reference.intercept_.shape
    np.testing.assert_allclose(
        probe.predict_proba(X), reference.predict_proba(X), atol=1e-5, rtol=0
    )
    np.testing.assert_allclose(
        probe.decision_function(X), reference.decision_function(X), atol=1e-2, rtol=0
    )
    np.testing.assert_array_equal(probe.classes_, reference.classes_)
    assert np.mean(probe.predict(X) == reference.predict(X)) > 0.99


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_logistic_regression_by_lbfgs(seed):
    X, y, sample_weight, params = random_problem(seed)
    probe = LinearProbe(**params).fit(X, y, sample_weight=sample_weight)
    reference = LogisticRegression(**params, tol=1e-6, max_iter=10_000)
    reference.fit(X, y, sample_weight=sample_weight)
    np.testing.assert_allclose(probe.predict_proba(X), reference.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_float32_input_gives_float32_attributes(n_classes):
    X, y = make_classification(
        60, n_features=8, n_informative=6, n_classes=n_classes, random_state=0
    )
    wide = LinearProbe().fit(X, y)
    narrow = LinearProbe().fit(X.astype(np.float32), y)
    assert wide.coef_.dtype == wide.intercept_.dtype == np.float64
    assert narrow.coef_.dtype == narrow.intercept_.dtype == np.float32
    assert narrow.predict_proba(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(narrow.coef_, wide.coef_, atol=1e-5)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_row_of_weight_two_counts_as_two_rows(class_weight):
    X, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(0).integers(0, 4, size=len(X))
    probe = LinearProbe(C=100.0, class_weight=class_weight)
    weighted = probe.fit(X, y, sample_weight=weight).decision_function(X)
    repeated = probe.fit(X.repeat(weight, axis=0), y.repeat(weight)).decision_function(X)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-8, atol=1e-8)


def test_labels_and_column_names_are_kept():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    probe = LinearProbe().fit(X, pd.Series(names))
    assert probe.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert set(probe.predict(X)) <= set(probe.classes_)
    assert probe.feature_names_in_.tolist() == X.columns.tolist()
    assert probe.score(X, names) > 0.95


def test_log_probabilities_stay_finite():
    X = np.array([[-1.0], [-0.9], [0.9], [1.0]])
    probe = LinearProbe(C=1e6).fit(X, [0, 0, 1, 1])
    far = probe.predict_log_proba([[-1e4], [1e4]])
    assert np.isfinite(far).all()
    np.testing.assert_array_equal(probe.predict_proba([[-1e4], [1e4]]), [[1, 0], [0, 1]])


def test_a_class_of_weight_zero_is_never_predicted():
    X, y = load_iris(return_X_y=True)
    probe = LinearProbe().fit(X, y, sample_weight=(y != 1).astype(float))
    assert probe.classes_.tolist() == [0, 1, 2]
    assert 1 not in probe.predict(X)
    assert probe.predict_proba(X)[:, 1].max() < 1e-6


def test_says_when_it_has_not_converged():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="max_iter=2 Newton steps"):
        probe = LinearProbe(max_iter=2).fit(X, y)
    assert probe.n_iter_ == 2
    assert LinearProbe().fit(X, y).n_iter_ >= 1


@pytest.mark.parametrize(
    ("sample_weight", "message"),
    [
        ([1.0, 1.0], r"sample_weight.shape == \(2,\), expected \(4,\)"),
        ([[1.0], [1.0], [1.0], [1.0]], "Sample weights must be 1D array"),
        ([1.0, -2.0, 1.0, 1.0], "Negative values in data passed to `sample_weight`"),
        ([0.0] * 4, "Sample weights must contain at least one non-zero number"),
        ([1.0, np.nan, 1.0, 1.0], "sample_weight contains NaN"),
    ],
)
def test_refuses_unusable_weights(sample_weight, message):
    with pytest.raises(ValueError, match=message):
        LinearProbe().fit(np.eye(4), [0, 1, 0, 1], sample_weight=sample_weight)


def test_refuses_one_class():
    with pytest.raises(ValueError, match="rows of positive weight to fit on hold 1 class"):
        LinearProbe().fit(np.eye(4), [0, 1, 0, 1], sample_weight=[1, 0, 1, 0])
    with pytest.raises(ValueError, match=r"at least two classes, got 1 class in y: \['cat'\]"):
        LinearProbe().fit(np.eye(3), ["cat"] * 3)


@pytest.mark.parametrize(
    "params",
    [{"C": 0}, {"C": np.inf}, {"C": "1"}, {"tol": -1}, {"max_iter": 0}, {"class_weight": "even"}],
)
def test_refuses_unusable_parameters(params):
    with pytest.raises(InvalidParameterError, match=f"The '{next(iter(params))}' parameter"):
        LinearProbe(**params).fit(np.eye(4), [0, 1, 0, 1])


def test_refuses_to_predict_before_fit():
    with pytest.raises(NotFittedError):
        LinearProbe().predict(np.eye(3))


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf])
def test_class_weights_out_of_range_are_named(weight):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=f"class_weight must .* got {weight} for class 1"):
        LinearProbe(class_weight={1: weight}).fit(X, y)
