"""Threads: the order of results, how far ahead they read, and one core for each."""

import signal
import threading
import time

import pytest
import torch

from skclip.encode.threads import (
    compute_in_order,
    map_in_threads,
    one_ahead,
    read_and_compute,
)


def batches_of(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_results_come_in_order_and_only_a_few_batches_are_read_ahead(n_threads):
    done = []

    def read(item):
        done.append(item)
        return item * item

    def compute(batch, read_items):
        assert read_items == [item * item for item in batch]
        return batch, max(done)

    batches = batches_of(list(range(200)), 4)
    results = read_and_compute(batches, read, compute, n_jobs=3, n_threads=n_threads)
    seen = []
    for batch, furthest in results:
        seen.append(batch)
        # the batches that are being read, those that wait, and those that are computed
        assert furthest < batch[0] + (3 + 2 * n_threads) * 4
    assert seen == batches
    assert sorted(done) == list(range(200))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_batches_are_taken_only_when_they_are_needed(n_threads):
    taken = []

    def batches():
        for i in range(20):
            taken.append(i)
            yield (i,)

    for result in compute_in_order(lambda x: x + 1, batches(), n_threads):
        assert len(taken) <= result + n_threads + 1
    assert len(taken) == 20


@pytest.mark.parametrize("n_threads", [1, 3])
def test_results_of_several_threads_come_in_order(n_threads):
    results = compute_in_order(lambda x: x + 1, [(x,) for x in range(10)], n_threads)
    assert list(results) == list(range(1, 11))


def test_a_computing_thread_has_one_core_and_the_others_keep_theirs():
    before = torch.get_num_threads()
    matrix = torch.randn(256, 256)

    def threads_inside(_):
        return (matrix @ matrix, torch.get_num_threads())[1]

    for inside in compute_in_order(threads_inside, [(0,), (1,)], 2):
        assert inside == 1
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


def test_a_single_thread_is_that_of_the_caller():
    assert [*compute_in_order(threading.get_ident, [()], 1)] == [threading.get_ident()]


def test_an_error_ends_the_threads():
    with pytest.raises(ZeroDivisionError):
        list(compute_in_order(lambda x: 1 // x, [(1,), (0,)], 2))
    assert not [t for t in threading.enumerate() if t.name.startswith("skclip-compute")]


def test_leaving_early_ends_the_threads():
    results = read_and_compute(
        [[1], [2], [3], [4]], lambda x: x, lambda *batch: batch, n_jobs=2, n_threads=2
    )
    assert next(results) == ([1], [1])
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("skclip-")]


def test_one_result_is_computed_ahead():
    started = []

    def compute(item):
        started.append(item)
        return item + 1

    results = one_ahead(compute, iter(range(10)))
    for expected in range(1, 11):
        assert next(results) == expected
        assert max(started) <= expected
    with pytest.raises(StopIteration):
        next(results)
    results = one_ahead(compute, range(10))
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("skclip-ahead")]


def test_map_in_threads_returns_results_in_order():
    assert map_in_threads(lambda x: x + 1, range(5), n_jobs=2) == [1, 2, 3, 4, 5]


def test_an_interrupted_end_does_not_lose_a_running_thread():
    """Otherwise Python would exit while the thread is inside torch, and abort."""
    threads, go_on, started = [], threading.Event(), threading.Barrier(3)

    def compute(number):
        threads.append(threading.current_thread())
        started.wait(60)
        go_on.wait(60)

    def interrupt():
        started.wait(60)
        # the first one ends the waiting for a result, the second one that for the threads
        for _ in range(2):
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupter = threading.Thread(target=interrupt)
    try:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            list(compute_in_order(compute, [(0,), (1,)], 2))
        assert [thread.is_alive() for thread in threads] == [True, True]
    finally:
        interrupter.join()
        signal.signal(signal.SIGINT, handler)
        go_on.set()
        for thread in threads:
            thread.join()
