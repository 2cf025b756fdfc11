"""One pass of many fits: blocks, threads, devices."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from problems import make_problem

from skclip.solvers.minimum import Request
from skclip.solvers.passes import DevicePasses, Passes, blocks
from skclip.solvers.rows import arrange
from skclip.solvers.softmax import block_loss, block_product


def make_passes(n_classes, dtype, n_samples=500):
    X, y, weight = make_problem(n_samples, 6, n_classes)
    folds = np.arange(n_samples) % 3
    rows = arrange(
        X.astype(dtype),
        y,
        n_classes,
        weight,
        fit_intercept=True,
        members=folds != np.arange(3)[:, None],
    )
    weight = rows.weight * (folds[rows.numbers] != np.arange(3)[:, None])
    return rows, weight / weight.sum(axis=1, keepdims=True)


def make_requests(rows, n_fits, dtype, *, products):
    rng = np.random.default_rng(3)
    shape = rows.n_logits, rows.features.shape[1]
    return [
        Request(
            rng.normal(size=shape), np.dtype(dtype), rng.normal(size=shape) if products else None
        )
        for _ in range(n_fits)
    ]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_pass_sums_over_all_rows(monkeypatch, dtype, n_classes, products, n_threads):
    monkeypatch.setattr("skclip.solvers.passes._BLOCK_ROWS", (16, 32))
    monkeypatch.setattr("skclip.solvers.passes._MIN_MULTIPLICATIONS", 0)
    rows, weight = make_passes(n_classes, "float32")
    fits = [2, 0]
    requests = make_requests(rows, 2, dtype, products=products)
    with Passes(rows, weight, n_threads) as passes:
        answers = passes(fits, requests, np.dtype(dtype))
    features = rows.features.astype(np.float64)
    for fit, request, answer in zip(fits, requests, answers, strict=True):
        wide = np, features, rows.y, request.theta[None], weight[[fit]]
        tolerance = {"atol": 1e-5 if dtype == "float32" else 1e-12}
        if products:
            expected = block_product(*wide, request.direction[None])[0][0]
            np.testing.assert_allclose(answer, expected, **tolerance)
        else:
            loss, gradient, curvature = block_loss(*wide)
            assert answer.loss == pytest.approx(loss[0], rel=1e-5)
            np.testing.assert_allclose(answer.gradient, gradient[0], **tolerance)
            np.testing.assert_allclose(answer.curvature, curvature[0], **tolerance)
            assert answer.dtype == dtype


def check_device(device):
    for n_classes in (2, 4):
        rows, weight = make_passes(n_classes, "float32")
        on_device = DevicePasses(rows, weight, device)
        on_device.size = 64  # several blocks
        with Passes(rows, weight, 1) as passes:
            for products in (False, True):
                requests = make_requests(rows, 2, "float64", products=products)
                dtype = np.dtype("float64")
                found, expected = (p([2, 0], requests, dtype) for p in (on_device, passes))
                for one, other in zip(found, expected, strict=True):
                    if products:
                        np.testing.assert_allclose(one, other, atol=1e-12)
                    else:
                        assert one.loss == pytest.approx(other.loss, rel=1e-12)
                        np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-12)
                        np.testing.assert_allclose(one.curvature, other.curvature, atol=1e-12)


def test_passes_of_torch_answer_the_same():
    check_device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_passes_on_cuda_answer_the_same():
    check_device("cuda")


@given(
    weight=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(1, 60)),
        elements=st.sampled_from([0.0, 1.0]),
    ),
    size=st.integers(1, 20),
)
def test_blocks_hold_every_row_once(weight, size):
    edges = blocks(weight, size)
    assert [row for start, stop in edges for row in range(start, stop)] == list(
        range(weight.shape[1])
    )
    assert max(stop - start for start, stop in edges) <= size


def test_blocks_follow_the_folds():
    weight = np.ones((3, 300))
    for fold in range(3):
        weight[fold, 100 * fold : 100 * (fold + 1)] = 0
    assert blocks(weight, 60) == [
        (0, 50),
        (50, 100),
        (100, 150),
        (150, 200),
        (200, 250),
        (250, 300),
    ]
