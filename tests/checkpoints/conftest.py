"""Small random models with a tokenizer, and images and texts to compare embeddings on."""

import numpy as np
import pytest
import torch

from skclip.model.clip import CLIP
from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig
from skclip.model.tokenizer import train_tokenizer

CONTEXT_LENGTH = 16


@pytest.fixture(scope="session")
def tokenizer():
    texts = ["a photo of a cat", "the cat and the hat", "a photograph of that other hat"] * 3
    return train_tokenizer(texts, vocab_size=530, context_length=CONTEXT_LENGTH)


@pytest.fixture(scope="session")
def token_ids(tokenizer):
    return tokenizer(["a cat", "the hat of a photographer!", "", "that Cat's 7th photo"])


@pytest.fixture(scope="session")
def texts():
    return ["a cat", "the hat of a photographer!", "", "that Cat's 7th photo"]


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """Build a random CLIP: kind is "vit" or "resnet"."""

    def make(kind="vit", activation="quick_gelu", seed=0):
        torch.manual_seed(seed)
        if kind == "vit":
            vision = VisionConfig(
                image_size=32, patch_size=8, width=64, layers=2, activation=activation
            )
        else:
            vision = VisionConfig(image_size=64, patch_size=None, width=8, layers=(1, 2, 1, 1))
        text = TextConfig(
            vocab_size=len(tokenizer.vocab),
            context_length=CONTEXT_LENGTH,
            width=128,
            layers=2,
            activation=activation,
        )
        model = CLIP(CLIPConfig(48, vision, text)).eval()
        randomize(model)
        return model

    return make


@pytest.fixture
def make_preprocess_config():
    """Return a configuration that differs from the default one, for an image size."""

    def make(image_size):
        return PreprocessConfig(image_size, mean=(0.5, 0.4, 0.3), std=(0.25, 0.3, 0.35))

    return make


def randomize(model):
    """Fill every weight and statistic, so that none is the neutral 0 or 1 it starts as."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and name != "logit_scale":
                noise = torch.randn(value.shape, generator=generator)
                if name.endswith("running_var"):
                    value.copy_(noise.abs() + 0.5)
                else:
                    value.add_(0.05 * noise)


@pytest.fixture(scope="session")
def randomize_weights():
    return randomize


@pytest.fixture(scope="session")
def pixels():
    """Return normalized pixels, (3, 3, side, side)."""

    def make(side):
        rng = np.random.default_rng(0)
        return torch.from_numpy(rng.normal(size=(3, 3, side, side)).astype(np.float32))

    return make


@pytest.fixture(scope="session")
def largest_difference():
    """Compare embeddings after normalization to unit length."""

    def compare(first, second):
        first, second = (torch.nn.functional.normalize(x.detach(), dim=-1) for x in (first, second))
        return float((first - second).abs().max())

    return compare
