"""Time candidates alternately on the same items, and make table rows from the timings."""

import gc
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class Timing:
    """The seconds that one candidate took in each round, and what it returned in the last one."""

    seconds: list
    n_items: int
    result: object

    @property
    def median(self):
        return float(np.median(self.seconds))

    @property
    def rate(self):
        """Items per second, from the median."""
        return self.n_items / self.median


def time_alternately(candidates, items, repeats, *, warm_up=64, fewer=None):
    """Time candidates in turns, so that disturbances of the machine affect all of them alike.

    Parameters
    ----------
    candidates : dict of str to callable
        Each is called with a list of items.
    items : list
    repeats : int
        Number of rounds. Each round starts with another candidate.
    warm_up : int, default=64
        Number of items of a first run that is not counted.
    fewer : dict of str to int, default=None
        Candidates that get only this many of the items.

    Returns
    -------
    dict of str to Timing
    """
    n_threads = torch.get_num_threads()
    fewer = fewer or {}
    names = list(candidates)
    timings = {}
    for name in names:
        own = items[: fewer.get(name, len(items))]
        candidates[name](own[:warm_up])
        torch.set_num_threads(n_threads)
        timings[name] = Timing([], len(own), None)
    for repeat in range(repeats):
        start = repeat % len(names)
        for name in names[start:] + names[:start]:
            own = items[: timings[name].n_items]
            gc.collect()
            begin = time.perf_counter()
            timings[name].result = candidates[name](own)
            seconds = time.perf_counter() - begin
            torch.set_num_threads(n_threads)  # in case the candidate changed it
            timings[name].seconds.append(seconds)
            progress = f"{repeat + 1}/{repeats} {name}: {seconds:.3f} s, {len(own) / seconds:.1f}/s"
            print(progress, file=sys.stderr, flush=True)
    return timings


# Rows of the tables -------------------------------------------------------------------------------


def unit(vectors):
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fidelity(vectors, reference):
    """Compare vectors, scaled to unit length, with the reference's, before and after centering."""
    vectors, reference = unit(vectors), unit(reference[: len(vectors)])
    center = reference.mean(axis=0)
    cosine = (vectors * reference).sum(axis=1)
    centered = (unit(vectors - center) * unit(reference - center)).sum(axis=1)
    return {
        "cosine: mean": f"{cosine.mean():.6f}",
        "lowest": f"{cosine.min():.6f}",
        "centered cosine: mean": f"{centered.mean():.5f}",
        "lowest ": f"{centered.min():.5f}",  # the space makes it a column of its own
        "largest difference": f"{np.abs(vectors - reference).max():.1e}",
    }


def speed(name, timing, unit):
    rates = [timing.n_items / seconds for seconds in timing.seconds]
    return {
        "candidate": name,
        unit: f"{timing.rate:.1f}",
        "slowest to fastest": f"{min(rates):.1f} to {max(rates):.1f}",
    }


def fastest(timings, names):
    return max(names, key=lambda name: timings[name].rate)


def ratio_row(what, timings, ours, peers, aim, reference):
    """Return a row with our speed over that of the fastest of some peers, and our fidelity."""
    best = fastest(timings, peers)
    return {
        "what": what,
        "against": best,
        "ratio of medians": f"{timings[ours].rate / timings[best].rate:.2f}",
        "aim": aim,
        **fidelity(timings[ours].result, reference),
    }


def table_rows(timings, dtypes, reference, unit="images/s", counted=None):
    """Return one row for each candidate, fastest first, with skclip's speed over the candidate's.

    With `counted`, a column of that name gives the number of items.
    """
    rows = []
    for name in sorted(timings, key=lambda name: -timings[name].rate):
        row = speed(name, timings[name], unit)
        if counted is not None:
            row[counted] = timings[name].n_items
        for dtype in dtypes:
            ratio = timings[f"skclip, {dtype}"].rate / timings[name].rate
            row[f"speed of skclip {dtype} over it"] = f"{ratio:.2f}"
        rows.append({**row, **fidelity(timings[name].result, reference)})
    return rows


def spread(vectors):
    """Return the mean cosine of different rows.

    It is near 1 with random weights, and about 0.5 with trained ones.
    """
    vectors = unit(vectors)
    n_rows = len(vectors)
    return float(((vectors.sum(axis=0) ** 2).sum() - n_rows) / (n_rows * (n_rows - 1)))


def medians(options):
    return (
        f"Medians of {options.repeats} alternating runs after a short one that is not counted. "
        "All candidates have the same weights, which are random except for those of skclip/tiny."
    )
