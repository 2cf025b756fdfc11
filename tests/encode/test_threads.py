"""Pools of threads: order, how far they run ahead, and one core for each."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skclip.encode.threads import (
    ahead,
    computing_threads,
    even_batch_size,
    in_order,
    reading_threads,
)


def test_results_come_in_order_and_not_far_ahead():
    done = []

    def work(item):
        done.append(item)
        return item * item

    with reading_threads(3) as pool:
        for batch, results in ahead(pool, work, range(40), 4, n_ahead=2):
            assert results == [item * item for item in batch]
            assert max(done) < batch[0] + 3 * 4
    assert sorted(done) == list(range(40))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_futures_come_in_order(n_threads):
    with computing_threads(n_threads) as pool:
        futures = in_order(pool, lambda x: x + 1, range(10), n_ahead=3)
        assert [(x, future.result()) for x, future in futures] == [(x, x + 1) for x in range(10)]


def test_a_computing_thread_has_one_core_and_the_others_keep_theirs():
    before = torch.get_num_threads()
    matrix = torch.randn(256, 256)
    with computing_threads(2) as pool:
        inside = pool.submit(lambda: (matrix @ matrix, torch.get_num_threads())[1]).result()
        assert inside == 1
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


def test_one_thread_is_the_callers_own():
    with computing_threads(1) as pool:
        assert pool.submit(threading.get_ident).result() == threading.get_ident()


def test_an_error_ends_the_pool():
    def run():
        with computing_threads(2) as pool:
            return [f.result() for _, f in in_order(pool, lambda x: 1 // x, [1, 0], n_ahead=1)]

    with pytest.raises(ZeroDivisionError):
        run()
    assert not [t for t in threading.enumerate() if t.name.startswith("skclip-compute")]


@given(st.integers(1, 10_000), st.integers(1, 300), st.integers(1, 70))
def test_batches_are_small_enough_and_even(n_items, most, n_threads):
    size = even_batch_size(n_items, most, n_threads)
    assert 1 <= size <= most
    # no thread needs more rounds than with the largest batches
    assert -(-n_items // (size * n_threads)) <= -(-n_items // (most * n_threads))
