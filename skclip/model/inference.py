"""The towers as they stand for inference: fused, packed, and computing only what is asked for.

Results are those of the towers that they are made of, up to rounding. What is done once:

- weights are laid out for oneDNN where the CPU has it, and activations and residual sums become a
  part of the matrix product;
- the quick GELU, ``x * sigmoid(1.702 x)``, becomes SiLU, with 1.702 folded into the weights before
  and behind it;
- the last block computes queries, projection and MLP for the pooled token alone;
- batch norms are folded into the convolutions before them.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from skclip.model.layers import QUICK_GELU_FACTOR, QuickGELU
from skclip.model.resnet import ModifiedResNet


@dataclass(frozen=True)
class Target:
    """Where weights go, in what number format, and whether they may be laid out for oneDNN.

    torch's compiler does not understand weights that are.
    """

    device: torch.device
    dtype: torch.dtype
    pack: bool = True

    def place(self, weights):
        """Return a weight, or its copy, at its place."""
        return weights.detach().to(self.device, self.dtype)


def image_tower_for_inference(tower, target):
    """Return an object with the ``pool`` and ``project`` of an image tower.

    Parameters
    ----------
    tower : VisionTransformer or ModifiedResNet
        In evaluation mode. Is left as it is.
    target : Target

    Returns
    -------
    InferenceViT or InferenceResNet
    """
    form = InferenceResNet if isinstance(tower, ModifiedResNet) else InferenceViT
    return form(tower, target)


class InferenceViT:
    """A `VisionTransformer` for inference."""

    def __init__(self, tower, target):
        self.patch_size = tower.config.patch_size
        self.patch_embedding = FusedLinear(tower.conv1.weight.flatten(1), None, target)
        position = tower.positional_embedding
        self.first_token = target.place(tower.class_embedding + position[0])
        self.positional_embedding = target.place(position[1:])
        self.ln_pre = _layer_norm(tower.ln_pre, target)
        self.blocks = _blocks(tower.transformer, target)
        self.ln_post = _layer_norm(tower.ln_post, target)
        self.proj = target.place(tower.proj)

    def pool(self, pixels):
        """Return one vector an image before the projection, (batch, width)."""
        batch, channels, *shape = pixels.shape
        size = self.patch_size
        rows, columns = (length // size for length in shape)
        # a convolution whose stride is its kernel is a matrix product over the patches
        patches = pixels[:, :, : rows * size, : columns * size]
        patches = patches.reshape(batch, channels, rows, size, columns, size)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * size * size)
        patches = self.patch_embedding(patches) + self.positional_embedding
        first = self.first_token.expand(batch, 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1))
        for block in self.blocks[:-1]:
            x = block(x)
        return self.ln_post(self.blocks[-1].pool_first(x))

    def project(self, pooled):
        """Map pooled vectors into the embedding space, (batch, embed_dim)."""
        return pooled @ self.proj


class InferenceText:
    """A `TextTransformer` for inference, over trees of token sequences."""

    def __init__(self, tower, target):
        self.token_embedding = target.place(tower.token_embedding.weight)
        self.positional_embedding = target.place(tower.positional_embedding)
        self.blocks = _blocks(tower.transformer, target)
        self.ln_final = _layer_norm(tower.ln_final, target)
        self.text_projection = target.place(tower.text_projection)

    def __call__(self, tree):
        """Return embeddings, (batch, embed_dim), of the sequences of a `PrefixTree`."""
        x = self.token_embedding[tree.token_ids] + self.positional_embedding[tree.positions]
        for block in self.blocks[:-1]:
            x = block.on_tree(x, tree)
        return self.ln_final(self.blocks[-1].pool_ends(x, tree)) @ self.text_projection


class InferenceResNet:
    """A `ModifiedResNet` for inference."""

    def __init__(self, tower, target):
        fused = _FusedResNet(tower).requires_grad_(False).to(target.device, target.dtype)
        # the layout in which convolutions need not be rearranged
        self.tower = fused.to(memory_format=torch.channels_last)

    def pool(self, pixels):
        """Return one vector an image before the projection, (batch, 32 * width)."""
        return self.tower(pixels.contiguous(memory_format=torch.channels_last))

    def project(self, pooled):
        """Map pooled vectors into the embedding space, (batch, embed_dim)."""
        return self.tower.attnpool.c_proj(pooled)


class FusedLinear:
    """``activation(x @ weight.T + bias) + residual``, in one pass where the CPU allows."""

    def __init__(self, weight, bias, target, activation=None):
        self.weight = target.place(weight).contiguous()
        self.bias = None if bias is None else target.place(bias)
        self.activation = activation
        self.is_packed = target.pack and _can_pack(self.weight)
        if self.is_packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight)

    def __call__(self, x, residual=None):
        if self.is_packed:
            if residual is not None:
                op = torch.ops.mkldnn._linear_pointwise.binary
                return op(x, residual, self.weight, self.bias, "add")
            name, algorithm = _FUSED_ACTIVATION[self.activation]
            op = torch.ops.mkldnn._linear_pointwise.default
            return op(x, self.weight, self.bias, name, [], algorithm)
        x = F.linear(x, self.weight, self.bias)
        if residual is not None:
            return x.add_(residual)
        return x if self.activation is None else _ACTIVATION[self.activation](x)


# names of oneDNN's operations behind a matrix product, as torch's own compiler uses them
_FUSED_ACTIVATION = {
    None: ("none", ""),
    "silu": ("swish", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
}
_ACTIVATION = {
    "silu": lambda x: F.silu(x, inplace=True),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


class InferenceBlock:
    """A `ResidualBlock` for inference."""

    def __init__(self, block, target, *, causal):
        attention, mlp = block.attn, block.mlp
        self.heads = attention.heads
        self.causal = causal
        self.ln_1, self.ln_2 = _layer_norm(block.ln_1, target), _layer_norm(block.ln_2, target)
        self._set_in_proj(attention.in_proj_weight, attention.in_proj_bias, target)
        self.out_proj = _linear(attention.out_proj, target)
        activation, factor = mlp.activation, 1.0
        if isinstance(activation, QuickGELU):
            name, factor = "silu", QUICK_GELU_FACTOR
        else:
            name = "gelu" if activation.approximate == "none" else "gelu_tanh"
        self.c_fc = _linear(mlp.c_fc, target, scale=factor, scale_bias=factor, activation=name)
        self.c_proj = _linear(mlp.c_proj, target, scale=1 / factor)

    def _set_in_proj(self, weight, bias, target):
        self.in_proj = FusedLinear(weight, bias, target)

    def __call__(self, x):
        """Map hidden states, (batch, length, width)."""
        attended = self._attend(self.in_proj(self.ln_1(x)))
        return self._mlp(self.out_proj(attended, x))

    def on_tree(self, x, tree):
        """Map hidden states of a tree's nodes, (n_nodes, width)."""
        attended = self._attend(self.in_proj(self.ln_1(x))[tree.paths])
        return self._mlp(self.out_proj(attended.flatten(0, 1)[tree.occurrences], x))

    def _attend(self, qkv):
        batch, length, _ = qkv.shape
        # three times (batch, heads, length, head width)
        q, k, v = qkv.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return x.transpose(1, 2).reshape(batch, length, -1)

    def _mlp(self, x):
        return self.c_proj(self.c_fc(self.ln_2(x)), x)


class LastInferenceBlock(InferenceBlock):
    """The block whose output is wanted for one token of each sequence."""

    def _set_in_proj(self, weight, bias, target):
        width = weight.shape[1]
        self.q_proj = FusedLinear(weight[:width], bias[:width], target)
        self.kv_proj = FusedLinear(weight[width:], bias[width:], target)

    def pool_first(self, x):
        """Return the first token's state, (batch, width), from those of all."""
        h = self.ln_1(x)
        attended = self._attend_from(self.q_proj(h[:, 0]), self.kv_proj(h))
        return self._mlp(self.out_proj(attended, x[:, 0].contiguous()))

    def pool_ends(self, x, tree):
        """Return the last tokens' states, (batch, width), from those of a tree's nodes."""
        h = self.ln_1(x)
        kv = self.kv_proj(h)[tree.paths]
        attended = self._attend_from(self.q_proj(h[tree.ends]), kv, tree.inside)
        return self._mlp(self.out_proj(attended, x[tree.ends]))

    def _attend_from(self, q, kv, mask=None):
        batch, length, _ = kv.shape
        q = q.view(batch, self.heads, 1, -1)
        k, v = kv.view(batch, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).flatten(1)


class _FusedResNet(nn.Module):
    def __init__(self, tower):
        super().__init__()
        for i in (1, 2, 3):
            conv, norm = getattr(tower, f"conv{i}"), getattr(tower, f"bn{i}")
            self.add_module(f"conv{i}", fuse_conv_bn_eval(conv, norm))
        layers = (tower.layer1, tower.layer2, tower.layer3, tower.layer4)
        self.blocks = nn.Sequential(
            *(_FusedBottleneck(block) for blocks in layers for block in blocks)
        )
        self.attnpool = tower.attnpool

    def forward(self, x):
        x = F.relu(self.conv1(x), inplace=True)
        x = F.relu(self.conv2(x), inplace=True)
        x = F.avg_pool2d(F.relu(self.conv3(x), inplace=True), 2)
        return self.attnpool(self.blocks(x))


class _FusedBottleneck(nn.Module):
    def __init__(self, block):
        super().__init__()
        for i in (1, 2, 3):
            conv, norm = getattr(block, f"conv{i}"), getattr(block, f"bn{i}")
            self.add_module(f"conv{i}", fuse_conv_bn_eval(conv, norm))
        self.avgpool = block.avgpool
        self.downsample = None
        if block.downsample is not None:
            pool, conv, norm = block.downsample
            self.downsample = nn.Sequential(pool, fuse_conv_bn_eval(conv, norm))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.conv1(x), inplace=True)
        x = F.relu(self.conv2(x), inplace=True)
        x = self.conv3(self.avgpool(x))
        return F.relu(x.add_(shortcut), inplace=True)


def _blocks(transformer, target):
    *blocks, last = transformer.resblocks
    causal = transformer.causal
    return [
        *(InferenceBlock(block, target, causal=causal) for block in blocks),
        LastInferenceBlock(last, target, causal=causal),
    ]


def _layer_norm(norm, target):
    weight, bias = target.place(norm.weight), target.place(norm.bias)
    return lambda x: F.layer_norm(x, weight.shape, weight, bias, norm.eps)


def _linear(linear, target, *, scale=1.0, scale_bias=1.0, activation=None):
    weight, bias = linear.weight.detach(), linear.bias.detach()
    if scale != 1:
        weight = weight * scale
    if scale_bias != 1:
        bias = bias * scale_bias
    return FusedLinear(weight, bias, target, activation)


def _can_pack(weight):
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")
