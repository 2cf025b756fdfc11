"""Embedding on the workers of a Dask cluster."""

import os
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

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
    workers : Workers

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
            yield Workers(client, recipe)
        except KilledWorker as error:
            raise OSError(
                f"the same images were on every worker that died ({error}); start workers with "
                "more memory, or lower batch_size or rows_per_part"
            ) from error
        except CancelledError as error:
            raise OSError(f"the connection to the Dask scheduler at {address!r} broke") from error


class Workers:
    """The workers of a Dask cluster, as `skclip.encode.bulk.run.ThisProcess` is this process.

    Parameters
    ----------
    client : dask.distributed.Client
    recipe : Recipe
    """

    def __init__(self, client, recipe):
        self._client = client
        self._recipe = recipe

    def describe(self):
        """Return what the recipe's `describe` returns on a worker."""
        return self._client.submit(_describe, self._recipe, pure=False).result()

    def check(self):
        """Return what the recipe's `check` returns on a worker."""
        return self._client.submit(_check, self._recipe, pure=False).result()

    def embed_all(self, jobs, described):
        """Yield (key, batches) for each job, in the order of completion.

        Parameters
        ----------
        jobs : iterator of (key, images)
            A few are taken at a time.
        described : dict
            What `describe` or `check` returned.

        Yields
        ------
        key : object
        batches : list
            One batch, as the recipe's `embed_in_batches` yields them, since workers return nothing
            before a job is done.
        """
        from dask.distributed import as_completed

        # "auto" may mean something else on another worker
        recipe = replace(self._recipe, dtype=described["dtype"])
        keys, completed = {}, as_completed(loop=self._client.loop)
        _submit(self._client, recipe, described, jobs, keys, completed)
        for future in completed:
            vectors, errors = future.result()
            yield keys.pop(future), [(np.arange(len(vectors)), vectors, errors)]
            future.release()
            _submit(self._client, recipe, described, jobs, keys, completed)


def _submit(client, recipe, described, jobs, keys, completed):
    """Submit jobs from the iterator `jobs` until there are enough for each worker."""
    for key, images in jobs:
        future = client.submit(_embed, recipe, images, described, pure=False)
        keys[future] = key
        completed.add(future)
        if len(keys) >= _PARTS_PER_WORKER * max(len(client.nthreads()), 1):
            return


def _describe(recipe):
    return recipe.describe()


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
