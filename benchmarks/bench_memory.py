"""Peak memory of embedding many JPEG files, compared with few; and of files that are truncated.

    python benchmarks/bench_memory.py

Each number of files is embedded in a process of its own, whose peak the operating system reports.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from images import save_color_fields
from report import write_report


def peak_megabytes(folder, n_files, model):
    command = [sys.executable, __file__, "--measure", str(folder), str(n_files), model]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure(folder, n_files, model):
    from skclip import CLIPImageEmbedder

    paths = sorted(str(path) for path in Path(folder).iterdir())[:n_files]
    warnings.simplefilter("ignore")  # of the files that are truncated
    vectors = CLIPImageEmbedder(model, on_error="nan").transform(paths)
    assert len(vectors) == n_files
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure_truncated(options):
    """Return rows for files of 20 megapixels, whole and truncated."""
    rows = []
    for kind, n_files, kept in [("whole", 60, 1), ("truncated", 150, 0.8)]:
        with tempfile.TemporaryDirectory() as folder:
            (first,) = save_color_fields(Path(folder), 1, size=(5000, 4000), noise=8)
            os.truncate(first, int(kept * os.path.getsize(first)))
            for i in range(1, n_files):
                os.link(first, f"{folder}/{i:05}.jpg")
            peaks = [peak_megabytes(folder, n_files, options.model) for _ in range(options.repeats)]
        peak = round(float(np.median(peaks)), 1)
        rows.append({"files": f"{n_files} {kind}", "peak MB (median)": peak})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="skclip/tiny")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20_000])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        folder, n_files, model = options.measure
        return measure(folder, int(n_files), model)
    with tempfile.TemporaryDirectory() as folder:
        save_color_fields(Path(folder), max(options.sizes))
        rows = []
        for n_files in options.sizes:
            peaks = [peak_megabytes(folder, n_files, options.model) for _ in range(options.repeats)]
            rows.append({"files": n_files, "peak MB (median)": round(float(np.median(peaks)), 1)})
    first = rows[0]["peak MB (median)"]
    for row in rows:
        row["more than first, MB"] = round(row["peak MB (median)"] - first, 1)
    sections = [("JPEG files of 5000x4000", measure_truncated(options), ())]
    title = f"JPEG files of 640x480 through {options.model}"
    write_report("memory", title, rows, sections=sections)


if __name__ == "__main__":
    main()
