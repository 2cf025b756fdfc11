"""Peak memory of embedding many JPEG files, compared with few.

    python benchmarks/bench_memory.py

Each number of files is embedded in a process of its own, whose peak the operating system reports.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
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
    vectors = CLIPImageEmbedder(model).transform(paths)
    assert len(vectors) == n_files
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


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
    write_report("memory", f"JPEG files of 640x480 through {options.model}", rows)


if __name__ == "__main__":
    main()
