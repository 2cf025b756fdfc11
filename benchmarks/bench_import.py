"""What importing skclip and its peers costs: seconds and peak memory of fresh processes.

    python benchmarks/bench_import.py

About ten minutes. This process itself imports very little, because the peak memory of a child
process counts from that of its parent.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from report import write_report

BASE = "pass"
SCIKIT_LEARN = "import sklearn.linear_model"
STATEMENTS = (
    BASE,
    "import skclip",
    SCIKIT_LEARN,
    "from skclip import CLIPImageEmbedder",
    "from skclip import LinearProbe",
    "import open_clip",
    "from transformers import CLIPModel",
    "from sentence_transformers import SentenceTransformer",
    "from embetter.multi import ClipEncoder",
)


def run(statement):
    """Return the seconds and the peak megabytes of a process that only runs the statement."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", statement])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{statement!r} failed with exit status {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    seconds = {statement: [] for statement in STATEMENTS}
    megabytes = {statement: [] for statement in STATEMENTS}
    for repeat in range(options.repeats + 1):
        start = repeat % len(STATEMENTS)
        for statement in STATEMENTS[start:] + STATEMENTS[:start]:
            taken, peak = run(statement)
            if repeat:  # the first round only fills the disk cache
                seconds[statement].append(taken)
                megabytes[statement].append(peak)
    median = {statement: statistics.median(seconds[statement]) for statement in STATEMENTS}
    peaks = {statement: statistics.median(megabytes[statement]) for statement in STATEMENTS}
    rows = [
        {
            "statement": f"`{statement}`",
            "seconds": f"{median[statement]:.3f}",
            "of scikit-learn's": f"{median[statement] / median[SCIKIT_LEARN]:.2f}",
            "fastest to slowest": f"{min(seconds[statement]):.3f} to {max(seconds[statement]):.3f}",
            "beyond the interpreter, s": f"{median[statement] - median[BASE]:.3f}",
            "peak MB": f"{peaks[statement]:.0f}",
            "of scikit-learn's ": f"{peaks[statement] / peaks[SCIKIT_LEARN]:.2f}",
        }
        for statement in STATEMENTS
    ]
    shown = {
        "what": f"`import skclip` against `{SCIKIT_LEARN}`",
        "ratio of medians, seconds": f"{median['import skclip'] / median[SCIKIT_LEARN]:.2f}",
        "ratio of medians, peak memory": f"{peaks['import skclip'] / peaks[SCIKIT_LEARN]:.2f}",
        "aim": "at most 1.1",
    }
    note = (
        f"Medians of {options.repeats} alternating fresh processes after one round that is not "
        "counted, start and end of the interpreter included. skclip's names are resolved on "
        "first use, so the import alone takes little more than the interpreter; torch is imported "
        "with the first name that needs it."
    )
    write_report(
        "import", "What an import costs", [shown], notes=[note], sections=[("Processes", rows, [])]
    )


if __name__ == "__main__":
    main()
