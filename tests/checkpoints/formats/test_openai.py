import copy
import json
import warnings
from pathlib import Path

import open_clip
import pytest
import torch

from skclip.checkpoints.fingerprint import digest_files
from skclip.checkpoints.formats import openai
from skclip.checkpoints.load import load_checkpoint
from skclip.checkpoints.tokenizer_files import write_tokenizer
from skclip.exceptions import CheckpointError
from skclip.model.clip import CLIP

MODEL_CONFIGS = Path(open_clip.__file__).parent / "model_configs"


@pytest.mark.parametrize("name", openai.ARCHIVES.values())
def test_sizes_of_the_nine_models(name):
    # names, shapes and sizes as open_clip builds them from its own configurations
    config_name = name.replace("/", "-").removesuffix("@336px") + "-336" * name.endswith("px")
    reference = json.loads((MODEL_CONFIGS / f"{config_name}.json").read_text())
    with torch.device("meta"):
        peer = open_clip.CLIP(**reference, quick_gelu=True).state_dict()
    state = openai.convert(peer)
    config, preprocess_config = openai.infer_config(state)
    with torch.device("meta"):
        own = CLIP(config).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in state.items()}
    vision, text = reference["vision_cfg"], reference["text_cfg"]
    assert config.embed_dim == reference["embed_dim"]
    assert config.vision.image_size == preprocess_config.image_size == vision["image_size"]
    assert config.vision.activation == config.text.activation or config.vision.is_resnet
    assert config.text.activation == "quick_gelu"
    assert config.text.heads == text["heads"]
    channels = vision["width"] * (32 if config.vision.is_resnet else 1)
    assert config.vision.heads == channels // vision.get("head_width", 64)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_sizes_that_do_not_follow_from_the_tensors(make_model, kind):
    state = make_model(kind).state_dict()
    used = ["visual.conv1.weight", "text.token_embedding.weight", "text.text_projection"]
    used += ["text.positional_embedding"]
    used += {
        "vit": ["visual.positional_embedding"],
        "resnet": ["visual.attnpool.positional_embedding", "visual.conv3.weight"],
    }[kind]
    for key in used:
        others = {name: value for name, value in state.items() if name != key}
        with pytest.raises(CheckpointError, match=f"lacks the tensor {key}"):
            openai.infer_config(others)
        with pytest.raises(CheckpointError, match=f"{key} must have . dimensions"):
            openai.infer_config(others | {key: torch.tensor(1.0)})


def test_sha256_of_the_archives():
    urls = [
        tags["openai"]["url"]
        for tags in open_clip.pretrained._PRETRAINED.values()
        if "openai" in tags
    ]
    assert set(openai.ARCHIVES) == {url.split("/")[-2] for url in urls}


class Archived(torch.nn.Module):
    """OpenAI's module tree: the text tower's parts at the top, constants beside the weights."""

    def __init__(self, model):
        super().__init__()
        self.visual = model.visual
        self.transformer = model.text.transformer
        self.token_embedding = model.text.token_embedding
        self.ln_final = model.text.ln_final
        self.positional_embedding = model.text.positional_embedding
        self.text_projection = model.text.text_projection
        self.logit_scale = model.logit_scale
        for name in ("input_resolution", "context_length", "vocab_size"):
            self.register_buffer(name, torch.tensor(1))

    def forward(self, pixels):
        return self.visual(pixels)


@pytest.fixture
def archive(tmp_path, tokenizer):
    """Save a model as OpenAI did: a float16 TorchScript archive, here with a tokenizer beside."""

    def save(model, side):
        path = tmp_path / "model.pt"
        module = Archived(copy.deepcopy(model))
        # torch deprecates the writing of such archives; skclip only reads them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(module, torch.zeros(1, 3, side, side), check_trace=False)
            traced.half().save(path)
        write_tokenizer(tmp_path, tokenizer)
        return path

    return save


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_known_archive(archive, make_model, monkeypatch, pixels, token_ids, kind):
    model = make_model(kind)
    side = model.config.vision.image_size
    path = archive(model, side)
    monkeypatch.setitem(openai.ARCHIVES, digest_files([path])[path.name], "small")
    for source in (path, path.parent):
        checkpoint = load_checkpoint(source)
        assert checkpoint.model.config.text.activation == "quick_gelu"
        state = checkpoint.model.state_dict()
        for key, value in model.state_dict().items():
            expected = value.half().float() if value.is_floating_point() else value
            torch.testing.assert_close(state[key], expected, rtol=0, atol=0)
    assert checkpoint.preprocess_config.image_size == side


def test_unknown_archive_needs_a_configuration(archive, make_model, pixels, largest_difference):
    model = make_model()
    path = archive(model, 32)
    with pytest.raises(CheckpointError, match="does not say which activation"):
        load_checkpoint(path)
    config = {
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2},
        "text_cfg": {
            "width": 128,
            "heads": 2,
            "layers": 2,
            "vocab_size": 530,
            "context_length": 16,
        },
    }
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (path.parent / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    checkpoint = load_checkpoint(path)
    model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    with torch.inference_mode():
        difference = largest_difference(
            checkpoint.model.encode_image(pixels(32)), model.encode_image(pixels(32))
        )
    assert difference < 1e-5


def test_plain_state_dict_needs_a_configuration(tmp_path, make_model, tokenizer):
    torch.save(openai.revert(make_model().state_dict()), tmp_path / "weights.pt")
    write_tokenizer(tmp_path, tokenizer)
    with pytest.raises(CheckpointError, match="open_clip_config.json"):
        load_checkpoint(tmp_path / "weights.pt")
