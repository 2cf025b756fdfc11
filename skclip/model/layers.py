"""The transformer architecture of both towers."""

import torch
from torch import nn
from torch.nn import functional as F

QUICK_GELU_FACTOR = 1.702


def draw_normal_(parameter, std):
    """Fill a parameter with normally distributed numbers, unless it has no memory.

    Models are built on the "meta" device, without memory, to be filled from a checkpoint. Random
    numbers there would make torch import its compiler, which takes two seconds.
    """
    if not parameter.is_meta:
        nn.init.normal_(parameter, std=std)


class QuickGELU(nn.Module):
    """The sigmoid approximation of GELU that OpenAI's models were trained with."""

    def forward(self, x):
        return x * torch.sigmoid(QUICK_GELU_FACTOR * x)


_ACTIVATION = {
    "quick_gelu": QuickGELU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
}


class Attention(nn.Module):
    """Multi-head self-attention with one fused input projection."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x, *, causal):
        batch, length, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        # (batch, length, 3 * width) -> three times (batch, heads, length, head width)
        q, k, v = qkv.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(x.transpose(1, 2).reshape(batch, length, width))


class MLP(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, width, hidden, activation):
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.activation = _ACTIVATION[activation]()
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x):
        return self.c_proj(self.activation(self.c_fc(x)))


class ResidualBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attn = Attention(config.width, config.heads)
        self.ln_2 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = MLP(config.width, config.mlp_width, config.activation)

    def forward(self, x, *, causal):
        x = x + self.attn(self.ln_1(x), causal=causal)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of blocks that maps (batch, length, width); `config` is a tower's configuration."""

    def __init__(self, config, *, causal):
        super().__init__()
        self.causal = causal
        self.resblocks = nn.ModuleList(ResidualBlock(config) for _ in range(config.layers))
        self._initialize(config)

    def _initialize(self, config):
        # standard deviations of OpenAI's release (clip/model.py, initialize_parameters).
        residual_std = config.width**-0.5 * (2 * config.layers) ** -0.5
        for block in self.resblocks:
            draw_normal_(block.attn.in_proj_weight, std=config.width**-0.5)
            draw_normal_(block.attn.out_proj.weight, std=residual_std)
            draw_normal_(block.mlp.c_fc.weight, std=(2 * config.width) ** -0.5)
            draw_normal_(block.mlp.c_proj.weight, std=residual_std)
            for linear in (block.attn.out_proj, block.mlp.c_fc, block.mlp.c_proj):
                nn.init.zeros_(linear.bias)

    def forward(self, x):
        for block in self.resblocks:
            x = block(x, causal=self.causal)
        return x
