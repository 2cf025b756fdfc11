"""Loading and pickling encoders, on the CPU and on a GPU."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from skclip import CheckpointError, ImageReadError, embed_images, load_encoder
from skclip.checkpoints.load import load_checkpoint
from skclip.datasets import make_scenes
from skclip.encode.encoder import CLIPEncoder
from skclip.inputs.items import as_item

SCENES = make_scenes(n_samples=6, random_state=0)
PICTURES = [Image.fromarray(image) for image in SCENES.images]
TEXTS = ["a red circle", "two blue squares"]


def test_a_pickle_of_an_encoder_with_trained_weights_contains_them():
    checkpoint = load_checkpoint("skclip/tiny")
    with torch.no_grad():
        checkpoint.model.text.ln_final.weight.mul_(2)
    encoder = CLIPEncoder(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    copy = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(copy.encode_texts(TEXTS), encoder.encode_texts(TEXTS))
    np.testing.assert_array_equal(copy.encode_images(PICTURES), encoder.encode_images(PICTURES))
    assert not np.allclose(
        encoder.encode_texts(TEXTS), load_encoder("skclip/tiny").encode_texts(TEXTS)
    )
    assert copy.logit_scale == encoder.logit_scale


def test_results_do_not_depend_on_training_mode_or_batches():
    encoder = load_encoder("skclip/tiny")
    together = embed_images(encoder, SCENES.images)
    alone = embed_images(encoder, SCENES.images, batch_size=1)
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_a_model_is_loaded_once():
    assert load_encoder("skclip/tiny", device="cpu") is load_encoder(
        "skclip/tiny", device="cpu", dtype="float32"
    )


def test_compiled_batches_have_one_shape():
    plain, compiled = (load_encoder("skclip/tiny", compile=choice) for choice in (False, True))
    pixels = [plain.prepare_image(as_item(image)) for image in SCENES.images]
    # without the compiler, which takes minutes; this tests splitting and padding of batches
    with torch.compiler.set_stance("force_eager"):
        vectors = compiled.encode_prepared_images(pixels)
        many = compiled.encode_prepared_images(
            pixels * (compiled.images_per_batch // len(pixels) + 2)
        )
    np.testing.assert_allclose(many, np.resize(vectors, many.shape), atol=1e-4)
    np.testing.assert_allclose(vectors, plain.encode_prepared_images(pixels), atol=1e-4)
    assert pickle.loads(pickle.dumps(compiled)) is compiled


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_equals_cpu():
    cpu = load_encoder("skclip/tiny", device="cpu")
    gpu = load_encoder("skclip/tiny", device="cuda", dtype="float32")
    assert gpu.device.index is not None
    np.testing.assert_allclose(gpu.encode_texts(TEXTS), cpu.encode_texts(TEXTS), atol=1e-2)
    np.testing.assert_allclose(gpu.encode_images(PICTURES), cpu.encode_images(PICTURES), atol=1e-2)
    compiled = load_encoder("skclip/tiny", device="cuda", dtype="float32", compile=True)
    np.testing.assert_allclose(
        compiled.encode_images(PICTURES), gpu.encode_images(PICTURES), atol=1e-2
    )


def test_one_text_or_none_is_no_batch():
    encoder = load_encoder("skclip/tiny")
    with pytest.raises(TypeError, match=r"got one str; put it into a list"):
        encoder.encode_texts("a red circle")
    with pytest.raises(ValueError, match="0 sample"):
        encoder.encode_texts([])
    with pytest.raises(ValueError, match="the text in row 1 of texts is missing"):
        encoder.encode_texts(["a", None])
    with pytest.raises(ValueError, match="one batch of pictures, got none"):
        encoder.encode_images([])


def test_an_unreadable_picture_of_a_batch_is_named(tmp_path):
    encoder = load_encoder("skclip/tiny")
    with pytest.raises(ImageReadError, match=r"^image in row 1: the PIL image .* has no pixels"):
        encoder.encode_images([PICTURES[0], Image.new("RGB", (0, 5))])
    path = tmp_path / "truncated.jpg"
    PICTURES[0].save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with Image.open(path) as truncated:
        with pytest.raises(
            ImageReadError, match=r"^image in row 0: .* cannot be decoded"
        ) as caught:
            encoder.encode_images([truncated])
    # an error with a cause would keep the frames of the decoder, and the pixels in them
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_the_state_that_skops_saves_is_the_source_and_the_fingerprint():
    encoder = load_encoder("skclip/tiny", dtype="bfloat16")
    state = json.loads(json.dumps(encoder.__getstate__()))
    assert state["reload"][:2] == [encoder.fingerprint, "skclip/tiny"]
    # skops creates an object without `__init__` and without `__reduce__`
    again = CLIPEncoder.__new__(CLIPEncoder)
    again.__setstate__(state)
    np.testing.assert_array_equal(again.encode_texts(["a"]), encoder.encode_texts(["a"]))
    state["reload"][0] = "0" * 64
    with pytest.raises(CheckpointError, match="is not the one this was fitted with"):
        CLIPEncoder.__new__(CLIPEncoder).__setstate__(state)
    checkpoint = load_checkpoint("skclip/tiny")
    trained = CLIPEncoder(checkpoint, device=encoder.device, dtype=torch.float32)
    with pytest.raises(TypeError, match="skops cannot save a model that was not loaded by name"):
        trained.__getstate__()
