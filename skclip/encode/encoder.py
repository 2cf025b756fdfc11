"""The seam between CLIP and everything that wants vectors."""

import copy
import threading
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import torch

from skclip.checkpoints.load import load_checkpoint
from skclip.checkpoints.resolve import DEFAULT_MODEL, identify
from skclip.encode.batches import embed_images, embed_texts
from skclip.encode.devices import resolve_device, resolve_dtype
from skclip.encode.preprocess import normalize, resize_and_crop
from skclip.exceptions import CheckpointError
from skclip.model.tokenizer import pad

MAX_LOADED_MODELS = 4

_loaded = OrderedDict()
_loading = {}
_lock = threading.Lock()


class CLIPEncoder:
    """A CLIP ready for inference, with its tokenizer and its preprocessing.

    Made by `load_encoder`. Nothing about it changes, so clones of an estimator share it.

    Parameters
    ----------
    checkpoint : Checkpoint
        Model, tokenizer, preprocessing; the model is moved and cast in place.
    device : torch.device
    dtype : torch.dtype
    reload_from : tuple (model, device, dtype) of str or None, default=None
        What `load_encoder` was asked for, with which a pickle finds the weights again; None puts
        them into the pickle.

    Attributes
    ----------
    embed_dim : int
        Columns of the embeddings.
    pooled_dim : int
        Columns of the image features before the projection.
    logit_scale : float
        The factor on cosine similarities (1 / temperature).
    fingerprint : str
        Names the weights, the tokenizer and the preprocessing.
    templates : tuple of str
        Prompt templates the model was trained for.
    device : torch.device
    """

    def __init__(self, checkpoint, *, device, dtype, reload_from=None):
        # before the cast: bfloat16 has three digits
        self.logit_scale = float(checkpoint.model.logit_scale.detach().double().exp())
        self._checkpoint = checkpoint
        self._model = checkpoint.model.eval().requires_grad_(False).to(device, dtype)
        self._dtype = dtype
        self._reload_from = reload_from
        self.device = device
        self.tokenizer = checkpoint.tokenizer
        self.preprocess = checkpoint.preprocess
        self.fingerprint = checkpoint.fingerprint
        self.templates = checkpoint.templates
        config = self._model.config
        self.embed_dim = config.embed_dim
        self.pooled_dim = config.vision.width * (32 if config.vision.is_resnet else 1)

    def encode_images(self, images, **options):
        """Embed images; `options` are those of `skclip.encode.batches.embed_images`.

        Returns
        -------
        ndarray of shape (n_images, embed_dim), float32, not normalised
        """
        return embed_images(self, images, **options)

    def encode_texts(self, texts, **options):
        """Embed texts; `options` are those of `skclip.encode.batches.embed_texts`.

        Returns
        -------
        ndarray of shape (n_texts, embed_dim), float32, not normalised
        """
        return embed_texts(self, texts, **options)

    def prepare_image(self, image):
        """Resize and crop one RGB picture to uint8 pixels, (height, width, 3)."""
        return resize_and_crop(image, self.preprocess)

    @torch.inference_mode()
    def encode_prepared(self, prepared, features="projected"):
        """Embed a list of prepared pictures."""
        pixels = torch.from_numpy(np.stack(prepared)).to(self.device)
        pixels = normalize(pixels, self.preprocess).to(self._dtype)
        vectors = self._model.visual.pool(pixels)
        if features == "projected":
            vectors = self._model.visual.project(vectors)
        return vectors.float().cpu().numpy()

    @torch.inference_mode()
    def encode_tokens(self, rows):
        """Embed sequences of token ids, start and end token included."""
        token_ids = pad([list(row) for row in rows], self.tokenizer.end_id).to(self.device)
        return self._model.encode_text(token_ids).float().cpu().numpy()

    def __sklearn_clone__(self):
        return self

    def __reduce__(self):
        if self._reload_from is not None:
            return _reload, (self.fingerprint, *self._reload_from)
        on_cpu = replace(self._checkpoint, model=copy.deepcopy(self._model).cpu())
        return _rebuild, (on_cpu, str(self._dtype).removeprefix("torch."), self.logit_scale)

    def __repr__(self):
        return f"<CLIPEncoder of {self._checkpoint.source}, {self.embed_dim} dimensions>"


def load_encoder(model=DEFAULT_MODEL, *, device="auto", dtype="auto"):
    """Load a model for inference; the same one is loaded once in a process.

    Parameters
    ----------
    model : str, path or Encoder, default="openai/clip-vit-base-patch32"
        A bundled name ("skclip/tiny"), a hub id ("org/name" or "org/name@revision"), a short name
        of `list_models`, a directory, a file, or an object with ``encode_images`` and
        ``encode_texts``, which is returned as it is.
    device : str, default="auto"
        "auto" is the first CUDA card, or the CPU.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        "auto" is bfloat16 on CUDA and float32 elsewhere.

    Returns
    -------
    Encoder
        With ``encode_images(images)`` and ``encode_texts(texts)``, which return float32 arrays of
        shape (n, embed_dim), not normalised.

    Raises
    ------
    ModelNotAvailableError
        If the model is neither on this machine nor to be reached.
    CheckpointError
        If its files are damaged, ambiguous or of an unknown kind.

    Examples
    --------
    >>> from skclip import load_encoder
    >>> encoder = load_encoder("skclip/tiny")
    >>> encoder.encode_texts(["a red circle", "the digit three"]).shape == (2, encoder.embed_dim)
    True
    """
    if is_encoder(model):
        if device != "auto" or dtype != "auto":
            raise ValueError(
                f"device={device!r} and dtype={dtype!r} must be 'auto' when model is an object: "
                f"{type(model).__name__} brings its own"
            )
        return model
    asked = device, dtype
    device = resolve_device(device)
    dtype = resolve_dtype(dtype, device)
    key = (identify(model), device, dtype)
    with _lock:
        one_at_a_time = _loading.setdefault(key, threading.Lock())
    # a model that is being fetched keeps nobody waiting who wants another one
    with one_at_a_time:
        with _lock:
            if key in _loaded:
                _loaded.move_to_end(key)
                return _loaded[key]
        checkpoint = load_checkpoint(model)
        encoder = CLIPEncoder(
            checkpoint, device=device, dtype=dtype, reload_from=(checkpoint.source, *asked)
        )
        with _lock:
            _loaded[key] = encoder
            if len(_loaded) > MAX_LOADED_MODELS:
                _loaded.popitem(last=False)
        return encoder


def is_encoder(model):
    """Whether an object has an encoder's two methods."""
    methods = hasattr(model, "encode_images") and hasattr(model, "encode_texts")
    return methods and not isinstance(model, type)


def check_fingerprint(encoder, expected):
    """Refuse a model that is not the one an estimator was fitted with."""
    found = getattr(encoder, "fingerprint", None)
    if found != expected:
        raise CheckpointError(
            "the model is not the one this was fitted with: its fingerprint is "
            f"{found}, expected {expected}; fit again, or restore the model's files"
        )


def _reload(fingerprint, source, device, dtype):
    try:
        resolve_device(device)
    except ValueError:  # a pickle made on a GPU must load where there is none, or another
        device = "auto"
    encoder = load_encoder(source, device=device, dtype=dtype)
    check_fingerprint(encoder, fingerprint)
    return encoder


def _rebuild(checkpoint, dtype, logit_scale):
    device = torch.device("cpu")
    encoder = CLIPEncoder(checkpoint, device=device, dtype=resolve_dtype(dtype, device))
    encoder.logit_scale = logit_scale
    return encoder
