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
    """Contrastive language-image model.

    Parameters
    ----------
    config : CLIPConfig

    Attributes
    ----------
    visual : VisionTransformer or ModifiedResNet
    text : TextTransformer
    logit_scale : Parameter, scalar
        Logarithm of the factor on the cosine similarities. Starts at ln(1/0.07); a trainer holds it
        at or below ln(100).

    Notes
    -----
    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
    sections 2.3 to 2.5.

    Examples
    --------
    >>> import torch
    >>> from skclip.model.clip import CLIP
    >>> from skclip.model.config import CLIPConfig, TextConfig, VisionConfig
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
        """Embed normalized pixels, (batch, 3, height, width), as (batch, embed_dim)."""
        return self.visual(pixels)

    def encode_text(self, token_ids):
        """Embed token ids, (batch, length), as (batch, embed_dim)."""
        return self.text(token_ids)

    def forward(self, pixels, token_ids):
        """Return both embeddings, normalized, and the factor on their similarities."""
        images = nn.functional.normalize(self.encode_image(pixels), dim=-1)
        texts = nn.functional.normalize(self.encode_text(token_ids), dim=-1)
        return images, texts, self.logit_scale.exp()

    @torch.no_grad()
    def clamp_logit_scale_(self):
        """Clip the logit scale to at most ln(100), as the paper does for stability."""
        self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
