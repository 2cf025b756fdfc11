"""The search over a grid, on curves whose peak is known."""

import numpy as np
import pytest

from skclip.estimators.coarse_to_fine import best_index, search_grid


def run_search(curve, exhaustive=False):
    """Search a known curve on one fold; return what was found and the positions tried."""
    tried = []

    def evaluate(positions, starts):
        assert list(positions) == sorted(positions)
        assert (starts is None) == (not tried)
        tried.extend(int(p) for p in positions)
        return np.array([[curve[p] for p in positions]]), [f"end {p}" for p in positions]

    scores = search_grid(evaluate, len(curve), exhaustive=exhaustive)
    assert sorted(np.flatnonzero(~np.isnan(scores[0]))) == sorted(tried)
    assert len(set(tried)) == len(tried)
    return best_index(scores), tried


@pytest.mark.parametrize("n_values", [1, 2, 6, 7, 8, 30, 96, 97])
def test_search_finds_every_single_peak(n_values):
    for peak in range(n_values):
        away = np.arange(n_values) - peak
        for steep in (1, 100, 0.01):
            best, tried = run_search(np.where(away > 0, -steep, 1.0) * away)
            assert best == peak
            # appendix A.3 of the CLIP paper: 7 values, then two for each halving of 16 steps
            assert len(tried) <= 7 + 8
            assert {0, n_values - 1} <= set(tried)


def test_search_of_every_value():
    curve = np.array([0.0, 3, 0, 1, 0, 2, 0, 1, 9, 0])
    assert run_search(curve, exhaustive=True) == (8, list(range(10)))
