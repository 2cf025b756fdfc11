"""The peers, used as their users write it, and skclip beside them.

All of them get the same weights, read from one directory in Hugging Face's layout.
"""

import os
from functools import partial

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

BATCH_SIZE = 32  # the default of sentence-transformers; it matters little on a CPU
DTYPES = ("float32", "bfloat16")
# a processor without bfloat16 instructions emulates it, at a fraction of the speed
OWN_DTYPES = DTYPES if "bf16" in (cpu_info("flags") or "") else DTYPES[:1]
REFERENCE = "open_clip, workers: 0, float32"
HOW = (
    "The reference is OpenAI's recipe in float32: Pillow decodes, torchvision resizes and crops "
    f"Pillow's images ({REFERENCE}). Cosines are between vectors of the same image; for the "
    "centered cosine the reference's mean is subtracted from both."
)


def chunks(items, size=BATCH_SIZE):
    return [items[start : start + size] for start in range(0, len(items), size)]


def transformers_images(directory, dtype, processor):
    model = transformers_model(directory, dtype)
    processor = processor.from_pretrained(directory)

    @torch.inference_mode()
    def embed(paths):
        vectors = []
        for batch in chunks(paths):
            images = [Image.open(path).convert("RGB") for path in batch]
            pixels = processor(images=images, return_tensors="pt")["pixel_values"]
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


class ImageFiles(Dataset):
    """Image files, prepared by open_clip's preprocessing.

    With `draft`, Pillow may decode a JPEG file at a smaller size, of at least `draft` pixels.
    """

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


def open_clip_images(source, dtype, workers, *, use_draft=False, batch_size=BATCH_SIZE):
    model, transform = open_clip_model(source, dtype)
    draft = 2 * int(np.max(model.visual.image_size)) if use_draft else None

    @torch.inference_mode()
    def embed(paths):
        files = ImageFiles(paths, transform, dtype, draft)
        loader = DataLoader(files, batch_size=batch_size, num_workers=workers)
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
    encoder = skclip.load_encoder(source, dtype=dtype, preprocess=preprocess)
    # the peers do not normalize either
    return partial(skclip.embed_images, encoder, normalize=False)


def reference_vectors(source, paths):
    return open_clip_images(source, "float32", 0)(paths)
