"""Encoders that wrap the models of other libraries."""

from functools import partial

import torch

from skclip.encode.module_fingerprint import (
    SAMPLE_TEXTS,
    ModuleFingerprint,
    digest_of,
    digest_of_outputs,
    sample_pictures,
)
from skclip.encode.protocol import Encoder, check_pictures


class OpenCLIPEncoder(Encoder):
    """An open_clip model as an Encoder.

    Parameters
    ----------
    model : torch.nn.Module
        With ``encode_image``, ``encode_text`` and ``logit_scale``, as open_clip creates it. It is
        put into evaluation mode.
    image_transform : callable
        From a PIL image to pixels; the last value that ``open_clip.create_model_and_transforms``
        returns.
    tokenizer : callable
        What ``open_clip.get_tokenizer`` returns.

    Attributes
    ----------
    device : torch.device
        Where the weights are.
    logit_scale : float
        The factor on cosine similarities.
    fingerprint : str or None
        Changes with the weights, and with what `image_transform` and `tokenizer` return for a few
        sample pictures and texts. So embeddings can be stored with ``cache``, and those from before
        the model was trained further are not used afterwards.

    Notes
    -----
    Clones of an estimator share the model. A pickle contains the whole model.

    Examples
    --------
    >>> import open_clip  # doctest: +SKIP
    >>> from skclip import OpenCLIPEncoder, ZeroShotClassifier
    >>> model, _, image_transform = open_clip.create_model_and_transforms(
    ...     "ViT-B-16-SigLIP", pretrained="webli"
    ... )  # doctest: +SKIP
    >>> encoder = OpenCLIPEncoder(
    ...     model, image_transform, open_clip.get_tokenizer("ViT-B-16-SigLIP")
    ... )  # doctest: +SKIP
    >>> ZeroShotClassifier(["cat", "dog"], model=encoder)  # doctest: +SKIP
    """

    def __init__(self, model, image_transform, tokenizer):
        if not hasattr(model, "encode_image") or not hasattr(model, "encode_text"):
            raise TypeError(
                f"model must have encode_image and encode_text, got a {type(model).__name__}; "
                "pass the first value that open_clip.create_model_and_transforms returns"
            )
        self.model = model.eval()
        self.image_transform = image_transform
        self.tokenizer = tokenizer
        self._weights = ModuleFingerprint(model)

    @property
    def device(self):
        return self._weight.device

    @property
    def _weight(self):
        return next(self.model.parameters())

    @property
    def logit_scale(self):
        return float(self.model.logit_scale.detach().double().exp())

    @property
    def fingerprint(self):
        return _joint_fingerprint(
            self._weights.hexdigest(),
            digest_of_outputs(self.image_transform, sample_pictures()),
            digest_of_outputs(self.tokenizer, [[text] for text in SAMPLE_TEXTS]),
        )

    @torch.inference_mode()
    def encode_images(self, images):
        """Embed one batch of RGB pictures.

        Parameters
        ----------
        images : list of PIL.Image.Image

        Returns
        -------
        Tensor of shape (n_images, embed_dim)
            Not normalized.
        """
        self._check_mode()
        pixels = torch.stack([self.image_transform(image) for image in check_pictures(images)])
        return self.model.encode_image(pixels.to(self._weight))

    @torch.inference_mode()
    def encode_texts(self, texts):
        """Embed one batch of texts.

        Parameters
        ----------
        texts : list of str

        Returns
        -------
        Tensor of shape (n_texts, embed_dim)
            Not normalized.
        """
        self._check_mode()
        return self.model.encode_text(self.tokenizer(list(texts)).to(self.device))

    def _check_mode(self):
        if self.model.training:
            raise ValueError(
                "the model is in training mode, in which embeddings depend on the other items of "
                "their batch, and embedding changes the model; call model.eval() first"
            )

    def __sklearn_clone__(self):
        return self

    def __reduce__(self):
        return OpenCLIPEncoder, (self.model, self.image_transform, self.tokenizer)

    def __getstate__(self):
        raise _no_state(self)

    def __setstate__(self, state):
        # pickles of development versions, with other names
        self.__init__(state["model"], state["preprocess"], state["tokenize"])


class SentenceTransformerEncoder(Encoder):
    """A sentence-transformers CLIP model as an Encoder.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
        A model that embeds both pictures and texts, such as "clip-ViT-B-32".
    text_model : sentence_transformers.SentenceTransformer or None, default=None
        Another model for the texts, such as the multilingual "clip-ViT-B-32-multilingual-v1". With
        None, `model` embeds the texts too.

    Attributes
    ----------
    fingerprint : str
        Changes with the weights, and with what the models' preprocessing returns for a few sample
        pictures and texts. So embeddings can be stored with ``cache``, and those from before a
        model was trained further are not used afterwards.

    Notes
    -----
    Clones of an estimator share the model. A pickle contains the whole model.

    Examples
    --------
    >>> from sentence_transformers import SentenceTransformer  # doctest: +SKIP
    >>> from skclip import SentenceTransformerEncoder, ZeroShotClassifier
    >>> encoder = SentenceTransformerEncoder(
    ...     SentenceTransformer("clip-ViT-B-32")
    ... )  # doctest: +SKIP
    >>> ZeroShotClassifier(["cat", "dog"], model=encoder)  # doctest: +SKIP
    """

    def __init__(self, model, text_model=None):
        self.model = model
        self.text_model = text_model
        self._weights = ModuleFingerprint(model, *([] if text_model is None else [text_model]))

    @property
    def fingerprint(self):
        text_model = self._model_of_texts
        return _joint_fingerprint(
            self._weights.hexdigest(),
            digest_of_outputs(partial(_preprocessed, self.model), [[p] for p in sample_pictures()]),
            digest_of_outputs(partial(_preprocessed, text_model), [[t] for t in SAMPLE_TEXTS]),
            # the settings that change what `encode` returns
            digest_of_outputs(_settings_of, [self.model, text_model]),
        )

    @property
    def _model_of_texts(self):
        return self.model if self.text_model is None else self.text_model

    def encode_images(self, images):
        """Embed one batch of RGB pictures.

        Parameters
        ----------
        images : list of PIL.Image.Image

        Returns
        -------
        ndarray of shape (n_images, embed_dim)
            Not normalized.
        """
        return self.model.encode(check_pictures(images), show_progress_bar=False)

    def encode_texts(self, texts):
        """Embed one batch of texts.

        Parameters
        ----------
        texts : list of str

        Returns
        -------
        ndarray of shape (n_texts, embed_dim)
            Not normalized.
        """
        return self._model_of_texts.encode(list(texts), show_progress_bar=False)

    def __sklearn_clone__(self):
        return self

    def __reduce__(self):
        return SentenceTransformerEncoder, (self.model, self.text_model)

    def __getstate__(self):
        raise _no_state(self)

    def __setstate__(self, state):
        # pickles of development versions
        self.__init__(state["model"], state["text_model"])


def _no_state(encoder):
    # pickle calls `__reduce__`; skops does not, and fails at the first tensor
    return TypeError(
        f"skops cannot save an object of {type(encoder).__name__}, which holds a torch module; "
        "pickle it, or pass a model by name or path"
    )


def _joint_fingerprint(*digests):
    return None if None in digests else digest_of(*digests)


def _preprocessed(model, inputs):
    # versions before 5 of sentence-transformers have `tokenize` only, for pictures too
    preprocess = getattr(model, "preprocess", None) or model.tokenize
    return dict(preprocess(inputs))


def _settings_of(model):
    return [model.prompts, model.default_prompt_name, model.truncate_dim]
