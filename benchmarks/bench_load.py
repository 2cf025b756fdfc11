"""Seconds and peak memory of loading a ViT-B/32: skclip, transformers and open_clip.

    python benchmarks/bench_load.py

Every run is a process of its own. "Warm" counts the loading alone, after the imports, with the
files in memory; "cold" the whole process, with the files dropped from memory before. This process
itself imports very little, because the peak memory of a child process counts from that of its
parent.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import write_report

HUGGING_FACE, OPEN_CLIP = "hugging_face", "open_clip"
# layout, imports, loading; `path` is the directory
CANDIDATES = {
    "skclip, Hugging Face's layout": (
        HUGGING_FACE,
        "from skclip import load_encoder",
        "load_encoder(path)",
    ),
    "skclip, open_clip's layout": (
        OPEN_CLIP,
        "from skclip import load_encoder",
        "load_encoder(path)",
    ),
    "transformers": (
        HUGGING_FACE,
        "from transformers import AutoProcessor, CLIPModel",
        "CLIPModel.from_pretrained(path); AutoProcessor.from_pretrained(path)",
    ),
    "open_clip": (
        OPEN_CLIP,
        "import open_clip",
        "open_clip.create_model_and_transforms('local-dir:' + path); "
        "open_clip.get_tokenizer('local-dir:' + path)",
    ),
}
PEERS = {"skclip, Hugging Face's layout": "transformers", "skclip, open_clip's layout": "open_clip"}
SCRIPT = """
import logging, sys, time, warnings
warnings.simplefilter("ignore")
logging.disable()
path = sys.argv[1]
{imports}
start = time.perf_counter()
{loading}
print(time.perf_counter() - start)
"""


def save_models(folder):
    """Save one model with random weights in both layouts; run in a process of its own."""
    import json

    import models
    import open_clip
    import torch
    from safetensors.torch import save_file

    models.save_vit(folder / HUGGING_FACE)
    torch.manual_seed(0)
    directory = folder / OPEN_CLIP
    directory.mkdir()
    state = open_clip.create_model("ViT-B-32", pretrained=None).state_dict()
    save_file(state, directory / "open_clip_model.safetensors")
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    content = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": preprocess}
    (directory / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")


def run(name, folder):
    """Return the seconds of the process and of the loading, and the peak megabytes."""
    layout, imports, loading = CANDIDATES[name]
    script = SCRIPT.format(imports=imports, loading=loading)
    command = [sys.executable, "-c", script, str(folder / layout)]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{name} failed with exit status {process.returncode}")
    return seconds, float(output.split()[-1]), usage.ru_maxrss / 1024


def drop_from_memory(folder):
    """Let the operating system forget the contents of files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.save:
        return save_models(options.save)
    names = list(CANDIDATES)
    warm, cold, peaks = ({name: [] for name in names} for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "--save", folder], check=True)
        folder = Path(folder)
        for repeat in range(options.repeats + 1):
            start = repeat % len(names)
            for name in names[start:] + names[:start]:
                drop_from_memory(folder)
                seconds, _, peak = run(name, folder)
                _, loading, _ = run(name, folder)  # now the files are in memory
                if repeat:  # the first round only fills the disk cache with the libraries
                    cold[name].append(seconds)
                    warm[name].append(loading)
                    peaks[name].append(peak)
                print(f"{repeat} {name}: {seconds:.2f} s, warm {loading:.2f} s", file=sys.stderr)
    shown = []
    for name, peer in PEERS.items():
        row = {"what": name, "against": peer}
        for kind, seconds in (("warm", warm), ("cold", cold)):
            ratio = statistics.median(seconds[name]) / statistics.median(seconds[peer])
            row[f"ratio of medians, {kind}"] = f"{ratio:.2f}"
        shown.append(row)
    rows = [
        {
            "candidate": name,
            "warm, s": f"{statistics.median(warm[name]):.2f}",
            "fastest to slowest": f"{min(warm[name]):.2f} to {max(warm[name]):.2f}",
            "cold, s": f"{statistics.median(cold[name]):.2f}",
            "fastest to slowest ": f"{min(cold[name]):.2f} to {max(cold[name]):.2f}",
            "peak MB": f"{statistics.median(peaks[name]):.0f}",
        }
        for name in names
    ]
    note = (
        f"Medians of {options.repeats} rounds of alternating fresh processes after one that is not "
        "counted. The weights are random, 605 MB in float32. Cold includes the start of the "
        "interpreter, all imports and the reading of the weights from the disk; warm is the "
        "loading alone. The libraries load as they do by default: skclip also takes the sha256 of "
        "all files, checks every value, and packs the weights for the processor; transformers and "
        "open_clip do not."
    )
    write_report(
        "load", "Loading a ViT-B/32", shown, notes=[note], sections=[("Candidates", rows, [])]
    )


if __name__ == "__main__":
    main()
