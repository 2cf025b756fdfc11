"""The embedding store: speed and size beside LMDB and diskcache, and what damage does to it.

    python benchmarks/bench_store.py

About 8 minutes and 6 GB of disk at a time; `--vectors 50000 --kills 5 --flips 20` is a quick
trial.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import numpy as np
from report import write_report

from skclip import EmbeddingStore

WIDTH = 512
BATCH = 256  # rows of one put
CHUNK = 2000  # keys of one look-up
LOOKED_UP = 200_000
SHARED = [blake2b(b"%d" % i, digest_size=16).digest() for i in range(5000)]


class OfSkclip:
    name = "skclip (SQLite, pages of 16 KiB)"

    def __init__(self, folder):
        self.store = EmbeddingStore(folder)

    @contextmanager
    def writing(self):
        with self.store.session() as session:
            yield session.put

    @contextmanager
    def reading(self):
        with self.store.session() as session:
            yield lambda keys: session.get(keys)[1]


class OfLMDB:
    name = "LMDB, without sync"

    def __init__(self, folder):
        import lmdb

        self.open = lambda: lmdb.open(str(folder), map_size=2**36, sync=False, metasync=False)

    @contextmanager
    def writing(self):
        def put(keys, vectors):
            with environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(
                    [(key, row.tobytes()) for key, row in zip(keys, vectors, strict=True)]
                )

        with self.open() as environment:
            yield put

    @contextmanager
    def reading(self):
        def get(keys):
            with environment.begin(buffers=True) as transaction:
                return rows_of([transaction.get(key) for key in keys])

        with self.open() as environment:
            yield get


class OfDiskcache:
    name = "diskcache"

    def __init__(self, folder):
        import diskcache

        self.open = lambda: diskcache.Cache(str(folder), size_limit=2**40, eviction_policy="none")

    @contextmanager
    def writing(self):
        def put(keys, vectors):
            with cache.transact():
                for key, row in zip(keys, vectors, strict=True):
                    cache[key] = row.tobytes()

        with self.open() as cache:
            yield put

    @contextmanager
    def reading(self):
        def get(keys):
            with cache.transact():
                return rows_of([cache[key] for key in keys])

        with self.open() as cache:
            yield get


def rows_of(rows):
    return np.frombuffer(bytearray().join(rows), np.float32).reshape(len(rows), -1)


def measure(engine, n, folder, repeats):
    engine = engine(folder)
    keys = [blake2b(b"%d" % i, digest_size=16).digest() for i in range(n)]
    vectors = np.random.default_rng(0).standard_normal((BATCH, WIDTH)).astype(np.float32)
    took = []
    with engine.writing() as put:
        for start in range(0, n, BATCH):
            batch = keys[start : start + BATCH]
            began = time.perf_counter()
            put(batch, vectors[: len(batch)])
            took.append((time.perf_counter() - began) / len(batch))
    size = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
    shuffled = random.Random(0).sample(keys, n)
    opening = [timed(lambda: look_up(engine, keys[:1], 1)) for _ in range(5 * repeats)]

    def rate(keys, chunk):
        seconds = [timed(lambda: look_up(engine, keys, chunk)) for _ in range(repeats)]
        return len(keys) / np.median(seconds)

    tenth = max(1, len(took) // 10)
    return {
        "store": engine.name,
        "vectors": f"{n:,}",
        "write, rows/s": rounded(1 / np.mean(took)),
        "the last tenth": rounded(1 / np.mean(took[-tenth:])),
        f"hit in order, {CHUNK:,} keys a call": rounded(rate(keys[:LOOKED_UP], CHUNK)),
        "shuffled": rounded(rate(shuffled[:LOOKED_UP], CHUNK)),
        "shuffled, in one call": rounded(rate(shuffled[:LOOKED_UP], LOOKED_UP)),
        "disk per row / vector": f"{size / n / WIDTH / 4:.3f}",
        "open, one hit, close, ms": f"{1000 * np.median(opening):.1f}",
    }


def look_up(engine, keys, chunk):
    found = 0
    with engine.reading() as get:
        for start in range(0, len(keys), chunk):
            found += len(get(keys[start : start + chunk]))
    assert found == len(keys)


def timed(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def rounded(rate):
    return f"{float(f'{rate:.3g}'):,.0f}"


# Wrong vectors must never be returned -----------------------------------------------------------


def vectors_of(keys):
    """Compute the vectors that belong to keys from the keys, so that a wrong one is noticed."""
    words = np.frombuffer(b"".join(keys), "<u4").reshape(len(keys), 4)
    words = np.tile(words, (1, WIDTH // 4)) ^ np.arange(WIDTH, dtype="<u4") << 9
    return (words >> 8).astype(np.float32)  # 24 bits, which float32 holds


def checked(session, keys):
    """Return the keys that are found, and how many of their vectors are wrong."""
    positions, vectors = session.get(keys)
    found = [keys[position] for position in positions]
    if not found:
        return found, 0
    return found, int((vectors != vectors_of(found)).any(axis=1).sum())


def embed(session, keys, batch_size, computed):
    """Compute missing vectors, as an embedder does; return the number of wrong vectors found."""
    missing, wrong = set(keys), 0
    while missing:
        batch = random.sample(sorted(missing), min(batch_size, len(missing)))
        found, n_wrong = checked(session, batch)
        wrong += n_wrong
        missing.difference_update(found)
        batch = [key for key in batch if key in missing]
        mine = [key for key, granted in zip(batch, session.claim(batch), strict=True) if granted]
        computed.update(mine)
        session.put(mine, vectors_of(mine))
        missing.difference_update(mine)
    return wrong


def share(folder):
    """Work as one of several processes with the same keys.

    Prints the number of wrong vectors, and the keys whose vectors were computed here.
    """
    computed = Counter()
    with EmbeddingStore(folder).session() as session:
        wrong = embed(session, SHARED, 100, computed)
    print(wrong, *(key.hex() for key in computed.elements()))


def work_until_killed(folder):
    store = EmbeddingStore(folder, max_bytes=8 * 2**20)  # small enough that it evicts all the time
    print("ready", flush=True)
    while True:
        with store.session() as session:
            if embed(session, random.sample(SHARED, 1000), 100, Counter()):
                print("a wrong vector", flush=True)


def start(task, folder):
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run_eight(folder):
    began = time.perf_counter()
    processes = [start("share", folder) for _ in range(8)]
    outputs = [process.communicate()[0].split() for process in processes]
    seconds = time.perf_counter() - began
    computed = Counter(key for output in outputs for key in output[1:])
    assert all(process.returncode == 0 for process in processes)
    return {
        "what": f"8 processes, the same {len(SHARED):,} keys, shuffled",
        "wrong vectors returned": sum(int(output[0]) for output in outputs),
        "also": f"computed: {len(computed):,} keys, {computed.total() - len(computed)} of them "
        f"twice; {seconds:.1f} s, including the start of the processes",
    }


def run_kills(folder, n_kills):
    store = EmbeddingStore(folder, max_bytes=8 * 2**20)
    wrong = rebuilt = 0
    for i in range(n_kills):
        pair = [start("killed", folder) for _ in range(2)]
        for process in pair:
            process.stdout.readline()
        time.sleep(random.Random(i).uniform(0, 0.5))
        # in turns one of them, so that the other has to take over, and both
        for process in pair[: 1 + i % 2]:
            process.send_signal(signal.SIGKILL)
        if not i % 2:
            time.sleep(0.1)
            assert pair[1].poll() is None
            pair[1].kill()
        wrong += sum("wrong" in process.communicate()[0] for process in pair)
        with warnings.catch_warnings(record=True) as caught, store.session() as session:
            warnings.simplefilter("always")
            wrong += checked(session, SHARED)[1]
            assert all(
                session.claim([key for key in SHARED[:50] if key not in checked(session, [key])[0]])
            )
        rebuilt += len(caught)
    return {
        "what": f"one or both of two busy processes killed by `kill -9`, {n_kills} times",
        "wrong vectors returned": wrong,
        "also": f"rebuilt {rebuilt} times; {store.cache_info().entries:,} entries at the end; the "
        "claims of killed processes could be taken at once",
    }


def run_flips(folder, n_flips):
    store = EmbeddingStore(folder / "whole")
    keys = SHARED[:1000]
    with store.session() as session:
        session.put(keys, vectors_of(keys))
    (file,) = store.path.glob("*.sqlite")
    content = np.frombuffer(file.read_bytes(), np.uint8)
    places = np.flatnonzero(content)  # the ends of pages are empty
    rng = np.random.default_rng(0)
    wrong, noticed = 0, Counter()
    for i in range(n_flips):
        flipped = content.copy()
        flipped[rng.choice(places)] ^= rng.integers(1, 256, dtype=np.uint8)
        damaged = folder / str(i)
        damaged.mkdir()
        (damaged / file.name).write_bytes(flipped.tobytes())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with EmbeddingStore(damaged).session() as session:
                found, n_wrong = checked(session, keys)
        wrong += n_wrong
        noticed["rebuilt" if caught else "dropped" if len(found) < len(keys) else "harmless"] += 1
        shutil.rmtree(damaged)
    return {
        "what": f"{n_flips:,} files with one flipped byte",
        "wrong vectors returned": wrong,
        "also": f"vectors dropped in {noticed['dropped']:,}, the store rebuilt in "
        f"{noticed['rebuilt']:,}, all vectors intact in {noticed['harmless']:,}",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--diskcache-vectors", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--task", choices=["share", "killed"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        return {"share": share, "killed": work_until_killed}[options.task](options.folder)
    rows = []
    for engine, n in (
        (OfSkclip, options.vectors),
        (OfLMDB, options.vectors),
        (OfDiskcache, min(options.vectors, options.diskcache_vectors)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(engine, n, Path(folder), options.repeats))
        os.sync()  # so that delayed writes do not slow down the next store
    safety = []
    for part, *arguments in ((run_eight,), (run_kills, options.kills), (run_flips, options.flips)):
        with tempfile.TemporaryDirectory() as folder:
            safety.append(part(Path(folder), *arguments))
    write_report(
        "store",
        f"The embedding store: float32 vectors of {WIDTH}",
        rows,
        notes=[
            f"Rows per second. Vectors are written in batches of {BATCH}; {LOOKED_UP:,} keys, all "
            f"of them stored, are looked up, medians of {options.repeats}. skclip verifies a "
            "checksum of every row that it returns, the others do not. diskcache is measured with "
            "fewer vectors. Neither LMDB nor diskcache has claims, and LMDB has no eviction."
        ],
        sections=[("Wrong vectors must never be returned", safety, [])],
    )


if __name__ == "__main__":
    main()
