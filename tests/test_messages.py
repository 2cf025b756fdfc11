"""Messages and reprs stay short whatever a user passes, and say what to pass instead."""

import re

import numpy as np
import open_clip
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

from skclip import (
    CheckpointError,
    CLIPImageEmbedder,
    CLIPTextEmbedder,
    LinearProbe,
    LinearProbeCV,
    OpenCLIPEncoder,
    ZeroShotClassifier,
    embed_images,
    load_encoder,
)
from skclip._messages import shown
from skclip._sklearn_compat import InvalidParameterError
from skclip.estimators.prompts import resolve_templates
from skclip.training import load_model

TINY = "skclip/tiny"
MANY = list(range(100_000))


@pytest.fixture(scope="module")
def modules():
    """Models of other libraries that somebody may pass as they are, by name."""
    tower = {"layers": 1, "width": 64, "patch_size": 16, "image_size": 32}
    text = {"layers": 1, "width": 64, "heads": 1, "context_length": 8, "vocab_size": 64}
    small = {"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**small, "image_size": 32, "patch_size": 16},
    )
    return {
        "open_clip": open_clip.CLIP(16, tower, text),
        "transformers": transformers.CLIPModel(config),
        "sentence_transformers": SentenceTransformer(modules=[torch.nn.Linear(2, 2)]),
        "skclip": load_model(TINY)[0],
        "torch": torch.nn.Sequential(*[torch.nn.Linear(1, 1) for _ in range(1000)]),
    }


@pytest.mark.parametrize(
    ("library", "advice"),
    [
        (
            "open_clip",
            r"open_clip.CLIP.* pass OpenCLIPEncoder\(model, image_transform, tokenizer\)",
        ),
        ("transformers", "transformers.CLIPModel.* pass its hub id, or the directory"),
        ("sentence_transformers", r"pass SentenceTransformerEncoder\(model\)"),
        ("skclip", "skclip.CLIP.* save it by skclip.training.save_model"),
        ("torch", "torch.Sequential.* an object that has these two methods"),
    ],
)
def test_a_model_of_another_library_is_told_what_to_pass(modules, library, advice):
    model, images = modules[library], [np.zeros((2, 2, 3), np.uint8)]
    for call in (
        lambda: CLIPImageEmbedder(model).fit(images),
        lambda: CLIPImageEmbedder(model).transform(images),
        lambda: CLIPTextEmbedder(model).transform(["a"]),
        lambda: ZeroShotClassifier(["a", "b"], model=model).fit(),
        lambda: load_encoder(model),
        lambda: embed_images(model, images),
    ):
        with pytest.raises(TypeError, match=advice) as error:
            call()
        assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("model", "got"),
    [
        (None, "None"),
        (MANY, re.escape("[0, 1, 2, 3, 4, 5, ...]")),
        (np.zeros((500, 500)), "an object of type numpy.ndarray"),
        (OpenCLIPEncoder, "the class OpenCLIPEncoder instead; create an object of it"),
        (CLIPImageEmbedder(TINY), "an object of type skclip.CLIPImageEmbedder"),
    ],
)
def test_what_is_no_model_is_named_in_few_words(model, got):
    with pytest.raises(InvalidParameterError, match=f"The 'model' parameter .* Got {got}"):
        CLIPTextEmbedder(model).fit(["a"])
    with pytest.raises(TypeError, match="model must be a name, a path, or an object"):
        load_encoder(model)


@pytest.mark.parametrize(
    ("estimator", "got"),
    [
        (LinearProbe(C=MANY), "Got [0, 1, 2, 3, 4, 5, ...] instead."),
        (LinearProbe(tol="x" * 10_000), "Got 'xxx"),
        (LinearProbeCV(scoring=MANY), "Got [0, 1, 2, 3, 4, 5, ...] instead."),
        (LinearProbeCV(Cs=[0, *MANY]), "got [0, 0, 1, 2, 3, 4, ...]"),
        (ZeroShotClassifier("x" * 10_000, model=TINY), "Got 'xxx"),
        (CLIPTextEmbedder(TINY, templates=dict.fromkeys(MANY)), "Got {0: None, 1: None"),
        (CLIPTextEmbedder(TINY, batch_size=MANY), "Got [0, 1, 2"),
        (CLIPImageEmbedder(TINY, cache=MANY), "Got [0, 1, 2"),
        (CLIPImageEmbedder(TINY, cache=torch.nn.Linear(1, 1)), "Got Linear(in_features=1"),
    ],
)
def test_the_value_of_a_parameter_is_shortened(estimator, got):
    with pytest.raises(ValueError, match=re.escape(got)) as error:
        estimator.fit(np.eye(4), [0, 1, 0, 1])
    without_choices = re.sub(r"among \{.*?\}", "", str(error.value))
    assert len(without_choices) < 400


@pytest.mark.parametrize("templates", ["x" * 10_000, ["x" * 10_000], MANY, ["a {}", MANY]])
def test_a_template_is_shortened(templates):
    with pytest.raises(ValueError, match="templates must .* got ") as error:
        resolve_templates(templates)
    assert len(str(error.value)) < 400


def test_a_changed_model_is_told_by_the_first_digits_of_the_fingerprints():
    embedder = CLIPTextEmbedder(TINY).fit(["a"])
    found = embedder.fingerprint_
    embedder.fingerprint_ = expected = "0123456789abcdef" * 4
    with pytest.raises(CheckpointError, match=f"is {found[:12]}, expected {expected[:12]}; fit"):
        embedder.transform(["a"])
    embedder.fingerprint_ = "a name that somebody else has chosen"
    with pytest.raises(CheckpointError, match="expected 'a name that somebody else has chosen';"):
        embedder.transform(["a"])


def test_a_broken_repr_is_no_error():
    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert shown(Broken()).startswith("<Broken instance at")
    assert shown("a\nb") == r"'a\nb'"
    assert "\n" not in shown(np.zeros((3, 3)))
