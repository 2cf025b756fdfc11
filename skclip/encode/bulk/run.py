"""Whole collections to Parquet files: resumable, every row once, here or on a cluster."""

import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
from tqdm.auto import tqdm

from skclip.checkpoints.resolve import DEFAULT_MODEL
from skclip.encode.devices import resolve_dtype
from skclip.encode.encoder import load_encoder
from skclip.encode.images import embed_readable_images
from skclip.encode.vectors import normalize_rows
from skclip.inputs.collections.parquet import import_parquet
from skclip.inputs.images import as_images

ROWS_PER_PART = 4096
# part of what tells two runs apart: raise it when parts of the old and the new kind differ
FORMAT = 1

_METADATA_KEY = b"skclip"
_LOCK = "_lock"
_PART = re.compile(r"part-(\d{5,})\.parquet")
_UNFINISHED = re.compile(r"\.part-\d{5,}\.parquet\.tmp")


@dataclass(frozen=True)
class Recipe:
    """How images become vectors; pickles to a few names.

    Parameters
    ----------
    model : str, default="openai/clip-vit-base-patch32"
    features : {"projected", "pooled"}, default="projected"
    normalize : bool, default=True
    batch_size : int or "auto", default="auto"
    device : str, default="auto"
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
    n_jobs : int or None, default=None
    cache : str or None, default=None
        All as in `CLIPImageEmbedder`.
    preprocess : {"fast", "exact"}, default="fast"
    compile : bool, default=False
        Both as in `load_encoder`.
    """

    model: str = DEFAULT_MODEL
    features: str = "projected"
    normalize: bool = True
    batch_size: int | str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    n_jobs: int | None = None
    cache: str | None = None
    preprocess: str = "fast"
    compile: bool = False

    def describe(self):
        """Load the model and return all that decides about the vectors' values, as a dict."""
        encoder = self._load()
        dtype = resolve_dtype(self.dtype, encoder.device)
        return {
            "model": encoder.fingerprint,
            "features": self.features,
            "normalize": self.normalize,
            "dtype": str(dtype).removeprefix("torch."),
            "variant": encoder.variant,
        }

    def check(self):
        """Return what `describe` says, after a trial that tells of an impossible option."""
        described = self.describe()
        self.embed([None], described)
        return described

    def embed(self, images, described, advance=lambda n_rows: None):
        """Embed images.

        Parameters
        ----------
        images : sequence
            What `skclip.inputs.images.as_images` takes. Equal items of a list are embedded once.
        described : dict
            What `describe` said, maybe elsewhere.
        advance : callable, default=does nothing
            Is called with the number of images that were done since the last call.

        Returns
        -------
        vectors : ndarray of shape (n_images, n_features), float32
            NaN where the image could not be read.
        errors : dict of int to str
            Row and cause.

        Raises
        ------
        ValueError
            If the model, or the version of Pillow, is not the one described.
        """
        here = self.describe()
        if here != described:
            raise ValueError(
                f"what makes the vectors changed during the run: {_difference(described, here)}; "
                "make it the same (on every worker of a cluster) and run the same command again"
            )
        vectors, errors = embed_readable_images(
            self._load(),
            as_images(images),
            features=self.features,
            batch_size=self.batch_size,
            n_jobs=self.n_jobs,
            cache=self.cache,
            advance=advance,
        )
        return normalize_rows(vectors) if self.normalize else vectors, errors

    def _load(self):
        return load_encoder(
            self.model,
            device=self.device,
            dtype=self.dtype,
            preprocess=self.preprocess,
            compile=self.compile,
        )


@dataclass(frozen=True)
class Written:
    """What a run leaves: rows in all, those that were there before, those with an error."""

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
    """Embed a collection into a directory of Parquet files, and go on where a run was stopped.

    Parameters
    ----------
    collection : Collection
        Of `skclip.inputs.collections.collection.open_collection`.
    out : str or Path
        The directory. Its files ``part-00000.parquet`` and so on hold the columns ``id``, ``path``
        (null for bytes), ``vector`` (a list of fixed size of float32; NaN after an error) and
        ``error`` (null if there is none), in the order of the collection.
    recipe : Recipe
    rows_per_part : int, default=4096
        Rows of one file. What a stopped run had of an unfinished file is embedded again.
    scheduler : str or None, default=None
        The address of a Dask scheduler whose workers embed; None embeds here.
    overwrite : bool, default=False
        Whether to begin with the removal of what another run has left in `out`.
    verbose : int, default=0
        Above 0 a progress bar is shown; with a scheduler it moves a file at a time.

    Returns
    -------
    written : Written

    Raises
    ------
    ValueError
        If `out` holds another run's vectors or anything else, or another run is writing to it.

    Notes
    -----
    Each file is written under another name, brought to the disk and renamed, and carries in its
    metadata what run it belongs to: the model's fingerprint, the recipe, a digest of the
    collection. So there is nothing else that could be out of step with the files.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skclip.encode.bulk.run import Recipe, embed_collection
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
    with _locked(out), _workplace(recipe, scheduler) as (described, embed_all):
        run = {
            "format": FORMAT,
            **described,
            "rows": len(collection),
            "rows_per_part": rows_per_part,
            "inputs": collection.digest(),
        }
        if overwrite:
            _remove_parts(out)
        n_errors = _finished_parts(out, run)
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
                _write_part(out, index, waiting.pop(index), vectors, errors, run)
                n_errors[index] = len(errors)
                n_written += len(vectors)
                progress.update(n_written - progress.n)  # a cluster does not say how far it is
    return Written(len(collection), n_rows_before, sum(n_errors.values()))


@contextmanager
def _workplace(recipe, scheduler):
    """Yield the recipe's description and a generator function from jobs to results."""
    if scheduler is not None:
        from skclip.encode.bulk.cluster import cluster

        with cluster(scheduler, recipe) as place:
            yield place
        return
    described = recipe.check()

    def embed_all(jobs, advance):
        for index, images in jobs:
            yield index, recipe.embed(images, described, advance)

    yield described, embed_all


@contextmanager
def _locked(out):
    """Have the directory for this process alone."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a directory or a new name, got the file {str(out)!r}")
    existed = out.is_dir()
    if existed:
        _check_names(out)
    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ValueError(
            f"another run is writing to {str(out)!r}; wait until it ends, or choose another out"
        ) from None
    try:
        for name in _check_names(out):
            if _UNFINISHED.fullmatch(name):
                (out / name).unlink()
        yield
    finally:
        lock.release()
        if not existed and os.listdir(out) == [_LOCK]:  # it failed before there was anything
            (out / _LOCK).unlink()
            out.rmdir()


def _check_names(out):
    names = sorted(os.listdir(out))
    for name in names:
        if not (name == _LOCK or _PART.fullmatch(name) or _UNFINISHED.fullmatch(name)):
            raise ValueError(
                f"the directory {str(out)!r} holds {name!r}, which is no part of a run; choose "
                "another out"
            )
    return names


def _parts(out):
    """Yield index, path, and metadata: None when the file is damaged."""
    from pyarrow import ArrowException

    for name in sorted(os.listdir(out)):
        match = _PART.fullmatch(name)
        if not match:
            continue
        try:
            metadata = import_parquet().read_metadata(out / name)
        except (ArrowException, OSError):
            metadata = None
        if metadata is not None and _METADATA_KEY not in (metadata.metadata or {}):
            raise ValueError(f"{str(out / name)!r} was not written by skclip; choose another out")
        yield int(match[1]), out / name, metadata


def _remove_parts(out):
    for _, path, _ in list(_parts(out)):
        path.unlink()


def _finished_parts(out, run):
    """Return index -> number of errors; the parts of another run are an error."""
    n_errors = {}
    for index, path, metadata in _parts(out):
        if metadata is None:
            continue  # it is written again
        before = json.loads(metadata.metadata[_METADATA_KEY])
        if "rows_per_shard" in before:  # its name in files that earlier versions wrote
            before["rows_per_part"] = before.pop("rows_per_shard")
        if before != run:
            raise ValueError(
                f"{str(path.parent)!r} holds the vectors of another run: "
                f"{_difference(before, run)}; choose another out, or overwrite it to start anew"
            )
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        columns = [group.column(group.num_columns - 1) for group in groups]
        n_nulls = sum(column.statistics.null_count for column in columns)
        n_errors[index] = metadata.num_rows - n_nulls
    return n_errors


def _difference(before, now):
    said = {
        "model": "another model",
        "rows": "another number of images",
        "inputs": "images with other names, sizes or times of change",
        "variant": "another way to prepare images",
    }
    name = next(name for name in (*now, *before) if before.get(name) != now.get(name))
    return f"{said.get(name, f'another {name}')} ({before.get(name)}, now {now.get(name)})"


def _write_part(out, index, rows, vectors, errors, run):
    import pyarrow as pa

    width = vectors.shape[1]
    columns = {
        "id": pa.array(map(_encodable, rows.ids), pa.string()),
        "path": pa.array(map(_encodable, rows.paths), pa.string()),
        # rows of NaN are not null: up to version 23 pyarrow reads no fixed-size list that may be
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width),
        # the last, see `_finished_parts`
        "error": pa.array([_encodable(errors.get(i)) for i in range(len(vectors))], pa.string()),
    }
    metadata = {_METADATA_KEY: json.dumps(run)}
    table = pa.table(columns).replace_schema_metadata(metadata)
    path = out / f"part-{index:05}.parquet"
    unfinished = out / f".{path.name}.tmp"
    try:
        with open(unfinished, "wb") as stream:
            import_parquet().write_table(table, stream, use_dictionary=["error"])
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _encodable(text):
    """Return a name that is not of valid UTF-8, as files may have, with escapes."""
    return text if text is None else text.encode("utf-8", "backslashreplace").decode()
