import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from skclip.checkpoints.load import load_checkpoint, load_model
from skclip.checkpoints.save import save_model
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


@pytest.mark.parametrize("count", [1, 3, 1024])
@pytest.mark.parametrize("tower", ["text", "vision"])
def test_layers_are_counted_before_a_model_is_built(saved, monkeypatch, tower, count):
    path = saved / "config.json"
    content = json.loads(path.read_text())
    content[f"{tower}_config"]["num_hidden_layers"] = count
    path.write_text(json.dumps(content))
    monkeypatch.setattr("skclip.checkpoints.load.CLIP", None)
    own = {"text": "text", "vision": "visual"}[tower]
    message = rf"has 2 layers {own}.transformer.resblocks.\*, but .* asks for {count}"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def test_stages_of_a_resnet_are_counted(tmp_path, make_model, tokenizer, make_preprocess_config):
    save_model(tmp_path, make_model("resnet"), tokenizer, make_preprocess_config(64))
    path = tmp_path / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["vision_cfg"]["layers"] = [1, 2, 1000, 1]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"has 1 layers visual.layer3.\*, but .* for 1000"):
        load_checkpoint(tmp_path)


def test_templates(saved):
    assert load_checkpoint(saved).templates == ()
    (saved / "prompt_templates.json").write_text('{"templates": ["a {}", "the {}"]}')
    assert load_checkpoint(saved).templates == ("a {}", "the {}")
    (saved / "prompt_templates.json").write_text('{"templates": "a {}"}')
    with pytest.raises(CheckpointError, match="list of str"):
        load_checkpoint(saved)
    (saved / "prompt_templates.json").write_text('{"templates": ["a photo"]}')
    with pytest.raises(CheckpointError, match="each with one '{}' for the name, got"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "prompt_templates.json"]
)
def test_a_link_that_leads_nowhere_is_named(saved, name):
    (saved / name).unlink(missing_ok=True)
    (saved / name).symlink_to("nowhere")
    with pytest.raises(CheckpointError, match=f"^[^ ]*{name} cannot be read: No such file"):
        load_checkpoint(saved)


def test_invalid_json(saved):
    (saved / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="^[^ ]*config.json is not valid JSON"):
        load_checkpoint(saved)
