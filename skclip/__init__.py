"""CLIP for scikit-learn.

Images and texts go in as you have them, vectors come out as scikit-learn wants them.
Names are resolved on first use, so that ``import skclip`` does not import torch.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "CLIPImageEmbedder": "skclip.estimators.image_embedder",
    "CLIPTextEmbedder": "skclip.estimators.text_embedder",
    "LinearProbe": "skclip.estimators.linear_probe",
    "LinearProbeCV": "skclip.estimators.linear_probe_cv",
    "ZeroShotClassifier": "skclip.estimators.zero_shot",
    "OpenCLIPEncoder": "skclip.encode.adapters",
    "SentenceTransformerEncoder": "skclip.encode.adapters",
    "EmbeddingStore": "skclip.encode.cache.disk",
    "embed_images": "skclip.encode.images",
    "embed_texts": "skclip.encode.texts",
    "load_encoder": "skclip.encode.encoder",
    "list_models": "skclip.checkpoints.models",
    "CheckpointError": "skclip.exceptions",
    "ImageReadError": "skclip.exceptions",
    "MissingImageWarning": "skclip.exceptions",
    "ModelNotAvailableError": "skclip.exceptions",
    "TextTruncationWarning": "skclip.exceptions",
}

__all__ = [*sorted(_HOME), "datasets", "training"]


def __getattr__(name):
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in ("datasets", "training"):
        value = import_module(f"skclip.{name}")
    else:
        raise AttributeError(f"module 'skclip' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
