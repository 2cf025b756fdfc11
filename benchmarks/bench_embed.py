"""`skclip embed` on many JPEG files: undisturbed, killed and resumed, and on Dask workers.

    python benchmarks/bench_embed.py

Every run is a process of its own, started as from the command line, whose peak memory the operating
system reports. "every row exactly once" compares the ids with the list of files, and the vectors
with those of an undisturbed run.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
from PIL import Image
from report import write_report

from skclip.datasets import make_scenes

N_DRAWN = 300
COMMAND = [sys.executable, "-m", "skclip", "embed"]


def write_photographs(folder, numbers, size=(640, 480)):
    """Save drawn scenes with noise, each shifted and brightened so that no two are equal."""
    rng = np.random.default_rng(0)
    scenes = make_scenes(N_DRAWN, image_size=120, random_state=0).images
    noise = rng.integers(-12, 13, (size[1], size[0], 1))
    for number in numbers:
        kind, variation = number % N_DRAWN, number // N_DRAWN
        scene = Image.fromarray(scenes[kind]).resize(size, Image.Resampling.BICUBIC)
        pixels = np.roll(np.asarray(scene) + noise, 8 * variation, axis=1) + variation % 40
        path = folder / f"{number // 1000:02}" / f"{number:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=85)


def embed_command(folder, out, options):
    command = [*COMMAND, str(folder), "--out", str(out), "--model", options.model, "--quiet"]
    return [*command, "--rows-per-part", str(options.rows_per_part)]


def run(folder, out, options, *arguments, kill_after=None):
    """Return the seconds, and the peak in megabytes, which is None if the run was killed."""
    command = [*embed_command(folder, out, options), *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while kill_after is not None and len(list(out.glob("part-*"))) < kill_after:
        if process.poll() is not None:
            raise RuntimeError(f"the run ended before part {kill_after}")
        time.sleep(0.02)
    if kill_after is not None:
        time.sleep(np.random.default_rng(kill_after).uniform(0, 1))
        process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if kill_after is None and process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed with exit status {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024 if kill_after is None else None


def rows_of(out):
    table = ds.dataset(out).to_table()
    vectors = table["vector"].combine_chunks().flatten().to_numpy()
    return table["path"].to_pylist(), vectors.reshape(len(table), -1)


def verdict(out, paths, vectors):
    found, found_vectors = rows_of(out)
    if found != paths:
        return f"NO: {len(found)} rows, {len(set(found))} different"
    return f"yes, vectors within {np.abs(found_vectors - vectors).max():.0e}"


def on_dask(folder, out, options):
    """Return the seconds on two workers of one thread each; one is killed after three parts."""
    from dask.distributed import Client, LocalCluster

    settings = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **settings) as cluster,
        Client(cluster) as client,
    ):
        victim = min(client.run(os.getpid).values())
        command = [*embed_command(folder, out, options), "--scheduler", cluster.scheduler_address]
        start = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(list(out.glob("part-*"))) < 3 and process.poll() is None:
            time.sleep(0.02)
        os.kill(victim, signal.SIGKILL)
        if process.wait() != 0:
            raise RuntimeError("the run on Dask failed")
        return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="skclip/tiny")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--rows-per-part", type=int, default=1_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        folder = scratch / "photographs"
        folder.mkdir()
        # in other processes, because the peak of a run counts from that of this process
        n_writers = os.cpu_count()
        with ProcessPoolExecutor(n_writers, mp_context=get_context("spawn")) as pool:
            shares = [range(i, options.files, n_writers) for i in range(n_writers)]
            list(pool.map(write_photographs, [folder] * n_writers, shares))
        paths = sorted(str(path) for path in folder.rglob("*.jpg"))
        (scratch / "few.csv").write_text("\n".join(["image", *paths[: options.few]]) + "\n")

        def row(name, n_files, seconds, peak, once):
            return {
                "run": name,
                "files": n_files,
                "seconds": round(seconds, 1),
                "images/s": round(n_files / seconds),
                "peak MB": "" if peak is None else round(peak),
                "every row exactly once": once,
            }

        rows = []
        seconds, peak = run(scratch / "few.csv", scratch / "few", options)
        reference = rows_of(scratch / "few")[1]
        once = verdict(scratch / "few", paths[: options.few], reference)
        rows.append(row("undisturbed", options.few, seconds, peak, once))
        seconds, peak = run(folder, scratch / "whole", options)
        reference = rows_of(scratch / "whole")[1]
        once = verdict(scratch / "whole", paths, reference)
        rows.append(row("undisturbed", options.files, seconds, peak, once))
        n_parts = -(-options.files // options.rows_per_part)
        out = scratch / "killed"
        seconds = sum(
            run(folder, out, options, kill_after=round(n_parts * share))[0] for share in (0.3, 0.6)
        )
        last, peak = run(folder, out, options)
        once = verdict(out, paths, reference)
        rows.append(row("killed twice, resumed", options.files, seconds + last, peak, once))
        seconds = on_dask(folder, scratch / "dask", options)
        once = verdict(scratch / "dask", paths, reference)
        name = "Dask, 2 workers of 1 thread, 1 killed"
        rows.append(row(name, options.files, seconds, None, once))
    title = f"skclip embed: JPEG files of 640x480 through {options.model}"
    write_report("embed", title, rows)


if __name__ == "__main__":
    main()
