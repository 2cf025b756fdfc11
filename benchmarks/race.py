"""Contestants in turns on the same items, and what the tables say of them."""

import gc
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class Timing:
    """One contestant's seconds, and what it returned last."""

    seconds: list
    n_items: int
    value: object

    @property
    def median(self):
        return float(np.median(self.seconds))

    @property
    def rate(self):
        """Items a second, from the median."""
        return self.n_items / self.median


def race(contestants, items, repeats, *, warm_up=64, fewer=None):
    """Time contestants round-robin, so that noise of the machine hits all alike.

    Parameters
    ----------
    contestants : dict of str to callable
        Each is called with a list of items.
    items : list
    repeats : int
    warm_up : int, default=64
        Items of one run that is not counted.
    fewer : dict of str to int, default=None
        Contestants that get only so many of the items.

    Returns
    -------
    dict of str to Timing
    """
    n_threads = torch.get_num_threads()
    fewer = fewer or {}
    names = list(contestants)
    timings = {}
    for name in names:
        own = items[: fewer.get(name, len(items))]
        contestants[name](own[:warm_up])
        torch.set_num_threads(n_threads)
        timings[name] = Timing([], len(own), None)
    for repeat in range(repeats):
        # another one begins in each round
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            own = items[: timings[name].n_items]
            gc.collect()
            start = time.perf_counter()
            timings[name].value = contestants[name](own)
            seconds = time.perf_counter() - start
            torch.set_num_threads(n_threads)  # nobody may leave another number behind
            timings[name].seconds.append(seconds)
            progress = f"{repeat + 1}/{repeats} {name}: {seconds:.3f} s, {len(own) / seconds:.1f}/s"
            print(progress, file=sys.stderr, flush=True)
    return timings


# Rows of the tables -------------------------------------------------------------------------------


def unit(vectors):
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fidelity(vectors, reference):
    """Compare embeddings of unit length, before and after the reference's mean is taken away."""
    vectors, reference = unit(vectors), unit(reference[: len(vectors)])
    centre = reference.mean(axis=0)
    cosine = (vectors * reference).sum(axis=1)
    centred = (unit(vectors - centre) * unit(reference - centre)).sum(axis=1)
    return {
        "cosine: mean": f"{cosine.mean():.6f}",
        "lowest": f"{cosine.min():.6f}",
        "centred cosine: mean": f"{centred.mean():.5f}",
        "lowest ": f"{centred.min():.5f}",  # a column of its own
        "largest difference": f"{np.abs(vectors - reference).max():.1e}",
    }


def speed(name, timing, unit):
    rates = [timing.n_items / seconds for seconds in timing.seconds]
    return {
        "contestant": name,
        unit: f"{timing.rate:.1f}",
        "slowest to fastest": f"{min(rates):.1f} to {max(rates):.1f}",
    }


def fastest(timings, names):
    return max(names, key=lambda name: timings[name].rate)


def ratio_row(what, timings, ours, peers, aim, reference):
    """Our speed over that of the fastest of some peers, and our fidelity."""
    best = fastest(timings, peers)
    return {
        "what": what,
        "against": best,
        "ratio of medians": f"{timings[ours].rate / timings[best].rate:.2f}",
        "aim": aim,
        **fidelity(timings[ours].value, reference),
    }


def table_rows(timings, dtypes, reference, unit="images/s", counted=None):
    """One row a contestant, fastest first, with skclip's speed over its own.

    With `counted` there is a column of that name for the number of items.
    """
    rows = []
    for name in sorted(timings, key=lambda name: -timings[name].rate):
        row = speed(name, timings[name], unit)
        if counted is not None:
            row[counted] = timings[name].n_items
        for dtype in dtypes:
            ratio = timings[f"skclip, {dtype}"].rate / timings[name].rate
            row[f"skclip {dtype} is times as fast"] = f"{ratio:.2f}"
        rows.append({**row, **fidelity(timings[name].value, reference)})
    return rows


def spread(vectors):
    """Mean cosine of different rows: near 1 with random weights, about 0.5 with trained ones."""
    vectors = unit(vectors)
    n_rows = len(vectors)
    return float(((vectors.sum(axis=0) ** 2).sum() - n_rows) / (n_rows * (n_rows - 1)))


def medians(options):
    return (
        f"Medians of {options.repeats} interleaved runs after a short one that is not counted. "
        "Weights are the same for all, and random but for skclip/tiny's."
    )
