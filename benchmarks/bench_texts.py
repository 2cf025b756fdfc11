"""Short prompts to embeddings, and a zero-shot head of many templates: skclip and its peers.

    python benchmarks/bench_texts.py

About half an hour on two cores; `--texts 200 --slow-texts 64 --classes 4 --repeats 1` tries it out.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
import transformers
from peers import (
    DTYPES,
    OWN_DTYPES,
    chunks,
    open_clip_model,
    pooled,
    save_vit,
    sentence_transformer,
    transformers_model,
)
from race import (
    fidelity,
    race,
    ratio_row,
    spread,
    table_rows,
)
from report import write_report

import skclip

REFERENCE = "transformers, padded to the longest, sorted, float32"
SHORTEST, LONGEST = 4, 14  # tokens, start and end token included

NOUNS = """apple balloon basket bear bench bicycle bird boat book bottle bridge bus butterfly cake
camera candle car castle cat chair clock cloud coat cow crab cup desk dog dolphin door dress drum
duck elephant fence fish flag flower fork fox frog garden giraffe glove guitar hammer hat horse
house island jacket kettle key kite ladder lamp lemon lion mirror monkey mountain mushroom owl
panda pear piano pillow plate pumpkin rabbit ring river robot rocket sailor shoe snail spoon
squirrel statue sweater table teapot telephone tiger tower train tree truck turtle umbrella vase
violin wagon whale wheel window wolf zebra""".split()
ADJECTIVES = """ancient black blue bright broken brown colourful dark dusty empty frozen golden
green grey heavy huge little metal modern narrow old orange painted pink plastic purple red round
shiny silver sleeping small soft striped tall tiny wet white wooden yellow""".split()
PLACES = "beach field forest garden kitchen market meadow museum park room street village".split()
FORMS = """{a} {n}
a {a} {n}
the {n}
a photo of a {n}
a photo of a {a} {n}
{n} and {m}
a {n} in the {p}
a picture of the {a} {n} in a {p}
{a} {n} beside a {b} {m}
two {a} {n}s
a close view of a {n}
the {a} {n} is standing near the {b} {m}
someone holding a {a} {n}
a drawing of a {n} and a {m}
my {n} in the {p} at night
many {n}s and one {a} {m}
a photo of the {a} {n} left of the {b} {m}
a picture of the {a} {n} behind the {b} {m} at night""".splitlines()

QUALITIES = """blurry bright clear colourful cropped dark faded fine grainy hidden large nice old
plain sharp small strange tidy tilted wide""".split()
MEDIA = """painting drawing sculpture sticker cartoon rendering model toy print pencil_sketch
embroidery mosaic poster silhouette snapshot""".split()
OTHERS = """a {}.
the {}.
here stands a {}.
one {} among others.
many {} in a picture.
this shows the {}.
a photo taken of a {} from far away.
someone's photo of their {}.
a {} as seen at night.
a {} in front of a plain wall.""".splitlines()


def make_prompts(n_texts):
    """Return distinct prompts, some that begin alike as templates do and some that do not."""
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    rng = np.random.default_rng(0)
    prompts = {}
    while len(prompts) < n_texts:
        n, m = rng.choice(NOUNS, 2, replace=False)
        a, b = rng.choice(ADJECTIVES, 2, replace=False)
        form = rng.choice(FORMS)
        text = form.format(a=a, b=b, n=n, m=m, p=rng.choice(PLACES))
        tokens = tokenizer.encode(text)
        if SHORTEST <= len(tokens) + 2 <= LONGEST:
            prompts[text] = tokens
    return prompts


def make_templates():
    """Return 80 templates in the manner of the paper's ensemble."""
    templates = [f"a {quality} photo of {a} {{}}." for quality in QUALITIES for a in ("a", "the")]
    media = [medium.replace("_", " ") for medium in MEDIA]
    templates += [f"a {medium} of {a} {{}}." for medium in media for a in ("a", "the")]
    return templates + OTHERS


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


def text_contestants(directory, dtype):
    longest = partial(transformers_texts, directory, dtype, padding="longest")
    return {
        f"skclip, {dtype}": skclip.load_encoder(directory, dtype=dtype).encode_texts,
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
    contestants = {}
    for dtype in options.dtypes:
        contestants |= text_contestants(directory, dtype)
    fewer = dict.fromkeys([name for name in contestants if "to 77" in name], options.slow_texts)
    timings = race(contestants, list(prompts), options.repeats, fewer=fewer)
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
        f"included; of their {n_tokens} words' tokens {len(prefixes)} stand behind different "
        "beginnings. What is padded to 77 tokens got the first of the same prompts, since there "
        f"every text costs the same. The reference is {REFERENCE}; mean cosine of different "
        f"prompts: {spread(reference):.3f}."
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
    contestants = {
        ours: skclip_head(directory, templates),
        peer: open_clip_head(directory, templates),
    }
    # three, since two classes have one row of weights
    timings = race(contestants, classes, options.head_repeats, warm_up=3)
    reference = timings[peer].value
    what = f"{len(templates)} templates, {len(classes)} classes, float32"
    shown = ratio_row(what, timings, ours, [peer], "at least 10", reference)
    rows = [
        {
            "contestant": name,
            "seconds": f"{timing.median:.2f}",
            "prompts/s": f"{timing.rate * len(templates):.1f}",
            **fidelity(timing.value, reference),
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
            f"Medians of {options.repeats} interleaved runs ({options.head_repeats} of the head) "
            "after a short one that is not counted. Weights are random, the same for all."
        ],
        sections=[
            ("Prompts, fastest first", rows, [note]),
            ("Zero-shot head, float32", head_rows, ["The reference is open_clip's."]),
        ],
    )


if __name__ == "__main__":
    main()
