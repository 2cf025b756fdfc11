"""Processes that share a store, and die or fork while they do."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import store_keys
from store_keys import KEYS, check, fill, found_in, vectors_of

from skclip.encode.cache.disk import EmbeddingStore

PRELUDE = f"""
import os, random, sys, time
sys.path.insert(0, {str(Path(store_keys.__file__).parent)!r})
from store_keys import KEYS, check, embed, vectors_of
from skclip.encode.cache.disk import EmbeddingStore
store = EmbeddingStore(sys.argv[1])
"""


def run(code, *arguments):
    """Start Python on the store of the directory that is the first argument."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process):
    out, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    assert error == ""
    return out


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
            "from skclip.encode.cache.resolve import resolve_cache\n"
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
