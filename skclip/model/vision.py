"""The Vision Transformer image tower."""

import torch
from torch import nn

from skclip.model.layers import Transformer, draw_normal_


class VisionTransformer(nn.Module):
    """ViT with a layer norm before the transformer, pooled at the class token.

    Radford et al. 2021, section 2.4, after Dosovitskiy et al. 2020.
    """

    def __init__(self, config, embed_dim):
        super().__init__()
        self.config = config
        scale = config.width**-0.5
        n_patches = (config.image_size // config.patch_size) ** 2
        self.conv1 = nn.Conv2d(
            3, config.width, kernel_size=config.patch_size, stride=config.patch_size, bias=False
        )
        self.class_embedding = nn.Parameter(torch.empty(config.width))
        draw_normal_(self.class_embedding, std=scale)
        self.positional_embedding = nn.Parameter(torch.empty(n_patches + 1, config.width))
        draw_normal_(self.positional_embedding, std=scale)
        self.ln_pre = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.transformer = Transformer(config, causal=False)
        self.ln_post = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.proj = nn.Parameter(torch.empty(config.width, embed_dim))
        draw_normal_(self.proj, std=scale)

    def pool(self, pixels):
        """Return one vector per image before the projection, (batch, width)."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)  # (batch, n_patches, width)
        cls = self.class_embedding.expand(patches.shape[0], 1, -1)
        x = torch.cat([cls.to(patches.dtype), patches], dim=1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0])

    def project(self, pooled):
        """Map pooled vectors into the embedding space, (batch, embed_dim)."""
        return pooled @ self.proj

    def forward(self, pixels):
        return self.project(self.pool(pixels))
