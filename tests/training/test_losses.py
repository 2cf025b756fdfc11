import math

import open_clip.loss
import pytest
import torch
from torch.nn.functional import normalize

from skclip.training import InfoNCE


def embeddings(n_pairs=6, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(2, n_pairs, dim, generator=generator, dtype=torch.float64)
    return normalize(draw, dim=-1).unbind()


def test_distinct_captions_give_open_clips_loss():
    images, texts = embeddings()
    scale = torch.tensor(7.0, dtype=torch.float64)
    expected = open_clip.loss.ClipLoss()(images, texts, scale)
    torch.testing.assert_close(InfoNCE()(images, texts, scale), expected)
    torch.testing.assert_close(InfoNCE()(images, texts, scale, torch.arange(6)), expected)


def test_equal_captions_share_the_target():
    images, texts = embeddings()
    groups = [0, 1, 0, 2, 1, 0]
    texts = texts[groups]
    # a naive loop over the definition: the mean of -log p over all positives of a row
    losses = []
    for queries, keys in ((images, texts), (texts, images)):
        for i, query in enumerate(queries):
            scores = [7.0 * float(query @ key) for key in keys]
            total = math.log(sum(map(math.exp, scores)))
            positives = [s for j, s in enumerate(scores) if groups[j] == groups[i]]
            losses.append(total - sum(positives) / len(positives))
    expected = sum(losses) / len(losses)
    assert InfoNCE()(images, texts, 7.0, torch.tensor(groups)).item() == pytest.approx(expected)
