"""JPEG files to embeddings, the forward pass alone, and large photographs: skclip and its peers.

    python benchmarks/bench_images.py [--parts files forward large]

About an hour on two cores; `--files 32 --large-files 8 --repeats 1` tries it out in minutes.
"""

import argparse
import math
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from peers import (
    BATCH_SIZE,
    chunks,
    embetter_images,
    fast_processor,
    fidelity,
    open_clip_images,
    open_clip_model,
    pooled,
    race,
    ratio_row,
    save_photographs,
    save_vit,
    sentence_transformers_images,
    skclip_images,
    slow_processor,
    speed,
    spread,
    transformers_images,
    transformers_model,
)
from PIL import Image
from report import write_report
from torchvision import transforms

import skclip
from skclip.checkpoints.load import load_checkpoint
from skclip.encode.threads import computing_threads, even_batch_size

DTYPES = ("float32", "bfloat16")
SMALL_VIT = {"width": 192, "layers": 6, "heads": 3, "embed_dim": 192}  # 2.7 million weights
LARGE_BATCH = 4
BY_HAND = "draft by hand"
MATRIX_FLOPS = 5e10  # of one measurement: long against the noise, short against the whole
REFERENCE = "open_clip, workers: 0, float32"
HOW = (
    "The reference is OpenAI's recipe in float32: Pillow decodes, torchvision resizes and crops "
    f"Pillow's pictures ({REFERENCE}). Cosines are between vectors of one picture; the centred one "
    "after the reference's mean is taken from both."
)


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


def table_rows(timings, dtypes, reference, unit="images/s"):
    """One row a contestant, fastest first, with skclip's speed over its own."""
    rows = []
    for name in sorted(timings, key=lambda name: -timings[name].rate):
        row = speed(name, timings[name], unit)
        for dtype in dtypes:
            ratio = timings[f"skclip, {dtype}"].rate / timings[name].rate
            row[f"skclip {dtype} is times as fast"] = f"{ratio:.2f}"
        rows.append({**row, **fidelity(timings[name].value, reference)})
    return rows


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


def reference_vectors(source, paths):
    return open_clip_images(source, "float32", 0)(paths)


def medians(options):
    return (
        f"Medians of {options.repeats} interleaved runs after one that is not counted. Weights are "
        "the same for all, and random but for skclip/tiny's."
    )


# The forward pass ---------------------------------------------------------------------------------


def forward_flops(config, embed_dim, *, pooled_row_only):
    """Multiplications and additions of one picture's pass through a ViT.

    With `pooled_row_only` those of a last block that computes keys and values of all tokens, and
    everything else of the pooled token alone.
    """
    patches = (config.image_size // config.patch_size) ** 2
    tokens, width = patches + 1, config.width

    def block(rows):
        keys_and_values = 2 * tokens * width * 2 * width
        query_and_output = 2 * rows * width * 2 * width
        attention = 2 * 2 * rows * tokens * width
        mlp = 2 * 2 * rows * width * config.mlp_width
        return keys_and_values + query_and_output + attention + mlp

    embedding = 2 * patches * 3 * config.patch_size**2 * width
    last = block(1 if pooled_row_only else tokens)
    return embedding + (config.layers - 1) * block(tokens) + last + 2 * width * embed_dim


def matrix_contestants(config, dtype, n_cores):
    """`linear` of the model's shapes, with and without torch's own threads.

    Each layer has weights of its own, as in the model, where no cache holds them all.
    """
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    width, hidden = config.width, config.mlp_width
    torch_dtype = getattr(torch, dtype)
    contestants, flops = {}, {}
    for n_in, n_out in ((width, 3 * width), (width, width), (width, hidden), (hidden, width)):
        bias = torch.randn(n_out).to(torch_dtype)
        weights = [torch.randn(n_out, n_in).to(torch_dtype) for _ in range(config.layers)]
        for n_images in (8, 32, 64, 256):
            x = torch.randn(n_images * tokens, n_in).to(torch_dtype)
            n_calls = math.ceil(MATRIX_FLOPS / (2 * len(x) * n_in * n_out))
            n_flops = n_calls * 2 * len(x) * n_in * n_out
            name = f"{len(x)} x {n_in} x {n_out} in {dtype}"
            together = f"{name}, one at a time on {n_cores} threads"
            side_by_side = f"{name}, {n_cores} at a time on one thread each"
            contestants[together] = partial(multiply, x, weights, bias, n_calls)
            contestants[side_by_side] = partial(at_once, n_cores, x, weights, bias, n_calls)
            flops |= {together: n_flops, side_by_side: n_cores * n_flops}
    return contestants, flops


@torch.inference_mode()
def multiply(x, weights, bias, n_calls, _):
    for weight in islice(cycle(weights), n_calls):
        torch.nn.functional.linear(x, weight, bias)


def at_once(n_cores, x, weights, bias, n_calls, _):
    def work(_):
        torch.set_num_threads(1)  # of this thread; `race` undoes what leaks
        multiply(x, weights, bias, n_calls, None)

    with ThreadPoolExecutor(n_cores) as pool:
        list(pool.map(work, range(n_cores)))


def skclip_forward(directory, dtype):
    """The model in the batches and threads in which skclip runs it, without files."""
    encoder = skclip.load_encoder(directory, dtype=dtype)

    def embed(pictures):
        with computing_threads(encoder.n_threads) as pool:
            most, n_threads = encoder.images_per_batch, encoder.n_threads
            batches = chunks(pictures, even_batch_size(len(pictures), most, n_threads))
            futures = [pool.submit(encoder.encode_pixels, batch) for batch in batches]
            return np.concatenate([future.result() for future in futures])

    return embed


def forward_contestants(directory, dtype, pixels):
    """The models alone: skclip gets uint8 pictures, its peers get finished tensors."""
    pixels = pixels.to(getattr(torch, dtype))
    theirs = transformers_model(directory, dtype)
    clip, _ = open_clip_model(directory, dtype)

    @torch.inference_mode()
    def batched(forward, pictures):
        features = [forward(batch) for batch in pixels[: len(pictures)].split(BATCH_SIZE)]
        return torch.cat([pooled(batch) for batch in features]).float().numpy()

    return {
        f"skclip, {dtype}": skclip_forward(directory, dtype),
        f"transformers, {dtype}": partial(batched, theirs.get_image_features),
        f"open_clip, {dtype}": partial(batched, clip.encode_image),
    }


def bench_forward(folder, options):
    paths = save_photographs(folder / "forward", options.forward_images)
    directory = save_vit(folder / "vit-b-32")
    checkpoint = load_checkpoint(directory)
    config, embed_dim = checkpoint.model.config.vision, checkpoint.model.config.embed_dim
    recipe = checkpoint.preprocess
    crop = transforms.Compose(
        [
            transforms.Resize(config.image_size, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(config.image_size),
        ]
    )
    prepared = [np.array(crop(Image.open(path))) for path in paths]
    scale = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(recipe.mean, recipe.std)]
    )
    pixels = torch.stack([scale(picture) for picture in prepared])
    n_cores = torch.get_num_threads()
    contestants, matrix_flops = {}, {}
    for dtype in options.dtypes:
        contestants |= forward_contestants(directory, dtype, pixels)
        linears, flops = matrix_contestants(config, dtype, n_cores)
        contestants |= linears
        matrix_flops |= flops
    timings = race(contestants, prepared, options.repeats)
    reference = reference_vectors(directory, paths)

    shown, rows = [], []
    for dtype, aim in zip(DTYPES, ("at least 90 %", "at least 85 %"), strict=True):
        if dtype not in options.dtypes:
            continue
        rates = {
            name: flops / timings[name].median
            for name, flops in matrix_flops.items()
            if f" in {dtype}," in name
        }
        best = max(rates, key=rates.get)
        for name in forward_names(timings, dtype):
            flops = forward_flops(config, embed_dim, pooled_row_only=name.startswith("skclip"))
            share = f"{flops * timings[name].rate / rates[best]:.1%}"
            if name.startswith("skclip"):
                what = f"{dtype}, executed FLOPs over time, of the matrix rate"
                same = fidelity(timings[name].value, reference)
                shown.append({"what": what, "share": share, "aim": aim, **same})
            rows.append(
                {
                    **speed(name, timings[name], "images/s"),
                    "executed GFLOP an image": f"{flops / 1e9:.2f}",
                    "GFLOP/s": f"{flops * timings[name].rate / 1e9:.0f}",
                    "of the matrix rate": share,
                    **fidelity(timings[name].value, reference),
                }
            )
        rows.append(
            {
                "contestant": f"matrix rate, {dtype}: {best}",
                "GFLOP/s": f"{rates[best] / 1e9:.0f}",
                "of the matrix rate": "100.0%",
            }
        )
    write_report(
        "images_forward",
        f"The forward pass alone: {len(paths)} prepared pictures, ViT-B/32",
        shown,
        notes=[medians(options)],
        sections=[
            (
                "Rates",
                rows,
                [
                    "The matrix rate is the best of `torch.nn.functional.linear` over the shapes "
                    "of this model for 8, 32, 64 and 256 pictures and over the weights of all "
                    "layers in turn, all cores in one call or each core in a call of its own. "
                    "skclip's last block computes keys and values of all tokens and the rest of "
                    "the pooled one alone, and only that is counted.",
                    HOW,
                ],
            )
        ],
    )


def forward_names(timings, dtype):
    return [name for name in timings if name.endswith(f", {dtype}")]


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
    size = load_checkpoint(source).preprocess.image_size
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
    parts = {"files": bench_files, "forward": bench_forward, "large": bench_large}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--forward-images", type=int, default=256)
    parser.add_argument("--large-files", type=int, default=64)
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[part](Path(folder), options)


if __name__ == "__main__":
    main()
