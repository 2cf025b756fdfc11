"""The embedding store: every vector is the right one or missing, and computed once."""

import copy
import os
import pickle
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skclip.encode.store import database as database_module
from skclip.encode.store import memory as memory_module
from skclip.encode.store.disk import EmbeddingStore
from skclip.encode.store.memory import MemoryStore
from skclip.encode.store.resolve import resolve_cache

WIDTH = 24
KEYS = [blake2b(str(i).encode(), digest_size=16).digest() for i in range(300)]


@cache
def vector_of(key):
    """What a key stands for; so that a wrong vector is known wherever it turns up."""
    return np.random.default_rng(list(key)).standard_normal(WIDTH).astype(np.float32)


def vectors_of(keys):
    return np.array([vector_of(key) for key in keys], dtype=np.float32).reshape(len(keys), WIDTH)


def fill(store, keys=KEYS):
    with store.session() as session:
        assert all(session.claim(keys))
        session.put(keys, vectors_of(keys))


def check(session, keys=KEYS):
    """Return the keys that are stored, having checked their vectors."""
    positions, vectors = session.get(keys)
    assert vectors.dtype == np.float32
    found = [keys[position] for position in positions]
    np.testing.assert_array_equal(vectors, vectors_of(found) if found else np.empty((0, 0)))
    return found


def found_in(store, keys=KEYS):
    with store.session() as session:
        return check(session, keys)


@contextmanager
def one_warning(match):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert len(caught) == 1
    assert re.search(match, str(caught[0].message))


def database(store):
    (file,) = store.path.glob("vectors-*.sqlite")
    return file


@pytest.fixture(params=["directory", "memory"])
def store(request, tmp_path):
    return EmbeddingStore(tmp_path / "cache") if request.param == "directory" else MemoryStore()


@pytest.fixture
def on_disk(tmp_path):
    return EmbeddingStore(tmp_path / "cache")


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

    def test_nothing_found(self, store):
        with store.session() as session:
            for keys in ([], KEYS[:2]):
                positions, vectors = session.get(keys)
                assert positions.shape == (0,)
                assert vectors.shape == (0, 0)
                assert vectors.dtype == np.float32

    def test_the_vectors_are_the_callers(self, store):
        fill(store, KEYS[:1])
        with store.session() as session:
            session.get(KEYS[:1])[1][:] = 0
            check(session, KEYS[:1])

    def test_a_claim_holds_until_put_release_or_the_end(self, store):
        with store.session() as one, store.session() as other:
            assert one.claim(KEYS[:4]) == [True] * 4
            assert one.claim(KEYS[:5]) == [True] * 5  # one's own stay one's own
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

    def test_other_widths_under_other_keys(self, store):
        with store.session() as session:
            session.put(KEYS[:2], vectors_of(KEYS[:2]))
            session.put([KEYS[2]], np.ones((1, 5)))
            assert session.get([KEYS[2]])[1].shape == (1, 5)
            # what cannot stand beside the others is dropped, so that it is computed anew
            check(session, KEYS[:2])
            assert check(session, KEYS[:3]) == KEYS[:2]
            assert session.claim(KEYS[:3]) == [False, False, True]

    def test_shapes_must_fit(self, store):
        with store.session() as session:
            session.put([], np.empty((0, 3)))
            for vectors in (np.ones(3), np.ones((2, 3)), np.ones((1, 0))):
                with pytest.raises(ValueError, match="one row for each of 1 keys"):
                    session.put(KEYS[:1], vectors)

    def test_hits_and_misses(self, store):
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
    def test_a_store_is_its_parameters(self, on_disk):
        fill(on_disk)
        store = EmbeddingStore(on_disk.path, max_bytes=2**21, hash_files=True)
        assert len(pickle.dumps(store)) < 500
        for other in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
            assert vars(other) == vars(store)
            assert found_in(other) == KEYS
        assert clone(store, safe=False) is store
        assert eval(repr(store)).max_bytes == 2**21

    def test_a_memory_store_leaves_its_content_behind(self):
        store = MemoryStore(2**20)
        fill(store)
        assert clone(store, safe=False) is copy.deepcopy(store) is store
        other = pickle.loads(pickle.dumps(store))
        assert other.max_bytes == 2**20
        assert found_in(other) == []

    def test_nothing_is_made_before_it_is_used(self, on_disk):
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

    def test_resolve_cache(self, tmp_path):
        assert resolve_cache(None) is None
        assert resolve_cache("memory") is resolve_cache("memory")
        assert resolve_cache("memory").max_bytes == 2**30
        for path in (tmp_path, str(tmp_path)):
            assert resolve_cache(path).path == tmp_path
        for store in (EmbeddingStore(tmp_path), MemoryStore()):
            assert resolve_cache(store) is store

    @pytest.mark.parametrize("cache", [True, 5, EmbeddingStore, [], b"x"])
    def test_resolve_cache_refuses_the_rest(self, cache):
        with pytest.raises(TypeError, match="cache must be None, 'memory', a directory"):
            resolve_cache(cache)

    def test_bad_parameters(self, tmp_path):
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
        with pytest.raises(NotADirectoryError, match="needs a directory, got a file.*file'"):
            EmbeddingStore(file).session().__enter__()

    def test_a_directory_that_is_removed_meanwhile(self, on_disk):
        with on_disk.session() as session:
            session.put(KEYS[:5], vectors_of(KEYS[:5]))
            shutil.rmtree(on_disk.path)
            assert check(session) == []
            session.put(KEYS[5:9], vectors_of(KEYS[5:9]))
        assert found_in(on_disk) == KEYS[5:9]

    def test_a_store_that_is_cleared_meanwhile(self, on_disk):
        with on_disk.session() as session:
            session.put(KEYS[:5], vectors_of(KEYS[:5]))
            on_disk.clear()
            assert check(session) == []
            assert session.claim(KEYS[:2]) == [True, True]
            session.put(KEYS[5:9], vectors_of(KEYS[5:9]))
        assert found_in(on_disk) == KEYS[5:9]


class TestEviction:
    @pytest.fixture
    def clock(self, monkeypatch):
        now = [1_000_000]
        monkeypatch.setattr(database_module, "_now", lambda: now[0])
        return now

    def test_the_least_recently_used_go(self, tmp_path, clock):
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
        # of those neither new nor read, the oldest are gone
        untouched = sorted(kept - set(range(10)) - set(range(40, 60)))
        assert kept >= set(range(10)) | set(range(40, 60))
        assert 0 < len(untouched) < 30
        assert untouched == list(range(40 - len(untouched), 40))
        assert store.cache_info().entries == len(kept)

    def test_reading_within_a_session_counts_for_its_own_eviction(self, tmp_path, clock):
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

    def test_a_batch_beyond_the_bound(self, tmp_path):
        store = EmbeddingStore(tmp_path, max_bytes=2**20)
        with store.session() as session:
            session.put(KEYS[:100], np.ones((100, 8000)))
            assert len(session.get(KEYS[:100])[0]) < 30
        assert store.cache_info().bytes <= 2**20

    def test_memory_evicts_too(self):
        store = MemoryStore(10 * (memory_module._ROW_OVERHEAD + WIDTH * 4))
        for key in KEYS[:10]:
            fill(store, [key])
        found_in(store, KEYS[:2])
        fill(store, KEYS[10:13])
        assert set(found_in(store)) == {*KEYS[:2], *KEYS[5:13]}
        assert store.cache_info().bytes == store.max_bytes

    def test_a_bound_set_later_holds_from_the_next_put(self, tmp_path):
        with EmbeddingStore(tmp_path).session() as session:
            session.put(KEYS[:100], np.ones((100, 8000)))
        store = EmbeddingStore(tmp_path, max_bytes=2**20)
        assert store.cache_info().bytes > 3 * 2**20
        with store.session() as session:
            session.put(KEYS[100:101], np.ones((1, 8000)))
            assert session.get(KEYS[100:101])[0].tolist() == [0]
        assert store.cache_info().bytes <= 2**20


@pytest.fixture(scope="module", params=[1024, 16_384])
def pristine(request, tmp_path_factory):
    """A filled store of small pages (several levels of them) and of those that are used."""
    store = EmbeddingStore(tmp_path_factory.mktemp("pristine"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database_module, "_PAGE_SIZE", request.param)
        fill(store)
        with store.session() as session:  # a claim left behind, and pages that are free again
            session.claim(KEYS[:3])
    return database(store)


def survives(content, log=b""):
    """Whatever stands in the file: nothing wrong, no error, and all can be stored again."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "vectors-000001.sqlite").write_bytes(content)
        (Path(directory) / "vectors-000001.sqlite-wal").write_bytes(log)
        store = EmbeddingStore(directory)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with store.session() as session:
                found = check(session)
                missing = sorted(set(KEYS) - set(found))
                granted = session.claim(missing)
                missing = [key for key, mine in zip(missing, granted, strict=True) if mine]
                session.put(missing, vectors_of(missing))
                check(session)
            store.cache_info()
            for _ in range(3):  # damage that is met one after the other
                with store.session() as session:
                    missing = sorted(set(KEYS) - set(check(session)))
                    session.put(missing, vectors_of(missing))
            assert found_in(store) == KEYS
        assert all(" is damaged (" in str(warning.message) for warning in caught)
        return len(found), len(caught)


class TestDamage:
    def test_an_undamaged_store(self, pristine):
        assert survives(pristine.read_bytes()) == (len(KEYS), 0)

    @given(n_flips=st.sampled_from([1, 2, 10, 100]), seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=40)
    def test_flipped_bytes(self, pristine, n_flips, seed):
        content = np.frombuffer(pristine.read_bytes(), np.uint8).copy()
        # most of a large page is empty; flips there prove nothing
        places = np.flatnonzero(content)
        rng = np.random.default_rng(seed)
        content[rng.choice(places, n_flips)] ^= rng.integers(1, 256, n_flips).astype(np.uint8)
        survives(content.tobytes())

    @given(
        flips=st.lists(
            st.tuples(st.integers(0, 500), st.integers(0, 120), st.integers(1, 255)),
            min_size=1,
            max_size=3,
        )
    )
    @settings(max_examples=40)
    def test_flipped_bytes_in_headers(self, pristine, flips):
        # of the file and of its pages: where every byte steers something
        content = bytearray(pristine.read_bytes())
        page_size = 1024 if content[16] == 4 else 16_384
        for page, place, mask in flips:
            page %= len(content) // page_size
            content[page * page_size + place] ^= mask
        survives(bytes(content))

    @given(share=st.floats(0, 1, exclude_max=True))
    @settings(max_examples=20)
    def test_truncated(self, pristine, share):
        content = pristine.read_bytes()
        survives(content[: int(share * len(content))])

    @pytest.mark.parametrize("content", [b"", b"a file that is no database" * 1000, bytes(70_000)])
    def test_no_database(self, content):
        assert survives(content) == (0, 1)

    def test_a_database_of_something_else(self, tmp_path):
        connection = sqlite3.connect(tmp_path / "x")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE entries(id, name)")
        connection.close()
        assert survives((tmp_path / "x").read_bytes()) == (0, 1)

    @given(
        change=st.sampled_from(["flip", "truncate log", "truncate file"]),
        share=st.floats(0, 1, exclude_max=True),
        mask=st.integers(1, 255),
    )
    @settings(max_examples=20)
    def test_a_damaged_log(self, change, share, mask):
        with tempfile.TemporaryDirectory() as directory:
            store = EmbeddingStore(directory)
            fill(store, KEYS[:100])
            with store.session() as session:
                for start in range(100, 300, 50):
                    batch = KEYS[start : start + 50]
                    session.put(batch, vectors_of(batch))
                content = database(store).read_bytes()
                log = bytearray(Path(f"{database(store)}-wal").read_bytes())
        assert len(log) > 100_000
        place = int(share * len(log))
        if change == "flip":
            log[place] ^= mask
        elif change == "truncate log":
            del log[place:]
        else:
            content = content[:-16_384]
        survives(content, bytes(log))

    def test_damage_in_the_middle_of_a_session(self, on_disk):
        fill(on_disk)
        with on_disk.session() as session, on_disk.session() as other:
            for each in (session, other):
                assert len(check(each, KEYS[:10])) == 10
            database(on_disk).write_bytes(b"no database" * 10_000)
            with one_warning("is damaged .* starts anew"):
                for each in (session, other):
                    each.claim(KEYS[:10])
                    check(each)
                    each.put(KEYS[:10], vectors_of(KEYS[:10]))
        assert found_in(on_disk) == KEYS[:10]
        assert database(on_disk).name == "vectors-000002.sqlite"

    def test_a_row_that_belongs_to_another_key(self, on_disk):
        fill(on_disk)
        connection = sqlite3.connect(database(on_disk))
        connection.execute("UPDATE vectors SET id = -1 WHERE id = 5")
        connection.execute("UPDATE vectors SET id = 5 WHERE id = 6")
        connection.commit()
        connection.close()
        assert len(found_in(on_disk)) == len(KEYS) - 2
        fill(on_disk, KEYS[4:6])
        assert found_in(on_disk) == KEYS

    def test_vectors_that_lost_their_keys(self, tmp_path):
        store = EmbeddingStore(tmp_path, max_bytes=2**20)
        fill(store, KEYS[:5])
        connection = sqlite3.connect(database(store))
        connection.execute("INSERT INTO vectors VALUES(1000, 0, ?)", (bytes(2**21),))
        connection.commit()
        connection.close()
        with one_warning("is damaged .vectors without keys.*starts anew"):
            fill(store, KEYS[5:10])
        assert found_in(store) == KEYS[5:10]

    @pytest.mark.parametrize("content", [b"", b"no numbers", b"1", bytes(50), b"\xff"])
    def test_damaged_counters(self, on_disk, content):
        fill(on_disk, KEYS[:5])
        assert on_disk.cache_info().misses == 5
        (on_disk.path / "counters").write_bytes(content)
        assert on_disk.cache_info()[:3] == (0, 0, 5)
        found_in(on_disk)
        assert on_disk.cache_info()[:3] == (5, 0, 5)

    def test_owners_that_no_session_has_written(self, on_disk, tmp_path):
        fill(on_disk, KEYS[:1])
        precious = tmp_path / "precious.lock"
        precious.touch()
        connection = sqlite3.connect(database(on_disk))
        owners = [b"../../precious", "text", 5, b"\xff" * 32, b"0" * 32]
        connection.executemany("INSERT INTO claims VALUES(?, ?)", zip(KEYS[1:], owners))  # noqa: B905
        connection.commit()
        connection.close()
        with on_disk.session() as session:
            assert session.claim(KEYS[1:7]) == [True] * 6
        assert precious.exists()


class TestNoRoom:
    def test_a_full_disk(self, on_disk, monkeypatch):
        fill(on_disk, KEYS[:5])
        opened = database_module._open

        def open_full(file):
            connection, writable = opened(file)
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")
            return connection, writable

        monkeypatch.setattr(database_module, "_open", open_full)
        wide = np.ones((50, 5000))
        with one_warning(r"keeps nothing of this call \(.* full\)"), on_disk.session() as session:
            assert check(session, KEYS[:10]) == KEYS[:5]
            assert all(session.claim(KEYS[5:55]))
            session.put(KEYS[5:55], wide)
            session.put(KEYS[60:110], wide)
            assert all(session.claim(KEYS[5:55]))
            assert check(session, KEYS[:10]) == KEYS[:5]
        monkeypatch.undo()
        fill(on_disk, KEYS[5:10])  # neither stored nor claimed
        assert found_in(on_disk) == KEYS[:10]

    def test_locked_too_long(self, on_disk, monkeypatch):
        fill(on_disk, KEYS[:5])
        monkeypatch.setattr(database_module, "PATIENCE", 0.05)
        blocker = sqlite3.connect(database(on_disk), isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with one_warning("keeps nothing of this call .*locked"), on_disk.session() as session:
            assert check(session) == KEYS[:5]
            assert all(session.claim(KEYS[5:10]))
            session.put(KEYS[5:10], vectors_of(KEYS[5:10]))
            session.release(KEYS[5:10])
        blocker.close()
        assert found_in(on_disk) == KEYS[:5]

    def test_a_directory_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        store = EmbeddingStore(tmp_path / "file" / "cache")
        with one_warning("Not a directory"), store.session() as session:
            assert check(session) == []
            assert all(session.claim(KEYS))
            session.put(KEYS, vectors_of(KEYS))


def run(code, *arguments):
    """Start Python with this file's helpers."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + WORKER + code
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process):
    out, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    assert error == ""
    return out


# without pytest, scikit-learn and torch, whose import would take most of the time
WORKER = textwrap.dedent(f"""
    import os, random, sys, time
    from hashlib import blake2b
    import numpy as np
    from skclip.encode.store.disk import EmbeddingStore

    KEYS = [blake2b(str(i).encode(), digest_size=16).digest() for i in range(300)]

    def vectors_of(keys):
        rows = [np.random.default_rng(list(k)).standard_normal({WIDTH}) for k in keys]
        return np.array(rows, np.float32).reshape(len(keys), {WIDTH})

    def check(session, keys):
        positions, vectors = session.get(keys)
        found = [keys[i] for i in positions]
        assert not found or np.array_equal(vectors, vectors_of(found)), "a wrong vector"
        return found

    def embed(session, keys, batch_size, computed=lambda keys: None):
        missing = set(keys)
        while missing:
            batch = random.sample(sorted(missing), min(batch_size, len(missing)))
            missing.difference_update(check(session, batch))
            batch = [key for key in batch if key in missing]
            mine = [key for key, granted in zip(batch, session.claim(batch)) if granted]
            computed(mine)
            time.sleep(0.0005)
            session.put(mine, vectors_of(mine))
            missing.difference_update(mine)

    store = EmbeddingStore(sys.argv[1])
    """)


class TestProcesses:
    def test_each_key_is_computed_by_exactly_one(self, on_disk):
        code = (
            "computed = []\n"
            "with store.session() as session:\n"
            "    embed(session, KEYS, 20, computed.extend)\n"
            "print(*(key.hex() for key in computed))\n"
        )
        processes = [run(code, on_disk.path) for _ in range(8)]
        computed = [key for process in processes for key in output_of(process).split()]
        assert sorted(computed) == sorted(key.hex() for key in KEYS)
        assert found_in(on_disk) == KEYS
        info = on_disk.cache_info()
        assert info.misses == len(KEYS)
        assert info.hits == 8 * len(KEYS)  # seven times in the processes, and once here
        assert os.listdir(on_disk.path / "sessions") == []

    def test_killed_at_random_moments(self, on_disk):
        code = (
            "print('ready', flush=True)\n"
            "while True:\n"
            "    keys = random.sample(KEYS, 60)\n"
            "    with store.session() as session:\n"
            "        embed(session, keys, 10)\n"
            "    if random.random() < 0.05: store.clear()\n"
        )
        chance = random.Random(0)
        watched = run(code, on_disk.path)
        for _ in range(4):
            pair = [run(code, on_disk.path) for _ in range(2)]
            for process in pair:
                process.stdout.readline()
            time.sleep(chance.uniform(0, 0.2))
            for process in pair:
                process.kill()
                assert process.communicate()[1] == ""
                assert process.returncode == -signal.SIGKILL
            found_in(on_disk)
        assert watched.poll() is None
        watched.kill()
        assert watched.communicate()[1] == ""
        # what the dead had claimed is free
        with on_disk.session() as session:
            missing = sorted(set(KEYS) - set(check(session)))
            assert all(session.claim(missing))
            session.put(missing, vectors_of(missing))
        assert found_in(on_disk) == KEYS
        assert os.listdir(on_disk.path / "sessions") == []

    def test_the_claims_of_the_dead_are_void_at_once(self, on_disk):
        code = (
            "session = store.session().__enter__()\n"
            "session.claim(KEYS[:10])\n"
            "print('claimed', flush=True)\n"
            "time.sleep(100)\n"
        )
        process = run(code, on_disk.path)
        process.stdout.readline()
        with on_disk.session() as session:
            assert not any(session.claim(KEYS[:10]))
            process.kill()
            process.communicate()
            assert all(session.claim(KEYS[:10]))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_a_fork_takes_no_session_along(self, on_disk):
        code = (
            "with store.session() as session:\n"
            "    session.put(KEYS[:5], vectors_of(KEYS[:5]))\n"
            "    session.claim(KEYS[5:10])\n"
            "    child = os.fork()\n"
            "    if child == 0:\n"
            "        for use in (lambda: session.get(KEYS), lambda: session.release(KEYS)):\n"
            "            try:\n"
            "                use()\n"
            "            except RuntimeError as error:\n"
            "                print('refused:', error)\n"
            "        with store.session() as own:\n"
            "            assert check(own, KEYS) == KEYS[:5]\n"
            "            assert not any(own.claim(KEYS[5:10]))\n"
            "            own.put(KEYS[10:12], vectors_of(KEYS[10:12]))\n"
            "        del session\n"
            "        sys.exit()\n"
            "    os.waitpid(child, 0)\n"
            "    with store.session() as other:\n"
            "        assert not any(other.claim(KEYS[5:10]))\n"
            "    assert check(session, KEYS) == KEYS[:5] + KEYS[10:12]\n"
            "    session.put(KEYS[5:10], vectors_of(KEYS[5:10]))\n"
        )
        out = output_of(run(code, on_disk.path))
        assert out.count("refused: this session of an embedding store was opened before") == 2
        assert found_in(on_disk) == KEYS[:12]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_a_killed_parent_whose_child_lives_on(self, on_disk):
        code = (
            "session = store.session().__enter__()\n"
            "session.claim(KEYS[:10])\n"
            "child = os.fork()\n"
            "if child == 0: print(os.getpid(), flush=True)\n"  # it has let go by now
            "time.sleep(100)\n"
        )
        process = run(code, on_disk.path)
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            with on_disk.session() as session:
                assert all(session.claim(KEYS[:10]))
        finally:
            os.kill(child, signal.SIGKILL)
            process.communicate()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_a_fork_while_another_thread_uses_memory(self):
        code = (
            "from skclip.encode.store.resolve import resolve_cache\n"
            "store = resolve_cache('memory')\n"
            "session = store.session().__enter__()\n"
            "session.put(KEYS[:5], vectors_of(KEYS[:5]))\n"
            "session.claim(KEYS[5:10])\n"
            "with store._lock:\n"
            "    child = os.fork()\n"
            "if child == 0:\n"
            "    with store.session() as own:\n"
            "        assert check(own, KEYS) == KEYS[:5]\n"
            "        assert all(own.claim(KEYS[5:10]))\n"
            "    os._exit(7)\n"
            "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        )
        assert output_of(run(code, "unused")) == "7\n"

    @pytest.mark.parametrize("log_is_left", [False, True])
    def test_a_read_only_directory(self, on_disk, log_is_left):
        with tempfile.TemporaryDirectory() as folder:
            store = EmbeddingStore(Path(folder) / "cache")
            fill(store, KEYS[:5])
            if log_is_left:
                code = (
                    "session = store.session().__enter__()\n"
                    "session.put(KEYS[5:7], vectors_of(KEYS[5:7]))\n"
                    "os._exit(0)\n"
                )
                assert output_of(run(code, store.path)) == ""
            os.chmod(folder, 0o755)
            files = {file: file.read_bytes() for file in store.path.rglob("*") if file.is_file()}
            for file in files:
                os.chmod(file, 0o444)
            os.chmod(store.path, 0o555)
            # root may write everywhere
            code = (
                "vectors_of(KEYS[:1])  # so that all is imported\n"
                "if os.geteuid() == 0: os.setuid(65534)\n"
                "import warnings\n"
                "with warnings.catch_warnings(record=True) as caught:\n"
                "    warnings.simplefilter('always')\n"
                "    with store.session() as session:\n"
                "        assert check(session, KEYS)[:5] == KEYS[:5]\n"
                "        assert all(session.claim(KEYS[5:10]))\n"
                "        session.release(KEYS[5:6])\n"
                "        assert not caught\n"
                "        session.put(KEYS[6:8], vectors_of(KEYS[6:8]))\n"
                "        session.put(KEYS[8:9], vectors_of(KEYS[8:9]))\n"
                "    assert len(caught) == 1, caught\n"
                "    info = store.cache_info()\n"
                "print(info.entries, caught[0].message)\n"
            )
            try:
                out = output_of(run(code, store.path))
            finally:
                os.chmod(store.path, 0o755)
            assert "keeps nothing of this call (it is read-only)" in out
            for file, content in files.items():
                assert file.read_bytes() == content
