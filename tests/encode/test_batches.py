"""How a collection is divided into batches."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from skclip.encode.batches import even_batch_size, plan_batches


def test_a_plan_has_no_more_threads_than_batches():
    assert plan_batches(5, 10, most=64, n_threads=4) == (10, 1)
    assert plan_batches(25, 10, most=64, n_threads=4) == (10, 3)
    assert plan_batches(100, "auto", most=64, n_threads=-1)[1] == torch.get_num_threads()


@given(st.integers(1, 10_000), st.integers(1, 300), st.integers(1, 70))
def test_batches_are_small_enough_and_even(n_items, most, n_threads):
    size = even_batch_size(n_items, most, n_threads)
    assert 1 <= size <= most
    # no thread needs more rounds than with the largest batches
    assert -(-n_items // (size * n_threads)) <= -(-n_items // (most * n_threads))
