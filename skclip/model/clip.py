"""CLIP: an image tower and a text tower that share one embedding space."""

import math

import torch
from torch import nn

from skclip.model.resnet import ModifiedResNet
from skclip.model.text import TextTransformer
from skclip.model.vision import VisionTransformer

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
MAX_LOGIT_SCALE = math.log(100)


class CLIP(nn.Module):
    """A CLIP model: an image tower and a text tower that share one embedding space.

    The model is a torch module. A new one has random weights, drawn from torch's global generator.

    Parameters
    ----------
    config : CLIPConfig
        Sizes and kinds of the two towers.

    Attributes
    ----------
    config : CLIPConfig
        The configuration the model was made from.
    visual : torch.nn.Module
        The image tower, a ViT or a modified ResNet.
    text : torch.nn.Module
        The text tower, a transformer.
    logit_scale : torch.nn.Parameter, scalar
        Logarithm of the factor by which cosine similarities are multiplied. It starts at
        ln(1/0.07); `Trainer` keeps it at or below ln(100).

    See Also
    --------
    load_model : Load a trained model.
    Trainer : Train a model.

    Notes
    -----
    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
    sections 2.3 to 2.5.

    Examples
    --------
    >>> import torch
    >>> from skclip.training import CLIP, CLIPConfig, TextConfig, VisionConfig
    >>> config = CLIPConfig(
    ...     embed_dim=16,
    ...     vision=VisionConfig(image_size=32, patch_size=16, width=64, layers=1),
    ...     text=TextConfig(vocab_size=100, context_length=8, width=64, layers=1),
    ... )
    >>> model = CLIP(config).eval()
    >>> model.encode_image(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 16])
    >>> model.encode_text(torch.tensor([[98, 5, 99]])).shape
    torch.Size([1, 16])
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        tower = ModifiedResNet if config.vision.is_resnet else VisionTransformer
        self.visual = tower(config.vision, config.embed_dim)
        self.text = TextTransformer(config.text, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def encode_image(self, pixels):
        """Embed images.

        Parameters
        ----------
        pixels : tensor of shape (batch, 3, image_size, image_size)
            RGB pixels from 0 to 1, less the mean and divided by the standard deviation of the
            model's `PreprocessConfig`.

        Returns
        -------
        tensor of shape (batch, embed_dim)
            Embeddings that are not normalized.
        """
        return self.visual(pixels)

    def encode_text(self, token_ids):
        """Embed texts.

        Parameters
        ----------
        token_ids : tensor of shape (batch, length), int64
            Token ids as a `Tokenizer` returns them when called, with at most ``context_length``
            columns.

        Returns
        -------
        tensor of shape (batch, embed_dim)
            Embeddings that are not normalized.
        """
        return self.text(token_ids)

    def forward(self, pixels, token_ids):
        """Embed images and texts for a comparison by cosine similarity.

        Parameters
        ----------
        pixels : tensor of shape (batch, 3, image_size, image_size)
            Pixels as `encode_image` takes them.
        token_ids : tensor of shape (n_texts, length), int64
            Token ids as `encode_text` takes them.

        Returns
        -------
        images : tensor of shape (batch, embed_dim)
            Normalized embeddings.
        texts : tensor of shape (n_texts, embed_dim)
            Normalized embeddings.
        logit_scale : tensor, scalar
            Factor by which the cosine similarities ``images @ texts.T`` are multiplied.
        """
        images = nn.functional.normalize(self.encode_image(pixels), dim=-1)
        texts = nn.functional.normalize(self.encode_text(token_ids), dim=-1)
        return images, texts, self.logit_scale.exp()

    @torch.no_grad()
    def clamp_logit_scale_(self):
        """Limit the logit scale to at most ln(100) in place, as the paper does for stability."""
        self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
