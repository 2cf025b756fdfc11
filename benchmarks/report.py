"""Print tables and write them to benchmarks/results/, with machine, threads and versions."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

PACKAGES = (
    "skclip",
    "torch",
    "torchvision",
    "scikit-learn",
    "numpy",
    "pillow",
    "transformers",
    "open-clip-torch",
    "sentence-transformers",
    "embetter",
    "pyarrow",
    "distributed",
    "diskcache",
    "lmdb",
)
FLAGS = ("avx512f", "avx512_bf16", "amx_bf16")


def write_report(name, title, rows, *, notes=(), sections=(), save=True):
    """Print a report and write it to ``results/<name>.md``.

    Parameters
    ----------
    name, title : str
    rows : list of dict
        The first table; its columns are the keys, in order of first appearance.
    notes : sequence of str, default=()
        Paragraphs below the first table.
    sections : sequence of (heading, rows, notes), default=()
        Further tables.
    save : bool, default=True
        False only prints the report.
    """
    lines = [f"# {title}", "", *table(rows), *paragraphs(notes)]
    for heading, more_rows, more_notes in sections:
        lines += ["", f"## {heading}", "", *table(more_rows), *paragraphs(more_notes)]
    lines += ["", f"Machine: {processor()}, {os.cpu_count()} cores, {platform.system()}{flags()}."]
    lines += ["", f"Threads: {threads()}."]
    lines += ["", "Versions: Python " + platform.python_version() + versions() + "."]
    text = "\n".join(lines) + "\n"
    print(text)
    if not save:
        return
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")


def table(rows):
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        lines.append("| " + " | ".join(str(row.get(column, "")) for column in columns) + " |")
    return lines


def paragraphs(notes):
    return [line for note in notes for line in ("", note)]


def processor():
    return cpu_info("model name") or platform.processor() or platform.machine()


def flags():
    """Say which bfloat16 instructions the processor has; without any, bfloat16 is slow."""
    found = cpu_info("flags")
    if found is None:
        return ""
    found = found.split()
    return "; " + ", ".join(f"{flag} {'yes' if flag in found else 'no'}" for flag in FLAGS)


def cpu_info(field):
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith(field))
    except (OSError, StopIteration):
        return None


def threads():
    """Describe the thread pools of the libraries that are loaded, without importing any."""
    found = [f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}"]
    if "torch" in sys.modules:
        found.append(f"torch {sys.modules['torch'].get_num_threads()}")
    if "threadpoolctl" in sys.modules:
        pools = sys.modules["threadpoolctl"].threadpool_info()
        named = {f"{pool['prefix']} ({pool['user_api']}) {pool['num_threads']}" for pool in pools}
        found += sorted(named)
    return ", ".join(found)


def versions():
    found = ""
    for package in PACKAGES:
        try:
            found += f", {package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
