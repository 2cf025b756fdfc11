"""Threads that read ahead of the model, and threads that each run it on batches of their own."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice

import joblib
import torch
from threadpoolctl import ThreadpoolController


def free_cores():
    """Return how many cores are ours: joblib lowers torch's number in its worker processes."""
    return torch.get_num_threads()


@contextmanager
def reading_threads(n_jobs=None):
    """Yield a pool of threads that read; None means one for each free core."""
    n_threads = free_cores() if n_jobs is None else joblib.effective_n_jobs(n_jobs)
    with _pool(n_threads, "skclip-read") as pool:
        yield pool


@contextmanager
def computing_threads(n_threads):
    """Yield a pool whose threads run one operation on one core each; 1 is the caller's own thread.

    Threads that each take whole batches need not wait for one another after every operation, as
    those of one operation must; nor for a core that a reading thread holds at the moment.
    """
    if n_threads == 1:
        yield _CallersThread()
        return
    with _pool(n_threads, "skclip-compute", initializer=_one_core_for_this_thread) as pool:
        yield pool


def ahead(pool, function, items, batch_size, n_ahead=2):
    """Yield lists of items and of `function`'s results, in order, computed in `pool`.

    At most `n_ahead` batches of results wait to be taken.
    """
    items = iter(items)
    waiting = deque()
    while True:
        while len(waiting) <= n_ahead and (batch := list(islice(items, batch_size))):
            waiting.append((batch, [pool.submit(function, item) for item in batch]))
        if not waiting:
            return
        batch, futures = waiting.popleft()
        yield batch, [future.result() for future in futures]


def in_order(pool, function, batches, n_ahead):
    """Yield each batch and the future of ``function(batch)``, in order, done or about to be."""
    waiting = deque()
    for batch in batches:
        waiting.append((batch, pool.submit(function, batch)))
        if len(waiting) > n_ahead:
            yield waiting.popleft()
    yield from waiting


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


@contextmanager
def _pool(n_threads, name, **options):
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix=name, **options)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class _CallersThread:
    def submit(self, function, *args):
        future = Future()
        future.set_result(function(*args))
        return future


@lru_cache(1)
def _openmp():
    return ThreadpoolController().select(user_api="openmp")


def _one_core_for_this_thread():
    # OpenMP keeps this number for each thread; torch.set_num_threads would change it for all
    _openmp().limit(limits=1)
