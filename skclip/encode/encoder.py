"""A name or a path -> a CLIP model ready for inference, loaded once per process."""

import copy
import os
import threading
from collections import OrderedDict
from dataclasses import replace
from functools import partial

import numpy as np
import PIL
import torch
from torch.nn import functional as F

from skclip.checkpoints.load import load_checkpoint
from skclip.checkpoints.resolve import DEFAULT_MODEL, identify
from skclip.encode.devices import resolve_device, resolve_dtype
from skclip.encode.preprocess import normalize
from skclip.encode.protocol import (
    Encoder,
    check_fingerprint,
    check_pictures,
    describe,
    is_encoder,
    what_to_pass,
)
from skclip.encode.reading import read_item, read_pixels
from skclip.exceptions import ImageReadError
from skclip.inputs.items import as_item
from skclip.inputs.texts import as_texts
from skclip.model.inference import (
    InferenceTextTransformer,
    WeightFormat,
    image_tower_for_inference,
)
from skclip.model.prefixes import share_prefixes

MAX_LOADED_MODELS = 4
_PREPROCESS = ("fast", "exact")

_loaded = OrderedDict()
_loading = {}
_lock = threading.Lock()


class CLIPEncoder(Encoder):
    """A CLIP model ready for inference, with its tokenizer and its preprocessing.

    `load_encoder` creates it. It never changes, so clones of an estimator share it.

    Parameters
    ----------
    checkpoint : Checkpoint
        Model, tokenizer and preprocessing. The model is put into evaluation mode, and its
        parameters no longer require gradients.
    device : torch.device
    dtype : torch.dtype
    preprocess : {"fast", "exact"}, default="fast"
    compile : bool, default=False
        Both as in `load_encoder`.
    reload_from : tuple or None, default=None
        The source of the checkpoint, then the arguments device, dtype, preprocess and compile of
        `load_encoder`. A pickle contains these, and loads the model again; the checkpoint's model
        is used up. With None a pickle contains the weights.

    Attributes
    ----------
    embed_dim : int
        Columns of the embeddings.
    pooled_dim : int
        Columns of the image features before the projection.
    logit_scale : float
        The factor on cosine similarities (1 / temperature).
    fingerprint : str
        Identifies the weights, the tokenizer and the preprocessing.
    variant : str
        What else changes the last digits of the vectors: how images are prepared, the version of
        Pillow, and the number format.
    templates : tuple of str
        The prompt templates that come with the model.
    tokenizer : Tokenizer
        Built at the first access.
    preprocess_config : PreprocessConfig
    device : torch.device
    images_per_batch, tokens_per_batch : int
        Batch sizes that keep the device, or one core, busy without using much memory.
    n_threads : int
        How many threads encode at once; -1 means one for each free core.
    """

    def __init__(
        self, checkpoint, *, device, dtype, preprocess="fast", compile=False, reload_from=None
    ):
        model = checkpoint.model.eval().requires_grad_(False)
        # before the weights are cast, because bfloat16 has three digits
        self.logit_scale = float(model.logit_scale.detach().double().exp())
        weight_format = WeightFormat(device, dtype, pack=not compile)
        self._images = image_tower_for_inference(model.visual, weight_format)
        if reload_from is not None:
            del model.visual  # so that its memory is free for the other tower
        self._pool = self._images.pool
        if compile:
            self._pool = torch.compile(self._pool, dynamic=False)
        self._texts = InferenceTextTransformer(model.text, weight_format)
        # the towers have the weights; the model itself is needed only for a pickle with weights
        self._checkpoint = checkpoint if reload_from is None else replace(checkpoint, model=None)
        self._dtype = dtype
        self._preprocess = preprocess
        self._compile = compile
        self._reload_from = reload_from
        self.device = device
        self.preprocess_config = checkpoint.preprocess_config
        # in place of the method of `Encoder`, so that reading threads go straight to `read_pixels`
        self.prepare_image = partial(
            read_pixels, config=checkpoint.preprocess_config, exact=preprocess == "exact"
        )
        self.fingerprint = checkpoint.fingerprint
        self.templates = checkpoint.templates
        self.variant = variant_of(preprocess, dtype)
        config = model.config
        self.embed_dim = config.embed_dim
        self.pooled_dim = config.vision.width * (32 if config.vision.is_resnet else 1)
        on_cpu = device.type == "cpu"
        self.images_per_batch = _images_per_core(config.vision) if on_cpu else 256
        self.tokens_per_batch = 1024 if on_cpu else 16384
        # on CUDA one thread feeds the device while the other one waits for it
        self.n_threads = -1 if on_cpu else 2

    @property
    def tokenizer(self):
        """The `Tokenizer`, built at the first access: images need none."""
        return self._checkpoint.tokenizer

    def former_fingerprint(self):
        """Return the fingerprint that development versions gave this model, or None."""
        return self._checkpoint.former_fingerprint()

    def encode_images(self, images):
        """Embed one batch of RGB pictures.

        Parameters
        ----------
        images : list of PIL.Image.Image
            Of mode RGB. For images of other kinds, or many of them, use `skclip.embed_images`.

        Returns
        -------
        ndarray of shape (n_images, embed_dim), float32
            Not normalized.
        """
        items = [as_item(image) for image in check_pictures(images)]
        pixels = []
        for position in range(len(items)):
            image = read_item(items, self.prepare_image, position)
            if image.cause is not None:
                raise ImageReadError(position, image.cause)
            pixels.append(image.prepared)
        return self.encode_prepared_images(pixels)

    def encode_texts(self, texts):
        """Embed one batch of texts.

        Parameters
        ----------
        texts : list of str
            For many texts, use `skclip.embed_texts`.

        Returns
        -------
        ndarray of shape (n_texts, embed_dim), float32
            Not normalized.
        """
        return self.encode_prepared_texts(self.prepare_texts(as_texts(texts, name="texts")))

    @torch.inference_mode()
    def encode_prepared_images(self, prepared, features="projected"):
        """Embed one batch of prepared images.

        Parameters
        ----------
        prepared : list of ndarray of shape (image_size, image_size, 3), uint8
            What `prepare_image` returned.
        features : {"projected", "pooled"}, default="projected"

        Returns
        -------
        vectors : ndarray of shape (n_images, n_features), float32
            Not normalized.
        """
        pixels = torch.from_numpy(np.stack(prepared))
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        pixels = pixels.to(self.device, non_blocking=True)
        pixels = normalize(pixels, self.preprocess_config).to(self._dtype)
        vectors = self._pool_in_one_shape(pixels) if self._compile else self._pool(pixels)
        if features == "projected":
            vectors = self._images.project(vectors)
        return vectors.float().cpu().numpy()

    def _pool_in_one_shape(self, pixels):
        # the tower is compiled for one batch size, so the last part is padded with zeros
        *parts, last = pixels.split(self.images_per_batch)
        padding = self.images_per_batch - len(last)
        parts.append(F.pad(last, (0, 0, 0, 0, 0, 0, 0, padding)))
        return torch.cat([self._pool(part) for part in parts])[: len(pixels)]

    def prepare_texts(self, texts):
        """Return the token ids of each text, start and end token included, as tuples."""
        return [tuple(tokens) for tokens in self.tokenizer.encode_batch(texts)]

    @torch.inference_mode()
    def encode_prepared_texts(self, prepared):
        """Embed one batch of tokenized texts.

        Parameters
        ----------
        prepared : list of tuple of int
            What `prepare_texts` returned. The tokens at the start that a text has in common with
            its neighbor are computed once, so a sorted batch is faster.

        Returns
        -------
        vectors : ndarray of shape (n_texts, embed_dim), float32
            Not normalized.
        """
        return self._texts(share_prefixes(prepared).to(self.device)).float().cpu().numpy()

    def __sklearn_clone__(self):
        return self

    def __reduce__(self):
        if self._reload_from is not None:
            return _reload, (self.fingerprint, *self._reload_from)
        on_cpu = replace(self._checkpoint, model=copy.deepcopy(self._checkpoint.model).cpu())
        dtype = str(self._dtype).removeprefix("torch.")
        return _rebuild, (on_cpu, dtype, self._preprocess, self._compile)

    # what skops saves in place of `__reduce__`, which it does not call
    def __getstate__(self):
        if self._reload_from is None:
            raise TypeError(
                "skops cannot save a model that was not loaded by name or path; pickle it, or save "
                "it by skclip.training.save_model and load it from there"
            )
        return {"reload": [self.fingerprint, *self._reload_from]}

    def __setstate__(self, state):
        self.__dict__.update(_reload(*state["reload"]).__dict__)

    def __repr__(self):
        return f"<CLIPEncoder of {self._checkpoint.source}, {self.embed_dim} dimensions>"


def load_encoder(
    model=DEFAULT_MODEL, *, device="auto", dtype="auto", preprocess="fast", compile=False
):
    """Load a model for inference. Each model is loaded once per process.

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
    preprocess : {"fast", "exact"}, default="fast"
        "exact" resizes with Pillow and gives the published preprocessing bit for bit. "fast" is
        twice as fast and differs from it by at most one gray level, except in isolated pixels of
        computer-drawn gradients.
    compile : bool, default=False
        Whether to compile the image tower with torch's compiler, for one batch size. The first
        batch then takes a minute, so this is worth it for large collections on CUDA. On the CPU it
        saves nothing.

    Returns
    -------
    Encoder
        With ``encode_images(images)`` and ``encode_texts(texts)``, which return float32 arrays of
        shape (n, embed_dim), not normalized. An object passed as `model` is returned as it is.

    Raises
    ------
    ModelNotAvailableError
        If the model is not on this machine and cannot be downloaded.
    CheckpointError
        If its files are damaged, ambiguous or of an unknown kind.

    Examples
    --------
    >>> from skclip import load_encoder
    >>> encoder = load_encoder("skclip/tiny")
    >>> encoder.encode_texts(["a red circle", "the digit three"]).shape == (2, encoder.embed_dim)
    True
    """
    if preprocess not in _PREPROCESS:
        raise ValueError(f"preprocess must be 'fast' or 'exact', got {preprocess!r}")
    if not isinstance(model, str | os.PathLike):
        if not is_encoder(model):
            raise TypeError(
                "model must be a name, a path, or an object with encode_images and encode_texts, "
                f"got {describe(model)}; {what_to_pass(model)}"
            )
        if (device, dtype, preprocess, compile) != ("auto", "auto", "fast", False):
            raise ValueError(
                "device and dtype must be 'auto' when model is an object, preprocess 'fast' and "
                f"compile False, since the {type(model).__name__} has its own settings; got "
                f"device={device!r}, dtype={dtype!r}, preprocess={preprocess!r}, "
                f"compile={compile!r}"
            )
        return model
    asked = device, dtype, preprocess, compile
    device = resolve_device(device)
    dtype = resolve_dtype(dtype, device)
    key = (identify(model), device, dtype, preprocess, compile)
    with _lock:
        model_lock = _loading.setdefault(key, threading.Lock())
    # a slow download blocks only callers of that model
    with model_lock:
        with _lock:
            if key in _loaded:
                _loaded.move_to_end(key)
                return _loaded[key]
        # the towers for inference copy the weights
        checkpoint = load_checkpoint(model, copy=False)
        encoder = CLIPEncoder(
            checkpoint,
            device=device,
            dtype=dtype,
            preprocess=preprocess,
            compile=compile,
            reload_from=(checkpoint.source, *asked),
        )
        with _lock:
            _loaded[key] = encoder
            if len(_loaded) > MAX_LOADED_MODELS:
                _loaded.popitem(last=False)
        return encoder


def variant_of(preprocess, dtype):
    """Return the attribute `variant` of an encoder with these settings, which need no model.

    Parameters
    ----------
    preprocess : {"fast", "exact"}
    dtype : torch.dtype

    Returns
    -------
    variant : str
    """
    dtype_name = str(dtype).removeprefix("torch.")
    return f"{preprocess} preprocessing, Pillow {PIL.__version__}, {dtype_name}"


def _images_per_core(vision):
    """Return a batch size for one core.

    It is large enough for matrix products at full speed, and small enough for the core's caches.
    """
    if vision.is_resnet:
        return min(128, max(1, 4 * 224**2 // vision.image_size**2))
    return max(1, 1024 // ((vision.image_size // vision.patch_size) ** 2 + 1))


def _reload(fingerprint, source, device, *options):
    try:
        resolve_device(device)
    except ValueError:  # a pickle made on a GPU must load where there is no GPU, or another one
        device = "auto"
    names = ("dtype", "preprocess", "compile")
    encoder = load_encoder(source, device=device, **dict(zip(names, options, strict=True)))
    check_fingerprint(encoder, fingerprint)
    return encoder


def _rebuild(checkpoint, dtype, preprocess, compile):
    device = torch.device("cpu")
    options = {"dtype": resolve_dtype(dtype, device), "preprocess": preprocess, "compile": compile}
    return CLIPEncoder(checkpoint, device=device, **options)
