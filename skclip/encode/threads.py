"""Threads that read ahead of the model, and threads that each run it on batches of their own."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache

import joblib
import torch
from threadpoolctl import ThreadpoolController


def free_cores():
    """Return how many cores this process may use.

    This is torch's number of threads, which joblib lowers in its worker processes.
    """
    return torch.get_num_threads()


def resolve_n_threads(n_threads):
    """Return a number of threads; -1 means one for each free core."""
    return free_cores() if n_threads == -1 else n_threads


def read_and_compute(batches, read, compute, *, n_jobs, n_threads):
    """Yield ``compute(batch, [read(position) for position in batch])`` for each batch, in order.

    While the model computes, the next few batches are read.

    Parameters
    ----------
    batches : iterable of sequence
        Batches of positions. The next one is taken, in the caller's thread, when it is needed.
    read : callable
        From a position to what is read there. Runs in reading threads.
    compute : callable
        From a batch and the list of what was read to a result. Runs in `n_threads` threads.
    n_jobs : int or None
        The number of reading threads, as joblib counts. None means one for each free core.
    n_threads : int
        As for `compute_in_order`.
    """
    with _reading_threads(n_jobs) as readers:
        read_batches = _read_ahead(readers, read, batches, n_ahead=1 + n_threads)
        yield from compute_in_order(compute, read_batches, n_threads)


def compute_in_order(function, arguments, n_threads):
    """Yield ``function(*args)`` for each args of `arguments`, in order, from several threads.

    Parameters
    ----------
    function : callable
    arguments : iterable of tuple
        The next ones are taken, in the caller's thread, when a thread needs them.
    n_threads : int
        With 1, the caller's thread computes. With more, each thread uses one core.

    Notes
    -----
    Threads that each compute whole batches are faster than several threads for each operation.
    These would have to wait for one another after every operation, and for any core that a reading
    thread occupies.
    """
    if n_threads == 1:
        for args in arguments:
            yield function(*args)
        return
    with _threads(n_threads, "skclip-compute", initializer=_use_one_core) as pool:
        futures = (pool.submit(function, *args) for args in arguments)
        for future in _some_ahead(futures, n_threads):
            yield future.result()


def map_in_threads(function, items, n_jobs):
    """Return the list of ``function(item)`` for each item, computed in several threads.

    Parameters
    ----------
    function : callable
    items : iterable
    n_jobs : int or None
        The number of threads, as joblib counts. None means one for each free core.
    """
    with _reading_threads(n_jobs) as pool:
        return list(pool.map(function, items))


def one_ahead(function, arguments):
    """Yield ``function(argument)`` for each argument; the next is computed while one is used."""
    with _threads(1, "skclip-ahead") as pool:
        futures = (pool.submit(function, argument) for argument in arguments)
        for future in _some_ahead(futures, 1):
            yield future.result()


def _read_ahead(pool, read, batches, n_ahead):
    """Return an iterator of (batch, results of `read`), where `n_ahead` batches are read ahead."""
    submitted = ((batch, [pool.submit(read, position) for position in batch]) for batch in batches)
    # not a loop, whose variable would keep what was read in memory until the next batch
    return map(_finished, _some_ahead(submitted, n_ahead))


def _finished(submitted):
    batch, futures = submitted
    return batch, [future.result() for future in futures]


def _some_ahead(iterable, n_ahead):
    """Yield the items of an iterable, each after the `n_ahead` items that follow it were taken."""
    waiting = deque()
    for item in iterable:
        waiting.append(item)
        if len(waiting) > n_ahead:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


class _Pool(ThreadPoolExecutor):
    """A pool that knows which of its tasks are not done."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.not_done = set()

    def submit(self, *args, **options):
        future = super().submit(*args, **options)
        self.not_done.add(future)
        future.add_done_callback(self.not_done.discard)
        return future


@contextmanager
def _threads(n_threads, name, **options):
    pool = _Pool(n_threads, thread_name_prefix=name, **options)
    try:
        yield pool
    finally:
        # Tasks are waited for before threads are. When Ctrl-C interrupts `Thread.join`, Python 3.11
        # and 3.12 take the thread for an ended one, so that Python's exit does not wait for it; and
        # a thread that is inside torch at that time aborts the process.
        pool.shutdown(wait=False, cancel_futures=True)
        wait(list(pool.not_done))
        pool.shutdown()


def _reading_threads(n_jobs):
    n_threads = free_cores() if n_jobs is None else joblib.effective_n_jobs(n_jobs)
    return _threads(n_threads, "skclip-read")


@lru_cache(1)
def _openmp():
    return ThreadpoolController().select(user_api="openmp")


def _use_one_core():
    # OpenMP has this number for each thread; torch.set_num_threads would change it for all threads
    _openmp().limit(limits=1)
