"""The interface of models: what an Encoder is, and the default of each optional attribute.

Only this file checks which attributes a model has. All other files use the `Encoder` that
`as_encoder` returns.
"""

import re
from abc import ABC, abstractmethod
from pathlib import Path

from PIL import Image

from skclip._messages import shown
from skclip.encode.reading import read_rgb
from skclip.exceptions import CheckpointError

# The attributes that are taken from a model that is not an `Encoder`, where it has them.
# `pooled_dim` and `tokens_per_batch` are not among them: they need the methods of an `Encoder`.
_OPTIONAL = (
    "embed_dim",
    "fingerprint",
    "variant",
    "templates",
    "images_per_batch",
    "texts_per_batch",
    "n_threads",
)


class Encoder(ABC):
    """A model that embeds images and texts.

    A model of your own needs only the methods `encode_images` and `encode_texts`; everything else
    has a default. It need not inherit from this class: `as_encoder` wraps any object with the two
    methods, and takes over the attributes that the object has.

    Attributes
    ----------
    embed_dim : int or None, default=None
        Columns of the embeddings. None if the number is known only after something is embedded.
    pooled_dim : int or None, default=None
        Columns of the image features before the projection. None if the model does not offer
        these features.
    logit_scale : float, default=100.0
        The factor on cosine similarities, 1 / temperature (not its logarithm).
    fingerprint : str or None, default=None
        Identifies the weights, the tokenizer and the preprocessing; it must change whenever the
        vectors would. With None, no embeddings can be stored.
    variant : str, default=""
        What else changes the last digits of the vectors, such as the number format. It is a part of
        the keys under which embeddings are stored.
    templates : sequence of str, default=()
        Prompt templates that the model was trained for, each with one ``{}``.
    images_per_batch, texts_per_batch : int, default=64
        How many images or texts to embed at once.
    tokens_per_batch : int or None, default=None
        How many tokens to embed at once, where a prefix that several texts share counts once. With
        None, prefixes are not shared, and `texts_per_batch` is used.
    n_threads : int, default=1
        How many threads may encode at once; -1 means one for each free core.
    """

    embed_dim = None
    pooled_dim = None
    logit_scale = 100.0
    fingerprint = None
    variant = ""
    templates = ()
    images_per_batch = 64
    texts_per_batch = 64
    tokens_per_batch = None
    n_threads = 1

    @abstractmethod
    def encode_images(self, images):
        """Embed one batch of images.

        Parameters
        ----------
        images : list of PIL.Image.Image
            Of mode RGB and any size.

        Returns
        -------
        array or tensor of shape (n_images, embed_dim)
            Not normalized.
        """

    @abstractmethod
    def encode_texts(self, texts):
        """Embed one batch of texts.

        Parameters
        ----------
        texts : list of str

        Returns
        -------
        array or tensor of shape (n_texts, embed_dim)
            Not normalized.
        """

    def former_fingerprint(self):
        """Return another fingerprint under which this model was known, or None.

        Only called when the fingerprint is not the one that a fitted estimator expects.
        """
        return None

    # `encode_images` and `encode_texts` in two steps each. A subclass overrides them to do work in
    # the first step that would otherwise be a part of the second one, which runs the model.

    def prepare_image(self, item):
        """Read one image. Called in several threads at once.

        Parameters
        ----------
        item : ImageItem

        Returns
        -------
        prepared : object
            What `encode_prepared_images` takes; by default the picture, a PIL image of mode RGB.
        """
        return read_rgb(item)

    def encode_prepared_images(self, prepared, features):
        """Embed one batch of prepared images.

        Parameters
        ----------
        prepared : list
            What `prepare_image` returned.
        features : {"projected", "pooled"}
            "pooled" is only asked for if the encoder has a `pooled_dim`.

        Returns
        -------
        array or tensor of shape (n_images, n_features)
            Not normalized.
        """
        if features != "projected":
            raise ValueError(
                f"features must be 'projected' for {type(self).__name__}, got {features!r}: with a "
                "pooled_dim it has to define encode_prepared_images too"
            )
        return self.encode_images(prepared)

    def prepare_texts(self, texts):
        """Return the list of what `encode_prepared_texts` takes for each text.

        By default these are the texts themselves. If the encoder has `tokens_per_batch`, they must
        be tuples of token ids.
        """
        return texts

    def encode_prepared_texts(self, prepared):
        """Embed one batch of prepared texts.

        Parameters
        ----------
        prepared : list
            What `prepare_texts` returned.

        Returns
        -------
        array or tensor of shape (n_texts, embed_dim)
            Not normalized.
        """
        return self.encode_texts(prepared)


class _OtherEncoder(Encoder):
    """Wraps an object with the two methods, and perhaps some of the optional attributes."""

    def __init__(self, model):
        self._model = model
        for name in _OPTIONAL:
            value = getattr(model, name, None)
            if value is not None:
                setattr(self, name, value)

    @property
    def logit_scale(self):
        scale = getattr(self._model, "logit_scale", None)
        if scale is None:
            return Encoder.logit_scale
        # it may be a tensor that requires a gradient
        return float(scale.detach() if hasattr(scale, "detach") else scale)

    def encode_images(self, images):
        return self._model.encode_images(images)

    def encode_texts(self, texts):
        return self._model.encode_texts(texts)


def is_encoder(model):
    """Whether an object has the methods ``encode_images`` and ``encode_texts``; a class has not."""
    methods = hasattr(model, "encode_images") and hasattr(model, "encode_texts")
    return methods and not isinstance(model, type)


def as_encoder(model):
    """Return a model as an `Encoder`.

    Parameters
    ----------
    model : object
        With ``encode_images`` and ``encode_texts``.

    Returns
    -------
    encoder : Encoder
        The model itself if it is one, else an object that wraps it.

    Raises
    ------
    TypeError
        If the object lacks one of the methods.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.encode.protocol import as_encoder
    >>> class Brightness:
    ...     def encode_images(self, images):
    ...         return np.array([[np.mean(image)] for image in images])
    ...     def encode_texts(self, texts):
    ...         return np.zeros((len(texts), 1))
    >>> as_encoder(Brightness()).logit_scale
    100.0
    """
    if isinstance(model, Encoder):
        return model
    if not is_encoder(model):
        raise TypeError(
            "encoder must be an object with the methods encode_images and encode_texts, got "
            f"{describe(model)}; {what_to_pass(model)}"
        )
    return _OtherEncoder(model)


def describe(model):
    """Return what a model is in a few words, where its repr could have thousands of lines."""
    if isinstance(model, type):
        return f"the class {model.__name__}"
    library = type(model).__module__.partition(".")[0]
    if library == "builtins" or isinstance(model, Path):
        return shown(model)
    return f"an object of type {library}.{type(model).__name__}"


def what_to_pass(model):
    """Return the advice for an object that is no Encoder, by the library that it comes from."""
    if isinstance(model, str | Path):
        return "skclip.load_encoder makes one from a name or a path"
    if isinstance(model, type):
        return "create an object of it"
    libraries = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if hasattr(model, "encode_image") and libraries & {"open_clip", "clip"}:
        return "pass OpenCLIPEncoder(model, image_transform, tokenizer)"
    if "sentence_transformers" in libraries:
        return "pass SentenceTransformerEncoder(model)"
    if "transformers" in libraries and hasattr(model, "get_image_features"):
        return "pass its hub id, or the directory that its save_pretrained wrote"
    if "skclip" in libraries and hasattr(model, "encode_image"):
        return "save it by skclip.training.save_model, and pass the directory"
    return "pass a name, a path, or an object that has these two methods"


def check_fingerprint(model, expected):
    """Check that a model is the one that an estimator was fitted with.

    Parameters
    ----------
    model : Encoder, or any object with its two methods
    expected : str or None
        The model's fingerprint in `fit`.

    Raises
    ------
    CheckpointError
        If the model has another fingerprint.
    """
    encoder = as_encoder(model)
    found = encoder.fingerprint
    if found == expected:
        return
    if expected is None or encoder.former_fingerprint() != expected:
        raise CheckpointError(
            "the model is not the one this was fitted with: its fingerprint is "
            f"{brief(found)}, expected {brief(expected)}; fit again, or restore the model's files"
        )


def brief(fingerprint):
    """Return the first digits of a sha256; another fingerprint as a message has room for it."""
    is_sha256 = isinstance(fingerprint, str) and re.fullmatch("[0-9a-f]{64}", fingerprint)
    return fingerprint[:12] if is_sha256 else shown(fingerprint)


def check_pictures(images):
    """Return a batch of pictures as a list, after a check that all are RGB pictures.

    Parameters
    ----------
    images : iterable of PIL.Image.Image

    Returns
    -------
    images : list of PIL.Image.Image

    Raises
    ------
    TypeError
        If one of them is something else, or has another mode.
    ValueError
        If there are none.
    """
    images = list(images)
    if not images:
        raise ValueError("encode_images takes one batch of pictures, got none")
    for position, image in enumerate(images):
        if not isinstance(image, Image.Image) or image.mode != "RGB":
            got = getattr(image, "mode", None)
            raise TypeError(
                "encode_images takes one batch of RGB pictures (PIL images of mode 'RGB'), got a "
                f"{type(image).__name__}{f' of mode {got!r}' if got else ''} at position "
                f"{position}; skclip.embed_images takes paths, arrays and all other kinds of images"
            )
    return images
