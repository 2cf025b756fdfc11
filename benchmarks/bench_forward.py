"""The forward pass alone, compared with the rate of matrix products: skclip and its peers.

    python benchmarks/bench_forward.py

About ten minutes on two cores; `--images 64 --repeats 1` is a quick trial.
"""

import argparse
import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from images import save_photographs
from models import save_vit
from peers import (
    BATCH_SIZE,
    DTYPES,
    HOW,
    OWN_DTYPES,
    chunks,
    open_clip_model,
    pooled,
    reference_vectors,
    transformers_model,
)
from PIL import Image
from report import write_report
from timing import fidelity, medians, speed, time_alternately
from torchvision import transforms

import skclip
from skclip.checkpoints.load import load_checkpoint
from skclip.encode.batches import plan_batches
from skclip.encode.threads import compute_in_order

ALONE = "skclip's matrix products alone, by torch's linear"
MATRIX_FLOPS = 5e10  # per measurement: long compared with the noise, short compared with a run


def forward_flops(config, embed_dim, *, pooled_row_only):
    """Count the multiplications and additions of one image's pass through a ViT.

    With `pooled_row_only` the last block computes the keys and values of all tokens, but everything
    else for the pooled token alone.
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


def matrix_candidates(config, dtype, n_cores):
    """Return `linear` of the model's shapes, with and without torch's own threads.

    Each layer has weights of its own, as in the model, whose weights together fit in no cache.
    """
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    width, hidden = config.width, config.mlp_width
    torch_dtype = getattr(torch, dtype)
    candidates, flops = {}, {}
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
            candidates[together] = partial(multiply, x, weights, bias, n_calls)
            candidates[side_by_side] = partial(at_once, n_cores, x, weights, bias, n_calls)
            flops |= {together: n_flops, side_by_side: n_cores * n_flops}
    return candidates, flops


@torch.inference_mode()
def multiply(x, weights, bias, n_calls, _):
    for weight in islice(cycle(weights), n_calls):
        torch.nn.functional.linear(x, weight, bias)


def at_once(n_cores, x, weights, bias, n_calls, _):
    def work(_):
        torch.set_num_threads(1)  # `time_alternately` restores the number
        multiply(x, weights, bias, n_calls, None)

    with ThreadPoolExecutor(n_cores) as pool:
        list(pool.map(work, range(n_cores)))


def products_alone(config, dtype, batch_size, n_cores):
    """Return the matrix products of the model's layers alone, in skclip's batches and threads.

    Returns the candidate, and its multiplications and additions per image.
    """
    width, hidden = config.width, config.mlp_width
    shapes = ((width, 3 * width), (width, width), (width, hidden), (hidden, width))
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    torch_dtype = getattr(torch, dtype)
    layers = [
        [(torch.randn(n_out, n_in), torch.randn(n_out)) for n_in, n_out in shapes]
        for _ in range(config.layers)
    ]
    layers = [[[part.to(torch_dtype) for part in linear] for linear in layer] for layer in layers]

    @torch.inference_mode()
    def multiply_all(batch):
        x = {n: torch.randn(len(batch) * tokens, n).to(torch_dtype) for n in (width, hidden)}
        for layer in layers:
            for weight, bias in layer:
                torch.nn.functional.linear(x[weight.shape[1]], weight, bias)

    flops = 2 * tokens * config.layers * sum(n_in * n_out for n_in, n_out in shapes)
    return partial(in_skclips_batches, multiply_all, batch_size, n_cores), flops


def in_skclips_batches(work, batch_size, n_threads, images):
    """Return what `work` returns for each batch, with skclip's batches and threads."""
    size, n_threads = plan_batches(len(images), "auto", batch_size, n_threads)
    return list(compute_in_order(work, [(batch,) for batch in chunks(images, size)], n_threads))


def skclip_forward(directory, dtype):
    """Return skclip's model without files, with the batches and threads that skclip uses."""
    encoder = skclip.load_encoder(directory, dtype=dtype)

    def embed(images):
        encode, most, n_threads = (
            encoder.encode_prepared_images,
            encoder.images_per_batch,
            encoder.n_threads,
        )
        return np.concatenate(in_skclips_batches(encode, most, n_threads, images))

    return embed


def forward_candidates(directory, dtype, pixels):
    """Return the models alone: skclip gets uint8 pixels, its peers get normalized tensors."""
    pixels = pixels.to(getattr(torch, dtype))
    theirs = transformers_model(directory, dtype)
    clip, _ = open_clip_model(directory, dtype)

    @torch.inference_mode()
    def batched(forward, images):
        features = [forward(batch) for batch in pixels[: len(images)].split(BATCH_SIZE)]
        return torch.cat([pooled(batch) for batch in features]).float().numpy()

    return {
        f"skclip, {dtype}": skclip_forward(directory, dtype),
        f"transformers, {dtype}": partial(batched, theirs.get_image_features),
        f"open_clip, {dtype}": partial(batched, clip.encode_image),
    }


def bench(folder, options):
    paths = save_photographs(folder / "photographs", options.images)
    directory = save_vit(folder / "vit-b-32")
    checkpoint = load_checkpoint(directory)
    config, embed_dim = checkpoint.model.config.vision, checkpoint.model.config.embed_dim
    recipe = checkpoint.preprocess_config
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
    pixels = torch.stack([scale(image) for image in prepared])
    n_cores = torch.get_num_threads()
    candidates, matrix_flops = {}, {}
    for dtype in options.dtypes:
        candidates |= forward_candidates(directory, dtype, pixels)
        linears, flops = matrix_candidates(config, dtype, n_cores)
        candidates |= linears
        matrix_flops |= flops
        batch_size = skclip.load_encoder(directory, dtype=dtype).images_per_batch
        alone, product_flops = products_alone(config, dtype, batch_size, n_cores)
        candidates[f"{ALONE}, {dtype}"] = alone
    timings = time_alternately(candidates, prepared, options.repeats)
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
                what = f"{dtype}, executed FLOPs per second, share of the matrix rate"
                same = fidelity(timings[name].result, reference)
                shown.append({"what": what, "share": share, "aim": aim, **same})
            rows.append(
                {
                    **speed(name, timings[name], "images/s"),
                    "executed GFLOP per image": f"{flops / 1e9:.2f}",
                    "GFLOP/s": f"{flops * timings[name].rate / 1e9:.0f}",
                    "share of the matrix rate": share,
                    **fidelity(timings[name].result, reference),
                }
            )
        rate = product_flops * timings[f"{ALONE}, {dtype}"].rate
        rows.append(
            {
                "candidate": f"{ALONE}, {dtype}",
                "GFLOP/s": f"{rate / 1e9:.0f}",
                "share of the matrix rate": f"{rate / rates[best]:.1%}",
            }
        )
        rows.append(
            {
                "candidate": f"matrix rate, {dtype}: {best}",
                "GFLOP/s": f"{rates[best] / 1e9:.0f}",
                "share of the matrix rate": "100.0%",
            }
        )
    write_report(
        "forward",
        f"The forward pass alone: {len(paths)} prepared images, ViT-B/32",
        shown,
        notes=[medians(options)],
        sections=[
            (
                "Rates",
                rows,
                [
                    "The matrix rate is the best of `torch.nn.functional.linear` over the shapes "
                    "of this model for 8, 32, 64 and 256 images and over the weights of all "
                    "layers in turn, with all cores in one call or each core in a call of its own. "
                    "skclip's last block computes keys and values for all tokens and everything "
                    "else for the pooled token alone; only these operations are counted.",
                    HOW,
                ],
            )
        ],
    )


def forward_names(timings, dtype):
    return [name for name in timings if name.endswith(f", {dtype}") and not name.startswith(ALONE)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=OWN_DTYPES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=192)
    with tempfile.TemporaryDirectory() as folder:
        bench(Path(folder), parser.parse_args())


if __name__ == "__main__":
    main()
