"""Grid search on images: with the embedding store, with Pipeline(memory=), with embetter.

    python benchmarks/bench_grid_search.py

About 20 minutes on two cores; `--images 80 --peer-images 20 --candidates 2 --repeats 1` is a quick
trial.
"""

import argparse
import gc
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import numpy as np
import torch
from embetter.multi import ClipEncoder
from embetter.vision import ImageLoader
from images import save_drawings
from joblib.externals.loky import get_reusable_executor
from models import save_vit
from report import write_report
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from timing import fidelity

from skclip import CLIPImageEmbedder, EmbeddingStore

N_FOLDS = 5
N_WARM_UP = 40


def search(estimator, X, y, options, n_jobs):
    prefix = "logisticregression__" if hasattr(estimator, "steps") else ""
    grid = {f"{prefix}C": np.logspace(-2, 3, options.candidates)}
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    return GridSearchCV(estimator, grid, cv=folds, n_jobs=n_jobs).fit(X, y)


def classifier():
    return LogisticRegression(max_iter=1000)


@contextmanager
def counting(embedder):
    """Count the images that a class's `transform` gets in this process."""
    counted, transform = [], embedder.transform

    @wraps(transform)
    def count(self, X, *arguments):
        counted.append(len(X))
        return transform(self, X, *arguments)

    embedder.transform = count
    try:
        yield counted
    finally:
        embedder.transform = transform


class Searches:
    """The ways to embed and search that are compared, each a method that starts from scratch.

    They return the fitted search and how many images went through the model, as far as this process
    can count them.
    """

    def __init__(self, directory, scratch, options):
        self.directory = directory
        self.scratch = scratch
        self.options = options
        self.n_runs = 0
        self.vectors = None

    def fresh(self):
        """Return a path that no earlier run has used."""
        self.n_runs += 1
        return str(self.scratch / f"run-{self.n_runs}")

    def ready(self, X, y, n_jobs):
        self.vectors = CLIPImageEmbedder(self.directory).fit_transform(X)
        return search(classifier(), self.vectors, y, self.options, n_jobs), len(X)

    def store(self, X, y, n_jobs):
        cache = self.fresh()
        pipeline = make_pipeline(CLIPImageEmbedder(self.directory, cache=cache), classifier())
        found = search(pipeline, X, y, self.options, n_jobs)
        return found, EmbeddingStore(cache).cache_info().misses

    def memory(self, X, y, n_jobs):
        embedder = CLIPImageEmbedder(self.directory)
        pipeline = make_pipeline(embedder, classifier(), memory=self.fresh())
        with counting(CLIPImageEmbedder) as counted:
            found = search(pipeline, X, y, self.options, n_jobs)
        return found, sum(counted)

    def embetter(self, X, y, n_jobs):
        encoder = ClipEncoder(str(self.directory), device=torch.device("cpu"))
        pipeline = make_pipeline(ImageLoader(), encoder, classifier())
        with counting(ClipEncoder) as counted:
            found = search(pipeline, X, y, self.options, n_jobs)
        return found, sum(counted)


NAMES = {
    "ready": "embedded once, search on ready vectors",
    "store": "skclip, cache=directory",
    "memory": "skclip without cache, Pipeline(memory=directory)",
    "embetter": "embetter",
}


def time_searches(searches, methods, X, y, settings, repeats):
    """Time searches in turns.

    Parameters
    ----------
    settings : list of (n_jobs, are_running)
        Whether the worker processes already run, with their model loaded, or are started anew.

    Returns
    -------
    dict of (method, setting) to (median seconds, fitted search, number of embedded images)
    """
    turns = [(method, setting) for setting in settings for method in methods]
    seconds = {turn: [] for turn in turns}
    outcome = {}
    n_threads = torch.get_num_threads()
    for repeat in range(repeats):
        start = repeat % len(turns)
        for method, (n_jobs, are_running) in turns[start:] + turns[:start]:
            gc.collect()
            get_reusable_executor().shutdown(wait=True)
            if are_running:
                searches.store(X[:N_WARM_UP], y[:N_WARM_UP], n_jobs)
            begin = time.perf_counter()
            outcome[method, (n_jobs, are_running)] = getattr(searches, method)(X, y, n_jobs)
            taken = time.perf_counter() - begin
            seconds[method, (n_jobs, are_running)].append(taken)
            torch.set_num_threads(n_threads)
            where = jobs(n_jobs, are_running)
            done = f"{repeat + 1}/{repeats} {NAMES[method]}, {where}: {taken:.1f} s"
            print(done, file=sys.stderr, flush=True)
    return {turn: (float(np.median(seconds[turn])), *outcome[turn]) for turn in turns}


def jobs(n_jobs, are_running):
    state = "" if n_jobs == 1 else ", workers running" if are_running else ", workers started anew"
    return f"n_jobs={n_jobs}{state}"


def settings_of(n_jobs):
    """Return the settings that are measured for each number of jobs."""
    pairs = [[(n, True), (n, False)] if n > 1 else [(1, False)] for n in n_jobs]
    return [setting for pair in pairs for setting in pair]


def rows_of(results, n_images, against):
    """Return one row per search, with its time over that of another method in the same setting."""
    rows = []
    for (method, setting), (seconds, found, embedded) in results.items():
        base = results[against, setting]
        scores = found.cv_results_["mean_test_score"] - base[1].cv_results_["mean_test_score"]
        # with the other methods, worker processes are not counted
        is_known = setting[0] == 1 or method in ("ready", "store")
        rows.append(
            {
                "search": NAMES[method],
                "processes": jobs(*setting),
                "seconds": f"{seconds:.1f}",
                f"time over {NAMES[against]}": f"{seconds / base[0]:.2f}",
                "embeddings per image": f"{embedded / n_images:.2f}" if is_known else "not counted",
                "best score": f"{found.best_score_:.3f}",
                "largest difference of scores": f"{np.abs(scores).max():.4f}",
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--peer-images", type=int, default=60)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--peer-jobs", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    n, few = options.images, options.peer_images
    settings, peer_settings = settings_of(options.jobs), settings_of(options.peer_jobs)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        directory = save_vit(folder / "vit-b-32")
        X, y = map(np.array, save_drawings(folder / "images", max(n, few)))
        searches = Searches(directory, folder, options)
        CLIPImageEmbedder(directory).fit_transform(X[:64])  # loads the model
        results = time_searches(
            searches, ["ready", "store"], X[:n], y[:n], settings, options.repeats
        )
        _, found, _ = results["store", settings[0]]
        same = fidelity(found.best_estimator_[0].transform(X[:n]), searches.vectors)
        peers = time_searches(searches, list(NAMES), X[:few], y[:few], peer_settings, 1)
    task = f"{N_FOLDS} folds, {options.candidates} candidates"
    shown = []
    for setting in settings:
        ratio = results["store", setting][0] / results["ready", setting][0]
        what = "skclip with cache over (embedding once + search)"
        shown.append(
            {
                "what": f"{n} images, {task}, {jobs(*setting)}: {what}",
                "ratio of medians": f"{ratio:.3f}",
                "aim": "at most 1.15",
                **same,
            }
        )
    for setting in peer_settings:
        for method in ("memory", "embetter"):
            ratio = peers[method, setting][0] / peers["store", setting][0]
            what = f"{NAMES[method]} over skclip with cache"
            shown.append(
                {
                    "what": f"{few} images, {task}, {jobs(*setting)}: {what}",
                    "ratio of medians": f"{ratio:.1f}",
                }
            )
    write_report(
        "grid_search",
        "Grid search on images, ViT-B/32 in float32",
        shown,
        notes=[
            f"JPEG files of 640x480, `make_pipeline(embedder, LogisticRegression())`, {task} and "
            "the final fit. Every search starts with an empty store. For workers that are started "
            "anew, the time includes importing the libraries and loading the model; those that get "
            "ready vectors need no model. Fidelity compares vectors from the store with computed "
            "ones."
        ],
        sections=[
            (
                f"{n} images, medians of {options.repeats} alternating runs",
                rows_of(results, n, "ready"),
                [],
            ),
            (
                f"{few} images, one run each",
                rows_of(peers, few, "store"),
                [
                    "Fewer images, so that every embedding could be computed and no figure is "
                    "extrapolated. embetter's vectors are not of unit length, so its scores differ."
                ],
            ),
        ],
    )


if __name__ == "__main__":
    main()
