"""Use an embedding store that several processes share.

python use_store.py FUNCTION DIRECTORY

calls one of the functions below on the store in a directory. `tests/encode/cache/test_processes.py`
starts such processes, and kills some of them.
"""

import os
import random
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where store_keys.py is

from store_keys import KEYS, check, embed, vectors_of

from skclip.encode.cache.disk import EmbeddingStore
from skclip.encode.cache.resolve import resolve_cache


def embed_once(store):
    """Embed every key that no other process embeds; print those."""
    computed = []
    with store.session() as session:
        embed(session, KEYS, 20, computed.extend)
    print(*(key.hex() for key in computed))


def embed_forever(store):
    """Embed random keys in many sessions, and sometimes clear the store."""
    print("ready", flush=True)
    while True:
        keys = random.sample(KEYS, 60)
        with store.session() as session:
            embed(session, keys, 10)
        if random.random() < 0.05:
            store.clear()


def claim_and_wait(store):
    session = store.session().__enter__()
    session.claim(KEYS[:10])
    print("claimed", flush=True)
    time.sleep(100)


def claim_fork_and_wait(store):
    """Claim keys, then wait in this process and in a child; the child prints its id."""
    session = store.session().__enter__()
    session.claim(KEYS[:10])
    child = os.fork()
    if child == 0:  # by now the child holds none of the session's locks: skclip released them
        print(os.getpid(), flush=True)
    time.sleep(100)


def fork_within_a_session(store):
    """Check that a child cannot use the session of its parent, but can open its own."""
    with store.session() as session:
        session.put(KEYS[:5], vectors_of(KEYS[:5]))
        session.claim(KEYS[5:10])
        child = os.fork()
        if child == 0:
            for use in (lambda: session.get(KEYS), lambda: session.release(KEYS)):
                try:
                    use()
                except RuntimeError as error:
                    print("refused:", error)
            with store.session() as own:
                assert check(own, KEYS) == KEYS[:5]
                assert not any(own.claim(KEYS[5:10]))
                own.put(KEYS[10:12], vectors_of(KEYS[10:12]))
            del session
            sys.exit()
        os.waitpid(child, 0)
        with store.session() as other:
            assert not any(other.claim(KEYS[5:10]))
        assert check(session, KEYS) == KEYS[:5] + KEYS[10:12]
        session.put(KEYS[5:10], vectors_of(KEYS[5:10]))


def fork_while_memory_is_locked(_):
    """Check that a child can use the store in memory, whose lock was held during the fork."""
    store = resolve_cache("memory")
    session = store.session().__enter__()
    session.put(KEYS[:5], vectors_of(KEYS[:5]))
    session.claim(KEYS[5:10])
    with store._lock:
        child = os.fork()
    if child == 0:
        with store.session() as own:
            assert check(own, KEYS) == KEYS[:5]
            assert all(own.claim(KEYS[5:10]))
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def leave_a_log(store):
    """Store two vectors and exit at once, so that the database's log is not merged into it."""
    session = store.session().__enter__()
    session.put(KEYS[5:7], vectors_of(KEYS[5:7]))
    os._exit(0)


def use_read_only(store):
    """Use a store that holds the first five keys, as a user who may not write there."""
    vectors_of(KEYS[:1])  # imports what that other user may not be able to read
    if os.geteuid() == 0:  # root may write everywhere
        os.setuid(65534)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with store.session() as session:
            assert check(session, KEYS)[:5] == KEYS[:5]
            assert all(session.claim(KEYS[5:10]))
            session.release(KEYS[5:6])
            assert not caught
            session.put(KEYS[6:8], vectors_of(KEYS[6:8]))
            session.put(KEYS[8:9], vectors_of(KEYS[8:9]))
        assert len(caught) == 1, caught
        info = store.cache_info()
    print(info.entries, caught[0].message)


if __name__ == "__main__":
    function, directory = sys.argv[1:]
    globals()[function](EmbeddingStore(directory))
