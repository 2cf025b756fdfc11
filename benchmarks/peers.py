"""What the benchmarks share: models, pictures, the peers as their users write them, the race.

Every contestant gets the same weights, read from one directory in Hugging Face's layout.
"""

import gc
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
import open_clip
import sentence_transformers
import torch
import transformers
from PIL import Image
from report import cpu_info
from torch.utils.data import DataLoader, Dataset

import skclip
from skclip.checkpoints.formats import openai
from skclip.checkpoints.load import load_checkpoint

transformers.utils.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()

BATCH_SIZE = 32  # sentence-transformers' own; on a CPU it matters little
DTYPES = ("float32", "bfloat16")
# without instructions for it bfloat16 is emulated, at a fraction of the speed
OWN_DTYPES = DTYPES if "bf16" in (cpu_info("flags") or "") else DTYPES[:1]
REFERENCE = "open_clip, workers: 0, float32"
HOW = (
    "The reference is OpenAI's recipe in float32: Pillow decodes, torchvision resizes and crops "
    f"Pillow's pictures ({REFERENCE}). Cosines are between vectors of one picture; the centred one "
    "after the reference's mean is taken from both."
)


# Models -------------------------------------------------------------------------------------------


def save_vit(directory, **sizes):
    """Save a CLIP with random weights, ViT-B/32 by default, with OpenAI's vocabulary.

    Parameters
    ----------
    directory : Path
    **sizes : int
        ``image_size``, ``patch_size``, ``width``, ``layers``, ``heads`` and ``embed_dim`` of the
        image tower; another one than ViT-B/32's comes with a text tower of one layer.
    """
    torch.manual_seed(0)
    size = sizes.get("image_size", 224)
    config = transformers.CLIPConfig()
    if sizes:
        width = sizes["width"]
        vision = {
            "image_size": size,
            "patch_size": sizes["patch_size"],
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": sizes["layers"],
            "num_attention_heads": sizes["heads"],
        }
        text = {
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
        }
        config = transformers.CLIPConfig(
            text_config=text, vision_config=vision, projection_dim=sizes["embed_dim"]
        )
    directory.mkdir(parents=True, exist_ok=True)
    transformers.CLIPModel(config).save_pretrained(directory)
    slow_processor(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    ).save_pretrained(directory)
    _save_openai_vocabulary(directory)
    return directory


def _save_openai_vocabulary(directory):
    # open_clip ships the vocabulary; only the two special tokens have other names here
    source = open_clip.tokenizer.SimpleTokenizer()
    start, end = "<|startoftext|>", "<|endoftext|>"
    symbols = [*list(source.encoder)[:-2], start, end]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    merges = [" ".join(pair) for pair in source.bpe_ranks]
    special = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (directory / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (directory / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8"
    )
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


# Pictures -----------------------------------------------------------------------------------------

BUNDLED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg")
BUNDLED += ("motorcycle_left.png", "ihc.png", "retina.jpg")


def save_photographs(folder, n_files, size=(640, 480)):
    """Save varied crops of scikit-image's photographs as JPEG, with some of cameras' grain."""
    import skimage

    data = Path(skimage.__file__).parent / "data"
    sources = [Image.open(data / name).convert("RGB") for name in BUNDLED]
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 3, (size[1] + 64, size[0] + 64, 1)).astype(np.float32)
    paths = []
    for i in range(n_files):
        source = sources[i % len(sources)]
        height = rng.uniform(0.5, 1) * min(source.height, source.width * size[1] / size[0])
        width = height * size[0] / size[1]
        left = rng.uniform(0, source.width - width)
        top = rng.uniform(0, source.height - height)
        crop = source.resize(
            size, Image.Resampling.BICUBIC, (left, top, left + width, top + height)
        )
        if rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = np.asarray(crop, dtype=np.float32) * rng.uniform(0.6, 1.2, 3).astype(np.float32)
        y, x = rng.integers(0, 64, 2)
        pixels += grain[y : y + size[1], x : x + size[0]]
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        paths.append(str(folder / f"{i:05}.jpg"))
        image.save(paths[-1], quality=90)
    return paths


# Images to vectors, as users of each library write it ---------------------------------------------

# transformers 5 names the Pillow processor, transformers 4 the fast one
if hasattr(transformers, "CLIPImageProcessorPil"):
    slow_processor = transformers.CLIPImageProcessorPil
    fast_processor = transformers.CLIPImageProcessor
else:
    slow_processor = transformers.CLIPImageProcessor
    fast_processor = transformers.CLIPImageProcessorFast


def chunks(items, size=BATCH_SIZE):
    return [items[start : start + size] for start in range(0, len(items), size)]


def transformers_images(directory, dtype, processor):
    model = transformers_model(directory, dtype)
    processor = processor.from_pretrained(directory)

    @torch.inference_mode()
    def embed(paths):
        vectors = []
        for batch in chunks(paths):
            pictures = [Image.open(path).convert("RGB") for path in batch]
            pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
            features = model.get_image_features(pixel_values=pixels.to(model.dtype))
            vectors.append(pooled(features))
        return torch.cat(vectors).float().numpy()

    return embed


def transformers_model(directory, dtype):
    model = transformers.CLIPModel.from_pretrained(directory)
    return model.to(getattr(torch, dtype)).eval()


def pooled(features):
    # transformers 5 returns an output object, transformers 4 the tensor
    return getattr(features, "pooler_output", features)


def open_clip_model(source, dtype):
    """Return open_clip's own model with the weights of a checkpoint, and its preprocessing."""
    checkpoint = load_checkpoint(source)
    config = checkpoint.model.config
    vision, text = config.vision, config.text
    model = open_clip.CLIP(
        config.embed_dim,
        {
            "image_size": vision.image_size,
            "layers": list(vision.layers) if vision.is_resnet else vision.layers,
            "width": vision.width,
            "patch_size": vision.patch_size,
            "head_width": vision.width * (32 if vision.is_resnet else 1) // vision.heads,
        },
        {
            "context_length": text.context_length,
            "vocab_size": text.vocab_size,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
        },
        quick_gelu=text.activation == "quick_gelu",
    )
    model.load_state_dict(openai.revert(checkpoint.model.state_dict()))
    transform = open_clip.image_transform(
        vision.image_size,
        is_train=False,
        mean=checkpoint.preprocess.mean,
        std=checkpoint.preprocess.std,
        interpolation=checkpoint.preprocess.interpolation,
    )
    return model.to(getattr(torch, dtype)).eval(), transform


class Pictures(Dataset):
    """Files as open_clip's preprocessing gives them; `draft` lets Pillow decode smaller."""

    def __init__(self, paths, transform, dtype, draft=None):
        self.paths = paths
        self.transform = transform
        self.dtype = getattr(torch, dtype)
        self.draft = draft

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = Image.open(self.paths[i])
        if self.draft is not None:
            image.draft("RGB", (self.draft, self.draft))
        return self.transform(image).to(self.dtype)


def open_clip_images(source, dtype, workers, draft=None, batch_size=BATCH_SIZE):
    model, transform = open_clip_model(source, dtype)

    @torch.inference_mode()
    def embed(paths):
        pictures = Pictures(paths, transform, dtype, draft)
        loader = DataLoader(pictures, batch_size=batch_size, num_workers=workers)
        return torch.cat([model.encode_image(pixels) for pixels in loader]).float().numpy()

    return embed


def sentence_transformer(directory, dtype):
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    return model.to(getattr(torch, dtype))


def sentence_transformers_images(directory, dtype):
    model = sentence_transformer(directory, dtype)
    return lambda paths: model.encode([Image.open(path) for path in paths], show_progress_bar=False)


def embetter_images(directory, dtype):
    from embetter.multi import ClipEncoder
    from embetter.vision import ImageLoader
    from sklearn.pipeline import make_pipeline

    encoder = ClipEncoder(str(directory), device=torch.device("cpu"))
    encoder.tfm.to(getattr(torch, dtype))
    return make_pipeline(ImageLoader(), encoder).fit_transform


def skclip_images(source, dtype, preprocess="fast"):
    return skclip.load_encoder(source, dtype=dtype, preprocess=preprocess).encode_images


# The race -----------------------------------------------------------------------------------------


@dataclass
class Timing:
    """One contestant's seconds, and what it returned last."""

    seconds: list
    n_items: int
    value: object

    @property
    def median(self):
        return float(np.median(self.seconds))

    @property
    def rate(self):
        """Items a second, from the median."""
        return self.n_items / self.median


def race(contestants, items, repeats, *, warm_up=2 * BATCH_SIZE, fewer=None):
    """Time contestants round-robin, so that noise of the machine hits all alike.

    Parameters
    ----------
    contestants : dict of str to callable
        Each is called with a list of items.
    items : list
    repeats : int
    warm_up : int, default=64
        Items of one run that is not counted.
    fewer : dict of str to int, default=None
        Contestants that get only so many of the items.

    Returns
    -------
    dict of str to Timing
    """
    n_threads = torch.get_num_threads()
    fewer = fewer or {}
    names = list(contestants)
    timings = {}
    for name in names:
        own = items[: fewer.get(name, len(items))]
        contestants[name](own[:warm_up])
        torch.set_num_threads(n_threads)
        timings[name] = Timing([], len(own), None)
    for repeat in range(repeats):
        # another one begins in each round
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            own = items[: timings[name].n_items]
            gc.collect()
            start = time.perf_counter()
            timings[name].value = contestants[name](own)
            seconds = time.perf_counter() - start
            torch.set_num_threads(n_threads)  # nobody may leave another number behind
            timings[name].seconds.append(seconds)
            progress = f"{repeat + 1}/{repeats} {name}: {seconds:.3f} s, {len(own) / seconds:.1f}/s"
            print(progress, file=sys.stderr, flush=True)
    return timings


# Rows of the tables -------------------------------------------------------------------------------


def unit(vectors):
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fidelity(vectors, reference):
    """Compare embeddings of unit length, before and after the reference's mean is taken away."""
    vectors, reference = unit(vectors), unit(reference[: len(vectors)])
    centre = reference.mean(axis=0)
    cosine = (vectors * reference).sum(axis=1)
    centred = (unit(vectors - centre) * unit(reference - centre)).sum(axis=1)
    return {
        "cosine: mean": f"{cosine.mean():.6f}",
        "lowest": f"{cosine.min():.6f}",
        "centred cosine: mean": f"{centred.mean():.5f}",
        "lowest ": f"{centred.min():.5f}",  # a column of its own
        "largest difference": f"{np.abs(vectors - reference).max():.1e}",
    }


def speed(name, timing, unit):
    rates = [timing.n_items / seconds for seconds in timing.seconds]
    return {
        "contestant": name,
        unit: f"{timing.rate:.1f}",
        "slowest to fastest": f"{min(rates):.1f} to {max(rates):.1f}",
    }


def fastest(timings, names):
    return max(names, key=lambda name: timings[name].rate)


def ratio_row(what, timings, ours, peers, aim, reference):
    """Our speed over that of the fastest of some peers, and our fidelity."""
    best = fastest(timings, peers)
    return {
        "what": what,
        "against": best,
        "ratio of medians": f"{timings[ours].rate / timings[best].rate:.2f}",
        "aim": aim,
        **fidelity(timings[ours].value, reference),
    }


def spread(vectors):
    """Mean cosine of different rows: near 1 with random weights, about 0.5 with trained ones."""
    vectors = unit(vectors)
    n_rows = len(vectors)
    return float(((vectors.sum(axis=0) ** 2).sum() - n_rows) / (n_rows * (n_rows - 1)))


def reference_vectors(source, paths):
    return open_clip_images(source, "float32", 0)(paths)


def medians(options):
    return (
        f"Medians of {options.repeats} interleaved runs after a short one that is not counted. "
        "Weights are the same for all, and random but for skclip/tiny's."
    )
