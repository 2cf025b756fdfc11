"""Other libraries' models, with random weights, as encoders."""

import numpy as np
import open_clip
import pytest
import torch
from sklearn.base import clone

from skclip import OpenCLIPEncoder, SentenceTransformerEncoder, ZeroShotClassifier, load_encoder
from skclip.datasets import make_scenes
from skclip.encode.vectors import normalize_rows

SCENES = make_scenes(n_samples=5, random_state=0)


@pytest.fixture(scope="module")
def open_clip_encoder():
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms("RN50", pretrained=None)
    return OpenCLIPEncoder(model, preprocess, open_clip.get_tokenizer("RN50"))


def test_open_clip_model(open_clip_encoder):
    classes = ["cat", "dog", "bird"]
    fitted = ZeroShotClassifier(classes, model=open_clip_encoder, templates="a {}").fit()
    with torch.inference_mode():
        texts = open_clip.get_tokenizer("RN50")(["a bird", "a cat", "a dog"])
        weights = normalize_rows(open_clip_encoder.model.encode_text(texts).numpy())
    scale = open_clip_encoder.model.logit_scale.detach().exp().item()
    np.testing.assert_allclose(fitted.coef_, scale * weights, rtol=1e-3, atol=1e-4)
    assert fitted.predict(SCENES.images).shape == (5,)
    assert clone(fitted).model is open_clip_encoder


def test_open_clip_model_in_training_mode_is_refused(open_clip_encoder):
    open_clip_encoder.model.train()
    try:
        with pytest.raises(ValueError, match=r"training mode.* call model.eval\(\) first"):
            open_clip_encoder.encode_texts(["a"])
    finally:
        open_clip_encoder.model.eval()


def test_what_is_no_open_clip_model_is_refused():
    with pytest.raises(TypeError, match="must have encode_image and encode_text, got a tuple"):
        OpenCLIPEncoder((1, 2, 3), None, None)


def test_sentence_transformers_model(tmp_path):
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
        atol=0.02,  # its fast processor rounds pixels otherwise
    )
    assert clone(fitted).model is encoder
