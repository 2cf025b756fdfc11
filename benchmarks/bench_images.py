"""JPEG files to embeddings, and large photographs: skclip and its peers.

    python benchmarks/bench_images.py [--parts files large]

About half an hour on two cores; `--files 32 --large-files 8 --repeats 1` tries it out.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from peers import (
    DTYPES,
    HOW,
    OWN_DTYPES,
    embetter_images,
    fast_processor,
    open_clip_images,
    reference_vectors,
    save_photographs,
    save_vit,
    sentence_transformers_images,
    skclip_images,
    slow_processor,
    transformers_images,
)
from race import (
    medians,
    race,
    ratio_row,
    spread,
    table_rows,
)
from report import write_report

from skclip.checkpoints.load import load_checkpoint

SMALL_VIT = {"width": 192, "layers": 6, "heads": 3, "embed_dim": 192}  # 2.7 million weights
LARGE_BATCH = 4
BY_HAND = "draft by hand"


def file_contestants(directory, dtype):
    """All libraries that read the directory, skclip first."""
    return {
        f"skclip, {dtype}": skclip_images(directory, dtype),
        f"skclip, exact preprocessing, {dtype}": skclip_images(directory, dtype, "exact"),
        f"transformers, fast processor, {dtype}": transformers_images(
            directory, dtype, fast_processor
        ),
        f"transformers, Pillow processor, {dtype}": transformers_images(
            directory, dtype, slow_processor
        ),
        **{
            f"open_clip, workers: {workers}, {dtype}": open_clip_images(directory, dtype, workers)
            for workers in (0, 1, 2)
        },
        f"sentence-transformers, {dtype}": sentence_transformers_images(directory, dtype),
        f"embetter, {dtype}": embetter_images(directory, dtype),
    }


def peers_of(timings, dtype):
    return [name for name in timings if name.endswith(dtype) and not name.startswith("skclip")]


def bench_files(folder, options):
    paths = save_photographs(folder / "photographs", options.files)
    directory = save_vit(folder / "vit-b-32")
    contestants = {}
    for dtype in options.dtypes:
        contestants |= file_contestants(directory, dtype)
    timings = race(contestants, paths, options.repeats)
    reference = reference_vectors(directory, paths)
    shown = []
    if "float32" in options.dtypes:
        peers = peers_of(timings, "float32")
        shown.append(
            ratio_row(
                "float32, best peer", timings, "skclip, float32", peers, "at least 1.3", reference
            )
        )
    if "bfloat16" in options.dtypes:
        ours = "skclip, bfloat16"
        if "float32" in options.dtypes:
            what = "bfloat16, best peer as it comes (float32)"
            shown.append(ratio_row(what, timings, ours, peers, "at least 2.3", reference))
        cast = peers_of(timings, "bfloat16")
        what = "bfloat16, best peer converted by hand"
        shown.append(ratio_row(what, timings, ours, cast, "at least 1.1", reference))
    write_report(
        "images",
        f"{len(paths)} JPEG files of 640x480 to embeddings, ViT-B/32",
        shown,
        notes=[medians(options)],
        sections=[
            (
                "All contestants, fastest first",
                table_rows(timings, options.dtypes, reference),
                [HOW, f"Mean cosine of different pictures: {spread(reference):.3f}."],
            )
        ],
    )


# Large photographs --------------------------------------------------------------------------------


def large_contestants(directory):
    return file_contestants(directory, "float32") | open_clip_large(directory)


def tiny_contestants():
    """The bundled model, a small ResNet, which only open_clip reads too."""
    ours = {
        "skclip, float32": skclip_images("skclip/tiny", "float32"),
        "skclip, exact preprocessing, float32": skclip_images("skclip/tiny", "float32", "exact"),
    }
    return ours | open_clip_large("skclip/tiny")


def open_clip_large(source):
    """open_clip in batches small enough that two workers have something to do, and by hand."""
    size = load_checkpoint(source).preprocess_config.image_size
    contestants = {
        f"open_clip, workers: {workers}, float32": open_clip_images(
            source, "float32", workers, batch_size=LARGE_BATCH
        )
        for workers in (0, 1, 2)
    }
    by_hand = open_clip_images(source, "float32", 2, batch_size=LARGE_BATCH, draft=2 * size)
    return contestants | {f"open_clip, workers: 2, {BY_HAND}, float32": by_hand}


def bench_large(folder, options):
    paths = save_photographs(folder / "large", options.large_files, size=(3000, 2000))
    small = save_vit(folder / "vit-32", **SMALL_VIT, image_size=32, patch_size=8)
    usual = save_vit(folder / "vit-224", **SMALL_VIT, image_size=224, patch_size=32)
    shown, sections = [], []
    for title, source, contestants in (
        ("ViT of the size of skclip/tiny, 32 pixels", small, large_contestants(small)),
        ("skclip/tiny itself (a ResNet), 32 pixels", "skclip/tiny", tiny_contestants()),
        ("ViT of the size of skclip/tiny, 224 pixels", usual, large_contestants(usual)),
    ):
        print(title, file=sys.stderr)
        timings = race(contestants, paths, options.repeats, warm_up=4)
        peers = peers_of(timings, "float32")
        as_they_come = [name for name in peers if BY_HAND not in name]
        ours = "skclip, float32"
        reference = reference_vectors(source, paths)
        for what, names, aim in (
            (f"{title}: best peer", as_they_come, "at least 2"),
            (f"{title}: best peer, {BY_HAND} among them", peers, ""),
        ):
            shown.append(ratio_row(what, timings, ours, names, aim, reference))
        rows = table_rows(timings, ["float32"], reference)
        sections.append(
            (title, rows, [f"Mean cosine of different pictures: {spread(reference):.3f}."])
        )
    write_report(
        "images_large",
        f"{len(paths)} photographs of 3000x2000 to embeddings",
        shown,
        notes=[
            medians(options),
            "Decoding is most of the work here. By hand, Pillow's `draft` lets the JPEG decoder "
            "shrink a picture to no less than twice the model's size before it is resized.",
            HOW,
        ],
        sections=sections,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"files": bench_files, "large": bench_large}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=OWN_DTYPES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--large-files", type=int, default=32)
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[part](Path(folder), options)


if __name__ == "__main__":
    main()
