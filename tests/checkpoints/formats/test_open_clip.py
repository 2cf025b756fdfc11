import copy
import json
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.push_to_hf_hub import save_for_hf

from skclip.checkpoints.formats.open_clip import read_config
from skclip.checkpoints.load import load_checkpoint
from skclip.checkpoints.tokenizer_files import write_tokenizer
from skclip.exceptions import CheckpointError
from skclip.model.config import CLIPConfig, TextConfig, VisionConfig

TOLERANCE = 1e-5
MODEL_CONFIGS = Path(open_clip.__file__).parent / "model_configs"
VIT = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 16}
RESNET = {"image_size": 64, "patch_size": None, "width": 8, "layers": [1, 2, 1, 1]}
EPS = {"norm_kwargs": {"eps": 1e-3}}
TANH = {"approximate": "tanh"}


class TokenizerFiles:
    """What open_clip's saver asks of a tokenizer."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def save_pretrained(self, directory):
        write_tokenizer(Path(directory), self.tokenizer)


@pytest.fixture
def saved(tmp_path, tokenizer, randomize_weights):
    """Save a small random model as open_clip does; returns its directory and the model."""

    def save(vision, *, safe=True, **options):
        text = {"context_length": 16, "vocab_size": len(tokenizer.vocab)}
        text |= {"width": 64, "heads": 4, "layers": 2} | options.pop("text", {})
        config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text} | options
        torch.manual_seed(0)
        arguments = copy.deepcopy(config)
        custom = arguments.pop("custom_text", False)
        model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**arguments).eval()
        model.visual.image_mean, model.visual.image_std = (0.5, 0.4, 0.3), (0.25, 0.3, 0.35)
        randomize_weights(model)
        save_for_hf(model, TokenizerFiles(tokenizer), config, tmp_path, safe_serialization=safe)
        return tmp_path, model

    return save


def pad_to_context(token_ids):
    return torch.nn.functional.pad(token_ids, (0, 16 - token_ids.shape[1]))


def assert_same_embeddings(checkpoint, model, pixels, token_ids, largest_difference):
    with torch.inference_mode():
        images, texts = model.encode_image(pixels), model.encode_text(pad_to_context(token_ids))
        own_images = checkpoint.model.encode_image(pixels)
        own_texts = checkpoint.model.encode_text(token_ids)
    assert largest_difference(own_images, images) < TOLERANCE
    assert largest_difference(own_texts, texts) < TOLERANCE


@pytest.mark.parametrize(
    ("vision", "safe", "options"),
    [
        (VIT, True, {"quick_gelu": True}),
        (VIT, False, {}),
        (VIT | {"mlp_ratio": 3.0, "patch_dropout": 0.5}, True, {"text": EPS}),
        (VIT, False, {"custom_text": True, "quick_gelu": True}),
        pytest.param(
            *(VIT, True, {"text": {"act_kwargs": TANH, "pool_type": "eos", "eos_id": 529}}),
            marks=pytest.mark.skipif(
                not hasattr(open_clip.CLIPTextCfg, "eos_id"),
                reason="this open_clip does not pool at a given token",
            ),
        ),
        (RESNET, False, {"quick_gelu": True}),
        (RESNET, True, {"nonscalar_logit_scale": True}),
    ],
)
def test_embeddings_equal_open_clip(
    saved, tokenizer, pixels, token_ids, largest_difference, vision, safe, options
):
    assert tokenizer.end_id == 529
    directory, model = saved(vision, safe=safe, **copy.deepcopy(options))
    checkpoint = load_checkpoint(directory)
    side = vision["image_size"]
    assert_same_embeddings(checkpoint, model, pixels(side), token_ids, largest_difference)
    assert checkpoint.preprocess_config.mean == (0.5, 0.4, 0.3)
    assert checkpoint.preprocess_config.resize_mode == "shortest"


@pytest.mark.parametrize("key", ["state_dict", "state_dict_ema"])
def test_training_checkpoint(saved, pixels, token_ids, largest_difference, key):
    directory, model = saved(VIT)
    (directory / "open_clip_model.safetensors").unlink()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 3, key: state}, directory / "epoch_3.pt")
    checkpoint = load_checkpoint(directory / "epoch_3.pt")
    assert_same_embeddings(checkpoint, model, pixels(32), token_ids, largest_difference)


def test_order_of_the_weights(saved, make_model):
    directory, model = saved(VIT)
    zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    torch.save(zeros, directory / "open_clip_pytorch_model.bin")
    torch.save(zeros, directory / "pytorch_model.bin")
    assert load_checkpoint(directory).model.visual.conv1.weight.any()
    (directory / "open_clip_model.safetensors").unlink()
    assert not load_checkpoint(directory).model.visual.conv1.weight.any()


def edit(directory, section, **changes):
    path = directory / "open_clip_config.json"
    content = json.loads(path.read_text())
    target = content
    for key in section.split("."):
        target = target[key]
    target.update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("model_cfg.vision_cfg", {"timm_model_name": "vit_base"}, "'vit_base'.*OpenCLIPEncoder"),
        (
            "model_cfg.text_cfg",
            {"hf_model_name": "roberta-base"},
            "'roberta-base'.*OpenCLIPEncoder",
        ),
        ("model_cfg.vision_cfg", {"ls_init_value": 0.1}, "ls_init_value=0.1"),
        ("model_cfg.vision_cfg", {"no_ln_pre": True}, "no_ln_pre=True"),
        ("model_cfg.text_cfg", {"pool_type": "last"}, "pooled by 'last'"),
        ("model_cfg.text_cfg", {"tokenizer_kwargs": {"clean": "canonicalize"}}, "canonicalize"),
        ("model_cfg", {"multimodal_cfg": {"width": 64}}, "CoCa"),
        ("model_cfg", {"init_logit_bias": -10}, "SigLIP"),
        ("preprocess_cfg", {"mean": None}, "preprocess_cfg lacks mean"),
        ("preprocess_cfg", {"resize_mode": "longest"}, "resize_mode"),
        ("preprocess_cfg", {"size": 64}, "images of 64 pixels"),
    ],
)
def test_what_skclip_does_not_know_is_refused(saved, section, changes, message):
    directory, _ = saved(VIT)
    edit(directory, section, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory)


def test_two_configurations_must_agree_on_the_activation(saved):
    directory, _ = saved(VIT)
    other = {"model_type": "clip", "vision_config": {"hidden_act": "quick_gelu"}}
    (directory / "config.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match="ambiguous"):
        load_checkpoint(directory)
    edit(directory, "model_cfg", quick_gelu=True)
    assert load_checkpoint(directory).model.config.vision.activation == "quick_gelu"


def test_named_tokenizer_must_stand_beside(saved):
    directory, _ = saved(VIT)
    edit(directory, "model_cfg.text_cfg", hf_tokenizer_name="xlm-roberta-base")
    assert load_checkpoint(directory)
    (directory / "vocab.json").unlink()
    with pytest.raises(CheckpointError, match="'xlm-roberta-base'"):
        load_checkpoint(directory)


# what makes a model one that skclip refuses: parts that it does not have
FOREIGN = {
    "model": {"multimodal_cfg", "init_logit_bias"},
    "vision_cfg": {"timm_model_name", "no_ln_pre", "ls_init_value"},
    "text_cfg": {"hf_model_name", "no_causal_mask"},
}


@pytest.mark.parametrize("name", sorted(path.stem for path in MODEL_CONFIGS.glob("*.json")))
def test_configurations_of_open_clip(tmp_path, tokenizer, name):
    model = json.loads((MODEL_CONFIGS / f"{name}.json").read_text())
    vision, text = model["vision_cfg"], model["text_cfg"]
    content = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    write_tokenizer(tmp_path, tokenizer)
    parts = {"model": model, "vision_cfg": vision, "text_cfg": text}
    other_cleaning = text.get("tokenizer_kwargs") == {"clean": "canonicalize"}
    if other_cleaning or any(parts[part].keys() & keys for part, keys in FOREIGN.items()):
        with pytest.raises(CheckpointError, match=r"OpenCLIPEncoder"):
            read_config(tmp_path)
        return
    config, preprocess_config, _ = read_config(tmp_path)
    assert preprocess_config.image_size == config.vision.image_size == vision["image_size"]
    resnet = isinstance(vision["layers"], list)
    channels = vision["width"] * (32 if resnet else 1)
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    assert config == CLIPConfig(
        model["embed_dim"],
        VisionConfig(
            vision["image_size"],
            vision["width"],
            tuple(vision["layers"]) if resnet else vision["layers"],
            vision["patch_size"],
            heads=channels // vision.get("head_width", 64),
            mlp_width=int(vision["width"] * vision.get("mlp_ratio", 4)),
            activation="gelu" if resnet else activation,
        ),
        TextConfig(
            text["vocab_size"],
            text["context_length"],
            text["width"],
            text["layers"],
            heads=text["heads"],
            mlp_width=int(text["width"] * text.get("mlp_ratio", 4)),
            activation=activation,
            end_token_id=text.get("eos_id"),
        ),
    )
