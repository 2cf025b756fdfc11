"""A full store deletes what has not been used for the longest time."""

import numpy as np
import pytest
from store_keys import KEYS, WIDTH, fill, found_in

from skclip.encode.cache import database as database_module
from skclip.encode.cache import memory as memory_module
from skclip.encode.cache.disk import EmbeddingStore
from skclip.encode.cache.memory import MemoryStore


class TestEviction:
    @pytest.fixture
    def clock(self, monkeypatch):
        now = [1_000_000]
        monkeypatch.setattr(database_module, "_now", lambda: now[0])
        return now

    def test_the_least_recently_used_are_deleted(self, tmp_path, clock):
        store = EmbeddingStore(tmp_path, max_bytes=1_800_000)
        wide = np.zeros((1, 8000), np.float32)  # two pages each
        with store.session() as session:
            for i, key in enumerate(KEYS[:40]):
                clock[0] += 100
                session.put([key], wide + i)
        clock[0] += 100
        with store.session() as session:
            assert len(session.get(KEYS[:10])[0]) == 10
        clock[0] += 100
        with store.session() as session:
            for i, key in enumerate(KEYS[40:60], 40):
                session.put([key], wide + i)
                assert store.cache_info().bytes <= store.max_bytes
        with store.session() as session:
            positions, vectors = session.get(KEYS)
        np.testing.assert_array_equal(vectors[:, 0], positions)
        kept = set(positions.tolist())
        # among those that are neither new nor were read, the oldest were deleted
        untouched = sorted(kept - set(range(10)) - set(range(40, 60)))
        assert kept >= set(range(10)) | set(range(40, 60))
        assert 0 < len(untouched) < 30
        assert untouched == list(range(40 - len(untouched), 40))
        assert store.cache_info().entries == len(kept)

    def test_what_a_session_has_read_it_does_not_delete_first(self, tmp_path, clock):
        store = EmbeddingStore(tmp_path, max_bytes=1_800_000)
        wide = np.zeros((1, 8000), np.float32)
        with store.session() as session:
            for key in KEYS[:40]:
                session.put([key], wide)
        clock[0] += 100
        with store.session() as session:
            session.get(KEYS[:5])
            for key in KEYS[40:70]:
                session.put([key], wide)
            assert len(session.get(KEYS[:5])[0]) == 5
            assert len(session.get(KEYS[5:40])[0]) < 20

    def test_a_batch_larger_than_the_limit_is_stored_in_part(self, tmp_path):
        store = EmbeddingStore(tmp_path, max_bytes=2**20)
        with store.session() as session:
            session.put(KEYS[:100], np.ones((100, 8000)))
            assert len(session.get(KEYS[:100])[0]) < 30
        assert store.cache_info().bytes <= 2**20

    def test_a_memory_store_deletes_the_least_recently_used_too(self):
        store = MemoryStore(10 * (memory_module._ROW_OVERHEAD + WIDTH * 4))
        for key in KEYS[:10]:
            fill(store, [key])
        found_in(store, KEYS[:2])
        fill(store, KEYS[10:13])
        assert set(found_in(store)) == {*KEYS[:2], *KEYS[5:13]}
        assert store.cache_info().bytes == store.max_bytes

    def test_a_limit_that_is_set_later_holds_from_the_next_put(self, tmp_path):
        with EmbeddingStore(tmp_path).session() as session:
            session.put(KEYS[:100], np.ones((100, 8000)))
        store = EmbeddingStore(tmp_path, max_bytes=2**20)
        assert store.cache_info().bytes > 3 * 2**20
        with store.session() as session:
            session.put(KEYS[100:101], np.ones((1, 8000)))
            assert session.get(KEYS[100:101])[0].tolist() == [0]
        assert store.cache_info().bytes <= 2**20
