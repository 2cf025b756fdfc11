"""What the benchmarks share: models, pictures, and the peers as their users write them.

Every contestant gets the same weights, read from one directory in Hugging Face's layout.
"""

import json
import os
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
        mean=checkpoint.preprocess_config.mean,
        std=checkpoint.preprocess_config.std,
        interpolation=checkpoint.preprocess_config.interpolation,
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


def reference_vectors(source, paths):
    return open_clip_images(source, "float32", 0)(paths)
