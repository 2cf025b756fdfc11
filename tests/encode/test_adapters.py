"""Models of other libraries, with random weights, as encoders."""

import pickle

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from sklearn.base import clone

from skclip import (
    CheckpointError,
    CLIPImageEmbedder,
    CLIPTextEmbedder,
    EmbeddingStore,
    OpenCLIPEncoder,
    SentenceTransformerEncoder,
    ZeroShotClassifier,
    load_encoder,
)
from skclip.datasets import make_scenes
from skclip.encode.vectors import normalize_rows

SCENES = make_scenes(n_samples=5, random_state=0)


@pytest.fixture(scope="module")
def open_clip_encoder():
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms("RN50", pretrained=None)
    return OpenCLIPEncoder(model, preprocess, open_clip.get_tokenizer("RN50"))


def test_an_open_clip_model_classifies_as_its_own_functions_do(open_clip_encoder):
    classes = ["cat", "dog", "bird"]
    fitted = ZeroShotClassifier(classes, model=open_clip_encoder, templates="a {}").fit()
    with torch.inference_mode():
        texts = open_clip.get_tokenizer("RN50")(["a bird", "a cat", "a dog"])
        weights = normalize_rows(open_clip_encoder.model.encode_text(texts).numpy())
    scale = open_clip_encoder.model.logit_scale.detach().exp().item()
    np.testing.assert_allclose(fitted.coef_, scale * weights, rtol=1e-3, atol=1e-4)
    assert fitted.predict(SCENES.images).shape == (5,)
    assert clone(fitted).model is open_clip_encoder


def test_an_open_clip_model_in_training_mode_is_refused(open_clip_encoder):
    open_clip_encoder.model.train()
    try:
        with pytest.raises(ValueError, match=r"training mode.* call model.eval\(\) first"):
            open_clip_encoder.encode_texts(["a"])
    finally:
        open_clip_encoder.model.eval()


def test_an_object_that_is_not_an_open_clip_model_is_refused():
    with pytest.raises(TypeError, match="must have encode_image and encode_text, got a tuple"):
        OpenCLIPEncoder((1, 2, 3), None, None)


@pytest.fixture
def small_open_clip():
    return build_small_open_clip()


def build_small_open_clip(seed=0):
    torch.manual_seed(seed)
    model, _, image_transform = open_clip.create_model_and_transforms(
        "RN50", pretrained=None, force_image_size=32
    )
    return OpenCLIPEncoder(model, image_transform, open_clip.get_tokenizer("RN50"))


def test_equal_models_have_equal_fingerprints(small_open_clip):
    fingerprint = small_open_clip.fingerprint
    assert fingerprint == small_open_clip.fingerprint
    assert fingerprint == build_small_open_clip().fingerprint
    assert fingerprint != build_small_open_clip(seed=1).fingerprint


def test_another_preprocessing_has_another_fingerprint(small_open_clip):
    model, tokenizer = small_open_clip.model, small_open_clip.tokenizer
    transforms = [
        small_open_clip.image_transform,
        open_clip.image_transform(32, is_train=False, mean=(0.5,) * 3, std=(0.5,) * 3),
        open_clip.image_transform(32, is_train=False, resize_mode="squash"),
        open_clip.image_transform(32, is_train=False, interpolation="bilinear"),
    ]
    found = {OpenCLIPEncoder(model, each, tokenizer).fingerprint for each in transforms}
    assert len(found) == 4
    short = open_clip.get_tokenizer("RN50", context_length=40)
    found.add(OpenCLIPEncoder(model, transforms[0], short).fingerprint)
    assert len(found) == 5


def test_after_further_training_no_stale_vector_is_used(small_open_clip, tmp_path):
    embedder = CLIPImageEmbedder(small_open_clip, cache=tmp_path)
    before = embedder.transform(SCENES.images)
    np.testing.assert_array_equal(embedder.transform(SCENES.images), before)
    store = EmbeddingStore(tmp_path)
    assert store.cache_info()[:2] == (5, 5)
    model = small_open_clip.model
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    pixels = torch.randn(2, 3, 32, 32)
    model.encode_image(pixels).square().mean().backward()
    optimizer.step()
    after = embedder.transform(SCENES.images)
    assert store.cache_info()[:2] == (5, 10)
    assert np.abs(after - before).max() > 1e-4
    np.testing.assert_array_equal(
        CLIPImageEmbedder(small_open_clip).transform(SCENES.images), after
    )


def test_a_fitted_classifier_refuses_a_model_that_was_trained_further(small_open_clip):
    fitted = ZeroShotClassifier(["cat", "dog"], model=small_open_clip).fit()
    assert fitted.fingerprint_ == small_open_clip.fingerprint
    with torch.no_grad():
        small_open_clip.model.visual.conv1.weight.mul_(2)
    with pytest.raises(CheckpointError, match="not the one this was fitted with"):
        fitted.predict(SCENES.images)


def test_a_tokenizer_that_refuses_long_texts_does_no_harm(small_open_clip):
    def strict(texts):
        if max(map(len, texts)) > 100:
            raise RuntimeError("too long for context length 77")
        return small_open_clip.tokenizer(texts)

    encoder = OpenCLIPEncoder(small_open_clip.model, small_open_clip.image_transform, strict)
    assert encoder.fingerprint == encoder.fingerprint != small_open_clip.fingerprint
    assert ZeroShotClassifier(["cat", "dog"], model=encoder).fit().fingerprint_ is not None


def test_a_random_transform_has_no_fingerprint(small_open_clip):
    random = open_clip.image_transform(32, is_train=True)
    encoder = OpenCLIPEncoder(small_open_clip.model, random, small_open_clip.tokenizer)
    assert encoder.fingerprint is None
    fitted = ZeroShotClassifier(["cat", "dog"], model=encoder).fit()
    assert fitted.predict(SCENES.images).shape == (5,)
    with pytest.raises(ValueError, match="needs a model with a fingerprint"):
        CLIPImageEmbedder(encoder, cache="memory").transform(SCENES.images)


def test_pickles_of_development_versions_are_read(small_open_clip):
    # what these held, without a constructor's call
    encoder = OpenCLIPEncoder.__new__(OpenCLIPEncoder)
    encoder.__setstate__(
        {
            "model": small_open_clip.model,
            "preprocess": small_open_clip.image_transform,
            "tokenize": small_open_clip.tokenizer,
        }
    )
    assert encoder.fingerprint == small_open_clip.fingerprint


def test_skops_is_told_that_it_cannot_save_a_torch_module(small_open_clip):
    # it saves the state of an object where pickle calls `__reduce__`
    with pytest.raises(TypeError, match="cannot save an object of OpenCLIPEncoder, .* pickle it"):
        small_open_clip.__getstate__()


def test_a_pickled_encoder_keeps_its_fingerprint(small_open_clip):
    fingerprint = small_open_clip.fingerprint
    assert pickle.loads(pickle.dumps(small_open_clip)).fingerprint == fingerprint


def test_paths_instead_of_pictures_are_refused(small_open_clip):
    for encoder in (small_open_clip, load_encoder("skclip/tiny")):
        with pytest.raises(TypeError, match=r"RGB pictures .* got a str at position 0;"):
            encoder.encode_images(["cat.jpg"])
        with pytest.raises(TypeError, match="got a Image of mode 'L' at position 1"):
            encoder.encode_images([Image.new("RGB", (4, 4)), Image.new("L", (4, 4))])


def test_a_sentence_transformers_model_equals_the_same_weights_in_skclip(tmp_path):
    st = pytest.importorskip("sentence_transformers")
    pytest.importorskip("sentence_transformers.models")
    from sentence_transformers import models

    from skclip.checkpoints.save import save_model
    from skclip.model.clip import CLIP
    from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig
    from skclip.model.tokenizer import train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a red circle", "two blue squares"], 540, context_length=32)
    config = CLIPConfig(
        16,
        VisionConfig(image_size=32, patch_size=16, width=64, layers=1),
        TextConfig(len(tokenizer.vocab), 32, 64, 1),
    )
    save_model(tmp_path, CLIP(config), tokenizer, PreprocessConfig(image_size=32))
    peer = st.SentenceTransformer(modules=[models.CLIPModel(str(tmp_path))], device="cpu")
    encoder = SentenceTransformerEncoder(peer)
    texts = ["a red circle", "two blue squares"]
    ours = load_encoder(tmp_path)
    np.testing.assert_allclose(encoder.encode_texts(texts), ours.encode_texts(texts), atol=1e-5)
    fitted = ZeroShotClassifier(texts, model=encoder, templates=None).fit()
    expected = ZeroShotClassifier(texts, model=ours, templates=None).fit()
    np.testing.assert_allclose(
        fitted.decision_function(SCENES.images) / 100,
        expected.decision_function(SCENES.images) * expected.temperature_,
        atol=0.02,  # its fast processor rounds pixels differently
    )
    assert clone(fitted).model is encoder
    fingerprint = encoder.fingerprint
    assert fingerprint == encoder.fingerprint == SentenceTransformerEncoder(peer).fingerprint
    assert CLIPTextEmbedder(encoder, cache=tmp_path / "cache").transform(texts).shape == (2, 16)
    assert EmbeddingStore(tmp_path / "cache").cache_info().entries == 2
    with torch.no_grad():
        next(peer.parameters()).add_(1)
    assert encoder.fingerprint != fingerprint
