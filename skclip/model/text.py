"""The text tower."""

import torch
from torch import nn

from skclip.model.layers import Transformer, draw_normal_


class TextTransformer(nn.Module):
    """Causal transformer over token ids, pooled at the first end token.

    Radford et al. 2021, section 2.4. Attention is causal, so tokens after the end token do not
    affect the embedding: a batch may be padded with any id, to any length up to the context length.
    """

    def __init__(self, config, embed_dim):
        super().__init__()
        self.config = config
        self.token_embedding = _embedding(config.vocab_size, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.transformer = Transformer(config, causal=True)
        self.ln_final = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.text_projection = nn.Parameter(torch.empty(config.width, embed_dim))
        draw_normal_(self.token_embedding.weight, std=0.02)
        draw_normal_(self.positional_embedding, std=0.01)
        draw_normal_(self.text_projection, std=config.width**-0.5)

    def forward(self, token_ids):
        """Return embeddings, (batch, embed_dim), of token ids, (batch, length)."""
        length = token_ids.shape[1]
        x = self.token_embedding(token_ids) + self.positional_embedding[:length]
        x = self.transformer(x)
        end = (token_ids == self.config.end_token_id).int().argmax(dim=1)
        pooled = x[torch.arange(len(x), device=x.device), end]
        return self.ln_final(pooled) @ self.text_projection


def _embedding(n_tokens, width):
    weight = torch.empty(n_tokens, width)
    # as in `draw_normal_`: the constructor would draw random numbers
    if weight.is_meta:
        return nn.Embedding.from_pretrained(weight, freeze=False)
    return nn.Embedding(n_tokens, width)
