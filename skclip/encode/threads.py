"""Threads that read ahead of the model, and threads that each run it on batches of their own."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import joblib
import torch
from threadpoolctl import ThreadpoolController


def free_cores():
    """Return how many cores this process may use; joblib gives its worker processes fewer."""
    return torch.get_num_threads()


def plan_batches(n_items, batch_size, most, n_threads):
    """Choose the batch size, and how many threads run the model.

    Parameters
    ----------
    n_items : int
    batch_size : int or "auto"
        "auto" is at most `most`, so that all threads get equally many batches.
    most : int
        The largest batch that is of use.
    n_threads : int or None
        How many threads may run the model at once; None is one for each free core.

    Returns
    -------
    batch_size, n_threads : int

    Examples
    --------
    >>> from skclip.encode.threads import plan_batches
    >>> plan_batches(64, "auto", most=20, n_threads=2)
    (16, 2)
    >>> plan_batches(1, "auto", most=20, n_threads=2)
    (1, 1)
    """
    n_threads = n_threads or free_cores()
    if batch_size == "auto":
        batch_size = even_batch_size(n_items, most, n_threads)
    return batch_size, min(n_threads, -(-n_items // batch_size))


def even_batch_size(n_items, most, n_threads):
    """Return a batch size of at most `most` with which all threads get equally many batches.

    Examples
    --------
    >>> from skclip.encode.threads import even_batch_size
    >>> even_batch_size(64, most=20, n_threads=2)
    16
    """
    n_rounds = -(-n_items // (most * n_threads))
    return max(1, -(-n_items // (n_rounds * n_threads)))


def read_and_compute(batches, read, compute, *, n_jobs, n_threads):
    """Yield ``compute(batch, [read(item) for item in batch])`` for each batch, in order.

    While the model computes, the items of the next few batches are read.

    Parameters
    ----------
    batches : iterable of list
        Is asked for one batch at a time, in the caller's thread.
    read : callable
        Runs in reading threads.
    compute : callable
        Runs in `n_threads` threads.
    n_jobs : int or None
        Number of reading threads, as joblib counts; None is one for each free core.
    n_threads : int
        As for `compute_in_order`.
    """
    with _reading_threads(n_jobs) as readers:
        read_batches = _read_ahead(readers, read, batches, n_ahead=1 + n_threads)
        yield from compute_in_order(compute, read_batches, n_threads)


def compute_in_order(function, batches, n_threads):
    """Yield ``function(*batch)`` for each batch, in order, computed in several threads.

    Parameters
    ----------
    function : callable
    batches : iterable of tuple
    n_threads : int
        With 1, the caller's thread computes. Otherwise each thread runs every operation on one
        core. Threads that each take whole batches need not wait for one another after every
        operation, as those of one operation must; nor for a core that a reading thread occupies.
    """
    if n_threads == 1:
        for batch in batches:
            yield function(*batch)
        return
    with _threads(n_threads, "skclip-compute", initializer=_use_one_core) as pool:
        waiting = deque()
        for batch in batches:
            waiting.append(pool.submit(function, *batch))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def map_in_threads(function, items, n_jobs):
    """Return ``function(item)`` for each item, in a list, computed in reading threads."""
    with _reading_threads(n_jobs) as pool:
        return list(pool.map(function, items))


def _read_ahead(pool, read, batches, n_ahead):
    """Yield each batch with what `read` makes of its items; at most `n_ahead` batches wait."""
    waiting = deque()
    for batch in batches:
        waiting.append((batch, [pool.submit(read, item) for item in batch]))
        if len(waiting) > n_ahead:
            yield _finished(*waiting.popleft())
    while waiting:
        yield _finished(*waiting.popleft())


def _finished(batch, futures):
    return batch, [future.result() for future in futures]


@contextmanager
def _threads(n_threads, name, **options):
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix=name, **options)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _reading_threads(n_jobs):
    n_threads = free_cores() if n_jobs is None else joblib.effective_n_jobs(n_jobs)
    return _threads(n_threads, "skclip-read")


@lru_cache(1)
def _openmp():
    return ThreadpoolController().select(user_api="openmp")


def _use_one_core():
    # OpenMP keeps this number for each thread; torch.set_num_threads would change it for all
    _openmp().limit(limits=1)
