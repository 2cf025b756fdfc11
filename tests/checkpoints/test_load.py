import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from subprocesses import run_script

from skclip.checkpoints.load import load_checkpoint, load_model
from skclip.checkpoints.save import save_model
from skclip.encode.encoder import load_encoder
from skclip.exceptions import CheckpointError, ModelNotAvailableError


@pytest.fixture
def saved(tmp_path, make_model, tokenizer, make_preprocess_config):
    save_model(tmp_path, make_model(), tokenizer, make_preprocess_config(32))
    return tmp_path


@pytest.fixture
def edit(saved):
    """Change the stored tensors; returns the directory."""

    def change(function):
        path = saved / "model.safetensors"
        state = load_file(path)
        function(state)
        save_file(state, path)
        return saved

    return change


def test_loading_leaves_the_random_state_alone(saved):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_checkpoint(saved)
    assert torch.equal(torch.rand(3), expected)


def test_load_model_gives_a_module_to_train(saved, tokenizer, make_preprocess_config):
    model, loaded_tokenizer, preprocess_config = load_model(saved)
    parameters = list(model.parameters())
    assert {(p.device.type, p.dtype, p.requires_grad) for p in parameters} == {
        ("cpu", torch.float32, True)
    }
    assert not model.training
    assert (loaded_tokenizer.vocab, loaded_tokenizer.merges) == (tokenizer.vocab, tokenizer.merges)
    assert preprocess_config == make_preprocess_config(32)


def test_load_model_can_stay_offline():
    with pytest.raises(ModelNotAvailableError, match="local_files_only"):
        load_model("org/never-downloaded", local_files_only=True)


def test_load_model_takes_names_and_paths_only():
    with pytest.raises(TypeError, match="model must be a name or a path, got a object"):
        load_model(object())


def test_a_loaded_model_does_not_depend_on_its_files(saved, token_ids):
    model = load_checkpoint(saved).model
    with torch.inference_mode():
        expected = model.encode_text(token_ids)
        path = saved / "model.safetensors"
        path.write_bytes(b"\0" * path.stat().st_size)
        assert torch.equal(model.encode_text(token_ids), expected)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("logit_scale", None, "lacks 1 tensors: logit_scale"),
        ("text_projection.weight", None, "lacks 1 tensors: text.text_projection"),
        (
            "text_model.encoder.layers.0.self_attn.k_proj.bias",
            None,
            "lacks 1 tensors: text.transformer.resblocks.0.attn.in_proj_bias",
        ),
        ("head.weight", torch.zeros(2), "has 1 tensors the model does not know: head.weight"),
        (
            "text_model.final_layer_norm.bias",
            torch.zeros(3),
            r"text.ln_final.bias has shape \(3,\), but the configuration asks for \(128,\)",
        ),
        (
            "text_model.final_layer_norm.weight",
            torch.ones(1),
            r"text.ln_final.weight has shape \(1,\), but the configuration asks for \(128,\)",
        ),
        (
            "logit_scale",
            torch.ones(1, 1),
            r"logit_scale has shape \(1, 1\), but the configuration asks for \(\)",
        ),
        (
            "vision_model.post_layernorm.bias",
            torch.full((64,), torch.nan),
            "visual.ln_post.bias holds values that are not finite",
        ),
    ],
)
def test_what_does_not_fit_is_named(edit, key, value, message):
    def change(state):
        state.pop(key, None)
        if value is not None:
            state[key] = value

    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(edit(change))
    assert "model.safetensors" in str(caught.value)


def test_weights_without_a_text_tower_are_refused(edit):
    def change(state):
        del state["text_model.embeddings.token_embedding.weight"]

    with pytest.raises(CheckpointError, match="no CLIP with a text tower.*OpenCLIPEncoder"):
        load_checkpoint(edit(change))


def test_large_finite_weights_are_accepted(edit):
    # the sum of their squares is not finite in float32
    def change(state):
        state["vision_model.post_layernorm.bias"].fill_(3e38)

    assert load_checkpoint(edit(change)).model.visual.ln_post.bias.max() > 1e38


@pytest.mark.parametrize("table", ["equal", "larger"])
def test_text_is_pooled_at_the_end_token_of_the_tokenizer(saved, tokenizer, table):
    config = json.loads((saved / "config.json").read_text())
    path = saved / "model.safetensors"
    if table == "larger":
        state = load_file(path)
        key = "text_model.embeddings.token_embedding.weight"
        state[key] = torch.cat([state[key], state[key][:14]])
        save_file(state, path)
        config["text_config"]["vocab_size"] += 14
    (saved / "config.json").write_text(json.dumps(config))
    assert load_checkpoint(saved).model.config.text.end_token_id == tokenizer.end_id
    # 2 means the highest id, which a tokenizer with fewer ids than the table does not have
    config["text_config"]["eos_token_id"] = 2
    (saved / "config.json").write_text(json.dumps(config))
    if table == "equal":
        assert load_checkpoint(saved).model.config.text.end_token_id == tokenizer.end_id
    else:
        with pytest.raises(CheckpointError, match=r"pools text at token 543, but .* is 529"):
            load_checkpoint(saved)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_an_encoder_does_not_depend_on_its_files(
    tmp_path, make_model, tokenizer, make_preprocess_config, kind
):
    model = make_model(kind)
    save_model(tmp_path, model, tokenizer, make_preprocess_config(model.config.vision.image_size))
    encoder = load_encoder(tmp_path)
    pictures = [Image.new("RGB", (40, 30), "red")]
    images, texts = encoder.encode_images(pictures), encoder.encode_texts(["a cat"])
    (path,) = tmp_path.glob("*.safetensors")
    with open(path, "r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert np.array_equal(encoder.encode_images(pictures), images)
    assert np.array_equal(encoder.encode_texts(["a cat"]), texts)


def test_nothing_is_imported_before_it_is_needed():
    done = run_script("load_without_compiler.py")
    assert done.stdout.split() == ["False", "False", "False"]


def test_templates(saved):
    assert load_checkpoint(saved).templates == ()
    (saved / "prompt_templates.json").write_text('{"templates": ["a {}", "the {}"]}')
    assert load_checkpoint(saved).templates == ("a {}", "the {}")
    (saved / "prompt_templates.json").write_text('{"templates": "a {}"}')
    with pytest.raises(CheckpointError, match="list of str"):
        load_checkpoint(saved)


def test_invalid_json(saved):
    (saved / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="config.json is not valid JSON"):
        load_checkpoint(saved)
