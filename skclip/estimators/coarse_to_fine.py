"""Search for the peak of a score over a grid of values, from coarse to fine.

The search is the one for the penalty in Radford et al. 2021, "Learning Transferable Visual Models
From Natural Language Supervision", appendix A.3.
"""

import numpy as np

# the paper's first values of 96 between 1e-6 and 1e6: two decades apart
N_COARSE = 7


def best_index(scores):
    """Return the position of the best mean score, the first one of equals.

    Parameters
    ----------
    scores : ndarray of shape (n_folds, n_values)
        A column of NaN stands for a value that was not tried.

    Returns
    -------
    index : int

    Raises
    ------
    ValueError
        If no column has a mean.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # of infinities, and their sums
        mean = scores.mean(axis=0)
    if np.isnan(mean).all():
        raise ValueError(
            "scoring gave NaN for every C; check that each test fold holds what the score needs."
        )
    top = np.nanmax(mean)
    # rounding alone can make means of the same fold scores differ in their last digits
    rounding = 1e-12 * abs(top) if np.isfinite(top) else 0
    return int(np.flatnonzero(mean >= top - rounding)[0])


def search_grid(evaluate, n_values, *, exhaustive):
    """Score the values of a grid: all of them, or from coarse to fine around the peak.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(positions, starts)`` takes ascending positions and returns their scores, an
        ndarray of shape (n_folds, n_positions), and a list of what each position found. The entry
        of the best position is passed as ``starts`` to the next call; the first call gets None.
    n_values : int
        Length of the grid.
    exhaustive : bool
        Whether to score all values.

    Returns
    -------
    scores : ndarray of shape (n_folds, n_values)
        NaN where a value was not tried.
    """
    positions = np.arange(n_values)
    if not exhaustive:
        positions = np.unique(np.linspace(0, n_values - 1, N_COARSE).round().astype(int))
    gap = int(np.diff(positions).max(initial=1))
    scores, tried, starts = None, set(), None
    while len(positions):
        new_scores, ends = evaluate(positions, starts)
        if scores is None:
            scores = np.full((len(new_scores), n_values), np.nan)
        scores[:, positions] = new_scores
        tried.update(positions)
        best = best_index(scores)
        if best in positions:
            starts = ends[list(positions).index(best)]
        positions = []
        while gap > 1 and not positions:
            gap = (gap + 1) // 2
            neighbors = (best - gap, best + gap)
            positions = [p for p in neighbors if 0 <= p < n_values and p not in tried]
    return scores
