"""The towers for inference give the results of the towers they are made from."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from skclip.model import inference
from skclip.model.clip import CLIP
from skclip.model.config import CLIPConfig, TextConfig, VisionConfig
from skclip.model.inference import (
    InferenceTextTransformer,
    WeightFormat,
    image_tower_for_inference,
)
from skclip.model.prefixes import share_prefixes

CPU = WeightFormat(torch.device("cpu"), torch.float32)
HALF = WeightFormat(torch.device("cpu"), torch.bfloat16)
ROWS = sorted([(98, 1, 2, 99), (98, 1, 2, 3, 4, 99), (98, 99), (98, 7, 99), (98, 1, 2, 3, 99)])


def random_clip(vision, activation="gelu"):
    torch.manual_seed(0)
    text = TextConfig(vocab_size=100, context_length=12, width=64, layers=3, activation=activation)
    model = CLIP(CLIPConfig(embed_dim=16, vision=vision, text=text)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name or "ln_" in name:  # these start as zeros and ones
                parameter.add_(0.2 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_(1, 0.1)
    return model.requires_grad_(False)


def vit(activation="gelu", layers=3):
    return VisionConfig(image_size=32, patch_size=8, width=64, layers=layers, activation=activation)


@pytest.fixture(params=["packed", "plain"])
def with_and_without_onednn(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(inference, "can_pack_linear", lambda weight: False)


@pytest.mark.usefixtures("with_and_without_onednn")
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("layers", [1, 3])
def test_vit(activation, layers):
    tower = random_clip(vit(activation, layers)).visual
    pixels = torch.randn(5, 3, 32, 32)
    inference_tower = image_tower_for_inference(tower, CPU)
    torch.testing.assert_close(
        inference_tower.pool(pixels), tower.pool(pixels), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        inference_tower.project(inference_tower.pool(pixels)), tower(pixels), atol=1e-5, rtol=1e-5
    )


def test_a_margin_narrower_than_a_patch_is_ignored():
    config = VisionConfig(image_size=30, patch_size=8, width=64, layers=2)
    tower = random_clip(config).visual
    pixels = torch.randn(2, 3, 30, 30)
    inference_tower = image_tower_for_inference(tower, CPU)
    torch.testing.assert_close(
        inference_tower.pool(pixels), tower.pool(pixels), atol=1e-5, rtol=1e-5
    )


def test_resnet():
    tower = random_clip(
        VisionConfig(image_size=64, width=8, layers=(2, 1, 1, 1), patch_size=None)
    ).visual
    pixels = torch.randn(5, 3, 64, 64)
    inference_tower = image_tower_for_inference(tower, CPU)
    torch.testing.assert_close(
        inference_tower.project(inference_tower.pool(pixels)), tower(pixels), atol=1e-4, rtol=1e-5
    )
    # the tower itself is not changed
    torch.testing.assert_close(tower.bn1(torch.ones(1, 4, 1, 1)).shape, torch.Size([1, 4, 1, 1]))


@pytest.mark.usefixtures("with_and_without_onednn")
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_tanh"])
def test_text(activation):
    tower = random_clip(vit(), activation).text
    together = InferenceTextTransformer(tower, CPU)(share_prefixes(ROWS))
    alone = torch.cat([tower(torch.tensor([row])) for row in ROWS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_bfloat16_gives_nearly_the_same_directions():
    model = random_clip(vit())
    pixels = torch.randn(5, 3, 32, 32)
    inference_tower = image_tower_for_inference(model.visual, HALF)
    vectors = inference_tower.project(inference_tower.pool(pixels.bfloat16())).float()
    assert nn.functional.cosine_similarity(vectors, model.visual(pixels)).min() > 0.999
    texts = InferenceTextTransformer(model.text, HALF)(share_prefixes(ROWS)).float()
    exact = InferenceTextTransformer(model.text, CPU)(share_prefixes(ROWS))
    assert nn.functional.cosine_similarity(texts, exact).min() > 0.999


def test_images_of_one_batch_do_not_affect_each_other():
    tower = random_clip(vit()).visual
    inference_tower = image_tower_for_inference(tower, CPU)
    pixels = torch.randn(4, 3, 32, 32)
    changed = pixels.clone()
    changed[2] = 0
    before, after = inference_tower.pool(pixels), inference_tower.pool(changed)
    torch.testing.assert_close(before[[0, 1, 3]], after[[0, 1, 3]], atol=1e-6, rtol=0)
    assert (before[2] - after[2]).abs().max() > 0.1


@pytest.mark.parametrize(
    "config", [vit(), VisionConfig(image_size=32, width=8, layers=(1, 1, 1, 1), patch_size=None)]
)
def test_the_compiler_sees_one_graph(config):
    tower = random_clip(config).visual
    inference_tower = image_tower_for_inference(tower, replace(CPU, pack=False))
    compiled = torch.compile(inference_tower.pool, backend="eager", fullgraph=True, dynamic=False)
    pixels = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(compiled(pixels), inference_tower.pool(pixels))
