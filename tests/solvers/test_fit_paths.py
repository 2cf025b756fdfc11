"""Minima for many penalties and folds against naive objectives and fits of their own."""

import numpy as np
import pytest
from problems import make_clusters, make_problem, naive_objective, wide_objective
from scipy import optimize
from scipy.optimize import approx_fprime
from threadpoolctl import threadpool_info, threadpool_limits

from skclip.solvers import minimum as minimum_module
from skclip.solvers import paths as paths_module
from skclip.solvers.paths import fit_paths, penalty_weight, stages
from skclip.solvers.rows import arrange, coefficients

WAYS = ["L-BFGS", "Newton"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Let L-BFGS or Newton's method do all the work."""
    if request.param == "Newton":
        monkeypatch.setattr(minimum_module, "_PATIENCE", 0)


def solve(X, y, n_classes, weight, C, fit_intercept=True, **options):
    rows = arrange(X, y, n_classes, weight, fit_intercept=fit_intercept)
    options = {"tol": 1e-14, "max_iter": 1000, **options}
    (solution,) = fit_paths(rows, [np.arange(len(X))], np.array([C]), **options)
    return *coefficients(rows, solution.minimum.point.theta), solution.minimum


def value_of(rows, X, y, weight, C, solution):
    coef, intercept = coefficients(rows, solution.minimum.point.theta)
    return naive_objective(coef, intercept, X, y, weight, C)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("n_samples", "n_features"), [(40, 3), (6, 9)])
@pytest.mark.usefixtures("way")
def test_minimum_is_that_of_the_naive_objective(n_samples, n_features, n_classes, fit_intercept):
    X, y, weight = make_problem(n_samples, n_features, n_classes)
    coef, intercept, minimum = solve(X, y, n_classes, weight, 2.0, fit_intercept)
    assert minimum.converged
    assert coef.shape == (n_classes if n_classes > 2 else 1, n_features)

    def value(flat):
        flat = flat.reshape(len(coef), n_features + fit_intercept)
        bias = flat[:, -1] if fit_intercept else np.zeros(len(coef))
        return naive_objective(flat[:, :n_features], bias, X, y, weight, 2.0)

    found = (np.hstack([coef, intercept[:, None]]) if fit_intercept else coef).ravel()
    reference = optimize.minimize(value, found + 0.1, method="BFGS")
    assert value(found) <= reference.fun + 1e-9
    np.testing.assert_allclose(found[:n_features], reference.x[:n_features], atol=1e-3)
    np.testing.assert_allclose(approx_fprime(found, value, 1e-6), 0, atol=1e-3)
    if n_classes > 2:
        # softmax sees only differences; scikit-learn's coefficients sum to zero, too
        np.testing.assert_allclose(coef.sum(axis=0), 0, atol=1e-12)
        assert abs(intercept.sum()) < 1e-10


@pytest.mark.parametrize("C", [1e-9, 1e6, 1e9])
@pytest.mark.parametrize("scale", [1e-5, 1e5])
@pytest.mark.parametrize(("n_samples", "n_features", "n_classes"), [(2, 2, 2), (40, 60, 4)])
def test_extreme_problems_converge(n_samples, n_features, n_classes, scale, C):
    X, y, weight = make_problem(n_samples, n_features, n_classes)
    X = X * np.geomspace(1, scale, n_features)
    values = []
    for tol in (1e-12, 1e-16):
        coef, intercept, minimum = solve(X, y, n_classes, weight, C, tol=tol)
        assert minimum.converged
        assert minimum.n_iter < 1000
        if n_classes > 2:
            values.append(wide_objective(coef, intercept, X, y, weight, C))
    assert not values or values[0] <= values[1] * (1 + 1e-9)


@pytest.mark.parametrize("C", [1e51, 1e200, np.finfo(np.float64).max])
def test_the_largest_C_leaves_the_loss_alone(C):
    X, y, weight = make_problem(60, 4, 3)
    X[30:] = X[:30]  # so that no hyperplane separates the classes
    expected, _, _ = solve(X, np.roll(y, 7), 3, weight, 1e30)
    coef, _, minimum = solve(X, np.roll(y, 7), 3, weight, C)
    assert minimum.converged
    np.testing.assert_allclose(coef, expected, rtol=1e-5)


@pytest.mark.parametrize("C", [1.0, 1e6])
def test_tol_zero_ends_at_the_rounding_of_the_objective(C):
    for seed in range(5):
        X, y, weight = make_problem(15, 30, 3, seed)
        exact, _, minimum = solve(X, y, 3, weight, C, tol=0)
        assert minimum.n_iter < 1000
        default, _, _ = solve(X, y, 3, weight, C)
        np.testing.assert_allclose(exact, default, rtol=1e-4, atol=1e-5 * abs(exact).max())


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_paths_end_where_fits_alone_do(n_classes, dtype):
    X, y = make_clusters(400, 12, n_classes)
    Cs = np.logspace(-6, 6, 9)
    weight = np.random.default_rng(1).uniform(0.5, 2, size=len(X))
    folds = [np.flatnonzero(np.arange(len(X)) % 3 != fold) for fold in range(3)]
    members = np.array([np.isin(np.arange(len(X)), fold) for fold in folds])
    options = {"fit_intercept": True, "n_fits": 27}
    rows = arrange(X.astype(dtype), y, n_classes, weight, members=members, **options)
    found = list(fit_paths(rows, folds, Cs, tol=1e-6, max_iter=1000))
    assert sorted((s.fold, s.position) for s in found) == [
        (f, c) for f in range(3) for c in range(9)
    ]
    for solution in found[::4]:
        fold, C = folds[solution.fold], Cs[solution.position]
        assert solution.minimum.converged
        coef, intercept, _ = solve(X[fold], y[fold], n_classes, weight[fold], C)
        lowest = naive_objective(coef, intercept, X[fold], y[fold], weight[fold], C)
        value = value_of(rows, X[fold], y[fold], weight[fold], C, solution)
        assert lowest * (1 - 1e-10) <= value <= lowest * (1 + 1e-4)


def test_more_folds_than_share_a_pass(monkeypatch):
    X, y = make_clusters(60, 4, 3)
    rows = arrange(X, y, 3, np.ones(60), fit_intercept=True)
    folds = [np.delete(np.arange(60), row) for row in range(7)]
    together = list(fit_paths(rows, folds, np.array([1.0]), tol=1e-10, max_iter=100))
    monkeypatch.setattr(paths_module, "_COLUMNS", 6)  # two folds of three logits
    apart = list(fit_paths(rows, folds, np.array([1.0]), tol=1e-10, max_iter=100))
    assert sorted(s.fold for s in apart) == list(range(7))
    by_fold = {s.fold: s.minimum.point.theta for s in together}
    for solution in apart:
        np.testing.assert_allclose(
            solution.minimum.point.theta, by_fold[solution.fold], rtol=1e-4, atol=1e-4
        )


def test_repeated_row_numbers_count_repeatedly():
    X, y = make_clusters(60, 4, 3)
    fold = np.r_[np.arange(50), np.arange(20)]
    rows = arrange(X, y, 3, np.ones(60), fit_intercept=True)
    (solution,) = fit_paths(rows, [fold], np.array([1.0]), tol=1e-14, max_iter=100)
    coef, intercept = coefficients(rows, solution.minimum.point.theta)
    expected = solve(X[fold], y[fold], 3, np.ones(70), 1.0)
    np.testing.assert_allclose(coef, expected[0], atol=1e-5)
    np.testing.assert_allclose(intercept, expected[1], atol=1e-5)


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr("skclip.solvers.passes._MIN_MULTIPLICATIONS", 0)
    X, y = make_clusters(700, 12, 3)
    thetas = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            rows = arrange(X, y, 3, np.ones(700), fit_intercept=True)
            (solution,) = fit_paths(
                rows, [np.arange(700)], np.array([10.0]), tol=1e-8, max_iter=100
            )
        thetas.append(coefficients(rows, solution.minimum.point.theta)[0])
    np.testing.assert_allclose(thetas[0], thetas[1], rtol=1e-9)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_limits_of_threads_are_restored_after_an_early_end():
    X, y = make_clusters(200, 5, 3)
    rows = arrange(X, y, 3, np.ones(200), fit_intercept=True)
    with threadpool_limits(2, user_api="blas"):
        solutions = fit_paths(rows, [np.arange(200)], np.logspace(-2, 2, 5), tol=1e-6, max_iter=99)
        next(solutions)
        assert set(blas_threads()) == {1}
        solutions.close()
        assert set(blas_threads()) == {2}


@pytest.mark.parametrize("weights", [[1e-8], [1.0, 1e-1, 1e-6], [1e-200]])
def test_stages_lead_to_every_weight(weights):
    found = list(stages(0.5, weights))
    assert [weight for weight, is_asked in found if is_asked] == weights
    way = [weight for weight, _ in found]
    assert way == sorted(way, reverse=True)
    assert len(found) <= 25


def test_weights_of_the_penalty_never_overflow():
    assert penalty_weight(1e300, 1e100, 1e50) == 1e-200
    assert penalty_weight(1e-300, 1e-100, 1e-50) == 1e200
    assert penalty_weight(2.0, 5.0, 3.0) == pytest.approx(1 / 90)


def test_fits_in_two_threads_leave_the_limits_alone():
    X, y = make_clusters(300, 8, 3)
    rows = arrange(X, y, 3, np.ones(300), fit_intercept=True)
    options = {"tol": 1e-6, "max_iter": 99}
    with threadpool_limits(2, user_api="blas"):
        first, second = (
            fit_paths(rows, [np.arange(300)], np.logspace(-2, 2, 5), **options) for _ in range(2)
        )
        found = [next(first), next(second)]
        first.close()  # the one that found two threads ends before the other
        assert set(blas_threads()) == {1}
        second.close()
        assert set(blas_threads()) == {2}
    np.testing.assert_array_equal(*(f.minimum.point.theta for f in found))
