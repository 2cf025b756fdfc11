"""The shared copy of the features: the same minimum in other coordinates."""

import numpy as np
import pytest
from problems import make_problem

from skclip.solvers import rows as rows_module
from skclip.solvers.rows import arrange, coefficients


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("rotated", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_samples", "n_features"), [(30, 4), (6, 9)])
def test_logits_and_penalty_are_those_of_the_given_features(
    monkeypatch, n_samples, n_features, dtype, rotated, fit_intercept
):
    monkeypatch.setattr(rows_module, "is_worth_rotating", lambda *sizes: rotated)
    X, y, weight = make_problem(n_samples, n_features, 3)
    X = (100 * X).astype(dtype)
    rows = arrange(X, y, 3, weight, fit_intercept=fit_intercept)
    assert rows.features.dtype == dtype
    assert (rows.axes is not None) == rotated
    theta = np.random.default_rng(2).normal(size=(3, rows.features.shape[1]))
    coef, intercept = coefficients(rows, theta)
    logits = rows.features @ theta.T
    given = X[rows.numbers] @ coef.T + intercept
    atol = 1e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(given, logits, atol=atol)
    assert fit_intercept or not intercept.any()
    slopes = theta[:, :-1] if fit_intercept else theta
    np.testing.assert_allclose(np.sum(coef**2) * rows.scale**2, np.sum(slopes**2), rtol=1e-5)
    share = rows.weight / rows.weight.sum()
    np.testing.assert_allclose(rows.variance, share @ rows.features**2.0, rtol=1e-5)
    if fit_intercept:
        np.testing.assert_allclose(share @ rows.features[:, :-1], 0, atol=1e-5)


def test_axes_are_orthonormal_and_the_directions_of_largest_variance():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 8)) * np.arange(1, 9)
    rows = arrange(X, rng.integers(3, size=200), 3, np.ones(200), fit_intercept=True, n_fits=100)
    np.testing.assert_allclose(rows.axes.T @ rows.axes, np.eye(8), atol=1e-12)
    expected = np.linalg.eigvalsh(np.cov(X.T, bias=True)) / rows.scale**2
    # estimated from 64 of the rows
    np.testing.assert_allclose(np.sort(rows.variance[:-1]), expected, rtol=0.5)


def test_rows_of_weight_zero_are_left_out_and_members_grouped():
    X, y, weight = make_problem(40, 3, 3)
    weight[[4, 7]] = 0
    folds = np.arange(40) % 4
    members = folds != np.arange(4)[:, None]
    rows = arrange(X, y, 3, weight, fit_intercept=False, members=members)
    assert sorted(rows.numbers) == [row for row in range(40) if row not in (4, 7)]
    assert np.count_nonzero(np.diff(folds[rows.numbers])) == 3
    np.testing.assert_array_equal(rows.y, y[rows.numbers])
    np.testing.assert_array_equal(rows.weight, weight[rows.numbers])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_and_the_smallest_numbers_are_scaled(dtype):
    X, y, weight = make_problem(20, 3, 2)
    X /= np.abs(X).max()
    for size in (np.finfo(dtype).max, np.finfo(dtype).tiny, 0):
        rows = arrange((X * size).astype(dtype), y, 2, weight, fit_intercept=True)
        assert np.isfinite(rows.features).all()
        assert np.abs(rows.features).max() <= 8
        assert size == 0 or np.abs(rows.features).max() >= 0.1


def test_a_rotation_pays_for_many_fits_only():
    assert not rows_module.is_worth_rotating(1000, 512, 10)
    assert rows_module.is_worth_rotating(1000, 512, 1000)
    assert rows_module.is_worth_rotating(100_000, 512, 10)
    assert not rows_module.is_worth_rotating(100_000, 4096, 1000)
