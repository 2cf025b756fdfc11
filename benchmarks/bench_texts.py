"""Embed short prompts, and make a zero-shot head of many templates, with skclip and its peers.

    python benchmarks/bench_texts.py

About half an hour on two cores; `--texts 200 --slow-texts 64 --classes 4 --repeats 1`
is a quick trial.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
import transformers
from models import save_vit
from peers import (
    DTYPES,
    OWN_DTYPES,
    chunks,
    open_clip_model,
    pooled,
    sentence_transformer,
    transformers_model,
)
from prompts import LONGEST, NOUNS, SHORTEST, make_prompts, make_templates
from report import write_report
from timing import fidelity, ratio_row, spread, table_rows, time_alternately

import skclip

REFERENCE = "transformers, padded to the longest, sorted, float32"
# Texts to vectors, as users of each library write it ----------------------------------------------


def transformers_texts(directory, dtype, *, padding, sort=False):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers_model(directory, dtype)

    @torch.inference_mode()
    def embed(texts):
        order = np.arange(len(texts))
        if sort:
            order = np.argsort([len(row) for row in tokenizer(texts)["input_ids"]], kind="stable")
        vectors = np.empty((len(texts), model.config.projection_dim), dtype=np.float32)
        for rows in chunks(order):
            batch = [texts[row] for row in rows]
            tokens = tokenizer(batch, padding=padding, max_length=77, return_tensors="pt")
            vectors[rows] = pooled(model.get_text_features(**tokens)).float().numpy()
        return vectors

    return embed


def open_clip_texts(directory, dtype):
    tokenize = open_clip.get_tokenizer("ViT-B-32-quickgelu")
    model, _ = open_clip_model(directory, dtype)

    @torch.inference_mode()
    def embed(texts):
        batches = [model.encode_text(tokenize(batch)) for batch in chunks(texts)]
        return torch.cat(batches).float().numpy()

    return embed


def sentence_transformers_texts(directory, dtype):
    encode = sentence_transformer(directory, dtype).encode
    return partial(encode, show_progress_bar=False)


def skclip_texts(directory, dtype):
    encoder = skclip.load_encoder(directory, dtype=dtype)
    # the peers do not normalize either
    return partial(skclip.embed_texts, encoder, normalize=False)


def text_candidates(directory, dtype):
    longest = partial(transformers_texts, directory, dtype, padding="longest")
    return {
        f"skclip, {dtype}": skclip_texts(directory, dtype),
        f"sentence-transformers, {dtype}": sentence_transformers_texts(directory, dtype),
        f"transformers, padded to the longest, sorted, {dtype}": longest(sort=True),
        f"transformers, padded to the longest, {dtype}": longest(),
        f"transformers, padded to 77, {dtype}": transformers_texts(
            directory, dtype, padding="max_length"
        ),
        f"open_clip, padded to 77, {dtype}": open_clip_texts(directory, dtype),
    }


def bench_prompts(directory, options):
    prompts = make_prompts(options.texts)
    candidates = {}
    for dtype in options.dtypes:
        candidates |= text_candidates(directory, dtype)
    fewer = dict.fromkeys([name for name in candidates if "to 77" in name], options.slow_texts)
    timings = time_alternately(candidates, list(prompts), options.repeats, fewer=fewer)
    reference = transformers_texts(directory, "float32", padding="longest", sort=True)(
        list(prompts)
    )
    shown = []
    for dtype, aim in zip(DTYPES, ("at least 1.5", "at least 1.3"), strict=True):
        if dtype not in options.dtypes:
            continue
        ours = f"skclip, {dtype}"
        peers = [name for name in timings if name.endswith(dtype) and name != ours]
        shown.append(ratio_row(f"{dtype}, best peer", timings, ours, peers, aim, reference))
        named = [name for name in peers if name.startswith("sentence-transformers")]
        row = ratio_row(f"{dtype}, sentence-transformers", timings, ours, named, aim, reference)
        shown.append(row)
        named = [name for name in peers if name.startswith("open_clip")]
        aim = "at least 10" if dtype == "float32" else ""
        shown.append(ratio_row(f"{dtype}, open_clip", timings, ours, named, aim, reference))
    rows = table_rows(timings, options.dtypes, reference, "texts/s", counted="texts")
    return shown, rows, about(prompts, reference)


def about(prompts, reference):
    prefixes = {tuple(row[:end]) for row in prompts.values() for end in range(1, len(row) + 1)}
    n_tokens = sum(map(len, prompts.values()))
    return (
        f"{len(prompts)} distinct prompts of {SHORTEST} to {LONGEST} tokens, start and end token "
        f"included. Without these two they have {n_tokens} tokens together, and {len(prefixes)} "
        "different prefixes. Candidates that pad to 77 tokens got only the first of the prompts, "
        f"since every text costs them the same. The reference is {REFERENCE}; mean cosine of "
        f"different prompts: {spread(reference):.3f}."
    )


# The zero-shot head -------------------------------------------------------------------------------


def skclip_head(directory, templates):
    def fit(classes):
        head = skclip.ZeroShotClassifier(classes, model=directory, templates=templates).fit()
        return head.coef_ * head.temperature_

    return fit


def open_clip_head(directory, templates):
    tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")
    model, _ = open_clip_model(directory, "float32")

    def build(classes):
        weights = open_clip.build_zero_shot_classifier(model, tokenizer, classes, templates)
        return weights.numpy().T

    return build


def bench_head(directory, options):
    templates = make_templates()
    classes = sorted(NOUNS)[: options.classes]
    ours, peer = "skclip", "open_clip, build_zero_shot_classifier"
    candidates = {
        ours: skclip_head(directory, templates),
        peer: open_clip_head(directory, templates),
    }
    # three, because a classifier of two classes has a single row of weights
    timings = time_alternately(candidates, classes, options.head_repeats, warm_up=3)
    reference = timings[peer].result
    what = f"{len(templates)} templates, {len(classes)} classes, float32"
    shown = ratio_row(what, timings, ours, [peer], "at least 10", reference)
    rows = [
        {
            "candidate": name,
            "seconds": f"{timing.median:.2f}",
            "prompts/s": f"{timing.rate * len(templates):.1f}",
            **fidelity(timing.result, reference),
        }
        for name, timing in timings.items()
    ]
    return shown, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=OWN_DTYPES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--slow-texts", type=int, default=400)
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--head-repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = save_vit(Path(folder) / "vit-b-32")
        shown, rows, note = bench_prompts(directory, options)
        head, head_rows = bench_head(directory, options)
    write_report(
        "texts",
        f"{options.texts} prompts, and a zero-shot head, ViT-B/32",
        [*shown, head],
        notes=[
            f"Medians of {options.repeats} alternating runs ({options.head_repeats} of the head) "
            "after a short one that is not counted. All candidates have the same random weights."
        ],
        sections=[
            ("Prompts, fastest first", rows, [note]),
            ("Zero-shot head, float32", head_rows, ["The reference is open_clip's."]),
        ],
    )


if __name__ == "__main__":
    main()
