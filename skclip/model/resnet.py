"""The modified ResNet image tower."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from skclip.model.layers import draw_normal_


class Bottleneck(nn.Module):
    """ResNet bottleneck that downsamples by average pooling, which avoids aliasing."""

    expansion = 4

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            # the pool is named "-1" so that the weights keep the published names "0" and "1"
            self.downsample = nn.Sequential(
                OrderedDict(
                    [
                        ("-1", nn.AvgPool2d(stride)),
                        ("0", nn.Conv2d(in_channels, out_channels, 1, bias=False)),
                        ("1", nn.BatchNorm2d(out_channels)),
                    ]
                )
            )
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(self.avgpool(x)))
        return F.relu(x + shortcut)


class AttentionPool(nn.Module):
    """Pooling by one attention layer whose query is the mean of the feature map."""

    def __init__(self, side, channels, heads, embed_dim):
        super().__init__()
        self.heads = heads
        std = channels**-0.5
        self.positional_embedding = nn.Parameter(torch.empty(side**2 + 1, channels))
        draw_normal_(self.positional_embedding, std=std)
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed_dim)
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            draw_normal_(linear.weight, std=std)

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)  # (batch, side * side, channels)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding
        q = self._split(self.q_proj(x[:, :1]))
        k, v = self._split(self.k_proj(x)), self._split(self.v_proj(x))
        return F.scaled_dot_product_attention(q, k, v).flatten(1)

    def _split(self, x):
        batch, length, channels = x.shape
        return x.view(batch, length, self.heads, channels // self.heads).transpose(1, 2)


class ModifiedResNet(nn.Module):
    """ResNet-D with a three-convolution stem, antialiased downsampling and attention pooling.

    Radford et al. 2021, section 2.4, after He et al. 2019 and Zhang 2019.
    """

    def __init__(self, config, embed_dim):
        super().__init__()
        self.config = config
        width = config.width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        in_channels = width
        for i, n_blocks in enumerate(config.layers):
            channels = width * 2**i
            blocks = []
            for j in range(n_blocks):
                blocks.append(
                    Bottleneck(in_channels, channels, stride=2 if i > 0 and j == 0 else 1)
                )
                in_channels = channels * Bottleneck.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.attnpool = AttentionPool(config.image_size // 32, in_channels, config.heads, embed_dim)

    def pool(self, pixels):
        """Return one vector per image before the projection, (batch, 32 * width)."""
        x = F.relu(self.bn1(self.conv1(pixels)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.attnpool(x)

    def project(self, pooled):
        """Map pooled vectors into the embedding space, (batch, embed_dim)."""
        return self.attnpool.c_proj(pooled)

    def forward(self, pixels):
        return self.project(self.pool(pixels))
