"""A table on the screen and in benchmarks/results/, with machine and versions."""

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = ("skclip", "torch", "torchvision", "scikit-learn", "numpy", "pillow", "transformers")


def write_report(name, title, rows):
    columns = list(rows[0])
    lines = [f"# {title}", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
    lines += ["", f"Machine: {processor()}, {os.cpu_count()} cores, {platform.system()}."]
    lines += ["Versions: Python " + platform.python_version() + versions() + "."]
    text = "\n".join(lines) + "\n"
    print(text)
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions():
    found = ""
    for package in PACKAGES:
        try:
            found += f", {package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
