"""The minimization of one fit, which asks for what it needs."""

import numpy as np
import pytest

from skclip.solvers.minimum import Metric, Point, Request, approach, minimize, search

PENALTY = np.array([0.1, 0.2, 0.0])
HESSIAN = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 0.5]])
CENTER = np.array([1.0, -2.0, 3.0])
EXACT = np.linalg.solve(HESSIAN + np.diag(PENALTY), HESSIAN @ CENTER)


def quadratic(request):
    """Answer a request for a loss that is a quadratic."""
    if request.direction is not None:
        return request.direction @ HESSIAN
    away = request.theta[0] - CENTER
    gradient = HESSIAN @ away
    loss = 1 + 0.5 * away @ gradient
    return Point(request.theta, loss, gradient[None], np.ones(1), request.dtype)


def answer(generator, function=quadratic):
    """Run a generator; return what it returns, and its requests."""
    requests = [next(generator)]
    while True:
        try:
            requests.append(generator.send(function(requests[-1])))
        except StopIteration as end:
            return end.value, requests


def start(dtype):
    return quadratic(Request(np.zeros((1, 3)), np.dtype(dtype)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_end_is_checked_in_float64(dtype):
    metric = Metric(PENALTY, np.diag(HESSIAN))
    minimum, requests = answer(minimize(start(dtype), None, metric, 0, tol=1e-20, max_iter=100))
    assert minimum.converged
    assert minimum.point.dtype == np.float64
    np.testing.assert_allclose(minimum.point.theta[0], EXACT, rtol=1e-9)
    assert minimum.n_iter == len(requests) - (dtype == "float32")
    assert {str(r.dtype) for r in requests} == {dtype, "float64"}


def test_a_first_step_that_leads_down_is_taken():
    metric = Metric(PENALTY, np.diag(HESSIAN))
    step = EXACT[None]
    minimum, requests = answer(minimize(start("float64"), step, metric, 0, tol=1e-10, max_iter=100))
    assert minimum.converged
    np.testing.assert_allclose(requests[0].theta, step)
    assert len(requests) == 1
    uphill, requests = answer(
        minimize(
            start("float64"), -step, Metric(PENALTY, np.diag(HESSIAN)), 0, tol=1e-10, max_iter=100
        )
    )
    assert uphill.converged
    assert not np.array_equal(requests[0].theta, -step)


def test_max_iter_counts_the_steps_before():
    metric = Metric(PENALTY, np.diag(HESSIAN))
    minimum, _ = answer(minimize(start("float64"), None, metric, 5, tol=0, max_iter=6))
    assert not minimum.converged
    assert minimum.n_iter == 6


def test_the_metric_reproduces_the_last_step():
    metric = Metric(PENALTY, np.diag(HESSIAN))
    old, new = start("float64"), quadratic(Request(np.ones((1, 3)), np.dtype("float64")))
    metric.remember(old, new)
    change = metric.objective(new)[1] - metric.objective(old)[1]
    np.testing.assert_allclose(metric.solve(change, np.ones(1)), new.theta, rtol=1e-12)


def test_a_step_that_is_too_long_is_shortened():
    metric = Metric(PENALTY, np.diag(HESSIAN))
    point = start("float64")
    value, gradient = metric.objective(point)
    found, requests = answer(search(point, value, gradient, 50 * EXACT[None], metric))
    assert metric.objective(found)[0] < value
    assert 1 < len(requests) < 5


def test_a_loss_that_is_not_finite_is_stepped_back_from():
    metric = Metric(PENALTY, np.diag(HESSIAN))

    def broken(request):
        point = quadratic(request)
        if np.abs(request.theta).max() < 0.01:
            return point
        return Point(point.theta, np.nan, point.gradient * np.nan, np.ones(1), point.dtype)

    point, _ = answer(approach(start("float64"), None, metric, 0, tol=0, max_iter=1), broken)
    assert not np.isfinite(point[0].loss) or np.abs(point[0].theta).max() < 0.01
    assert np.isfinite(point[0].loss)


@pytest.mark.parametrize("is_hidden", [True, False])
def test_where_rounding_hides_every_decrease_the_fit_has_not_converged(is_hidden):
    """A loss that claims to fall and never does."""

    def stuck(request):
        if request.direction is not None:
            return request.direction
        lies = np.ones((1, 3)) if is_hidden else 1e-9 * np.ones((1, 3))
        return Point(
            request.theta, 1 + np.abs(request.theta).sum(), lies, np.ones(1), request.dtype
        )

    point = stuck(Request(np.zeros((1, 3)), np.dtype("float64")))
    metric = Metric(np.zeros(3), np.ones(3))
    minimum, _ = answer(minimize(point, None, metric, 0, tol=0, max_iter=50), stuck)
    assert minimum.converged != is_hidden
