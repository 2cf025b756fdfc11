"""Stores on disk and in memory return what was put, and let each key be computed once."""

import copy
import pickle
import random
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from store_keys import KEYS, WIDTH, check, fill, found_in, vector_of, vectors_of

from skclip.encode.cache.disk import EmbeddingStore
from skclip.encode.cache.memory import MemoryStore
from skclip.encode.cache.resolve import resolve_cache


@pytest.fixture(params=["directory", "memory"])
def store(request, tmp_path):
    return EmbeddingStore(tmp_path / "cache") if request.param == "directory" else MemoryStore()


class TestSession:
    def test_what_was_put_is_found_in_any_order(self, store):
        fill(store, KEYS[:100])
        shuffled = random.Random(0).sample(KEYS, len(KEYS))
        assert set(found_in(store, shuffled)) == set(KEYS[:100])

    def test_positions_ascend_and_count_repeated_keys(self, store):
        fill(store, KEYS[:3])
        with store.session() as session:
            positions, vectors = session.get([KEYS[2], KEYS[5], KEYS[0], KEYS[2]])
        assert positions.tolist() == [0, 2, 3]
        np.testing.assert_array_equal(vectors, vectors_of([KEYS[2], KEYS[0], KEYS[2]]))

    def test_without_matches_the_results_are_empty(self, store):
        with store.session() as session:
            for keys in ([], KEYS[:2]):
                positions, vectors = session.get(keys)
                assert positions.shape == (0,)
                assert vectors.shape == (0, 0)
                assert vectors.dtype == np.float32

    def test_changing_returned_vectors_does_not_change_the_store(self, store):
        fill(store, KEYS[:1])
        with store.session() as session:
            session.get(KEYS[:1])[1][:] = 0
            check(session, KEYS[:1])

    def test_a_claim_holds_until_put_release_or_the_end(self, store):
        with store.session() as one, store.session() as other:
            assert one.claim(KEYS[:4]) == [True] * 4
            assert one.claim(KEYS[:5]) == [True] * 5  # it still holds the first four
            assert other.claim(KEYS[3:7]) == [False, False, True, True]
            one.put(KEYS[:2], vectors_of(KEYS[:2]))
            one.release(KEYS[2:3])
            assert other.claim(KEYS[:5]) == [False, False, True, False, False]
            assert check(other, KEYS[:5]) == KEYS[:2]
            other.release(KEYS[3:4])  # not its own
            assert not any(other.claim(KEYS[3:5]))
        with store.session() as session:
            assert all(session.claim(KEYS[2:7]))

    def test_the_first_writer_wins(self, store):
        fill(store, KEYS[:2])
        with store.session() as session:
            session.put(KEYS[:3], np.vstack([np.zeros((2, WIDTH)), vectors_of(KEYS[2:3])]))
            session.put([KEYS[4], KEYS[4]], np.vstack([vector_of(KEYS[4]), np.zeros(WIDTH)]))
            assert check(session, KEYS[:5]) == [*KEYS[:3], KEYS[4]]

    def test_vectors_of_another_width_can_be_stored(self, store):
        with store.session() as session:
            session.put(KEYS[:2], vectors_of(KEYS[:2]))
            session.put([KEYS[2]], np.ones((1, 5)))
            assert session.get([KEYS[2]])[1].shape == (1, 5)
            # where widths differ in one get, the odd ones are deleted and then computed again
            check(session, KEYS[:2])
            assert check(session, KEYS[:3]) == KEYS[:2]
            assert session.claim(KEYS[:3]) == [False, False, True]

    def test_put_refuses_vectors_of_a_wrong_shape(self, store):
        with store.session() as session:
            session.put([], np.empty((0, 3)))
            for vectors in (np.ones(3), np.ones((2, 3)), np.ones((1, 0))):
                with pytest.raises(ValueError, match="one row for each of 1 keys"):
                    session.put(KEYS[:1], vectors)

    def test_hits_and_misses_are_counted(self, store):
        assert store.cache_info()[:4] == (0, 0, 0, 0)
        fill(store, KEYS[:5])
        with store.session() as session:
            check(session, KEYS[:8])
            session.claim(KEYS[:8])
            session.claim(KEYS[:8])
            session.release(KEYS[:8])
        info = store.cache_info()
        assert (info.hits, info.misses, info.entries) == (5, 5 + 3, 5)
        assert info.bytes >= 5 * WIDTH * 4
        store.clear()
        assert store.cache_info()[:3] == (0, 0, 0)
        assert found_in(store) == []

    def test_threads_compute_each_key_once(self, store):
        computed = []

        def work(seed):
            missing = random.Random(seed).sample(KEYS, len(KEYS))
            with store.session() as session:
                while missing:
                    batch = missing[:7]
                    found = check(session, batch)
                    mine = [k for k, g in zip(batch, session.claim(batch), strict=True) if g]
                    computed.extend(mine)
                    session.put(mine, vectors_of(mine))
                    done = {*found, *mine}
                    missing = [key for key in missing if key not in done]
                    random.Random(len(missing)).shuffle(missing)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(computed) == sorted(KEYS)
        info = store.cache_info()
        assert (info.hits, info.misses, info.entries) == (len(KEYS), len(KEYS), len(KEYS))


class TestStores:
    def test_copies_of_a_store_on_disk_share_its_content(self, on_disk):
        fill(on_disk)
        store = EmbeddingStore(on_disk.path, max_bytes=2**21, hash_files=True)
        assert len(pickle.dumps(store)) < 500
        for other in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
            assert vars(other) == vars(store)
            assert found_in(other) == KEYS
        assert clone(store, safe=False) is store
        assert eval(repr(store)).max_bytes == 2**21

    def test_a_pickle_of_a_memory_store_is_empty(self):
        store = MemoryStore(2**20)
        fill(store)
        assert clone(store, safe=False) is copy.deepcopy(store) is store
        other = pickle.loads(pickle.dumps(store))
        assert other.max_bytes == 2**20
        assert found_in(other) == []

    def test_the_directory_is_made_at_the_first_write(self, on_disk):
        on_disk.cache_info()
        on_disk.clear()
        with on_disk.session():
            pass
        assert not on_disk.path.exists()

    def test_paths_are_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/home/user")
        assert EmbeddingStore("a/../b").path == tmp_path / "b"
        assert EmbeddingStore("~/b").path == Path("/home/user/b")

    def test_resolve_cache_takes_a_name_a_directory_or_a_store(self, tmp_path):
        assert resolve_cache(None) is None
        assert resolve_cache("memory") is resolve_cache("memory")
        assert resolve_cache("memory").max_bytes == 2**30
        for path in (tmp_path, str(tmp_path)):
            assert resolve_cache(path).path == tmp_path
        for store in (EmbeddingStore(tmp_path), MemoryStore()):
            assert resolve_cache(store) is store

    @pytest.mark.parametrize("cache", [True, 5, EmbeddingStore, [], b"x"])
    def test_resolve_cache_refuses_everything_else(self, cache):
        with pytest.raises(TypeError, match="cache must be None, 'memory', a directory"):
            resolve_cache(cache)

    def test_bad_parameters_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="cache must be .*got an empty str"):
            resolve_cache("")
        with pytest.raises(TypeError, match="path must be a directory"):
            EmbeddingStore(None)
        for bound in (0, 1000, 2.5, True, "1GB"):
            with pytest.raises(ValueError, match="max_bytes must be None or an int of at least"):
                EmbeddingStore(tmp_path, max_bytes=bound)
        with pytest.raises(ValueError, match="max_bytes must be an int of at least 0, got None"):
            MemoryStore(None)
        file = tmp_path / "file"
        file.touch()
        with pytest.raises(ValueError, match="path must be a directory .* got .*file': there is a"):
            EmbeddingStore(file)
        store = EmbeddingStore(tmp_path / "later")
        store.path.touch()
        with pytest.raises(ValueError, match="path must be a directory .* got .*later'"):
            store.session().__enter__()

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("x" * 300, "name too long"),
            ("a/" * 2500, "name too long"),
            ("file", "there is a file of that name"),
            ("nul\0", "embedded null"),
            ("\ud800", "surrogates not allowed"),
            ("s3://bucket/cache", "a URL is not supported"),
            (Path("https://example.org/cache"), "a URL is not supported"),
        ],
        ids=["long name", "long path", "file", "NUL", "surrogate", "URL", "URL as Path"],
    )
    def test_paths_that_no_directory_can_have(self, tmp_path, monkeypatch, path, reason):
        monkeypatch.chdir(tmp_path)
        Path("file").touch()
        for name, use in (("cache", resolve_cache), ("path", EmbeddingStore)):
            with pytest.raises(ValueError, match=f"{name} must be a directory .*: .*{reason}") as e:
                use(path)
            assert len(str(e.value)) < 400

    def test_a_path_may_begin_with_the_home_directory(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        assert resolve_cache(Path("~/cache")).path == tmp_path / "cache"

    def test_a_directory_may_be_removed_during_a_session(self, on_disk):
        with on_disk.session() as session:
            session.put(KEYS[:5], vectors_of(KEYS[:5]))
            shutil.rmtree(on_disk.path)
            assert check(session) == []
            session.put(KEYS[5:9], vectors_of(KEYS[5:9]))
        assert found_in(on_disk) == KEYS[5:9]

    def test_a_store_may_be_cleared_during_a_session(self, on_disk):
        with on_disk.session() as session:
            session.put(KEYS[:5], vectors_of(KEYS[:5]))
            on_disk.clear()
            assert check(session) == []
            assert session.claim(KEYS[:2]) == [True, True]
            session.put(KEYS[5:9], vectors_of(KEYS[5:9]))
        assert found_in(on_disk) == KEYS[5:9]
