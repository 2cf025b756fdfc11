"""The towers against open_clip's, weight for weight."""

import math

import numpy as np
import open_clip.model
import pytest
import torch
from torch.nn.functional import normalize

from skclip.model.clip import CLIP
from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig

# Radford et al. 2021, tables 19 and 20:
# width, layers, patch or None, image size, embed dim, text width
OPENAI_ARCHITECTURES = {
    "RN50": (64, (3, 4, 6, 3), None, 224, 1024, 512),
    "RN101": (64, (3, 4, 23, 3), None, 224, 512, 512),
    "RN50x4": (80, (4, 6, 10, 6), None, 288, 640, 640),
    "RN50x16": (96, (6, 8, 18, 8), None, 384, 768, 768),
    "RN50x64": (128, (3, 15, 36, 10), None, 448, 1024, 1024),
    "ViT-B-32": (768, 12, 32, 224, 512, 512),
    "ViT-B-16": (768, 12, 16, 224, 512, 512),
    "ViT-L-14": (1024, 24, 14, 224, 768, 768),
    "ViT-L-14-336": (1024, 24, 14, 336, 768, 768),
}


def our_names(state_dict):
    return {
        key if key.startswith("visual.") or key == "logit_scale" else f"text.{key}": value
        for key, value in state_dict.items()
        if key != "attn_mask"
    }


def tiny_pair(vision, quick_gelu):
    """Return open_clip's model with random statistics too, and ours with its weights."""
    torch.manual_seed(0)
    text = {"context_length": 16, "vocab_size": 100, "width": 64, "heads": 2, "layers": 2}
    peer = open_clip.model.CLIP(48, dict(vision), text, quick_gelu=quick_gelu).eval()
    for name, buffer in peer.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    for name, parameter in peer.named_parameters():
        if "bn" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    activation = "quick_gelu" if quick_gelu else "gelu"
    vision = {"patch_size": None, **vision}
    config = CLIPConfig(
        48,
        VisionConfig(**vision, activation=activation),
        TextConfig(100, 16, 64, 2, 2, activation=activation),
    )
    ours = CLIP(config).eval()
    ours.load_state_dict(our_names(peer.state_dict()))
    return peer, ours


@pytest.mark.parametrize("quick_gelu", [True, False])
@pytest.mark.parametrize(
    "vision",
    [
        {"image_size": 64, "patch_size": 16, "width": 128, "layers": 2},
        {"image_size": 64, "width": 16, "layers": (1, 2, 1, 1)},
    ],
    ids=["vit", "resnet"],
)
@torch.no_grad()
def test_embeddings_equal_open_clip(vision, quick_gelu):
    peer, ours = tiny_pair(vision, quick_gelu)
    pixels = torch.randn(3, 3, 64, 64)
    token_ids = torch.randint(0, 99, (3, 16))
    token_ids[:, -1] = 99
    token_ids[0, 5] = 99
    for method, batch in (("encode_image", pixels), ("encode_text", token_ids)):
        expected = normalize(getattr(peer, method)(batch), dim=-1)
        torch.testing.assert_close(
            normalize(getattr(ours, method)(batch), dim=-1), expected, atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("name", OPENAI_ARCHITECTURES)
def test_the_nine_openai_architectures(name):
    width, layers, patch_size, image_size, embed_dim, text_width = OPENAI_ARCHITECTURES[name]
    with torch.device("meta"):
        peer = open_clip.create_model(name, device="meta")
        ours = CLIP(
            CLIPConfig(
                embed_dim,
                VisionConfig(image_size, width, layers, patch_size),
                TextConfig(width=text_width),
            )
        )
    expected = {key: value.shape for key, value in our_names(peer.state_dict()).items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert ours.visual.config.heads == (width * 32 // 64 if patch_size is None else width // 64)


@torch.no_grad()
def test_padding_after_the_end_token_changes_nothing():
    _, ours = tiny_pair({"image_size": 64, "patch_size": 16, "width": 128, "layers": 1}, False)
    row = torch.tensor([[98, 7, 8, 99]])
    padded = torch.cat([row, torch.tensor([[0, 99, 3, 4]])], dim=1)
    torch.testing.assert_close(ours.encode_text(row), ours.encode_text(padded))


@torch.no_grad()
def test_logit_scale_starts_and_ends_where_the_paper_says():
    _, ours = tiny_pair({"image_size": 64, "patch_size": 16, "width": 128, "layers": 1}, False)
    model = CLIP(ours.config)
    assert model.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    model.logit_scale.fill_(9.0)
    model.clamp_logit_scale_()
    assert model.logit_scale.exp().item() == pytest.approx(100)
    images, texts, scale = model.eval()(torch.randn(2, 3, 64, 64), torch.tensor([[98, 99]]))
    assert scale.item() == pytest.approx(100)
    torch.testing.assert_close(images.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(1))


VIT = {"image_size": 64, "patch_size": 16, "width": 128}
RESNET = {"image_size": 64, "patch_size": None, "width": 8, "layers": (1, 1, 1, 1)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VisionConfig(activation="relu"), "activation must be one of"),
        (lambda: VisionConfig(activation=[]), "activation must be one of"),
        (lambda: VisionConfig(layers=(1, 1), patch_size=None), "or 4 of them for a ResNet, got"),
        (lambda: VisionConfig(layers=None), "layers must be an int from 1 to 1024, or 4 of them"),
        (lambda: VisionConfig(layers=True), "layers must be an int"),
        (lambda: VisionConfig(patch_size=None), "needs a patch_size"),
        (lambda: VisionConfig(**RESNET | {"patch_size": 8}), "patch_size must be None, got 8"),
        (lambda: VisionConfig(**RESNET | {"image_size": 31}), "image_size of at least 32"),
        (lambda: VisionConfig(**RESNET | {"width": 1}), "width of at least 2, got"),
        (lambda: VisionConfig(width=100, heads=3), "heads must divide the width 100, got 3"),
        (lambda: VisionConfig(width="192"), "width must be an int from 1 to 65536, got '192'"),
        (lambda: VisionConfig(width=None), "width must be an int from 1 to 65536, got None"),
        (lambda: VisionConfig(image_size=10**30), "image_size must be an int from 1 to 16384"),
        (lambda: VisionConfig(layer_norm_eps="x"), "layer_norm_eps must be a number from 1e-12"),
        (lambda: VisionConfig(layer_norm_eps=0), "layer_norm_eps must be a number from 1e-12"),
        (lambda: TextConfig(layer_norm_eps=math.nan), "layer_norm_eps must be a number"),
        (lambda: TextConfig(layers=0), "layers must be an int from 1 to 1024, got 0"),
        (lambda: TextConfig(heads=0), "heads must be an int from 1 to 65536 or None, got 0"),
        (lambda: TextConfig(context_length=1), "context_length must be an int from 2 to"),
        (lambda: TextConfig(vocab_size=None), "vocab_size must be an int from 1 to"),
        (lambda: TextConfig(9, end_token_id=9), "end_token_id must be an int from 0 to 8, got 9"),
        (lambda: TextConfig(end_token_id="x"), "end_token_id must be an int from 0 to 49407"),
        (lambda: CLIPConfig(192.0), "embed_dim must be an int from 1 to 65536, got 192.0"),
        (lambda: CLIPConfig(None), "embed_dim must be an int from 1 to 65536, got None"),
        (lambda: PreprocessConfig(mean=[0.5]), "mean must be 3 values, each a number"),
        (lambda: PreprocessConfig(mean="123"), "mean must be 3 values, each a number"),
        (lambda: PreprocessConfig(mean=[math.inf] * 3), "mean must be 3 values, each a number"),
        (lambda: PreprocessConfig(std=["1"] * 3), "std must be 3 values, each a number from"),
        (lambda: PreprocessConfig(std=[0, 1, 1]), "std must be 3 values, each a number from"),
        (lambda: PreprocessConfig(interpolation="nearest"), "interpolation must be one of"),
        (lambda: PreprocessConfig(resize_mode="longest"), "resize_mode must be one of"),
    ],
)
def test_configs_refuse_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("towers", "message"),
    [
        ({"vision": {}}, "vision must be a VisionConfig, got a dict"),
        ({"text": VisionConfig(**VIT)}, "text must be a TextConfig, got a VisionConfig"),
    ],
)
def test_towers_are_of_their_class(towers, message):
    with pytest.raises(TypeError, match=message):
        CLIPConfig(64, **towers)


def test_statistics_may_be_an_array():
    config = PreprocessConfig(mean=np.full(3, 0.5, np.float32), std=[1, 1, 1])
    assert (config.mean, config.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    assert {type(value) for value in config.mean + config.std} == {float}
