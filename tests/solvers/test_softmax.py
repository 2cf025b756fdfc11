"""The loss and its derivatives against naive loops, differences and scipy."""

import numpy as np
import pytest
import torch
from problems import naive_loss
from scipy.optimize import approx_fprime
from scipy.special import log_expit, log_softmax

from skclip.solvers.softmax import block_loss, block_product, log_probabilities


def make_block(n_classes, n_fits=3, n_rows=7, n_columns=4, seed=1):
    rng = np.random.default_rng(seed)
    n_logits = n_classes if n_classes > 2 else 1
    features = rng.normal(size=(n_rows, n_columns))
    y = rng.integers(n_classes, size=n_rows)
    theta = rng.normal(size=(n_fits, n_logits, n_columns))
    weight = rng.uniform(0.1, 2, size=(n_fits, n_rows))
    weight[0, 2] = 0
    return features, y, theta, weight


def test_log_probabilities_of_far_logits():
    logits = np.array([[0.0, 1.0, -2.0], [800.0, 0.0, -800.0], [1e5, 1e5, 1e5]])
    np.testing.assert_allclose(log_probabilities(logits), log_softmax(logits, axis=1), atol=1e-12)
    one = np.array([[0.3], [-900.0], [900.0]])
    expected = np.hstack([log_expit(-one), log_expit(one)])
    np.testing.assert_allclose(log_probabilities(one), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_loss_and_its_derivatives(n_classes):
    features, y, theta, weight = make_block(n_classes)
    loss, gradient, curvature = block_loss(np, features, y, theta, weight)
    for fit in range(len(theta)):

        def total(flat, fit=fit):
            coef = flat.reshape(theta[fit].shape)
            losses = [naive_loss(coef @ x, label) for x, label in zip(features, y, strict=True)]
            return weight[fit] @ losses

        assert loss[fit] == pytest.approx(total(theta[fit].ravel()), rel=1e-12)
        numeric = approx_fprime(theta[fit].ravel(), total, 1e-7).reshape(theta[fit].shape)
        np.testing.assert_allclose(gradient[fit], numeric, atol=1e-5)
        proba = np.exp(log_probabilities(features @ theta[fit].T))[:, -theta.shape[1] :]
        is_own = y[:, None] == np.arange(n_classes)[-theta.shape[1] :]
        np.testing.assert_allclose(curvature[fit], weight[fit] @ np.abs(proba - is_own), rtol=1e-10)
        assert (curvature[fit] >= weight[fit] @ (proba * (1 - proba))).all()


@pytest.mark.parametrize("n_classes", [2, 4])
def test_product_is_the_change_of_the_gradient(n_classes):
    features, y, theta, weight = make_block(n_classes)
    direction = np.random.default_rng(2).normal(size=theta.shape)
    (product,) = block_product(np, features, y, theta, weight, direction)
    before, after = (
        block_loss(np, features, y, theta + step * direction, weight)[1] for step in (-1e-6, 1e-6)
    )
    np.testing.assert_allclose(product, (after - before) / 2e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_torch_computes_what_numpy_does(n_classes, dtype):
    features, y, theta, weight = make_block(n_classes)
    direction = np.random.default_rng(2).normal(size=theta.shape)
    arrays = [features, y, theta, weight, direction]
    arrays = [array if array is y else array.astype(dtype) for array in arrays]
    tensors = [torch.from_numpy(array) for array in arrays]
    for found, expected in [
        (block_loss(torch, *tensors[:4]), block_loss(np, *arrays[:4])),
        (block_product(torch, *tensors), block_product(np, *arrays)),
    ]:
        for part, expected_part in zip(found, expected, strict=True):
            atol = 1e-5 if dtype == "float32" else 1e-12
            np.testing.assert_allclose(part.numpy(), expected_part, atol=atol)


@pytest.mark.parametrize(("y", "theta"), [(1, [40.0]), (0, [40.0, 0.0, -99.0])])
def test_small_residuals_keep_their_digits(y, theta):
    # sigmoid(40) - 1 and softmax(...) - 1 would be exactly zero in float64
    theta = np.array(theta)[None, :, None]
    arrays = np.ones((1, 1)), np.array([y]), theta, np.ones((1, 1))
    loss, gradient, curvature = block_loss(np, *arrays)
    small = np.exp(-40)
    assert loss[0] == pytest.approx(small, rel=1e-12, abs=0)
    assert gradient[0, 0, 0] == pytest.approx(-small, rel=1e-12, abs=0)
    assert curvature[0, 0] == pytest.approx(small, rel=1e-12, abs=0)


@pytest.mark.parametrize("n_logits", [1, 3])
def test_far_logits_neither_overflow_nor_vanish(n_logits):
    theta = 1e4 * np.array([1.0, -1.0, 0.5])[None, :n_logits, None]
    features, y = np.array([[1.0], [-1.0]]), np.array([0, 0])
    loss, gradient, curvature = block_loss(np, features, y, theta, np.ones((1, 2)))
    # one row is on the wrong side by 1e4 (one logit), or by 2e4
    assert loss[0] == pytest.approx(1e4 if n_logits == 1 else 2e4)
    assert np.isfinite(gradient).all()
    assert np.isfinite(curvature).all()
