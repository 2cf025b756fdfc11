"""The interface of models: what an Encoder is, each optional attribute with its default.

This is the one place that looks at what a model offers. All other files ask the `Encoder` that
`as_encoder` returns.
"""

from abc import ABC, abstractmethod

from PIL import Image

from skclip.encode.reading import read_rgb
from skclip.exceptions import CheckpointError

# what may be left out, and is then the default of `Encoder`
_OPTIONAL = (
    "embed_dim",
    "logit_scale",
    "fingerprint",
    "variant",
    "templates",
    "images_per_batch",
    "texts_per_batch",
    "n_threads",
)


class Encoder(ABC):
    """A model that embeds images and texts.

    A model of your own needs the two methods only; all else has a default. It need not inherit from
    this class: `as_encoder` brings any object with the two methods into this form, together with
    those of the attributes that it has.

    Attributes
    ----------
    embed_dim : int or None, default=None
        Columns of the embeddings; None if they are known only once something is embedded.
    pooled_dim : int or None, default=None
        Columns of the image features before the projection; None if the model does not offer them.
    logit_scale : float, default=100.0
        The factor on cosine similarities, 1 / temperature (not its logarithm).
    fingerprint : str or None, default=None
        Changes whenever the vectors would: it names the weights, the tokenizer and the
        preprocessing. None for a model of which no embedding is kept.
    variant : str, default=""
        What else decides the last digits of the vectors, such as the number format. A part of the
        keys under which embeddings are kept.
    templates : sequence of str, default=()
        Prompt templates that the model was trained for, each with one ``{}``.
    images_per_batch, texts_per_batch : int, default=64
        How many make a good batch.
    tokens_per_batch : int or None, default=None
        How many tokens make a good batch of texts, where a prefix that several texts share counts
        once. None for a model that does not share prefixes, and takes `texts_per_batch`.
    n_threads : int or None, default=1
        How many threads may encode at once. None is one for each free core.
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

    # The two steps of `encode_images`, and of `encode_texts`. By default the first does nothing.

    def prepare_image(self, item):
        """Read one image: `ImageItem` -> what `encode_prepared_images` takes. In several threads.

        By default that is the RGB picture.
        """
        return read_rgb(item)

    def encode_prepared_images(self, prepared, features):
        """Embed one batch, a list of what `prepare_image` returned.

        `features` are "projected", or "pooled" where the model has a `pooled_dim`.
        """
        return self.encode_images(prepared)

    def prepare_texts(self, texts):
        """Return for each text what `encode_prepared_texts` takes; by default the text."""
        return texts

    def encode_prepared_texts(self, prepared):
        """Embed one batch, a list of what `prepare_texts` returned."""
        return self.encode_texts(prepared)


class _OtherEncoder(Encoder):
    """An object with the two methods, and some of the optional attributes, as an `Encoder`."""

    def __init__(self, model):
        self._model = model
        for name in _OPTIONAL:
            value = getattr(model, name, None)
            if value is not None:
                setattr(self, name, value)
        # it may be a tensor that requires a gradient
        scale = self.logit_scale
        self.logit_scale = float(scale.detach() if hasattr(scale, "detach") else scale)
        if not isinstance(self.fingerprint, str | None):
            raise TypeError(
                f"the fingerprint of {type(model).__name__} must be a str, got "
                f"{self.fingerprint!r}; leave it out, or give it one that changes whenever the "
                "vectors would"
            )

    def encode_images(self, images):
        return self._model.encode_images(images)

    def encode_texts(self, texts):
        return self._model.encode_texts(texts)


def is_encoder(model):
    """Whether an object has an encoder's two methods."""
    methods = hasattr(model, "encode_images") and hasattr(model, "encode_texts")
    return methods and not isinstance(model, type)


def as_encoder(model):
    """Bring a model into the form of an `Encoder`.

    Parameters
    ----------
    model : object
        With ``encode_images`` and ``encode_texts``.

    Returns
    -------
    encoder : Encoder
        The model itself if it is one.

    Raises
    ------
    TypeError
        If the object lacks the methods.

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
            f"{model!r}; skclip.load_encoder makes one from a name or a path"
        )
    return _OtherEncoder(model)


def check_fingerprint(model, expected):
    """Refuse a model that is not the one an estimator was fitted with.

    Parameters
    ----------
    model : Encoder, or any object with its two methods
    expected : str or None
        The fingerprint seen in `fit`.

    Raises
    ------
    CheckpointError
        If the fingerprint is another one.
    """
    found = as_encoder(model).fingerprint
    if found != expected:
        raise CheckpointError(
            "the model is not the one this was fitted with: its fingerprint is "
            f"{found}, expected {expected}; fit again, or restore the model's files"
        )


def check_pictures(images):
    """Return a batch of pictures as a list; refuse anything that is no RGB picture.

    Parameters
    ----------
    images : iterable of PIL.Image.Image

    Raises
    ------
    TypeError
        If one of them is something else.
    """
    images = list(images)
    for position, image in enumerate(images):
        if not isinstance(image, Image.Image) or image.mode != "RGB":
            got = getattr(image, "mode", None)
            raise TypeError(
                "encode_images takes one batch of RGB pictures (PIL images of mode 'RGB'), got a "
                f"{type(image).__name__}{f' of mode {got!r}' if got else ''} at position "
                f"{position}; skclip.embed_images takes paths, arrays and all other kinds of images"
            )
    return images
