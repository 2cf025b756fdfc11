"""Models without tokenizer files: images need none, and texts need OpenAI's vocabulary."""

import gzip
import hashlib
import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
from PIL import Image

from skclip.checkpoints import openai_vocabulary
from skclip.checkpoints.fingerprint import checkpoint_fingerprint, digest_files, fingerprint
from skclip.checkpoints.lazy_tokenizer import LazyTokenizer
from skclip.checkpoints.load import Checkpoint, load_checkpoint, load_model
from skclip.checkpoints.openai_vocabulary import find_openai_vocabulary
from skclip.checkpoints.resolve import DEFAULT_MODEL
from skclip.checkpoints.save import save_model
from skclip.checkpoints.tokenizer_files import OPENAI_MERGES
from skclip.encode.encoder import load_encoder
from skclip.encode.protocol import check_fingerprint
from skclip.exceptions import CheckpointError, ModelNotAvailableError
from skclip.model.clip import CLIP
from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig
from skclip.model.tokenizer import Tokenizer

PUBLISHED = Path(open_clip.__file__).parent / OPENAI_MERGES
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")
PICTURE = Image.new("RGB", (40, 30), "red")


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A small model with OpenAI's vocabulary, whose files are there."""
    with gzip.open(PUBLISHED, "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1:48895]]
    vision = VisionConfig(image_size=32, patch_size=16, width=64, layers=1)
    text = TextConfig(width=8, heads=1, layers=1)
    directory = tmp_path_factory.mktemp("whole")
    model = CLIP(CLIPConfig(16, vision, text))
    save_model(directory, model, Tokenizer.from_merges(merges), PreprocessConfig(32))
    return directory


@pytest.fixture
def bare(whole, tmp_path):
    directory = tmp_path / "bare"
    shutil.copytree(whole, directory, ignore=shutil.ignore_patterns(*TOKENIZER_FILES))
    return directory


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The hub's cache, empty, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.fixture
def nowhere(cache, monkeypatch):
    """No vocabulary of OpenAI's is on this machine."""
    monkeypatch.setattr(openai_vocabulary, "_open_clip_file", lambda: None)
    return cache


def fill(cache, whole):
    """Put the vocabulary into the hub's cache; return its directory."""
    repository = cache / f"models--{DEFAULT_MODEL.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for name in TOKENIZER_FILES[:2]:
        shutil.copy(whole / name, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    return snapshot


def test_images_need_no_vocabulary_and_texts_wait_for_it(bare, whole, nowhere):
    encoder = load_encoder(bare)
    assert encoder.encode_images([PICTURE]).shape == (1, 16)
    with pytest.raises(ModelNotAvailableError, match="bare has no tokenizer files.*open_clip"):
        encoder.encode_texts(["a cat"])
    with pytest.raises(ModelNotAvailableError, match="Put vocab.json"):
        load_model(bare)
    fill(nowhere, whole)
    assert (encoder.encode_texts(["a cat"]) == load_encoder(whole).encode_texts(["a cat"])).all()


def test_a_model_with_tokenizer_files_builds_no_tokenizer_for_images(whole, monkeypatch):
    monkeypatch.setattr("skclip.model.tokenizer.Tokenizer", lambda *_, **__: pytest.fail("built"))
    encoder = load_encoder(whole, preprocess="exact")
    assert encoder.encode_images([PICTURE]).shape == (1, 16)


def test_damaged_tokenizer_files_are_told_at_once(whole, tmp_path):
    directory = tmp_path / "damaged"
    shutil.copytree(whole, directory)
    (directory / "merges.txt").write_text("a b c")
    with pytest.raises(CheckpointError, match="merges.txt, line 1"):
        load_encoder(directory)


def test_places_of_the_vocabulary(whole, cache, monkeypatch):
    published = find_openai_vocabulary()
    assert (len(published.vocab), published.end_id) == (49408, 49407)
    snapshot = fill(cache, whole)
    monkeypatch.setattr(openai_vocabulary, "_open_clip_file", lambda: pytest.fail("asked"))
    assert find_openai_vocabulary() == published
    # the fingerprint of a model without tokenizer files stands for this vocabulary and no other
    vocab = json.loads((snapshot / "vocab.json").read_text())
    vocab["cat</w>"], vocab["dog</w>"] = vocab["dog</w>"], vocab["cat</w>"]
    (snapshot / "vocab.json").write_text(json.dumps(vocab))
    with pytest.raises(CheckpointError, match="does not hold OpenAI's vocabulary"):
        find_openai_vocabulary()


def test_without_open_clip_there_is_no_copy_of_its_file(monkeypatch):
    assert openai_vocabulary._open_clip_file() == PUBLISHED
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert openai_vocabulary._open_clip_file() is None


def test_fingerprint_without_tokenizer_files_is_a_constant(bare, whole, nowhere):
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    lines = [f"{name}:{hashlib.sha256((bare / name).read_bytes()).hexdigest()}\n" for name in names]
    lines.append('"the vocabulary of OpenAI\'s CLIP"')
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    checkpoint = load_checkpoint(bare)
    assert checkpoint.fingerprint == expected
    assert checkpoint_fingerprint(bare) == expected
    fill(nowhere, whole)
    assert checkpoint.tokenizer
    assert load_checkpoint(bare).fingerprint == expected
    # of a model with tokenizer files it is what it was
    tokenizer = load_checkpoint(whole).tokenizer
    files = digest_files(whole / name for name in names)
    assert checkpoint_fingerprint(whole) == fingerprint(files, tokenizer) != expected


def test_the_former_fingerprint_of_a_model_without_tokenizer_files_is_accepted(
    bare, whole, nowhere
):
    encoder, former = load_encoder(bare), checkpoint_fingerprint(whole)
    with pytest.raises(CheckpointError, match="not the one this was fitted with"):
        check_fingerprint(encoder, former)
    fill(nowhere, whole)
    check_fingerprint(encoder, former)
    with pytest.raises(CheckpointError, match="not the one this was fitted with"):
        check_fingerprint(encoder, "0" * 64)
    with pytest.raises(CheckpointError, match="not the one this was fitted with"):
        check_fingerprint(load_encoder(whole), None)
    assert load_encoder(whole).former_fingerprint() is None


def test_threads_share_one_tokenizer(bare):
    lazy = load_checkpoint(bare).lazy_tokenizer
    with ThreadPoolExecutor(8) as pool:
        built = [pool.submit(lazy.get) for _ in range(16)]
    assert len({id(future.result()) for future in built}) == 1


def test_pickles_of_checkpoints(bare, nowhere, tokenizer):
    checkpoint = load_checkpoint(bare)
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again.fingerprint == checkpoint.fingerprint
    with pytest.raises(ModelNotAvailableError):
        again.tokenizer  # noqa: B018
    # as development versions pickled it
    state = {"model": None, "tokenizer": tokenizer, "source": "a", "fingerprint": "b"}
    old = object.__new__(Checkpoint)
    old.__setstate__(state)
    assert old.tokenizer.vocab == tokenizer.vocab
    assert old.tokenizer.context_length == tokenizer.context_length
    assert (old.former_fingerprint(), old.templates) == (None, ())


def test_lazy_form_of_a_tokenizer(tokenizer):
    again = pickle.loads(pickle.dumps(LazyTokenizer.of(tokenizer, source="a"))).get()
    assert again.encode_batch(["the cat"]) == tokenizer.encode_batch(["the cat"])


def test_weights_that_are_a_pipe_are_not_waited_for(bare):
    (bare / "model.safetensors").unlink()
    os.mkfifo(bare / "model.safetensors")
    with pytest.raises(CheckpointError, match="model.safetensors must be a file"):
        checkpoint_fingerprint(bare)
