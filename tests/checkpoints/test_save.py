import os

import open_clip
import pytest
import torch
import transformers
from safetensors.torch import load_file

from skclip.checkpoints.load import load_checkpoint
from skclip.checkpoints.save import save_model
from skclip.model.config import PreprocessConfig

TOLERANCE = 1e-5


def assert_same_model(first, second):
    assert first.config == second.config
    state = second.state_dict()
    for key, value in first.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_tanh"])
def test_round_trip(tmp_path, make_model, tokenizer, kind, activation):
    model = make_model(kind, activation)
    preprocess_config = PreprocessConfig(
        model.config.vision.image_size, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", "squash"
    )
    save_model(tmp_path, model, tokenizer, preprocess_config, templates=("a {}",))
    checkpoint = load_checkpoint(tmp_path)
    assert_same_model(checkpoint.model, model)
    assert checkpoint.preprocess_config == preprocess_config
    assert checkpoint.templates == ("a {}",)
    for name in ("vocab", "merges", "context_length", "start_token", "end_token"):
        assert getattr(checkpoint.tokenizer, name) == getattr(tokenizer, name)
    # nothing but the files themselves is left behind
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_transformers_reads_a_vit(
    tmp_path,
    make_model,
    tokenizer,
    make_preprocess_config,
    pixels,
    texts,
    largest_difference,
    activation,
):
    own = make_model("vit", activation)
    save_model(tmp_path, own, tokenizer, make_preprocess_config(32))
    peer, report = transformers.CLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    peer_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    batch = peer_tokenizer(texts, padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], tokenizer(texts))
    assert peer_tokenizer.model_max_length == tokenizer.context_length
    with torch.no_grad():
        images = peer.eval().get_image_features(pixel_values=pixels(32))
        embedded = peer.get_text_features(input_ids=batch["input_ids"])
    # transformers 4 returns the tensor itself
    images, embedded = (getattr(x, "pooler_output", x) for x in (images, embedded))
    with torch.inference_mode():
        assert largest_difference(own.encode_image(pixels(32)), images) < TOLERANCE
        assert largest_difference(own.encode_text(tokenizer(texts)), embedded) < TOLERANCE
    processor = transformers.CLIPImageProcessor.from_pretrained(tmp_path)
    assert tuple(processor.image_mean) == (0.5, 0.4, 0.3)
    assert dict(processor.crop_size) == {"height": 32, "width": 32}


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_open_clip_reads_a_resnet(
    tmp_path,
    make_model,
    tokenizer,
    make_preprocess_config,
    pixels,
    texts,
    largest_difference,
    activation,
):
    own = make_model("resnet", activation)
    save_model(tmp_path, own, tokenizer, make_preprocess_config(64))
    peer = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    assert peer.visual.image_mean == (0.5, 0.4, 0.3) or peer.visual.image_mean == [0.5, 0.4, 0.3]
    peer_ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(texts)
    ids = tokenizer(texts)
    assert peer_ids.shape[1] == tokenizer.context_length
    assert torch.equal(peer_ids[:, : ids.shape[1]], ids)
    with torch.inference_mode():
        difference = largest_difference(own.encode_image(pixels(64)), peer.encode_image(pixels(64)))
        assert difference < TOLERANCE
        assert largest_difference(own.encode_text(ids), peer.encode_text(peer_ids)) < TOLERANCE


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_float16_storage(tmp_path, make_model, tokenizer, make_preprocess_config, kind):
    model = make_model(kind)
    preprocess_config = make_preprocess_config(model.config.vision.image_size)
    save_model(tmp_path, model, tokenizer, preprocess_config, dtype="float16")
    (weights,) = tmp_path.glob("*.safetensors")
    kinds = {value.dtype for value in load_file(weights).values()}
    assert kinds - {torch.int64} == {torch.float16}
    rounded = {
        k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()
    }
    model.load_state_dict(rounded)
    assert_same_model(load_checkpoint(tmp_path).model, model)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_files_have_the_permissions_that_the_umask_gives(
    tmp_path, make_model, tokenizer, make_preprocess_config, umask, mode
):
    before = os.umask(umask)
    try:
        save_model(
            tmp_path, make_model(), tokenizer, make_preprocess_config(32), templates=["a {}"]
        )
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_other_checkpoints_in_the_directory_are_not_mixed(
    tmp_path, make_model, tokenizer, make_preprocess_config
):
    save_model(tmp_path, make_model(), tokenizer, make_preprocess_config(32))
    save_model(tmp_path, make_model(seed=1), tokenizer, make_preprocess_config(32))
    assert_same_model(load_checkpoint(tmp_path).model, make_model(seed=1))
    with pytest.raises(ValueError, match="another checkpoint.*config.json"):
        save_model(tmp_path, make_model("resnet"), tokenizer, make_preprocess_config(64))
    assert_same_model(load_checkpoint(tmp_path).model, make_model(seed=1))


def test_what_does_not_belong_together(tmp_path, make_model, tokenizer, make_preprocess_config):
    model = make_model()
    with pytest.raises(ValueError, match="image_size=64"):
        save_model(tmp_path, model, tokenizer, make_preprocess_config(64))
    with pytest.raises(ValueError, match="dtype must be one of"):
        save_model(tmp_path, model, tokenizer, make_preprocess_config(32), dtype="int8")
    smaller = type(tokenizer).from_merges(tokenizer.merges[:-1])
    with pytest.raises(ValueError, match="end token"):
        save_model(tmp_path, model, smaller, make_preprocess_config(32))
