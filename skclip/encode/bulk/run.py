"""Embedding a whole collection into Parquet files: resumable, here or on a Dask cluster."""

from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from skclip.encode.bulk.interrupts import Interrupts, RunInterrupted
from skclip.encode.bulk.parts import is_begun, locked, remove_vectors
from skclip.encode.bulk.pieces import Parts, PieceTimer
from skclip.inputs.collections.parquet import import_parquet
from skclip.inputs.collections.rows import select

ROWS_PER_PART = 4096
# a part of a run's description: increase it when new parts differ from old ones in their content
FORMAT = 1


@dataclass(frozen=True)
class Written:
    """What a run has written.

    Parameters
    ----------
    n_rows : int
        Rows of all parts.
    n_rows_before : int
        Rows that an earlier run had embedded.
    n_errors : int
        Rows of all parts whose image could not be read.
    """

    n_rows: int
    n_rows_before: int
    n_errors: int


def embed_collection(
    collection,
    out,
    recipe,
    *,
    rows_per_part=ROWS_PER_PART,
    scheduler=None,
    overwrite=False,
    verbose=0,
    interrupts=None,
):
    """Embed a collection into a directory of Parquet files, or resume a run that was stopped.

    Parameters
    ----------
    collection : Collection
        What `skclip.inputs.collections.collection.open_collection` returns.
    out : str or Path
        The directory. Its files ``part-00000.parquet`` and so on hold the columns ``id``, ``path``
        (null for bytes), ``vector`` (a list of fixed size of float32; NaN after an error) and
        ``error`` (null if there is none), in the order of the collection.
    recipe : Recipe
    rows_per_part : int, default=4096
        Rows of one file.
    scheduler : str or None, default=None
        The address of a Dask scheduler whose workers embed; None embeds here.
    overwrite : bool, default=False
        Whether to remove the files of an earlier run in `out` first.
    verbose : int, default=0
        Above 0 a progress bar is shown; with a scheduler it advances by whole files.
    interrupts : Interrupts or None, default=None
        What turns signals into a KeyboardInterrupt between two batches. With None, and with a
        scheduler, signals have their ordinary effect.

    Returns
    -------
    written : Written

    Raises
    ------
    RunInterrupted
        After a KeyboardInterrupt. What was embedded in this process is kept.
    OSError
        If a file cannot be written. What was written before is kept.
    ValueError
        If `out` contains the vectors of another run or other files, or another run is writing to
        it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skclip.encode.bulk.recipe import Recipe
    >>> from skclip.encode.bulk.run import embed_collection
    >>> from skclip.inputs.collections.collection import open_collection
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for color in ("red", "blue"):
    ...         Image.new("RGB", (8, 8), color).save(Path(folder, f"{color}.png"))
    ...     collection = open_collection([folder])
    ...     embed_collection(collection, Path(folder, "vectors.parquet"), Recipe("skclip/tiny"))
    Written(n_rows=2, n_rows_before=0, n_errors=0)
    """
    if rows_per_part < 1:
        raise ValueError(f"rows_per_part must be at least 1, got {rows_per_part}")
    import_parquet()
    out = Path(out)
    interrupts = Interrupts() if interrupts is None else interrupts
    with locked(out), _place(recipe, scheduler) as place:
        # loading the model takes seconds, and a finished run or another one can do without
        resumed = is_begun(out) and not overwrite
        described = place.describe() if resumed else place.check()
        run = {
            "format": FORMAT,
            **described,
            "rows": len(collection),
            "rows_per_part": rows_per_part,
            "inputs": collection.digest(),
        }
        if overwrite:
            remove_vectors(out)
        parts = Parts(out, run)
        n_rows_before = parts.n_rows
        if parts.unfinished:
            # a cluster returns whole parts, which take too long to wait for
            deferred = interrupts.deferred() if scheduler is None else nullcontext()
            with tqdm(
                total=len(collection),
                initial=n_rows_before,
                unit="image",
                # the average speed: threads finish batches at nearly the same time, and rows that a
                # store has come in bursts, so the last intervals say little about the time left
                smoothing=0,
                disable=not verbose,
            ) as progress:
                try:
                    if resumed:
                        place.check()
                    jobs = _jobs(collection, parts)
                    with deferred, closing(place.embed_all(jobs, described)) as done:
                        _take(done, parts, progress.update, interrupts.check)
                except KeyboardInterrupt:
                    kept = f"{parts.n_rows} of {len(collection)} rows are kept"
                    raise RunInterrupted(kept) from None
    return Written(len(collection), n_rows_before, sum(parts.n_errors.values()))


def _jobs(collection, parts):
    """Yield (part, ids and paths of its rows, rows that are missing), images of these, by part."""
    for index in list(parts.unfinished):
        part = parts.begin(index)
        rows = collection.rows(part.start, part.start + len(part.is_done))
        missing = np.flatnonzero(~part.is_done)
        if len(missing):
            yield (part, rows, missing), select(rows.images, missing)
        else:
            parts.finish(part, rows)


def _take(done, parts, advance, check):
    """Write what is embedded: whole parts, and now and then the first rows of a part.

    Parameters
    ----------
    done : iterator
        Of the keys that `_jobs` yields, each with the batches of its images.
    parts : Parts
    advance : callable
        Is called with the number of rows of each batch.
    check : callable
        Is called after each batch. If it raises an exception, nothing is lost.
    """
    timer = PieceTimer()
    for (part, rows, missing), batches in done:
        try:
            for numbers, vectors, errors in batches:
                errors = {int(missing[number]): cause for number, cause in errors.items()}
                part.add(missing[numbers], vectors, errors)
                advance(len(numbers))
                if timer.is_due() and not part.is_done.all():
                    timer.restart(part.keep())
                check()
            parts.finish(part, rows)
        except BaseException:
            part.keep()
            raise
        timer.restart()


@contextmanager
def _place(recipe, scheduler):
    """Yield `Workers` of a cluster, or `ThisProcess`."""
    if scheduler is None:
        yield ThisProcess(recipe)
        return
    from skclip.encode.bulk.cluster import cluster

    with cluster(scheduler, recipe) as workers:
        yield workers


class ThisProcess:
    """The place where images are embedded without a cluster.

    Parameters
    ----------
    recipe : Recipe
    """

    def __init__(self, recipe):
        self._recipe = recipe

    def describe(self):
        """Return what the recipe's `describe` returns."""
        return self._recipe.describe()

    def check(self):
        """Return what the recipe's `check` returns."""
        return self._recipe.check()

    def embed_all(self, jobs, described):
        """Yield (key, batches) for each job.

        Parameters
        ----------
        jobs : iterator of (key, images)
            The next one is taken when the last one is done.
        described : dict
            What `describe` or `check` returned.

        Yields
        ------
        key : object
        batches : iterator
            What the recipe's `embed_in_batches` yields.
        """
        for key, images in jobs:
            with closing(self._recipe.embed_in_batches(images, described)) as batches:
                yield key, batches
