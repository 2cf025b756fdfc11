import os
import pickle
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from skclip.checkpoints.tensors import read_tensors
from skclip.checkpoints.torch_files import is_torchscript
from skclip.exceptions import CheckpointError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(2, dtype=torch.int64)}


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def assert_state(state):
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_safetensors_whatever_the_suffix(tmp_path):
    save_file(STATE, tmp_path / "weights.bin")
    assert_state(read_tensors(tmp_path / "weights.bin"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "state_dict_ema", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_torch_checkpoints(tmp_path, zipped, wrapper, prefix):
    state = {prefix + key: value for key, value in STATE.items()} | {"vocab_size": 5}
    content = {"epoch": 3, wrapper: state} if wrapper else state
    torch.save(content, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    state = read_tensors(tmp_path / "c.pt")
    assert_state(state)


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.tied = self.linear.weight
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.register_buffer("context_length", torch.tensor(77))

    def forward(self, x):
        return self.norm(self.linear(x)) * self.scale


class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.Sequential(Inner(), torch.nn.ReLU())
        self.view = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4).T[1:])
        self.sizes: list[int] = [1, 2]

    def forward(self, x):
        return self.blocks(x) + self.sizes[0]


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "archive.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates writing them
        module = torch.jit.script(Outer().half())
        module.save(path)
        # what torch itself reads, code and all, is the reference
        return path, torch.jit.load(path).state_dict()


def test_torchscript_archive(archive):
    path, reference = archive
    assert is_torchscript(path)
    state = read_tensors(path)
    expected = {k: v for k, v in reference.items() if not k.endswith("context_length")}
    assert len(expected) == 10
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(state[key], value)
        assert state[key].dtype == value.dtype


def rewrite(path, name, content, *, compression=zipfile.ZIP_STORED):
    """Replace one record of a zip file."""
    with zipfile.ZipFile(path) as source:
        records = {info.filename: source.read(info) for info in source.infolist()}
    key = next(record for record in records if record.endswith(name))
    records[key] = content(records[key]) if callable(content) else content
    with zipfile.ZipFile(path, "w", compression) as target:
        for record, data in records.items():
            target.writestr(record, data)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_payload_in_a_checkpoint_does_not_run(tmp_path, zipped):
    target = tmp_path / "owned"
    torch.save(
        STATE | {"x": Payload(target)}, tmp_path / "c.bin", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(CheckpointError, match="more than tensors"):
        read_tensors(tmp_path / "c.bin")
    assert not target.exists()
    # the same file does harm to who trusts it, so the test can fail
    torch.load(tmp_path / "c.bin", weights_only=False)
    assert target.exists()


@pytest.mark.parametrize(
    "payload",
    [
        lambda target: pickle.dumps(Payload(target)),
        # by the names that the reader knows: a stand-in, a container, a storage that is called
        lambda target: (
            b"cbuiltins\neval\n(V__import__('os').system('touch %b')\ntR." % bytes(target)
        ),
        lambda target: b"ctorch\nFloatStorage\n(I9\ntR.",
        lambda target: b"ctorch._utils\n_rebuild_tensor\n(I9\ntR.",
        lambda target: b"ctorch\nload\n(V%b\ntR." % bytes(target),
        lambda target: b"c__torch__\nM\n)\x81I7\nb.",
        lambda target: b"ctorch.jit._pickle\nbuild_intlist\n(ctorch.serialization\nload\ntR.",
    ],
)
def test_a_payload_in_an_archive_does_not_run(tmp_path, archive, payload):
    path, _ = archive
    target = tmp_path / "owned"
    rewrite(path, "/data.pkl", payload(target))
    with pytest.raises(CheckpointError):
        read_tensors(path)
    assert not target.exists()


def test_damaged_archives(archive):
    path, _ = archive
    whole = path.read_bytes()
    rewrite(path, "/data/0", lambda data: data + b"\0\0")
    with pytest.raises(CheckpointError, match="unexpected size"):
        read_tensors(path)
    path.write_bytes(whole)
    rewrite(path, "/version", b"3", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="unexpected size"):
        read_tensors(path)
    path.write_bytes(whole)
    rewrite(path, "/data.pkl", lambda data: data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="archive.pt"):
        read_tensors(path)


@pytest.mark.parametrize("keep", [0, 5, 9, 100, -10])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_truncated_files(tmp_path, kind, keep):
    path = tmp_path / "model.bin"
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="model.bin"):
        read_tensors(path)


@pytest.mark.parametrize("content", [[torch.zeros(3)], {"a": [1, 2]}, {1: torch.zeros(3)}, {}])
def test_what_is_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="state dict"):
        read_tensors(tmp_path / "c.pt")
