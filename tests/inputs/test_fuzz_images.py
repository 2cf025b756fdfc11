"""Whatever happens to a file, it is read alike in every way, or refused with an ImageReadError.

tests/scripts/fuzz_images.py does the same for as long as you like.
"""

import sys

import pytest
from damaged_images import OPERATIONS, Worker, damage, good_files
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")

FILES = good_files()


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


@pytest.mark.parametrize("name", FILES)
def test_good_files_are_read(worker, name):
    assert worker.check(FILES[name]) == {"readable": True, "problem": None}


# most of what decides how a file is read is at its start
places = st.floats(0, 1) | st.floats(0, 0.1)
operations = st.tuples(st.sampled_from(OPERATIONS), places, st.integers(0, 1000))


@settings(max_examples=250, derandomize=True)
@given(st.sampled_from(sorted(FILES)), st.lists(operations, min_size=1, max_size=4))
def test_damaged_files_are_read_alike_or_refused(worker, name, operations):
    assert worker.check(damage(FILES[name], operations))["problem"] is None
