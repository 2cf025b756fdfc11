"""The two towers in a faster form for inference.

They give the results of the towers they are made from, up to rounding. They are faster because:

- on a CPU with oneDNN, weights are packed into its memory layout, and each activation and each
  residual sum is computed in one pass with the matrix product before it;
- quick GELU, ``x * sigmoid(1.702 x)``, becomes SiLU, with the factor 1.702 folded into the weights
  of the layers before and after it;
- the last block computes queries, projection and MLP for the pooled token only;
- batch norms are folded into the convolutions before them.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from skclip._torch_compat import (
    can_pack_linear,
    pack_linear_weight,
    packed_linear,
    packed_linear_add,
)
from skclip.model.layers import QUICK_GELU_FACTOR, QuickGELU
from skclip.model.resnet import ModifiedResNet


@dataclass(frozen=True)
class WeightFormat:
    """Where and in which format a tower keeps its weights.

    Parameters
    ----------
    device : torch.device
    dtype : torch.dtype
    pack : bool, default=True
        Whether to pack the weights of linear layers for oneDNN where it is available. torch's
        compiler cannot trace packed weights.
    """

    device: torch.device
    dtype: torch.dtype
    pack: bool = True

    def convert(self, weights):
        """Return a copy on the device and in the number format."""
        return weights.detach().to(self.device, self.dtype, copy=True)


def image_tower_for_inference(tower, weight_format):
    """Return the inference form of an image tower.

    Parameters
    ----------
    tower : VisionTransformer or ModifiedResNet
        In evaluation mode. Is not changed.
    weight_format : WeightFormat

    Returns
    -------
    InferenceViT or InferenceResNet
        With the methods ``pool`` and ``project`` of the image tower.
    """
    cls = InferenceResNet if isinstance(tower, ModifiedResNet) else InferenceViT
    return cls(tower, weight_format)


class InferenceViT:
    """A `VisionTransformer` for inference."""

    def __init__(self, tower, weight_format):
        self.patch_size = tower.config.patch_size
        self.patch_embedding = FusedLinear(tower.conv1.weight.flatten(1), None, weight_format)
        position = tower.positional_embedding
        self.first_token = weight_format.convert(tower.class_embedding + position[0])
        self.positional_embedding = weight_format.convert(position[1:])
        self.ln_pre = _layer_norm(tower.ln_pre, weight_format)
        self.blocks = _blocks(tower.transformer, weight_format)
        self.ln_post = _layer_norm(tower.ln_post, weight_format)
        self.proj = weight_format.convert(tower.proj)

    def pool(self, pixels):
        """Return one vector per image before the projection, (batch, width)."""
        batch, channels, *shape = pixels.shape
        size = self.patch_size
        rows, columns = (length // size for length in shape)
        # a convolution whose stride equals its kernel size is a matrix product over the patches
        patches = pixels[:, :, : rows * size, : columns * size]
        patches = patches.reshape(batch, channels, rows, size, columns, size)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * size * size)
        patches = self.patch_embedding(patches) + self.positional_embedding
        first = self.first_token.expand(batch, 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1))
        for block in self.blocks[:-1]:
            x = block(x)
        return self.ln_post(self.blocks[-1].pool_first_token(x))

    def project(self, pooled):
        """Map pooled vectors into the embedding space, (batch, embed_dim)."""
        return pooled @ self.proj


class InferenceTextTransformer:
    """A `TextTransformer` for inference, which takes trees of token sequences."""

    def __init__(self, tower, weight_format):
        self.token_embedding = weight_format.convert(tower.token_embedding.weight)
        self.positional_embedding = weight_format.convert(tower.positional_embedding)
        self.blocks = _blocks(tower.transformer, weight_format)
        self.ln_final = _layer_norm(tower.ln_final, weight_format)
        self.text_projection = weight_format.convert(tower.text_projection)

    def __call__(self, tree):
        """Return embeddings, (batch, embed_dim), of the sequences of a `PrefixTree`."""
        x = self.token_embedding[tree.token_ids] + self.positional_embedding[tree.positions]
        for block in self.blocks[:-1]:
            x = block.forward_tree(x, tree)
        return self.ln_final(self.blocks[-1].pool_last_tokens(x, tree)) @ self.text_projection


class InferenceResNet:
    """A `ModifiedResNet` for inference."""

    def __init__(self, tower, weight_format):
        fused = _FusedResNet(tower).requires_grad_(False)
        fused = fused.to(weight_format.device, weight_format.dtype)
        # in this layout convolutions need not rearrange their input
        self.tower = fused.to(memory_format=torch.channels_last)

    def pool(self, pixels):
        """Return one vector per image before the projection, (batch, 32 * width)."""
        return self.tower(pixels.contiguous(memory_format=torch.channels_last))

    def project(self, pooled):
        """Map pooled vectors into the embedding space, (batch, embed_dim)."""
        return self.tower.attnpool.c_proj(pooled)


class FusedLinear:
    """``activation(x @ weight.T + bias)``, or ``x @ weight.T + bias + residual``.

    Computed in one pass if the weight is packed. Only a layer without activation takes `residual`.
    """

    def __init__(self, weight, bias, weight_format, activation=None):
        weight = weight.detach().to(weight_format.device, weight_format.dtype)
        self.bias = None if bias is None else weight_format.convert(bias)
        self.activation = activation
        self.is_packed = weight_format.pack and can_pack_linear(weight)
        # packing makes a copy
        if self.is_packed:
            self.weight = pack_linear_weight(weight.contiguous())
        else:
            self.weight = weight_format.convert(weight).contiguous()

    def __call__(self, x, residual=None):
        if self.is_packed:
            if residual is not None:
                return packed_linear_add(x, residual, self.weight, self.bias)
            return packed_linear(x, self.weight, self.bias, self.activation)
        x = F.linear(x, self.weight, self.bias)
        if residual is not None:
            return x.add_(residual)
        return x if self.activation is None else _ACTIVATION[self.activation](x)


_ACTIVATION = {
    "silu": lambda x: F.silu(x, inplace=True),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


class InferenceBlock:
    """A `ResidualBlock` for inference."""

    def __init__(self, block, weight_format, *, causal):
        attention, mlp = block.attn, block.mlp
        self.heads = attention.heads
        self.causal = causal
        self.ln_1, self.ln_2 = (
            _layer_norm(block.ln_1, weight_format),
            _layer_norm(block.ln_2, weight_format),
        )
        self._set_in_proj(attention.in_proj_weight, attention.in_proj_bias, weight_format)
        self.out_proj = _linear(attention.out_proj, weight_format)
        activation, factor = mlp.activation, 1.0
        if isinstance(activation, QuickGELU):
            name, factor = "silu", QUICK_GELU_FACTOR
        else:
            name = "gelu" if activation.approximate == "none" else "gelu_tanh"
        self.c_fc = _linear(
            mlp.c_fc, weight_format, scale=factor, scale_bias=factor, activation=name
        )
        self.c_proj = _linear(mlp.c_proj, weight_format, scale=1 / factor)

    def _set_in_proj(self, weight, bias, weight_format):
        self.in_proj = FusedLinear(weight, bias, weight_format)

    def __call__(self, x):
        """Map hidden states, (batch, length, width)."""
        attended = self._attend(self.in_proj(self.ln_1(x)))
        return self._mlp(self.out_proj(attended, x))

    def forward_tree(self, x, tree):
        """Map the hidden states of a tree's nodes, (n_nodes, width)."""
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
    """The last block, whose output is computed for one token of each sequence only."""

    def _set_in_proj(self, weight, bias, weight_format):
        width = weight.shape[1]
        self.q_proj = FusedLinear(weight[:width], bias[:width], weight_format)
        self.kv_proj = FusedLinear(weight[width:], bias[width:], weight_format)

    def pool_first_token(self, x):
        """Map the hidden states of all tokens to the first token's output, (batch, width)."""
        h = self.ln_1(x)
        attended = self._attend_one_query(self.q_proj(h[:, 0]), self.kv_proj(h))
        return self._mlp(self.out_proj(attended, x[:, 0].contiguous()))

    def pool_last_tokens(self, x, tree):
        """Map the hidden states of a tree's nodes to the last tokens' output, (batch, width)."""
        h = self.ln_1(x)
        kv = self.kv_proj(h)[tree.paths]
        attended = self._attend_one_query(self.q_proj(h[tree.ends]), kv, tree.attention_mask)
        return self._mlp(self.out_proj(attended, x[tree.ends]))

    def _attend_one_query(self, q, kv, mask=None):
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
        self.attnpool = copy.deepcopy(tower.attnpool)

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


def _blocks(transformer, weight_format):
    *blocks, last = transformer.resblocks
    causal = transformer.causal
    return [
        *(InferenceBlock(block, weight_format, causal=causal) for block in blocks),
        LastInferenceBlock(last, weight_format, causal=causal),
    ]


def _layer_norm(norm, weight_format):
    weight, bias = weight_format.convert(norm.weight), weight_format.convert(norm.bias)
    return lambda x: F.layer_norm(x, weight.shape, weight, bias, norm.eps)


def _linear(linear, weight_format, *, scale=1.0, scale_bias=1.0, activation=None):
    weight, bias = linear.weight.detach(), linear.bias.detach()
    if scale != 1:
        weight = weight * scale
    if scale_bias != 1:
        bias = bias * scale_bias
    return FusedLinear(weight, bias, weight_format, activation)
