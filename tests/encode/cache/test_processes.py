"""Several processes share a store, and some are killed or fork."""

import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from store_keys import KEYS, check, fill, found_in, vectors_of
from subprocesses import script_command

from skclip.encode.cache.disk import EmbeddingStore


def start(function, store):
    """Start a process that calls a function of ``scripts/use_store.py`` on a store."""
    command = script_command("use_store.py", function, store.path)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output_of(process):
    out, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    assert error == ""
    return out


class TestProcesses:
    def test_each_key_is_computed_by_exactly_one(self, on_disk):
        processes = [start("embed_once", on_disk) for _ in range(8)]
        computed = [key for process in processes for key in output_of(process).split()]
        assert sorted(computed) == sorted(key.hex() for key in KEYS)
        assert found_in(on_disk) == KEYS
        info = on_disk.cache_info()
        assert info.misses == len(KEYS)
        assert info.hits == 8 * len(KEYS)  # seven times in the processes, and once here
        assert os.listdir(on_disk.path / "sessions") == []

    def test_a_process_may_be_killed_at_any_moment(self, on_disk):
        chance = random.Random(0)
        watched = start("embed_forever", on_disk)
        for _ in range(4):
            pair = [start("embed_forever", on_disk) for _ in range(2)]
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
        # keys that killed processes had claimed can be claimed again
        with on_disk.session() as session:
            missing = sorted(set(KEYS) - set(check(session)))
            assert all(session.claim(missing))
            session.put(missing, vectors_of(missing))
        assert found_in(on_disk) == KEYS
        assert os.listdir(on_disk.path / "sessions") == []

    def test_claims_of_a_killed_process_end_at_once(self, on_disk):
        process = start("claim_and_wait", on_disk)
        process.stdout.readline()
        with on_disk.session() as session:
            assert not any(session.claim(KEYS[:10]))
            process.kill()
            process.communicate()
            assert all(session.claim(KEYS[:10]))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_a_child_cannot_use_the_session_of_its_parent(self, on_disk):
        out = output_of(start("fork_within_a_session", on_disk))
        assert out.count("refused: this session of an embedding store was opened before") == 2
        assert found_in(on_disk) == KEYS[:12]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_claims_of_a_killed_parent_end_though_its_child_lives_on(self, on_disk):
        process = start("claim_fork_and_wait", on_disk)
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
    def test_a_child_can_use_memory_that_was_locked_during_the_fork(self, on_disk):
        assert output_of(start("fork_while_memory_is_locked", on_disk)) == "7\n"

    @pytest.mark.parametrize("log_is_left", [False, True])
    def test_a_read_only_directory_is_read_and_left_as_it_is(self, on_disk, log_is_left):
        with tempfile.TemporaryDirectory() as folder:
            store = EmbeddingStore(Path(folder) / "cache")
            fill(store, KEYS[:5])
            if log_is_left:
                assert output_of(start("leave_a_log", store)) == ""
            os.chmod(folder, 0o755)
            files = {file: file.read_bytes() for file in store.path.rglob("*") if file.is_file()}
            for file in files:
                os.chmod(file, 0o444)
            os.chmod(store.path, 0o555)
            try:
                out = output_of(start("use_read_only", store))
            finally:
                os.chmod(store.path, 0o755)
            assert "stores nothing more in this call (it is read-only)" in out
            for file, content in files.items():
                assert file.read_bytes() == content
