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
    (saved / "prompt_templates.json").write_text('{"templates": ["a photo"]}')
    with pytest.raises(CheckpointError, match="each with one '{}' for the name, got"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "prompt_templates.json"]
)
def test_a_link_that_leads_nowhere_is_named(saved, name):
    (saved / name).unlink(missing_ok=True)
    (saved / name).symlink_to("nowhere")
    with pytest.raises(CheckpointError, match=f"^[^ ]*{name} is a link to nowhere.*No such file"):
        load_checkpoint(saved)


def test_invalid_json(saved):
    (saved / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="^[^ ]*config.json is not valid JSON"):
        load_checkpoint(saved)


KEY = "text_model.encoder.layers.0.layer_norm1.bias"
QUERY = "text_model.encoder.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.bool, "bool"),
        (torch.int64, "int64"),
        (torch.float8_e4m3fn, "float8_e4m3fn"),
    ],
)
def test_a_weight_is_a_floating_point_number(edit, dtype, name):
    directory = edit(lambda state: state.update({KEY: state[KEY].to(dtype)}))
    message = (
        f"ln_1.bias is stored as {name}; it must be one of float16, bfloat16, float32, float64"
    )
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory)


def test_complex_weights_do_not_lose_their_imaginary_part(saved):
    # not as safetensors, whose first versions have no complex numbers
    path = saved / "model.safetensors"
    state = load_file(path)
    torch.save(state | {KEY: state[KEY].to(torch.complex64)}, saved / "pytorch_model.bin")
    path.unlink()
    with pytest.raises(CheckpointError, match="complex"):
        load_checkpoint(saved)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_number_formats_that_are_read(edit, dtype):
    directory = edit(lambda state: state.update({KEY: state[KEY].to(dtype)}))
    assert next(load_checkpoint(directory).model.parameters()).dtype == torch.float32


def test_a_count_is_a_whole_number(tmp_path, make_model, tokenizer, make_preprocess_config):
    save_model(tmp_path, make_model("resnet"), tokenizer, make_preprocess_config(64))
    path = tmp_path / "open_clip_model.safetensors"
    state = load_file(path)
    key = "visual.bn1.num_batches_tracked"
    save_file(state | {key: torch.tensor([3, 4])}, path)
    with pytest.raises(CheckpointError, match=rf"{key} has shape \(2,\)"):
        load_checkpoint(tmp_path)
    save_file(state | {key: torch.tensor(3.0)}, path)
    with pytest.raises(CheckpointError, match=f"{key} is stored as float32"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "value",
    [torch.tensor(1.0), torch.ones(3, 4, 5), torch.ones(7, 128), torch.ones(128, 7), torch.ones(1)],
)
def test_queries_of_another_shape(edit, value):
    directory = edit(lambda state: state.update({QUERY: value}))
    with pytest.raises(
        CheckpointError, match=r"model.safetensors: q_proj, k_proj and v_proj of .*"
    ):
        load_checkpoint(directory)


def test_queries_of_another_number_format(edit):
    directory = edit(lambda state: state.update({QUERY: state[QUERY].long()}))
    with pytest.raises(CheckpointError, match=r"q_proj, k_proj .*int64 \(128, 128\), float32"):
        load_checkpoint(directory)


def test_queries_keys_and_values_that_are_numbers(edit):
    keys = [QUERY.replace("q_proj", f"{kind}_proj") for kind in "qkv"]
    directory = edit(lambda state: state.update({key: torch.tensor(1.0) for key in keys}))
    with pytest.raises(CheckpointError, match="q_proj, k_proj and v_proj"):
        load_checkpoint(directory)


@pytest.mark.parametrize("value", [torch.tensor(1.0), torch.ones(2, 3, 4), torch.ones(48)])
def test_a_projection_that_is_no_matrix(edit, value):
    directory = edit(lambda state: state.update({"text_projection.weight": value}))
    with pytest.raises(CheckpointError, match="text_projection has shape"):
        load_checkpoint(directory)


def test_expanded_weights_are_refused_before_they_are_copied(edit):
    directory = edit(lambda state: None)
    state = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    torch.save(
        state | {QUERY: torch.ones(1, 1).expand(200_000, 256_000)},
        directory / "pytorch_model.bin",
    )
    with pytest.raises(CheckpointError, match=r"shape \(200000, 256000\) does not lie"):
        load_checkpoint(directory)


def split(directory, *names, overlap=()):
    """Spread the tensors of a checkpoint over shards of these names."""
    state = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text("{}")
    for number, name in enumerate(names):
        keys = {*list(state)[number :: len(names)], *overlap}
        save_file({key: state[key] for key in keys}, directory / name)
    return directory


@pytest.mark.parametrize(
    "names",
    [
        ("model-00001-of-00002.safetensors", "model-00001-of-00003.safetensors"),
        ("model-00001-of-00002.safetensors", "model-00002-of-00003.safetensors"),
        ("model-00001-of-00002.safetensors", "model-1-of-2.safetensors"),
        ("model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"),
        ("model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"),
        ("model-00002-of-00002.safetensors",),
        ("other-00001-of-00001.safetensors",),
    ],
)
def test_shards_that_are_not_one_set(saved, names):
    with pytest.raises(CheckpointError, match=r"index.json exists, but the shards 1 to .* do not"):
        load_checkpoint(split(saved, *names))


def test_a_tensor_in_two_shards(saved):
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=f"00002-of-00002.*another shard holds too: {KEY}"):
        load_checkpoint(split(saved, *names, overlap=[KEY]))
