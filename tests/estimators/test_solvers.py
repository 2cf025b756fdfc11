"""The probe's arithmetic against naive loops and scipy."""

import numpy as np
import pytest
from scipy import optimize
from scipy.optimize import approx_fprime
from scipy.special import log_expit, log_softmax

from skclip.estimators.solvers import (
    coefficients,
    log_probabilities,
    logistic_problem,
    loss,
    loss_gradient,
    minimize,
    objective,
    objective_gradient,
    principal_axes,
)


def make_problem(n_samples, n_features, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) + 3 * rng.normal(size=n_features)
    y = np.r_[np.arange(n_classes), rng.integers(n_classes, size=n_samples - n_classes)]
    return X, y, rng.uniform(0.1, 3, size=n_samples)


def naive_objective(coef, intercept, X, y, weight, C):
    """scikit-learn user guide, "Logistic regression", row by row."""
    total = 0.5 * np.sum(coef**2)
    for x, label, row_weight in zip(X, y, weight, strict=True):
        logits = coef @ x + intercept
        if len(logits) == 1:
            proba = 1 / (1 + np.exp(-logits[0]))
            proba = [1 - proba, proba]
        else:
            proba = np.exp(logits) / np.exp(logits).sum()
        total -= C * row_weight * np.log(proba[label])
    return total


def solve(X, y, n_classes, weight, C, fit_intercept=True, **options):
    problem = logistic_problem(X, y, n_classes, weight, fit_intercept=fit_intercept)
    theta, n_iter, converged = minimize(problem, C, **{"tol": 1e-12, "max_iter": 1000, **options})
    assert converged
    return problem, theta, n_iter


def test_log_probabilities_of_far_logits():
    logits = np.array([[0.0, 1.0, -2.0], [800.0, 0.0, -800.0], [1e5, 1e5, 1e5]])
    np.testing.assert_allclose(log_probabilities(logits), log_softmax(logits, axis=1), atol=1e-12)
    one = np.array([[0.3], [-900.0], [900.0]])
    expected = np.hstack([log_expit(-one), log_expit(one)])
    np.testing.assert_allclose(log_probabilities(one), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_loss_and_its_gradient(n_classes):
    rng = np.random.default_rng(1)
    y = rng.integers(n_classes, size=7)
    logits = rng.normal(size=(7, n_classes if n_classes > 2 else 1))

    def total(flat):
        return loss(y, flat.reshape(logits.shape)).sum()

    numeric = approx_fprime(logits.ravel(), total, 1e-7).reshape(logits.shape)
    np.testing.assert_allclose(loss_gradient(y, logits), numeric, atol=1e-6)


def test_loss_gradient_keeps_small_residuals():
    # sigmoid(40) - 1 and softmax(...) - 1 would be exactly zero in float64
    for y, logits in [(1, [40.0]), (0, [40.0, 0.0, -99.0])]:
        residual = loss_gradient(np.array([y]), np.array([logits]))[0, 0]
        assert residual == pytest.approx(-np.exp(-40), rel=1e-12, abs=0)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("n_samples", "n_features"), [(12, 4), (6, 9)])
def test_objective_and_gradient(n_samples, n_features, n_classes, fit_intercept):
    X, y, weight = make_problem(n_samples, n_features, n_classes)
    problem = logistic_problem(X, y, n_classes, weight, fit_intercept=fit_intercept)
    shape = problem.n_logits, problem.features.shape[1]
    theta = np.random.default_rng(2).normal(size=shape)

    def value(flat):
        theta = flat.reshape(shape)
        return objective(problem, 0.7, theta, problem.features @ theta.T)

    coef, intercept = coefficients(problem, theta)
    expected = naive_objective(coef, intercept, X, y, weight, 0.7)
    assert value(theta.ravel()) == pytest.approx(expected, rel=1e-8)
    numeric = approx_fprime(theta.ravel(), value, 1e-7).reshape(shape)
    actual = objective_gradient(problem, 0.7, theta, problem.features @ theta.T)
    np.testing.assert_allclose(actual, numeric, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("n_samples", "n_features"), [(40, 3), (6, 9)])
def test_minimum_is_that_of_the_naive_objective(n_samples, n_features, n_classes):
    X, y, weight = make_problem(n_samples, n_features, n_classes)
    problem, theta, _ = solve(X, y, n_classes, weight, 2.0)
    coef, intercept = coefficients(problem, theta)
    assert coef.shape == (problem.n_logits, n_features)

    def value(flat):
        flat = flat.reshape(problem.n_logits, n_features + 1)
        return naive_objective(flat[:, :-1], flat[:, -1], X, y, weight, 2.0)

    found = np.hstack([coef, intercept[:, None]]).ravel()
    reference = optimize.minimize(value, found + 0.1, method="BFGS")
    assert value(found) <= reference.fun + 1e-9
    np.testing.assert_allclose(found[:n_features], reference.x[:n_features], atol=1e-3)
    gradient = approx_fprime(found, value, 1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-3)


def test_rows_of_weight_zero_do_not_count():
    X, y, weight = make_problem(30, 4, 3)
    weight[5:12] = 0
    kept = weight > 0
    problem, theta, _ = solve(X, y, 3, weight, 1.0)
    fewer, fewer_theta, _ = solve(X[kept], y[kept], 3, weight[kept], 1.0)
    for a, b in zip(coefficients(problem, theta), coefficients(fewer, fewer_theta), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_start_near_the_minimum_saves_steps_and_changes_nothing():
    X, y, weight = make_problem(60, 5, 3)
    problem, cold, n_cold = solve(X, y, 3, weight, 10.0)
    near, _, _ = minimize(problem, 8.0, tol=1e-12, max_iter=100)
    warm, n_warm, _ = minimize(problem, 10.0, start=near, tol=1e-12, max_iter=100)
    assert n_warm < n_cold
    np.testing.assert_allclose(
        np.hstack(coefficients(problem, warm)[:1]), coefficients(problem, cold)[0], atol=1e-8
    )


@pytest.mark.parametrize("C", [1e-9, 1e6, 1e9])
@pytest.mark.parametrize("scale", [1e-5, 1e5])
@pytest.mark.parametrize(("n_samples", "n_features", "n_classes"), [(2, 2, 2), (40, 60, 4)])
def test_extreme_problems_converge(n_samples, n_features, n_classes, scale, C):
    X, y, weight = make_problem(n_samples, n_features, n_classes)
    X = X * np.geomspace(1, scale, n_features)
    problem = logistic_problem(X, y, n_classes, weight, fit_intercept=True)
    theta, n_iter, converged = minimize(problem, C, tol=1e-12, max_iter=1000)
    # there Newton's method with dense matrices of numpy.longdouble finds a minimum that is lower
    # by one part in ten thousand (C=1e6), or 4 % (C=1e9)
    hidden_by_rounding = (n_samples, scale) == (40, 1e5) and C > 1
    assert converged != hidden_by_rounding
    assert np.isfinite(theta).all()
    assert n_iter < 300


@pytest.mark.parametrize("largest", [1e20, 1e50])
def test_weights_too_far_apart_for_float64_do_not_converge(largest):
    X, y, weight = make_problem(60, 4, 3)
    weight[0] = largest
    problem = logistic_problem(X, y, 3, weight, fit_intercept=True)
    theta, n_iter, converged = minimize(problem, 1.0, tol=1e-12, max_iter=1000)
    assert not converged
    assert n_iter < 1000
    assert np.isfinite(theta).all()


@pytest.mark.parametrize("C", [1e51, 1e200, np.finfo(np.float64).max])
def test_the_largest_C_leaves_the_loss_alone(C):
    X, y, weight = make_problem(60, 4, 3)
    X[30:] = X[:30]  # so that no hyperplane separates the classes
    problem, expected, _ = solve(X, np.roll(y, 7), 3, weight, 1e30)
    theta, _, converged = minimize(problem, C, tol=1e-12, max_iter=1000)
    assert converged
    np.testing.assert_allclose(theta, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("C", [1.0, 1e6])
def test_tol_zero_ends_at_the_rounding_of_the_objective(C, seed):
    X, y, weight = make_problem(15, 30, 3, seed)
    problem, theta, n_iter = solve(X, y, 3, weight, C, tol=0)
    assert n_iter < 40
    again, default, _ = solve(X, y, 3, weight, C)
    np.testing.assert_allclose(
        coefficients(problem, theta)[0], coefficients(again, default)[0], rtol=1e-5, atol=1e-7
    )
    # scikit-learn's intercepts sum to zero, though softmax sees only their differences
    assert abs(coefficients(problem, theta)[1].sum()) < 1e-9 * abs(theta).max()


def test_principal_axes_are_orthonormal_and_span_the_rows():
    rng = np.random.default_rng(0)
    for shape in [(3, 8), (8, 3)]:
        X = rng.normal(size=shape)
        axes = principal_axes(X)
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(X @ axes @ axes.T, X, atol=1e-12)


def test_steps_made_of_rounding_end_the_fit():
    # without the check for stalled steps they would stay at 1e-13 of the objective for ever
    rng = np.random.RandomState(294)
    X, y = rng.rand(15, 30), rng.randint(0, 3, size=15)
    weight = rng.randint(0, 5, size=15).astype(float)
    _, _, n_iter = solve(X, y, 3, weight, 1e6, tol=1e-14)
    assert n_iter < 40
