"""Compare the speed and the memory of two versions of skclip, each in a folder of its own.

    python benchmarks/bench_versions.py OLD NEW [--only images,texts]

About 15 minutes on two cores; `--quick` is a trial. OLD and NEW are checkouts of the source. Only
public names of skclip are used, so that the versions may differ inside.

The versions take turns: every measurement is made in a fresh process, first of one version, then of
the other, and each pair of processes starts with the other version. Importing and loading the model
are not counted, except for `embed` and `import`, where whole processes are timed. This process
itself imports very little, because the peak memory of a child process counts from that of its
parent.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from report import write_report

STATEMENTS = ("import skclip", "from skclip import ZeroShotClassifier")
LOCATE = "import skclip; print(skclip.__file__)"
WIDTH = 512  # of the vectors in the store
TEXT_BATCH, PUT_BATCH, GET_BATCH = 64, 256, 2000


@dataclass
class Sizes:
    """How much work each benchmark does."""

    images: int = 96
    texts: int = 2000
    drawings: int = 200
    grid: int = 8
    vectors: int = 100_000
    embed: int = 2000
    memory: int = 300


QUICK = Sizes(images=16, texts=100, drawings=40, grid=2, vectors=5000, embed=100, memory=30)


# Work that a child process does and measures ------------------------------------------------------


def prepare(scratch, sizes, names):
    """Write what the benchmarks of these names read; skclip is not imported."""
    from images import save_color_fields, save_drawings

    if {"images", "texts"} & set(names):
        from models import save_vit

        save_vit(scratch / "vit-b-32")
    if {"images", "memory"} & set(names):
        save_color_fields(scratch / "photographs", max(sizes.images, sizes.memory), noise=8)
    if "texts" in names:
        from prompts import make_prompts

        (scratch / "prompts.json").write_text(json.dumps(list(make_prompts(sizes.texts))))
    if "grid_search" in names:
        drawings = save_drawings(scratch / "drawings", sizes.drawings, size=(320, 240))
        (scratch / "drawings.json").write_text(json.dumps(drawings))
    if "embed" in names:
        save_drawings(scratch / "small", sizes.embed, size=(128, 96), suffixes=(".png", ".jpg"))


def photographs(scratch, n_files):
    return sorted(str(path) for path in (scratch / "photographs").iterdir())[:n_files]


def images(scratch, sizes):
    from skclip import CLIPImageEmbedder

    paths = photographs(scratch, sizes.images)
    embedder = CLIPImageEmbedder(model=scratch / "vit-b-32")
    embedder.transform(paths[:8])
    seconds, vectors = timed(embedder.transform, paths)
    assert len(vectors) == len(paths)
    return {f"images: {len(paths)} JPEG files of 640x480, ViT-B/32": seconds}


def texts(scratch, sizes):
    from skclip import CLIPTextEmbedder

    prompts = json.loads((scratch / "prompts.json").read_text())
    embedder = CLIPTextEmbedder(model=scratch / "vit-b-32")
    embedder.transform(prompts[:TEXT_BATCH])
    seconds, vectors = timed(embedder.transform, prompts)
    assert len(vectors) == len(prompts)
    return {f"texts: {len(prompts):,} prompts, ViT-B/32": seconds}


def grid_search(scratch, sizes):
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    from skclip import CLIPImageEmbedder

    paths, labels = json.loads((scratch / "drawings.json").read_text())
    n_folds = 5
    pipeline = make_pipeline(
        CLIPImageEmbedder("skclip/tiny", cache="memory"), LogisticRegression(max_iter=1000)
    )
    grid = {"logisticregression__C": np.logspace(-2, 2, sizes.grid)}
    search = GridSearchCV(pipeline, grid, cv=n_folds)
    # loads the model and scikit-learn's solver, but keeps no vectors
    uncached = make_pipeline(CLIPImageEmbedder("skclip/tiny"), LogisticRegression(max_iter=1000))
    uncached.fit(paths[:8], labels[:8]).score(paths[:8], labels[:8])
    seconds, _ = timed(search.fit, paths, labels)
    task = f"{len(paths)} drawings, {n_folds} folds, {sizes.grid} values of C"
    return {f'grid search: {task}, skclip/tiny, cache="memory"': seconds}


def store(scratch, sizes):
    import random
    from hashlib import blake2b

    import numpy as np

    from skclip import EmbeddingStore

    keys = [blake2b(b"%d" % i, digest_size=16).digest() for i in range(sizes.vectors)]
    vectors = np.random.default_rng(0).standard_normal((PUT_BATCH, WIDTH)).astype(np.float32)

    def write(store, keys):
        with store.session() as session:
            for start in range(0, len(keys), PUT_BATCH):
                batch = keys[start : start + PUT_BATCH]
                assert all(session.claim(batch))
                session.put(batch, vectors[: len(batch)])

    def look_up(store, keys):
        n_found = 0
        with store.session() as session:
            for start in range(0, len(keys), GET_BATCH):
                positions, _ = session.get(keys[start : start + GET_BATCH])
                n_found += len(positions)
        return n_found

    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        first = EmbeddingStore(Path(folder) / "warm-up")
        write(first, keys[:1000])
        look_up(first, keys[:1000])
        measured = EmbeddingStore(Path(folder) / "measured")
        missing, n_found = timed(look_up, measured, keys)
        assert n_found == 0
        writing, _ = timed(write, measured, keys)
        in_order, n_found = timed(look_up, measured, keys)
        assert n_found == len(keys)
        shuffled, n_found = timed(look_up, measured, random.Random(0).sample(keys, len(keys)))
        assert n_found == len(keys)
    what = f"store: {len(keys):,} vectors of {WIDTH}"
    return {
        f"{what}, claimed and put": writing,
        f"{what}, found in order": in_order,
        f"{what}, found shuffled": shuffled,
        f"{what}, not found in an empty store": missing,
    }


def memory(scratch, sizes):
    import resource

    from skclip import CLIPImageEmbedder

    paths = photographs(scratch, sizes.memory)
    assert len(CLIPImageEmbedder("skclip/tiny").transform(paths)) == len(paths)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {f"memory: {len(paths)} JPEG files of 640x480, skclip/tiny, peak MB": megabytes}


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


# Whole processes, which this process times --------------------------------------------------------


def embed(version, scratch, sizes):
    out = scratch / "embedded"
    command = ["-m", "skclip", "embed", str(scratch / "small"), "--out", str(out)]
    seconds, _ = timed(version.run, scratch, *command, "--model", "skclip/tiny", "--quiet")
    shutil.rmtree(out)
    return {f"embed: `skclip embed` of {sizes.embed:,} small files, skclip/tiny": seconds}


def import_(version, scratch, sizes):
    return {
        f"import: `{statement}`": timed(version.run, scratch, "-c", statement)[0]
        for statement in STATEMENTS
    }


IN_CHILD = {
    "images": images,
    "texts": texts,
    "grid_search": grid_search,
    "store": store,
    "memory": memory,
}
WHOLE = {"embed": embed, "import": import_}
NAMES = (*IN_CHILD, *WHOLE)


# Pairs --------------------------------------------------------------------------------------------


@dataclass
class Version:
    """A checkout of skclip that fresh processes import."""

    folder: Path
    label: str

    def run(self, scratch, *arguments):
        """Run Python with this version and return what it prints."""
        paths = [str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",  # so that the default is float32 on the CPU
        }
        # Python looks in the working directory first: skclip must not be there
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
        )
        if process.returncode:
            command = " ".join(arguments)
            raise RuntimeError(
                f"{self.label}: {command} failed with exit status {process.returncode}\n"
                f"{process.stderr}"
            )
        return process.stdout

    def check(self, scratch):
        """Fail if processes would import another skclip, such as an installed one."""
        check_location(self.run(scratch, "-c", LOCATE).strip(), self.folder)


def check_location(file, folder):
    if not Path(file).resolve().is_relative_to(Path(folder).resolve()):
        raise RuntimeError(f"skclip was imported from {file}, expected it in {folder}")


def measure(name, version, scratch, sizes):
    """Return what one process, or one of each whole command, measures: a dict of row to number."""
    if name in WHOLE:
        return WHOLE[name](version, scratch, sizes)
    task = {"name": name, "folder": str(version.folder), "sizes": asdict(sizes)}
    output = version.run(scratch, str(Path(__file__).resolve()), "--task", json.dumps(task))
    return json.loads(output.splitlines()[-1])


def run_task(task):
    """Do the work of a child process and print its measurements."""
    scratch, sizes = Path.cwd(), Sizes(**task["sizes"])
    if task["name"] == "prepare":
        prepare(scratch, sizes, task["names"])
        return
    numbers = IN_CHILD[task["name"]](scratch, sizes)
    import skclip

    check_location(skclip.__file__, task["folder"])
    print(json.dumps(numbers))


def compare(name, versions, scratch, sizes, n_pairs):
    """Return what one benchmark measures: a dict of row to the numbers of both versions."""
    if name in WHOLE:
        for version in versions:  # fills the disk cache; not counted
            measure(name, version, scratch, sizes)
    numbers = {}
    for pair in range(n_pairs):
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        for which in order:
            for what, number in measure(name, versions[which], scratch, sizes).items():
                numbers.setdefault(what, ([], []))[which].append(number)
                progress = f"{pair + 1}/{n_pairs} {versions[which].label}: {what}: {number:.3f}"
                print(progress, file=sys.stderr, flush=True)
            os.sync()  # so that delayed writes do not slow down the next process
    return numbers


def row(what, old, new, versions):
    is_memory = what.startswith("memory")
    ratios = [b / a if is_memory else a / b for a, b in zip(old, new, strict=True)]
    digits = 0 if is_memory else 3
    unit = "MB" if is_memory else "s"
    return {
        "what": what,
        **{
            version.label: f"{statistics.median(numbers):.{digits}f} {unit}"
            for version, numbers in zip(versions, (old, new), strict=True)
        },
        "median ratio": f"{statistics.median(ratios):.3f}",
        "lowest to highest": f"{min(ratios):.3f} to {max(ratios):.3f}",
    }


def label_of(folder):
    """Return the short commit hash of a checkout, "-dirty" if it is changed, or its name."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return folder.name


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="OLD NEW", type=Path)
    parser.add_argument("--labels", nargs=2, metavar=("OLD", "NEW"), help="default: the commits")
    parser.add_argument("--only", metavar="NAMES", help=f"separated by commas: {', '.join(NAMES)}")
    parser.add_argument("--pairs", type=int, help="default: 7")
    parser.add_argument("--quick", action="store_true", help="2 pairs, little work, prints only")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        return run_task(options.task)
    if len(options.folders) != 2:
        parser.error("two folders are needed: OLD NEW")
    names = options.only.split(",") if options.only else list(NAMES)
    if unknown := set(names) - set(NAMES):
        parser.error(f"--only must name some of {', '.join(NAMES)}; got {', '.join(unknown)}")
    sizes = QUICK if options.quick else Sizes()
    n_pairs = options.pairs or (2 if options.quick else 7)
    folders = [folder.resolve() for folder in options.folders]
    labels = options.labels or [label_of(folder) for folder in folders]
    if labels[0] == labels[1]:
        labels = [f"old ({labels[0]})", f"new ({labels[1]})"]
    versions = [Version(*pair) for pair in zip(folders, labels, strict=True)]
    numbers = {}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for version in versions:
            version.check(scratch)
        task = {"name": "prepare", "names": names, "sizes": asdict(sizes)}
        versions[1].run(scratch, str(Path(__file__).resolve()), "--task", json.dumps(task))
        os.sync()
        for name in names:
            numbers |= compare(name, versions, scratch, sizes, n_pairs)
    write_report(
        "versions",
        f"Two versions of skclip: {labels[0]} and {labels[1]}",
        [row(what, old, new, versions) for what, (old, new) in numbers.items()],
        notes=[
            f"Medians of {n_pairs} pairs of fresh processes, one of each version, in turns. The "
            f"ratio is computed for each pair: the seconds of {labels[0]} over those of "
            f"{labels[1]}, so that more than 1 means that {labels[1]} is faster; for memory, the "
            f"peak of {labels[1]} over that of {labels[0]}, so that less than 1 means that it "
            "needs less. Everything runs in float32 on the CPU. ViT-B/32 has random weights. "
            "Importing and loading the model are not counted, except for embed and import, which "
            "are whole processes."
        ],
        save=not options.quick,
    )


if __name__ == "__main__":
    main()
