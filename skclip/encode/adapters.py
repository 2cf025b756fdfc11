"""Encoders made of other libraries' models."""

import torch


class OpenCLIPEncoder:
    """An open_clip model as an Encoder.

    Parameters
    ----------
    model : torch.nn.Module
        With ``encode_image``, ``encode_text`` and ``logit_scale``, as open_clip makes it.
    preprocess : callable
        Picture to pixels; the last value that ``open_clip.create_model_and_transforms`` returns.
    tokenizer : callable
        What ``open_clip.get_tokenizer`` returns.

    Notes
    -----
    Clones of an estimator share the model. A pickle carries all of it.

    Examples
    --------
    >>> import open_clip  # doctest: +SKIP
    >>> from skclip import OpenCLIPEncoder, ZeroShotClassifier
    >>> model, _, preprocess = open_clip.create_model_and_transforms(
    ...     "ViT-B-16-SigLIP", pretrained="webli"
    ... )  # doctest: +SKIP
    >>> encoder = OpenCLIPEncoder(
    ...     model, preprocess, open_clip.get_tokenizer("ViT-B-16-SigLIP")
    ... )  # doctest: +SKIP
    >>> ZeroShotClassifier(["cat", "dog"], model=encoder)  # doctest: +SKIP
    """

    def __init__(self, model, preprocess, tokenizer):
        if not hasattr(model, "encode_image") or not hasattr(model, "encode_text"):
            raise TypeError(
                f"model must have encode_image and encode_text, got a {type(model).__name__}; "
                "it is the first of what open_clip.create_model_and_transforms returns"
            )
        self.model = model.eval()
        self.preprocess = preprocess
        self.tokenize = tokenizer

    @property
    def device(self):
        """Where the model's weights are."""
        return self._weight.device

    @property
    def _weight(self):
        return next(self.model.parameters())

    @property
    def logit_scale(self):
        """The factor on cosine similarities."""
        return float(self.model.logit_scale.detach().double().exp())

    @torch.inference_mode()
    def encode_images(self, images):
        """Embed a list of RGB pictures as a tensor (n, d)."""
        self._check_mode()
        pixels = torch.stack([self.preprocess(image) for image in images])
        return self.model.encode_image(pixels.to(self._weight))

    @torch.inference_mode()
    def encode_texts(self, texts):
        """Embed a list of texts as a tensor (n, d)."""
        self._check_mode()
        return self.model.encode_text(self.tokenize(list(texts)).to(self.device))

    def _check_mode(self):
        if self.model.training:
            raise ValueError(
                "the model is in training mode, in which embeddings depend on their batch and "
                "change the model; call model.eval() first"
            )

    def __sklearn_clone__(self):
        return self


class SentenceTransformerEncoder:
    """A sentence-transformers CLIP model as an Encoder.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
        One that embeds pictures and texts alike, such as "clip-ViT-B-32".
    text_model : sentence_transformers.SentenceTransformer or None, default=None
        Another one for the texts, such as the multilingual "clip-ViT-B-32-multilingual-v1".

    Notes
    -----
    Clones of an estimator share the model. A pickle carries all of it.

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

    def encode_images(self, images):
        """Embed a list of RGB pictures as an array (n, d)."""
        return self.model.encode(list(images), show_progress_bar=False)

    def encode_texts(self, texts):
        """Embed a list of texts as an array (n, d)."""
        model = self.model if self.text_model is None else self.text_model
        return model.encode(list(texts), show_progress_bar=False)

    def __sklearn_clone__(self):
        return self
