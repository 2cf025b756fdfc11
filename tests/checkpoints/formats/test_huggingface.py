import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from skclip.checkpoints.formats import huggingface
from skclip.checkpoints.load import load_checkpoint
from skclip.checkpoints.tokenizer_files import write_tokenizer
from skclip.exceptions import CheckpointError

TOLERANCE = 1e-5


def small_config(tokenizer, activation="quick_gelu", **text):
    tower = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 4, "hidden_act": activation}
    text = {
        "vocab_size": len(tokenizer.vocab),
        "max_position_embeddings": tokenizer.context_length,
        "bos_token_id": tokenizer.start_id,
        "eos_token_id": tokenizer.end_id,
        "pad_token_id": tokenizer.end_id,
        **text,
    }
    return transformers.CLIPConfig(
        text_config=tower | text,
        vision_config=tower | {"image_size": 32, "patch_size": 8},
        projection_dim=48,
    )


@pytest.fixture
def saved(tmp_path, tokenizer, randomize_weights):
    """Save a small random transformers model; returns its directory and the model."""

    def save(config=None, **options):
        torch.manual_seed(0)
        model = transformers.CLIPModel(config or small_config(tokenizer)).eval()
        randomize_weights(model)
        model.save_pretrained(tmp_path, **options)
        transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size=32, image_mean=[0.5, 0.4, 0.3]
        ).save_pretrained(tmp_path)
        write_tokenizer(tmp_path, tokenizer)
        return tmp_path, model

    return save


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))


def assert_same_embeddings(checkpoint, model, pixels, token_ids, largest_difference):
    with torch.no_grad():
        images = model.get_image_features(pixel_values=pixels)
        texts = model.get_text_features(input_ids=token_ids)
    # transformers 4 returns the tensor itself
    images, texts = (getattr(x, "pooler_output", x) for x in (images, texts))
    with torch.inference_mode():
        own_images = checkpoint.model.encode_image(pixels)
        own_texts = checkpoint.model.encode_text(token_ids)
    assert largest_difference(own_images, images) < TOLERANCE
    assert largest_difference(own_texts, texts) < TOLERANCE


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
def test_embeddings_equal_transformers(
    saved, tokenizer, pixels, token_ids, largest_difference, activation
):
    directory, model = saved(small_config(tokenizer, activation))
    checkpoint = load_checkpoint(directory)
    assert_same_embeddings(checkpoint, model, pixels(32), token_ids, largest_difference)
    assert checkpoint.preprocess_config.mean == (0.5, 0.4, 0.3)
    assert checkpoint.preprocess_config.image_size == 32


def test_sharded_weights(saved, pixels, token_ids, largest_difference):
    directory, model = saved(max_shard_size="200KB")
    shards = sorted(directory.glob("model-*-of-*.safetensors"))
    assert len(shards) > 2
    checkpoint = load_checkpoint(directory)
    assert_same_embeddings(checkpoint, model, pixels(32), token_ids, largest_difference)
    shards[1].unlink()
    with pytest.raises(CheckpointError, match="shards"):
        load_checkpoint(directory)


def test_torch_weights(saved, pixels, token_ids, largest_difference):
    directory, model = saved()
    state = load_file(directory / "model.safetensors")
    state["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    torch.save(state, directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    checkpoint = load_checkpoint(directory)
    assert_same_embeddings(checkpoint, model, pixels(32), token_ids, largest_difference)


def test_half_precision_is_loaded_as_float32(saved):
    directory, _ = saved()
    state = load_file(directory / "model.safetensors")
    save_file({k: v.half() for k, v in state.items()}, directory / "model.safetensors")
    model = load_checkpoint(directory).model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training


def test_processor_config_of_transformers_5(saved, tokenizer):
    directory, _ = saved()
    image_processor = json.loads((directory / "preprocessor_config.json").read_text())
    (directory / "preprocessor_config.json").unlink()
    (directory / "processor_config.json").write_text(
        json.dumps({"image_processor": image_processor, "processor_class": "CLIPProcessor"})
    )
    assert load_checkpoint(directory).preprocess_config.mean == (0.5, 0.4, 0.3)


def test_integers_of_old_preprocessor_configs(saved):
    directory, _ = saved()
    edit(directory / "preprocessor_config.json", size=32, crop_size=32)
    assert load_checkpoint(directory).preprocess_config.image_size == 32


def test_squash(saved):
    directory, _ = saved()
    square = {"height": 32, "width": 32}
    edit(directory / "preprocessor_config.json", size=square, do_center_crop=False, resample=2)
    preprocess_config = load_checkpoint(directory).preprocess_config
    assert (preprocess_config.resize_mode, preprocess_config.interpolation) == (
        "squash",
        "bilinear",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_mean": ...}, "lacks image_mean"),
        ({"resample": 0}, "resample"),
        ({"do_normalize": False}, "do_normalize"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"size": {"shortest_edge": 40}}, "center crop of the same size"),
        ({"do_center_crop": False}, "center crop of the same size"),
        ({"size": 16, "crop_size": 16}, "the model takes 32"),
        ({"size": {"longest_edge": 32}}, "one side of a square"),
    ],
)
def test_unknown_preprocessing_is_refused(saved, change, message):
    directory, _ = saved()
    edit(directory / "preprocessor_config.json", **change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory)


def test_missing_preprocessing_is_refused(saved):
    directory, _ = saved()
    (directory / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="no safe default"):
        load_checkpoint(directory)


def write_config(directory, content):
    (directory / "config.json").write_text(json.dumps({"model_type": "clip", **content}))
    (directory / "preprocessor_config.json").write_text(
        json.dumps(
            {"size": 224, "crop_size": 224, "resample": 3}
            | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        )
    )
    return huggingface.read_config(directory)[0]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"text_config": {}, "vision_config": None},
        {"vision_config": {"hidden_act": "gelu", "hidden_size": 1024, "num_attention_heads": 16}},
        {
            "text_config": {"hidden_act": "quick_gelu", "hidden_size": 768},
            "text_config_dict": {"hidden_act": "gelu"},
            "vision_config_dict": {"image_size": 336, "patch_size": 14},
        },
    ],
)
def test_differences_from_the_defaults(tmp_path, content):
    # transformers itself says what a file that lists differences only means
    reference = transformers.CLIPConfig.from_dict(json.loads(json.dumps(content)))
    if "vision_config_dict" in content:
        content["vision_config_dict"]["image_size"] = 224
        reference.vision_config.image_size = 224
    config = write_config(tmp_path, content)
    assert config.embed_dim == reference.projection_dim
    for own, other in (
        (config.text, reference.text_config),
        (config.vision, reference.vision_config),
    ):
        assert own.width == other.hidden_size
        assert own.layers == other.num_hidden_layers
        assert own.heads == other.num_attention_heads
        assert own.mlp_width == other.intermediate_size
        assert own.activation == other.hidden_act
    assert config.text.end_token_id == reference.text_config.eos_token_id
    assert config.vision.patch_size == reference.vision_config.patch_size


def test_end_token_2_means_the_highest_id(saved, tokenizer, pixels, token_ids, largest_difference):
    directory, model = saved(small_config(tokenizer, eos_token_id=2))
    checkpoint = load_checkpoint(directory)
    assert checkpoint.model.config.text.end_token_id == tokenizer.end_id
    assert_same_embeddings(checkpoint, model, pixels(32), token_ids, largest_difference)


def test_end_token_of_another_tokenizer_is_refused(saved, tokenizer):
    directory, _ = saved(small_config(tokenizer, eos_token_id=7))
    with pytest.raises(CheckpointError, match="pools text at token 7"):
        load_checkpoint(directory)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "siglip"}, "type 'siglip'"),
        ({"text_config": {"hidden_act": "relu"}}, "text_config: hidden_act must be one of"),
        ({"vision_config": {"num_channels": 1}}, "num_channels"),
        ({"vision_config": {"image_size": [224, 196]}}, "image_size"),
    ],
)
def test_foreign_configurations_are_refused(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=message):
        write_config(tmp_path, content)


def test_revert_undoes_convert(make_model):
    state = make_model().state_dict()
    again = huggingface.convert(huggingface.revert(state))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
