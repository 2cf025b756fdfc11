"""Embedding a whole collection into Parquet files: resumable, here or on a Dask cluster."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from skclip.encode.bulk.parts import finished_parts, locked, remove_parts, write_part
from skclip.inputs.collections.parquet import import_parquet

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
        Rows of the parts that were complete before the run.
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
        Rows of one file. If a run is stopped, the rows of its unfinished files are embedded again.
    scheduler : str or None, default=None
        The address of a Dask scheduler whose workers embed; None embeds here.
    overwrite : bool, default=False
        Whether to remove the files of an earlier run in `out` first.
    verbose : int, default=0
        Above 0 a progress bar is shown; with a scheduler it advances by whole files.

    Returns
    -------
    written : Written

    Raises
    ------
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
    with locked(out), _embedding(recipe, scheduler) as (described, embed_all):
        run = {
            "format": FORMAT,
            **described,
            "rows": len(collection),
            "rows_per_part": rows_per_part,
            "inputs": collection.digest(),
        }
        if overwrite:
            remove_parts(out)
        n_errors = finished_parts(out, run)
        n_rows_before = sum(min(rows_per_part, run["rows"] - i * rows_per_part) for i in n_errors)

        waiting = {}

        def jobs():
            for index, start in enumerate(range(0, len(collection), rows_per_part)):
                if index not in n_errors:
                    stop = min(start + rows_per_part, len(collection))
                    waiting[index] = collection.rows(start, stop)
                    yield index, waiting[index].images

        with tqdm(
            total=len(collection), initial=n_rows_before, unit="image", disable=not verbose
        ) as progress:
            n_written = n_rows_before
            for index, (vectors, errors) in embed_all(jobs(), progress.update):
                write_part(out, index, waiting.pop(index), vectors, errors, run)
                n_errors[index] = len(errors)
                n_written += len(vectors)
                progress.update(n_written - progress.n)  # a cluster does not call `advance`
    return Written(len(collection), n_rows_before, sum(n_errors.values()))


@contextmanager
def _embedding(recipe, scheduler):
    """Yield (described, embed_all) as `skclip.encode.bulk.cluster.cluster` does, here or there."""
    if scheduler is not None:
        from skclip.encode.bulk.cluster import cluster

        with cluster(scheduler, recipe) as described_and_embed_all:
            yield described_and_embed_all
        return
    described = recipe.check()

    def embed_all(jobs, advance):
        for index, images in jobs:
            yield index, recipe.embed(images, described, advance)

    yield described, embed_all
