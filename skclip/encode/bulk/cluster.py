"""Embedding on the workers of a Dask cluster."""

import os
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from skclip._warnings import warn
from skclip.checkpoints.models import list_models

_PARTS_PER_WORKER = 2  # one that is embedded, and the next one


@contextmanager
def cluster(address, recipe):
    """Connect to a Dask cluster whose workers embed images.

    Parameters
    ----------
    address : str
        The scheduler's address, such as "tcp://10.0.0.1:8786".
    recipe : Recipe

    Yields
    ------
    described : dict
        What the recipe's `check` returns on a worker.
    embed_all : callable
        A generator function ``embed_all(jobs, advance)``. `jobs` is an iterator of (key, images),
        from which a few are taken at a time; `advance` is never called. It yields (key, result of
        the recipe's `embed`), in the order of completion.

    Raises
    ------
    ImportError
        If Dask is not installed.
    OSError
        If the cluster cannot be reached, the connection breaks, or a job kills its workers.

    Warns
    -----
    RuntimeWarning
        If the cluster has no workers yet. The call then waits for the first one.

    Notes
    -----
    Dask gives the jobs of a worker that dies to other workers. Vectors are returned to the caller,
    so workers need access to the images and the model, but no folder to write to.
    """
    try:
        from dask.distributed import Client, KilledWorker
    except ImportError as error:
        raise ImportError(
            "a Dask scheduler needs dask.distributed; install it with: pip install 'skclip[dask]'"
        ) from error
    recipe = _with_absolute_paths(recipe)
    try:
        client = Client(address, set_as_default=False)
    except OSError as error:
        raise OSError(f"no Dask scheduler answers at {address!r}: {error}") from error

    with client:
        if not client.nthreads():
            warn(
                f"the Dask scheduler at {address!r} has no workers yet, and work begins with the "
                f"first one; to start one: dask worker {address}",
                RuntimeWarning,
            )
        try:
            described = client.submit(_check, recipe, pure=False).result()
            # "auto" may mean something else on another worker
            recipe = replace(recipe, dtype=described["dtype"])
            yield described, partial(_embed_all, client, recipe, described)
        except KilledWorker as error:
            raise OSError(
                f"the same images were on every worker that died ({error}); start workers with "
                "more memory, or lower batch_size or rows_per_part"
            ) from error
        except CancelledError as error:
            raise OSError(f"the connection to the Dask scheduler at {address!r} broke") from error


def _embed_all(client, recipe, described, jobs, advance):
    """Yield (key, result of the recipe's `embed`) for each job, in the order of completion.

    `advance` is not called, because workers report nothing before a job is done.
    """
    from dask.distributed import as_completed

    keys, completed = {}, as_completed(loop=client.loop)
    _submit(client, recipe, described, jobs, keys, completed)
    for future in completed:
        yield keys.pop(future), future.result()
        future.release()
        _submit(client, recipe, described, jobs, keys, completed)


def _submit(client, recipe, described, jobs, keys, completed):
    """Submit jobs from the iterator `jobs` until there are enough for each worker."""
    for key, images in jobs:
        future = client.submit(_embed, recipe, images, described, pure=False)
        keys[future] = key
        completed.add(future)
        if len(keys) >= _PARTS_PER_WORKER * max(len(client.nthreads()), 1):
            return


def _check(recipe):
    return recipe.check()


def _embed(recipe, images, described):
    return recipe.embed(images, described)


def _with_absolute_paths(recipe):
    model, cache = recipe.model, recipe.cache
    if list_models().get(model) != "bundled" and os.path.exists(model):
        model = os.path.abspath(model)
    if cache not in (None, "memory"):
        cache = os.path.abspath(os.path.expanduser(cache))
    return replace(recipe, model=model, cache=cache)
