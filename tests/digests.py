"""Short digests of what must not change: vectors, keys in a store and fingerprints.

``python tests/digests.py FOLDER`` prints them all, so that two versions of skclip can be compared
on one machine, bit by bit: run each of them on the same folder and compare what they print.

What depends neither on the machine nor on the versions of other libraries is kept in
``digests.json``, and ``test_digests.py`` compares with it. After an intended change
``python tests/digests.py --keep`` writes that file anew. A changed key or
fingerprint makes users compute all their vectors again.
"""

import gzip
import hashlib
import json
import shutil
import sys
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch
from PIL import Image
from toy import ColorEncoder

import skclip
from skclip import (
    CLIPImageEmbedder,
    CLIPTextEmbedder,
    MissingImageWarning,
    OpenCLIPEncoder,
    SentenceTransformerEncoder,
    ZeroShotClassifier,
    load_encoder,
)
from skclip.datasets import make_scenes
from skclip.model.tokenizer import Tokenizer

KEPT = Path(__file__).with_name("digests.json")
TINY = "skclip/tiny"
SCENES = make_scenes(n_samples=6, random_state=0).images
# integer arithmetic, because scenes may be drawn a little differently by another version of numpy
PIXELS = (np.arange(6 * 40 * 50 * 3, dtype=np.int64) ** 2 // 7 % 251).astype(np.uint8)
PIXELS = PIXELS.reshape(6, 40, 50, 3)
TEXTS = ["a red circle", "two blue squares", "Ünïcode ☆", "a red circle", "", "x " * 40]


class RecordingStore:
    """A store that keeps no vectors and records every key that is claimed."""

    def __init__(self, hash_files=False):
        self.hash_files = hash_files
        self.keys = []

    @contextmanager
    def session(self):
        yield self

    def get(self, keys):
        return np.array([], dtype=np.intp), np.empty((0, 0), np.float32)

    def claim(self, keys):
        self.keys += keys
        return [True] * len(keys)

    def put(self, keys, vectors):
        pass

    def release(self, keys):
        pass


class FingerprintedColors(ColorEncoder):
    fingerprint = "colors"


class OnAccess:
    """A sequence that makes an item anew on each access."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return np.array(self.items[row])


def digest(value):
    if isinstance(value, np.ndarray):
        value = repr((value.shape, value.dtype.str)).encode() + value.tobytes()
    elif isinstance(value, list):
        value = repr(value).encode()
    return hashlib.sha256(value).hexdigest()[:16]


def write_images(folder):
    """Write images in several formats; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, pixels in enumerate(SCENES):
        image = Image.fromarray(pixels).resize((60 + 9 * i, 47 + i), Image.Resampling.NEAREST)
        name, options = [
            ("a.png", {}),
            ("b.jpg", {"quality": 90}),
            ("c.bmp", {}),
            ("d.webp", {"lossless": True}),
            ("e.gif", {}),
            ("f.jpg", {"progressive": True}),
        ][i]
        paths.append(folder / name)
        if not paths[-1].exists():  # its modification time is a part of its key
            image.save(paths[-1], **options)
    return paths


def write_lossless_images(folder):
    """Write `PIXELS` as files whose bytes no library decides; return their paths."""
    paths = [folder / f"{i}.ppm" for i in range(len(PIXELS))]
    for path, pixels in zip(paths, PIXELS, strict=True):
        header = "P6 {1} {0} 255\n".format(*pixels.shape).encode()
        path.write_bytes(header + pixels.tobytes())
    return paths


def containers(pixels, paths):
    """Return a name and a collection for each kind of container and of item."""
    arrays = list(pixels)
    names = [str(path) for path in paths]
    column = np.empty(len(names), dtype=object)
    column[:] = names
    lossless = [path for path in paths if path.suffix in (".png", ".bmp", ".webp", ".ppm")]
    contents = [path.read_bytes() for path in lossless]
    return {
        "list of arrays": arrays,
        "tuple of arrays": tuple(arrays),
        "array": pixels,
        "array of floats": pixels / 255,
        "array of gray": pixels[..., 0],
        "tensor": torch.from_numpy(pixels).permute(0, 3, 1, 2),
        "list of tensors": [torch.from_numpy(a).permute(2, 0, 1) for a in arrays],
        "pictures": [Image.fromarray(a) for a in arrays],
        "on access": OnAccess(arrays),
        "duplicates": [arrays[i] for i in (0, 1, 0, 2, 2, 0)],
        "bytes": contents,
        "dicts of bytes": [{"bytes": content, "path": None} for content in contents],
        "paths": paths,
        "names": names,
        "object array": column,
        "column array": column[:, None],
        "dicts of paths": [{"bytes": None, "path": name} for name in names],
        "series": pd.Series(names, index=range(5, 5 + len(names))),
        "frame": pd.DataFrame({"image": names}),
        "polars series": pl.Series(names),
        "polars frame": pl.DataFrame({"image": names}),
        "mixed": [arrays[0], names[1], contents[0], Image.fromarray(arrays[2])],
    }


def odd_images(paths):
    """Return a list with missing and unreadable images."""
    broken = paths[0].parent / "broken.jpg"
    if not broken.exists():
        broken.write_bytes(paths[1].read_bytes()[:200])
    gray = np.zeros((9, 9))
    return [paths[1], None, str(broken), gray, float("nan"), "no such file.png", gray, b"", 7]


def transformed(embedder, X):
    """Return the vectors, or the error that names a row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return embedder.transform(X)
        except skclip.ImageReadError as error:
            return f"{error.row} {error.cause.split('0x')[0]}".encode()


def encoders():
    """Return a name and an encoder of each kind; other libraries' have random weights."""
    import open_clip

    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(
        "RN50", pretrained=None, force_image_size=64
    )
    yield "open_clip", OpenCLIPEncoder(model, transform, open_clip.get_tokenizer("RN50"))
    yield "colors", FingerprintedColors()
    yield "exact", load_encoder(TINY, preprocess="exact")
    yield "bfloat16", load_encoder(TINY, dtype="bfloat16")


def sentence_transformers_encoder(folder):
    """Return a small CLIP of sentence-transformers, with random weights."""
    import open_clip
    import sentence_transformers
    import transformers
    from sentence_transformers import models

    if not folder.exists():
        torch.manual_seed(0)
        text = {"vocab_size": 49408, "hidden_size": 32, "intermediate_size": 32}
        text |= {"num_hidden_layers": 1, "num_attention_heads": 2}
        vision = {"image_size": 32, "patch_size": 16, "hidden_size": 32, "intermediate_size": 32}
        vision |= {"num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
        transformers.CLIPModel(config).save_pretrained(folder)
        source = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
        lines = gzip.open(source, "rt", encoding="utf-8").read().split("\n")[1:48895]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]), encoding="utf-8")
        vocab = Tokenizer.from_merges([tuple(line.split()) for line in lines]).vocab
        (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
        transformers.CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
        transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ).save_pretrained(folder)
    clip = models.CLIPModel(str(folder))
    return SentenceTransformerEncoder(sentence_transformers.SentenceTransformer(modules=[clip]))


def measure_portable(folder):
    """Return digests that are the same on every machine; files are written into a new folder."""
    found = {"fingerprint of skclip/tiny": load_encoder(TINY).fingerprint}
    copy = folder / "copy"
    shutil.copytree(Path(skclip.__file__).parent / "checkpoints" / "bundled" / "tiny", copy)
    found["fingerprint of a directory"] = load_encoder(copy).fingerprint
    found["fingerprint of a file"] = load_encoder(copy / "open_clip_model.safetensors").fingerprint
    # not normalized: sums of floats may differ in the last bit between machines
    for name, X in containers(PIXELS, write_lossless_images(folder)).items():
        # without hash_files, keys contain paths and times
        store = RecordingStore(hash_files=True)
        embedder = CLIPImageEmbedder(FingerprintedColors(), normalize=False, cache=store)
        found[f"vectors of {name}"] = digest(embedder.transform(X))
        found[f"keys of {name}"] = digest(sorted(store.keys))
    store = RecordingStore(hash_files=True)
    embedder = CLIPImageEmbedder(
        FingerprintedColors(), normalize=False, on_error="nan", cache=store
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingImageWarning)
        found["vectors with errors"] = digest(embedder.transform([None, *PIXELS, b"", 7]))
    found["keys with errors"] = digest(sorted(store.keys))
    store = RecordingStore()
    embedder = CLIPTextEmbedder(FingerprintedColors(), normalize=False, cache=store)
    found["vectors of texts"] = digest(embedder.transform(TEXTS))
    found["keys of texts"] = digest(sorted(store.keys))
    return found


def measure_here(paths):
    """Return digests that stay the same on one machine with one set of libraries."""
    found = {}
    for name, X in containers(SCENES, paths).items():
        for features in ("projected", "pooled"):
            store = RecordingStore()
            embedder = CLIPImageEmbedder(TINY, features=features, cache=store)
            found[f"{features} vectors of {name}"] = digest(transformed(embedder, X))
            found[f"{features} keys of {name}"] = digest(store.keys)
    X = odd_images(paths)
    for on_error in ("raise", "nan"):
        for batch_size in ("auto", 1, 4):
            store = RecordingStore()
            embedder = CLIPImageEmbedder(
                TINY, on_error=on_error, batch_size=batch_size, cache=store
            )
            name = f"on_error={on_error}, batch_size={batch_size}"
            found[f"vectors, {name}"] = digest(transformed(embedder, X))
            if on_error == "nan":
                found[f"keys, {name}"] = digest(store.keys)
    every = [*encoders()]
    folder = paths[0].parent / "sentence_transformers"
    every.append(("sentence-transformers", sentence_transformers_encoder(folder)))
    for name, encoder in every:
        for embedder, X in [
            (CLIPImageEmbedder(encoder), list(SCENES)),
            (CLIPImageEmbedder(encoder), paths),
            (CLIPImageEmbedder(encoder, on_error="nan", batch_size=2), odd_images(paths)),
            (CLIPTextEmbedder(encoder), TEXTS),
            (CLIPTextEmbedder(encoder, templates=["a {}", "the {}"], batch_size=4), TEXTS),
        ]:
            kind = f"{type(embedder).__name__} of {len(X)}, {type(X[0]).__name__}"
            found[f"{name}: {kind}"] = digest(transformed(embedder, X))
        classifier = ZeroShotClassifier(["red", "green", "blue"], model=encoder).fit()
        found[f"{name}: coef_"] = digest(classifier.coef_)
        found[f"{name}: predict_proba"] = digest(classifier.predict_proba(list(SCENES)))
        found[f"{name}: predict"] = digest(classifier.predict(list(SCENES)).tolist())
    store = RecordingStore()
    embedder = CLIPImageEmbedder(load_encoder(TINY, dtype="bfloat16"), cache=store)
    embedder.transform(SCENES)
    found["keys in bfloat16"] = digest(store.keys)
    two = ZeroShotClassifier(
        {0: "a circle", 1: ["a square", "a box"]}, model=TINY, reject_below=0.6
    ).fit()
    found["two classes"] = digest(two.decision_function(SCENES))
    found["two classes, labels"] = digest(two.predict(SCENES).tolist())
    found["top_k"] = digest(two.top_k(SCENES)[1])
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        portable = measure_portable(Path(folder))
    if sys.argv[1] == "--keep":
        KEPT.write_text(json.dumps(portable, indent=1) + "\n", encoding="utf-8")
    else:
        found = {"anywhere": portable, "here": measure_here(write_images(Path(sys.argv[1])))}
        json.dump(found, sys.stdout, indent=1, ensure_ascii=False)
