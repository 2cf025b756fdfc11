import hashlib
import http.server
import json
import os
import re
import shutil
import threading
from pathlib import Path

import huggingface_hub
import pytest
import transformers

from skclip.checkpoints import hub, openai_vocabulary, resolve
from skclip.checkpoints.fingerprint import digest_files, fingerprint
from skclip.checkpoints.load import load_checkpoint, load_model
from skclip.checkpoints.resolve import DEFAULT_MODEL, identify
from skclip.checkpoints.save import save_model
from skclip.exceptions import CheckpointError, ModelNotAvailableError
from skclip.model.tokenizer import Tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def saved(tmp_path, make_model, tokenizer, make_preprocess_config):
    directory = tmp_path / "saved"
    model = make_model()
    save_model(directory, model, tokenizer, make_preprocess_config(32), templates=["a {}"])
    return directory


@pytest.fixture
def resnet(tmp_path, make_model, tokenizer, make_preprocess_config):
    directory = tmp_path / "resnet"
    save_model(directory, make_model("resnet"), tokenizer, make_preprocess_config(64))
    return directory


class Hub:
    """A hub on this machine: serves directories as repositories, and counts what it sends."""

    def __init__(self):
        self.repositories = {}
        self.sent = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request):
        path = request.path.split("?")[0]
        if match := re.fullmatch(r"/api/models/(.+)/(revision|tree)/(.+)", path):
            repo, kind, revision = match.groups()
            if repo not in self.repositories:
                return self.send(request, 404, b"", {"X-Error-Code": "RepoNotFound"})
            if revision not in ("main", "v1", COMMIT):
                return self.send(request, 404, b"", {"X-Error-Code": "RevisionNotFound"})
            files = sorted(p for p in self.repositories[repo].iterdir() if p.is_file())
            if kind == "revision":
                siblings = [{"rfilename": file.name} for file in files]
                content = {"id": repo, "sha": COMMIT, "siblings": siblings}
            else:
                content = [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": etag(f)}
                    for f in files
                ]
            return self.send(request, 200, json.dumps(content).encode())
        repo, name = re.fullmatch(rf"/(.+)/resolve/{COMMIT}/(.+)", path).groups()
        file = self.repositories[repo] / name
        if request.command == "GET":
            self.sent.append(name)
        headers = {"ETag": f'"{etag(file)}"', "X-Repo-Commit": COMMIT}
        return self.send(request, 200, file.read_bytes(), headers)

    @staticmethod
    def send(request, status, body, headers=None):
        request.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


def etag(path):
    return hashlib.sha1(path.read_bytes()).hexdigest()


@pytest.fixture
def local_hub(tmp_path, monkeypatch):
    server = Hub()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    # older versions keep a copy of it in the module that downloads
    for module in (constants, huggingface_hub.file_download):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_hub_model_is_fetched_once_and_then_needs_no_network(local_hub, saved, monkeypatch):
    (saved / "flax_model.msgpack").write_bytes(b"large")
    (saved / "pytorch_model.bin").write_bytes(b"large")
    local_hub.repositories["org/model"] = saved
    checkpoint = load_checkpoint("org/model")
    assert sorted(local_hub.sent) == [
        "config.json",
        "merges.txt",
        "model.safetensors",
        "preprocessor_config.json",
        "prompt_templates.json",
        "tokenizer_config.json",
        "vocab.json",
    ]
    assert checkpoint.source == "org/model"
    assert checkpoint.templates == ("a {}",)
    (saved / "pytorch_model.bin").unlink()
    assert checkpoint.fingerprint == load_checkpoint(saved).fingerprint

    local_hub.sent.clear()
    assert load_checkpoint("org/model@main").fingerprint == checkpoint.fingerprint
    assert local_hub.sent == []

    local_hub.server.shutdown()
    local_hub.server.server_close()
    for options in ({}, {"local_files_only": True}):
        assert load_checkpoint("org/model", **options).fingerprint == checkpoint.fingerprint
    with pytest.raises(ModelNotAvailableError, match="'skclip/tiny'.*model='/path/to/directory'"):
        load_checkpoint("org/other")


def test_revisions(local_hub, saved):
    local_hub.repositories["org/model"] = saved
    assert load_checkpoint("org/model@v1").source == "org/model@v1"
    assert load_checkpoint(f"org/model@{COMMIT}")
    with pytest.raises(ModelNotAvailableError, match="revision 'v2'"):
        load_checkpoint("org/model@v2")


def test_unknown_repository(local_hub):
    with pytest.raises(ModelNotAvailableError, match="no model 'org/nothing'"):
        load_checkpoint("org/nothing")


def test_repository_without_a_clip(local_hub, tmp_path):
    directory = tmp_path / "other"
    directory.mkdir()
    (directory / "README.md").write_text("no weights")
    local_hub.repositories["org/other"] = directory
    with pytest.raises(ModelNotAvailableError, match="README.md"):
        load_checkpoint("org/other")


def test_offline_and_not_cached(local_hub, saved, monkeypatch):
    local_hub.repositories[DEFAULT_MODEL] = saved
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotAvailableError, match="'skclip/tiny'"):
        load_checkpoint()
    assert local_hub.sent == []


def test_short_names(local_hub, saved):
    local_hub.repositories["laion/CLIP-ViT-B-32-laion2B-s34B-b79K"] = saved
    assert load_checkpoint("ViT-B-32/laion2b_s34b_b79k").tokenizer


def test_vocabulary_of_openai_comes_from_the_hub(
    local_hub, saved, tokenizer, tmp_path, monkeypatch
):
    # stands for OpenAI's vocabulary, which has 49,408 tokens
    for module in ("companions", "openai_vocabulary"):
        name = f"skclip.checkpoints.{module}.OPENAI_VOCAB_SIZE"
        monkeypatch.setattr(name, len(tokenizer.vocab))
    content = openai_vocabulary._content(tokenizer)
    monkeypatch.setattr(openai_vocabulary, "_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(openai_vocabulary, "_open_clip_file", lambda: None)
    local_hub.repositories[DEFAULT_MODEL] = saved
    bare = tmp_path / "bare"
    shutil.copytree(saved, bare)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (bare / name).unlink()
    checkpoint = load_checkpoint(bare)
    assert local_hub.sent == []
    assert checkpoint.tokenizer.vocab == tokenizer.vocab
    assert sorted(local_hub.sent) == ["merges.txt", "vocab.json"]

    # what else comes to stand beside the vocabulary changes nothing
    (vocab,) = (tmp_path / "cache").glob("*/snapshots/*/vocab.json")
    (vocab.parent / "tokenizer_config.json").write_text('{"eos_token": "the end"}')
    (vocab.parent / "tokenizer.json").write_text("{}")
    assert load_checkpoint(bare, local_files_only=True).tokenizer.vocab == tokenizer.vocab
    vocab.unlink()
    with pytest.raises(ModelNotAvailableError, match=f"{DEFAULT_MODEL}.*not in the local cache"):
        load_model(bare, local_files_only=True)


def test_a_directory_without_a_tokenizer(saved):
    (saved / "vocab.json").unlink()
    with pytest.raises(CheckpointError, match="vocab.json and merges.txt"):
        load_checkpoint(saved)


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "~/no-such-directory"])
def test_missing_paths(source):
    with pytest.raises(ModelNotAvailableError, match="no file or directory"):
        load_checkpoint(source)


@pytest.mark.parametrize("source", ["gpt2", "a/b/c", "org/name@", ""])
def test_names_of_no_kind(source):
    with pytest.raises(ModelNotAvailableError, match="list_models"):
        load_checkpoint(source)


def test_wrong_type():
    with pytest.raises(TypeError, match="got a int"):
        load_checkpoint(3)


def test_identify_notices_an_edited_directory(saved):
    before = identify(saved)
    assert hash(before) == hash(identify(str(saved)))
    path = saved / "config.json"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert identify(saved) != before
    weights = saved / "model.safetensors"
    before = identify(weights)
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert identify(weights) != before
    assert identify("org/name@main") == ("org/name@main",)


@pytest.mark.parametrize("weights", [False, True])
def test_paths_hold_from_any_working_directory(saved, tmp_path, monkeypatch, weights):
    path = saved / "model.safetensors" if weights else saved
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    relative = str(path.relative_to(tmp_path))
    for source in (relative, f"~/{relative}", f"./{relative}", Path(relative)):
        assert resolve.resolve(source).source == str(path)
        assert identify(source) == identify(path)
    source = load_checkpoint(relative).source
    monkeypatch.chdir("/")
    assert load_checkpoint(source).source == source


def test_linked_weights_are_described_by_what_stands_beside_the_link(saved, tmp_path):
    # as in the hub's cache, whose snapshots are links to files without a name
    blob = tmp_path / "blobs" / "0123"
    blob.parent.mkdir()
    weights = saved / "model.safetensors"
    weights.rename(blob)
    weights.symlink_to(blob)
    assert load_checkpoint(weights).fingerprint == load_checkpoint(saved).fingerprint


def test_identify_does_not_read(saved, monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("a file was opened"))
    identify(saved)


def test_fingerprint_depends_on_weights_configuration_and_tokenizer(saved, tmp_path):
    expected = load_checkpoint(saved).fingerprint
    moved = tmp_path / "moved"
    shutil.copytree(saved, moved)
    (moved / "README.md").write_text("not part of the model")
    assert load_checkpoint(moved).fingerprint == expected
    found = {expected}
    for name in ("config.json", "preprocessor_config.json", "prompt_templates.json"):
        with open(moved / name, "a") as file:
            file.write("\n")
        found.add(load_checkpoint(moved).fingerprint)
    merges = moved / "merges.txt"
    *others, last_but_one, last = merges.read_text().splitlines()
    merges.write_text("\n".join([*others, last, last_but_one]))
    found.add(load_checkpoint(moved).fingerprint)
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    found.add(load_checkpoint(moved).fingerprint)
    assert len(found) == 6


def test_fingerprint_does_not_depend_on_files_that_are_not_read(saved, resnet):
    for directory, unused in (
        (saved, ("processor_config.json", "tokenizer.json", "bpe_simple_vocab_16e6.txt.gz")),
        (resnet, ("preprocessor_config.json", "processor_config.json", "config.json")),
    ):
        expected = load_checkpoint(directory).fingerprint
        for name in unused:
            (directory / name).write_text("{}")
        assert load_checkpoint(directory).fingerprint == expected


def test_fingerprint_does_not_depend_on_the_kind_of_the_tokenizer_files(saved):
    expected = load_checkpoint(saved).fingerprint
    peer = transformers.CLIPTokenizerFast.from_pretrained(saved)
    for name in ("vocab.json", "merges.txt"):
        (saved / name).unlink()
    peer.save_pretrained(saved)
    (saved / "vocab.json").unlink(missing_ok=True)
    assert load_checkpoint(saved).fingerprint == expected


def test_fingerprint_known_answer(tmp_path):
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    lines = [
        f"{name}:{hashlib.sha256(data).hexdigest()}\n" for name, data in (("a", b"1"), ("b", b"2"))
    ]
    tokenizer = Tokenizer.from_merges([("a", "b</w>")])
    vocab = [[token, tokenizer.vocab[token]] for token in sorted(tokenizer.vocab)]
    known = [vocab, [["a", "b</w>"]], "<|startoftext|>", "<|endoftext|>"]
    lines.append(json.dumps(known))
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert fingerprint(digest_files([tmp_path / "b", tmp_path / "a"]), tokenizer) == expected


def test_several_archives_are_ambiguous(saved, tmp_path):
    directory = tmp_path / "archives"
    directory.mkdir()
    for name in ("a.pt", "b.pt"):
        (directory / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match="a.pt"):
        load_checkpoint(directory)


def test_empty_directory(tmp_path):
    with pytest.raises(CheckpointError, match="found nothing"):
        load_checkpoint(tmp_path)


def test_hub_fetch_names_what_the_hub_refuses(local_hub):
    with pytest.raises(ModelNotAvailableError, match="the hub refuses 'org/bad"):
        hub.fetch("org/bad..name--", None, resolve._needed_names)


COMPANIONS_OF_A_VIT = ("config.json", "preprocessor_config.json", "vocab.json", "merges.txt")


@pytest.mark.parametrize("name", [*COMPANIONS_OF_A_VIT, "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("weights", [False, True])
def test_what_is_no_file_is_refused_by_what_it_is(saved, name, weights):
    path = saved / name
    path.unlink(missing_ok=True)
    source = saved / "model.safetensors" if weights else saved
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match=f"{name} must be a file, but is a named pipe"):
        load_checkpoint(source)
    path.unlink()
    path.mkdir()
    if source != path:
        with pytest.raises(CheckpointError, match=f"{name} must be a file, but is a directory"):
            load_checkpoint(source)
    path.rmdir()
    path.symlink_to("/nowhere/else")
    with pytest.raises(CheckpointError, match=f"{name} is a link to /nowhere/else"):
        load_checkpoint(source)


@pytest.mark.parametrize("source", ["/dev/null", "/dev/zero"])
def test_a_device_as_a_model(source):
    with pytest.raises(CheckpointError, match=f"{source} must be a file, but is a device"):
        load_checkpoint(source)


@pytest.mark.parametrize("source", ["x" * 300, "a" * 5000 + "/b", "nul\0byte", "~no-such-user/x"])
def test_names_that_no_file_can_have(source):
    with pytest.raises(ModelNotAvailableError) as caught:
        load_checkpoint(source, local_files_only=True)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("spelling", "repository"),
    [
        ("ViT-B/32", DEFAULT_MODEL),
        ("vit-b-32:openai", DEFAULT_MODEL),
        ("clip-ViT-B-32", DEFAULT_MODEL),
        ("ViT-B-32-laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("hf-hub:org/model", "org/model"),
        ("hf-hub:org/model@v1", "org/model@v1"),
    ],
)
def test_other_spellings_mean_the_same_model(local_hub, saved, spelling, repository):
    local_hub.repositories[repository.partition("@")[0]] = saved
    checkpoint = load_checkpoint(spelling)
    assert checkpoint.fingerprint == load_checkpoint(saved).fingerprint
    assert checkpoint.source == spelling
    assert identify(spelling) == identify(repository) == (repository,)


def test_a_bundled_model_however_it_is_spelled():
    checkpoint = load_checkpoint("SKCLIP/Tiny")
    assert checkpoint.source == "skclip/tiny"
    assert identify("SKCLIP/Tiny") == identify("skclip/tiny")


@pytest.mark.parametrize("offline", [False, True])
def test_near_names_are_suggested(local_hub, offline):
    with pytest.raises(ModelNotAvailableError, match=r"Did you mean 'skclip/tiny'\?$"):
        load_checkpoint("skclip/tinny", local_files_only=offline)


def test_a_known_name_is_not_suggested_instead_of_itself():
    with pytest.raises(ModelNotAvailableError) as caught:
        load_checkpoint("ViT-B-16/openai", local_files_only=True)
    assert "Did you mean" not in str(caught.value)
