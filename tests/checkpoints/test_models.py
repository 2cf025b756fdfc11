import re
from pathlib import Path

import pytest
import torch

from skclip.checkpoints.formats import openai
from skclip.checkpoints.load import load_checkpoint
from skclip.checkpoints.models import MODELS, canonical_name, list_models, suggest
from skclip.checkpoints.resolve import DEFAULT_MODEL
from skclip.exceptions import ModelNotAvailableError

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_names_and_repositories_are_those_of_open_clip():
    pretrained = pytest.importorskip("open_clip").pretrained
    models = dict(list_models())
    assert models.pop("skclip/tiny") == "bundled"
    for name, repo in models.items():
        architecture, tag = name.split("/")
        peer = pretrained.get_pretrained_cfg(architecture, tag)
        assert peer, name
        if tag != "openai" or architecture.startswith("RN"):
            assert peer["hf_hub"].rstrip("/") == repo
    assert sum(name.endswith("/openai") for name in models) == len(openai.ARCHIVES)
    assert DEFAULT_MODEL in models.values()


@pytest.mark.parametrize("architecture", sorted({name.split("/")[0] for name in MODELS}))
def test_sizes_are_those_of_the_models(architecture):
    names = [name for name in MODELS if name.startswith(f"{architecture}/")]
    if architecture == "skclip":
        model = load_checkpoint("skclip/tiny").model
        expected = model.config.embed_dim, model.config.vision.image_size
    else:
        open_clip = pytest.importorskip("open_clip")
        config = open_clip.get_model_config(architecture)
        kept = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
        with torch.device("meta"):
            model = open_clip.CLIP(**{key: config[key] for key in kept if key in config})
        expected = config["embed_dim"], config["vision_cfg"]["image_size"]
    millions = sum(value.numel() for value in model.parameters()) / 1e6
    for name in names:
        facts = MODELS[name]
        assert (facts.embed_dim, facts.image_size) == expected
        assert facts.parameters == pytest.approx(millions, abs=0.006)


def test_printing_shows_a_table():
    models = list_models()
    lines = repr(models).splitlines()
    assert len(lines) == len(MODELS) + 2
    assert lines[0].split() == "name embed_dim parameters image size ImageNet license".split()
    row = next(line for line in lines if line.startswith("ViT-B-32/openai "))
    assert re.split(r"\s\s+", row) == [
        "ViT-B-32/openai", "512", "151.3 M", "224", "63.32 %", "MIT"
    ]  # fmt: skip
    assert models._repr_html_().count("<tr>") == len(MODELS) + 1
    assert "63.32 %" in models._repr_html_()
    assert dict(models) == {name: facts.repository for name, facts in MODELS.items()}


def test_the_documentation_shows_the_same_table():
    rows = re.findall(r"^\| `(\S+/\S+)` \| `(\S+)` \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    documented = {name: [repo, *map(str.strip, cells.split("|"))] for name, repo, cells in rows}
    assert documented == {
        name: [
            facts.repository,
            str(facts.embed_dim),
            f"{facts.parameters:.1f} M",
            str(facts.image_size),
            f"{facts.imagenet:.2f} %",
            facts.license,
        ]
        for name, facts in MODELS.items()
        if facts.repository != "bundled"
    }


@pytest.mark.parametrize("spelling", openai.ARCHIVES.values())
def test_names_of_openai(spelling):
    name = canonical_name(spelling)
    assert name == f"{spelling.replace('/', '-').replace('@336px', '-336')}/openai"
    assert name in MODELS
    assert canonical_name(spelling.lower()) == name


@pytest.mark.parametrize("name", MODELS)
def test_spellings_of_every_name(name):
    for separator in ("/", ":", "-", "_", " ", "@"):
        for changed in (str, str.lower, str.upper):
            assert canonical_name(changed(name.replace("/", separator))) == name


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("clip-ViT-B-16", "ViT-B-16/openai"),
        ("clip-ViT-L-14", "ViT-L-14/openai"),
        ("ViT-B-32-quickgelu/openai", "ViT-B-32/openai"),
        ("ViT-H-14-quickgelu:dfn5b", "ViT-H-14/dfn5b"),
        ("hf-hub:org/name@main", "org/name@main"),
        ("org/name", "org/name"),
        # open_clip has no such model: these weights have GELU
        ("ViT-B-32-quickgelu/laion2b_s34b_b79k", "ViT-B-32-quickgelu/laion2b_s34b_b79k"),
    ],
)
def test_spellings_of_the_peers(spelling, name):
    assert canonical_name(spelling) == name


@pytest.mark.parametrize("spelling", ["ViT-B-32", "ViT-B-32/laion2b_s34b", "vit-b-32:other"])
def test_an_architecture_alone_is_ambiguous(spelling):
    candidates = "'ViT-B-32/openai', 'ViT-B-32/laion2b_s34b_b79k', .*'ViT-B-32/metaclip_fullcc'"
    with pytest.raises(
        ModelNotAvailableError, match=f"'{spelling}' is an architecture, .*: {candidates}"
    ):
        canonical_name(spelling)


@pytest.mark.parametrize(
    ("spelling", "near"),
    [
        ("skclip/tinny", "'skclip/tiny'"),
        ("openai/clip-vit-base-patch-32", "'openai/clip-vit-base-patch32'"),
        ("ViT-L14/openai", "'ViT-L-14/openai'"),
        ("ViT-B-32-quickgelu/laion2b_s34b_b79k", "'ViT-B-32/laion2b_s34b_b79k'"),
    ],
)
def test_suggestions(spelling, near):
    assert near in suggest(spelling)


@pytest.mark.parametrize("spelling", ["gpt2", "", "x" * 1000, "org/model"])
def test_nothing_is_suggested_for_what_is_like_no_name(spelling):
    assert suggest(spelling) == ""
