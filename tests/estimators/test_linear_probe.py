"""LinearProbe against scikit-learn's LogisticRegression."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression

from skclip._sklearn_compat import InvalidParameterError
from skclip.estimators.linear_probe import LinearProbe
from skclip.estimators.linear_probe_cv import LinearProbeCV


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
    probe = LinearProbe(**params, tol=1e-14).fit(X, y, sample_weight=sample_weight)
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


@st.composite
def problems(draw):
    """Few rows, one feature, constant features, separable, imbalanced, weighted, many classes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_classes = draw(st.sampled_from([2, 2, 3, 5, 10, 50]))
    n_samples = n_classes + draw(st.sampled_from([0, 3, 40, 150]))
    n_features = draw(st.sampled_from([1, 2, 10, 60]))
    y = rng.integers(n_classes, size=n_samples)
    if draw(st.booleans()):  # imbalanced
        y = np.minimum(y, rng.integers(n_classes, size=n_samples) // 2)
    y[:n_classes] = np.arange(n_classes)
    spread = draw(st.sampled_from([0.0, 0.1, 1.0, 10.0]))  # 0: the features say nothing
    X = rng.normal(size=(n_samples, n_features))
    X = X + spread * rng.normal(size=(n_classes, n_features))[y]
    scale, shift = draw(st.sampled_from([0.05, 1.0, 20.0])), draw(st.sampled_from([0.0, 5.0]))
    X = scale * X + shift
    if draw(st.booleans()):
        X[:, 0] = 1.5
    weight = rng.uniform(0.1, 3, size=n_samples) if draw(st.booleans()) else None
    class_weight = {0: 2.0, 1: 0.5} if draw(st.booleans()) else None
    params = {
        "C": draw(st.sampled_from([1e-4, 1e-2, 1.0, 100.0])),
        "fit_intercept": draw(st.booleans()),
        "class_weight": class_weight,
    }
    # in others, logits are so large that float32 hides differences of the probabilities
    if n_features >= 10 and scale <= 1 and draw(st.booleans()):
        X = X.astype(np.float32)
    return X, y, weight, params


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(problem=problems())
def test_probabilities_are_those_of_logistic_regression(problem):
    X, y, weight, params = problem
    probe = LinearProbe(**params).fit(X, y, sample_weight=weight)
    wide = X.astype(np.float64)
    reference = LogisticRegression(**params, solver="newton-cg", tol=1e-10, max_iter=1000)
    with warnings.catch_warnings():
        # of its line search, which ends at the rounding of the objective
        warnings.simplefilter("ignore")
        reference.fit(wide, y, sample_weight=weight)
        expected = reference.predict_proba(wide)
        if np.abs(probe.predict_proba(X) - expected).max() > 1e-3:
            reference.set_params(solver="lbfgs", max_iter=100_000)
            expected = reference.fit(wide, y, sample_weight=weight).predict_proba(wide)
    np.testing.assert_allclose(probe.predict_proba(X), expected, atol=1e-3, rtol=0)


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
    np.testing.assert_allclose(narrow.coef_, wide.coef_, atol=1e-3)
    exact = LinearProbe(tol=1e-14).fit(X.astype(np.float32), y)
    np.testing.assert_allclose(exact.coef_, LinearProbe(tol=1e-14).fit(X, y).coef_, atol=1e-5)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_row_of_weight_two_counts_as_two_rows(class_weight):
    X, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(0).integers(0, 4, size=len(X))
    probe = LinearProbe(C=100.0, class_weight=class_weight, tol=1e-20)
    weighted = probe.fit(X, y, sample_weight=weight).decision_function(X)
    repeated = probe.fit(X.repeat(weight, axis=0), y.repeat(weight)).decision_function(X)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-6, atol=1e-6)


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
    with pytest.warns(ConvergenceWarning, match="max_iter=2 steps"):
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
    with pytest.raises(ValueError, match="rows of positive weight to fit on hold 1 class, need"):
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


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, 1e51, None])
def test_class_weights_out_of_range_are_named(weight):
    X, y = load_iris(return_X_y=True)
    message = f"class_weight must .* got {weight}".replace("+", r"\+")
    with pytest.raises(ValueError, match=f"{message} for class 1"):
        LinearProbe(class_weight={1: weight}).fit(X, y)


@pytest.mark.parametrize(
    ("class_weight", "found"),
    [({0: 0, 1: 0, 2: 0}, "0 classes"), ({0: 0, 1: 0}, "1 class")],
)
@pytest.mark.parametrize("probe", [LinearProbe, LinearProbeCV])
def test_refuses_class_weights_that_leave_no_two_classes(probe, class_weight, found):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=f"hold {found}, need at least two; .* class_weight"):
        probe(class_weight=class_weight).fit(X, y)


@pytest.mark.parametrize("probe", [LinearProbe(), LinearProbeCV([1.0], cv=2)])
def test_numbers_whose_squares_overflow_are_named(probe):
    X, y = load_iris(return_X_y=True)
    huge = X.copy()
    huge[7, 2] = -1e160
    with pytest.raises(ValueError, match=r"X must hold numbers up to 1e\+50 .* 1e\+160 in row 7"):
        probe.fit(huge, y)
    with pytest.raises(ValueError, match=r"X must .* 1e\+160 in row 7"):
        probe.fit(X, y).predict(huge)
    weight = np.ones(len(X))
    weight[5] = 1e300
    with pytest.raises(ValueError, match=r"sample_weight must hold .* 1e\+300 in row 5"):
        probe.fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("scale", [1e-160, 1e-20, 1e50])
def test_numbers_of_any_other_size_are_fitted(scale):
    X, y = load_iris(return_X_y=True)
    probe = LinearProbe().fit(X / 10 * scale, y)
    assert np.isfinite(probe.coef_).all()
    assert np.isfinite(probe.predict_proba(X / 10 * scale)).all()
    assert (probe.score(X / 10 * scale, y) > 0.9) == (scale > 1)


@pytest.mark.parametrize("C", [1e100, np.finfo(np.float64).max])
def test_the_largest_C_is_no_penalty_at_all(C):
    X, y = load_iris(return_X_y=True)
    X = X + np.random.default_rng(0).normal(scale=0.7, size=X.shape)  # not separable
    probe = LinearProbe(C, tol=1e-14).fit(X, y)
    reference = LogisticRegression(C=1e100, solver="newton-cg", tol=1e-8, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), reference.predict_proba(X), atol=1e-5)


def test_coefficients_too_large_for_the_dtype_of_X_are_refused():
    X = np.array([[-1e-45], [1e-45]] * 3, dtype=np.float32)
    y = [0, 1] * 3
    with pytest.raises(ValueError, match="too large for float32, the dtype of X"):
        LinearProbe(C=1e100).fit(X, y)
    assert np.isfinite(LinearProbe(C=1e100).fit(X.astype(float), y).coef_).all()


def test_a_weight_of_1e30_is_fitted():
    X, y = load_iris(return_X_y=True)
    weight = np.r_[1e30, np.ones(len(X) - 1)]
    probe = LinearProbe().fit(X, y, sample_weight=weight)
    # its own row is right for certain, and the others still count
    assert probe.predict_log_proba(X[:1])[0, 0] > -1e-20
    assert probe.score(X, y) > 0.85


def test_rounding_that_ends_a_fit_is_no_convergence():
    # the features, and the weights, are too far apart for float64
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(40, 60)) + 3 * rng.normal(size=60)) * np.geomspace(1, 1e5, 60)
    y = np.r_[np.arange(4), rng.integers(4, size=36)]
    weight = np.r_[1e40, rng.uniform(0.1, 3, size=40)[1:]]
    with pytest.warns(ConvergenceWarning, match="has not converged after .* too far apart"):
        LinearProbe().fit(X, y, sample_weight=weight)
    splits = [(np.arange(40), np.arange(30, 40))]
    with pytest.warns(ConvergenceWarning, match="ha[sv]e? not converged") as caught:
        LinearProbeCV([1.0], cv=splits, tol=1e-12).fit(X, y, sample_weight=weight)
    assert "of the 1 fits of the cross-validation" in str(caught[0].message)
    assert "too far apart" in str(caught[-1].message)


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.uint8, bool, np.longdouble, object])
def test_numbers_of_every_dtype_are_fitted(dtype):
    X, y = load_iris(return_X_y=True)
    X = (X * 2).astype(dtype)
    expected = LinearProbe().fit(X.astype(np.float64), y)
    np.testing.assert_array_equal(LinearProbe().fit(X, y).coef_, expected.coef_)


def test_takes_at_most_one_copy_of_X():
    X = np.random.default_rng(0).standard_normal((10_000, 512), dtype=np.float32)
    y, options = (X[:, 0] > 0).astype(int), {"tol": 1e-2}
    for probe in (LinearProbe(**options), LinearProbeCV([0.01, 1.0], **options)):
        probe.fit(X[:200], y[:200])
        tracemalloc.start()
        probe.fit(X, y)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2.2 * X.nbytes  # two copies would be 3


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_sklearn_predicts_the_same(dtype, n_classes, fit_intercept):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X, y = X[y < n_classes].astype(dtype), np.array(["red", "blue", "green"])[y[y < n_classes]]
    options = {"fit_intercept": fit_intercept, "class_weight": "balanced"}
    for probe in (LinearProbe(3.0, **options), LinearProbeCV([0.3, 3.0], **options)):
        classifier = probe.fit(X, y).to_sklearn()
        assert type(classifier) is LogisticRegression
        assert classifier.get_params()["C"] == getattr(probe, "C_", 3.0)
        assert classifier.get_params()["class_weight"] == "balanced"
        np.testing.assert_array_equal(classifier.predict(X), probe.predict(X))
        np.testing.assert_allclose(classifier.predict_proba(X), probe.predict_proba(X), atol=1e-6)
        np.testing.assert_array_equal(classifier.feature_names_in_, X.columns)
        assert classifier.score(X, y) == probe.score(X, y)
        classifier.coef_ += 1
        assert not np.allclose(classifier.coef_, probe.coef_)
    with pytest.raises(NotFittedError):
        LinearProbe().to_sklearn()


@pytest.mark.filterwarnings("ignore")  # of the two libraries
@pytest.mark.parametrize("n_classes", [2, 3])
def test_export_to_onnx(n_classes):
    onnxruntime = pytest.importorskip("onnxruntime")
    skl2onnx = pytest.importorskip("skl2onnx")
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes].astype(np.float32), np.array(["red", "blue", "green"])[y[y < n_classes]]
    for probe in (LinearProbe(C=10.0), LinearProbeCV([1.0, 10.0])):
        model = skl2onnx.to_onnx(probe.fit(X, y).to_sklearn(), X[:1], options={"zipmap": False})
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        labels, proba = session.run(None, {session.get_inputs()[0].name: X})
        np.testing.assert_array_equal(labels, probe.predict(X))
        np.testing.assert_allclose(proba, probe.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("probe", [LinearProbe(device="abc"), LinearProbeCV(device="meta")])
def test_refuses_devices_that_cannot_compute(probe):
    with pytest.raises(ValueError, match="device must be 'auto' or a device that torch"):
        probe.fit(*load_iris(return_X_y=True))


def test_every_arrangement_of_X_is_fitted_alike(tmp_path):
    X, y = load_iris(return_X_y=True)
    X = X.astype(np.float32)
    X.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", dtype=np.float32, mode="r", shape=X.shape)
    expected = LinearProbe().fit(X, y).coef_
    wide = np.zeros((150, 8), dtype=np.float32)
    wide[:, ::2] = X
    for same in (np.asfortranarray(X), wide[:, ::2], mapped):
        np.testing.assert_allclose(LinearProbe().fit(same, y).coef_, expected, atol=1e-6)
