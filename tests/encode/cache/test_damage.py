"""With damaged files or no room to write, a store returns the right vectors or none."""

import re
import sqlite3
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_keys import KEYS, check, fill, found_in, vectors_of

from skclip.encode.cache import database as database_module
from skclip.encode.cache.disk import EmbeddingStore


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


@pytest.fixture(scope="module", params=[1024, 16_384])
def pristine(request, tmp_path_factory):
    """The file of a filled store, with pages so small that its trees are deep, and as usual."""
    store = EmbeddingStore(tmp_path_factory.mktemp("pristine"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database_module, "_PAGE_SIZE", request.param)
        fill(store)
        with store.session() as session:  # the file has held claims, and has free pages
            session.claim(KEYS[:3])
    return database(store)


def check_survival(content, log=b""):
    """Check that a store of this content gives no wrong vector, and takes all of them again.

    Return how many vectors were found and how many warnings there were.
    """
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
            for _ in range(3):  # each time some more damage may be found
                with store.session() as session:
                    missing = sorted(set(KEYS) - set(check(session)))
                    session.put(missing, vectors_of(missing))
            assert found_in(store) == KEYS
        assert all(" is damaged (" in str(warning.message) for warning in caught)
        return len(found), len(caught)


class TestDamage:
    def test_an_undamaged_store_keeps_all_vectors(self, pristine):
        assert check_survival(pristine.read_bytes()) == (len(KEYS), 0)

    @given(n_flips=st.sampled_from([1, 2, 10, 100]), seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=40)
    def test_flipped_bytes_give_no_wrong_vector(self, pristine, n_flips, seed):
        content = np.frombuffer(pristine.read_bytes(), np.uint8).copy()
        # most of a large page is empty, and flips there test nothing
        places = np.flatnonzero(content)
        rng = np.random.default_rng(seed)
        content[rng.choice(places, n_flips)] ^= rng.integers(1, 256, n_flips).astype(np.uint8)
        check_survival(content.tobytes())

    @given(
        flips=st.lists(
            st.tuples(st.integers(0, 500), st.integers(0, 120), st.integers(1, 255)),
            min_size=1,
            max_size=3,
        )
    )
    @settings(max_examples=40)
    def test_flipped_bytes_in_headers_give_no_wrong_vector(self, pristine, flips):
        # the headers of the file and of its pages, where every byte matters
        content = bytearray(pristine.read_bytes())
        page_size = 1024 if content[16] == 4 else 16_384
        for page, place, mask in flips:
            page %= len(content) // page_size
            content[page * page_size + place] ^= mask
        check_survival(bytes(content))

    @given(share=st.floats(0, 1, exclude_max=True))
    @settings(max_examples=20)
    def test_a_truncated_file_gives_no_wrong_vector(self, pristine, share):
        content = pristine.read_bytes()
        check_survival(content[: int(share * len(content))])

    @pytest.mark.parametrize("content", [b"", b"a file that is no database" * 1000, bytes(70_000)])
    def test_a_file_that_is_no_database_is_replaced(self, content):
        assert check_survival(content) == (0, 1)

    def test_a_database_of_something_else_is_replaced(self, tmp_path):
        connection = sqlite3.connect(tmp_path / "x")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE entries(id, name)")
        connection.close()
        assert check_survival((tmp_path / "x").read_bytes()) == (0, 1)

    @given(
        change=st.sampled_from(["flip", "truncate log", "truncate file"]),
        share=st.floats(0, 1, exclude_max=True),
        mask=st.integers(1, 255),
    )
    @settings(max_examples=20)
    def test_a_damaged_log_gives_no_wrong_vector(self, change, share, mask):
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
        check_survival(content, bytes(log))

    def test_a_session_goes_on_after_damage(self, on_disk):
        fill(on_disk)
        with on_disk.session() as session, on_disk.session() as other:
            for each in (session, other):
                assert len(check(each, KEYS[:10])) == 10
            database(on_disk).write_bytes(b"no database" * 10_000)
            with one_warning("is damaged .* was replaced by an empty one"):
                for each in (session, other):
                    each.claim(KEYS[:10])
                    check(each)
                    each.put(KEYS[:10], vectors_of(KEYS[:10]))
        assert found_in(on_disk) == KEYS[:10]
        assert database(on_disk).name == "vectors-000002.sqlite"

    def test_a_row_that_belongs_to_another_key_is_not_returned(self, on_disk):
        fill(on_disk)
        connection = sqlite3.connect(database(on_disk))
        connection.execute("UPDATE vectors SET id = -1 WHERE id = 5")
        connection.execute("UPDATE vectors SET id = 5 WHERE id = 6")
        connection.commit()
        connection.close()
        assert len(found_in(on_disk)) == len(KEYS) - 2
        fill(on_disk, KEYS[4:6])
        assert found_in(on_disk) == KEYS

    def test_vectors_without_keys_do_not_fill_the_store_forever(self, tmp_path):
        store = EmbeddingStore(tmp_path, max_bytes=2**20)
        fill(store, KEYS[:5])
        connection = sqlite3.connect(database(store))
        connection.execute("INSERT INTO vectors VALUES(1000, 0, ?)", (bytes(2**21),))
        connection.commit()
        connection.close()
        with one_warning("is damaged .vectors without keys.*was replaced"):
            fill(store, KEYS[5:10])
        assert found_in(store) == KEYS[5:10]

    @pytest.mark.parametrize("content", [b"", b"no numbers", b"1", bytes(50), b"\xff"])
    def test_damaged_counters_start_again_from_zero(self, on_disk, content):
        fill(on_disk, KEYS[:5])
        assert on_disk.cache_info().misses == 5
        (on_disk.path / "counters").write_bytes(content)
        assert on_disk.cache_info()[:3] == (0, 0, 5)
        found_in(on_disk)
        assert on_disk.cache_info()[:3] == (5, 0, 5)

    def test_claims_of_invalid_owners_are_void(self, on_disk, tmp_path):
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
    def test_a_full_disk_is_one_warning(self, on_disk, monkeypatch):
        fill(on_disk, KEYS[:5])
        opened = database_module._open

        def open_full(file):
            connection, writable = opened(file)
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")
            return connection, writable

        monkeypatch.setattr(database_module, "_open", open_full)
        wide = np.ones((50, 5000))
        with one_warning(r"stores nothing more .* \(.* full\)"), on_disk.session() as session:
            assert check(session, KEYS[:10]) == KEYS[:5]
            assert all(session.claim(KEYS[5:55]))
            session.put(KEYS[5:55], wide)
            session.put(KEYS[60:110], wide)
            assert all(session.claim(KEYS[5:55]))
            assert check(session, KEYS[:10]) == KEYS[:5]
        monkeypatch.undo()
        fill(on_disk, KEYS[5:10])  # neither stored nor claimed
        assert found_in(on_disk) == KEYS[:10]

    def test_a_database_that_stays_locked_is_one_warning(self, on_disk, monkeypatch):
        fill(on_disk, KEYS[:5])
        monkeypatch.setattr(database_module, "LOCK_TIMEOUT", 0.05)
        blocker = sqlite3.connect(database(on_disk), isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with one_warning("stores nothing more in this call .*locked"), on_disk.session() as session:
            assert check(session) == KEYS[:5]
            assert all(session.claim(KEYS[5:10]))
            session.put(KEYS[5:10], vectors_of(KEYS[5:10]))
            session.release(KEYS[5:10])
        blocker.close()
        assert found_in(on_disk) == KEYS[:5]

    def test_a_directory_that_cannot_be_made_is_one_warning(self, tmp_path):
        (tmp_path / "file").touch()
        store = EmbeddingStore(tmp_path / "file" / "cache")
        with one_warning("Not a directory"), store.session() as session:
            assert check(session) == []
            assert all(session.claim(KEYS))
            session.put(KEYS, vectors_of(KEYS))

    def test_a_database_removed_while_it_is_opened_is_followed_by_the_new_one(
        self, on_disk, monkeypatch
    ):
        """Another process clears the store between the opening of a file and the first use."""
        fill(on_disk, KEYS[:10])
        original, cleared = database_module._largest_row, []

        def clear_meanwhile(connection):
            if not cleared:
                cleared.append(True)
                EmbeddingStore(on_disk.path).clear()
            return original(connection)

        monkeypatch.setattr(database_module, "_largest_row", clear_meanwhile)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fill(on_disk, KEYS[:10])
        assert cleared
        assert on_disk.cache_info().entries == 10
