import json
import os
import pickle
import socket
import struct
import tracemalloc
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from skclip.checkpoints.tensors import read_tensors
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


# Hostile files. A pickle that torch would take is written by hand, opcode by opcode.


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def numbers(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(numel, key="0", kind="FloatStorage"):
    name = b"ctorch\n" + kind.encode() + b"\n"
    return b"(" + text("storage") + name + text(key) + text("cpu") + number(numel) + b"tQ"


def tensor(size, stride, *, numel=1, offset=0):
    where = storage(numel) + number(offset) + numbers(*size) + numbers(*stride)
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + hooks + b"tR"


def state(*values, names=None):
    names = names or [f"tensor{i}" for i in range(len(values))]
    items = b"".join(text(name) + value for name, value in zip(names, values, strict=True))
    return b"\x80\x02}(" + items + b"u."


def nested_tuple(levels=60):
    """A tuple of two tuples of two tuples, ...: small in memory, without end when it is hashed."""
    first = b"K\x01K\x01\x86q\x00"
    return first + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(levels))


def write_zip(path, pickled, *, data=b"\0" * 4, script=False, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", data)
        archive.writestr("archive/version", b"3\n")
        if script:
            archive.writestr("archive/constants.pkl", b")")


def write_legacy(path, pickled, keys=("0",), data=b""):
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    head = b"".join(pickle.dumps(value, protocol=2) for value in head)
    path.write_bytes(head + pickled + pickle.dumps(list(keys), protocol=2) + data)


@pytest.fixture
def little_memory():
    """Allow the process hardly more memory than it has, so that a large allocation fails."""
    resource = pytest.importorskip("resource")
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def test_pickles_written_by_hand_are_those_of_torch(tmp_path):
    values = torch.arange(6.0)
    pickled = state(tensor((2, 2), (3, 1), numel=6, offset=1))
    data = values.numpy().tobytes()
    write_zip(tmp_path / "zip.bin", pickled, data=data)
    write_legacy(tmp_path / "legacy.bin", pickled.replace(b"tQ", b"NtQ"), data=number(6)[2:] + data)
    expected = torch.tensor([[1.0, 2.0], [4.0, 5.0]])
    for name in ("zip.bin", "legacy.bin"):
        assert torch.equal(read_tensors(tmp_path / name)["tensor0"], expected)
        assert torch.equal(torch.load(tmp_path / name)["tensor0"], expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor((200_000, 256_000), (0, 0)), r"shape \(200000, 256000\) does not lie"),
        (tensor((10**9,), (1,)), "does not lie in its storage of 1 numbers"),
        (tensor((2,), (1,), numel=2, offset=1), "does not lie"),
        (tensor((1,), (-1,)), "unexpected shape"),
        (tensor((1, 1), (1,)), "unexpected shape"),
        (tensor((1,) * 9, (1,) * 9), "unexpected shape"),
        (tensor((10**11,), (1,), numel=10**11), "claim more bytes than the file has"),
        (b"cbuiltins\nbytearray\n(" + number(10**11) + b"tR", "something else, not a tensor"),
        (b"\x8e" + struct.pack("<Q", 10**11), "instruction 142"),
        (b"\x8b" + struct.pack("<i", 2**31 - 1), "instruction 139"),
        (b"B" + struct.pack("<I", 2**32 - 1), "truncated"),
        (b"X" + struct.pack("<I", 2**32 - 1), "truncated"),
        (b"}" + nested_tuple() + b"K\x01s", "is a dict, not a tensor"),
        (nested_tuple(), "a tuple, not a tensor"),
        (b"ccollections\nOrderedDict\n(](" + nested_tuple() + b"K\x01\x86etR", "a dict, not"),
        (b"cbuiltins\nset\n(](" + nested_tuple() + b"etR", "something else, not a tensor"),
        (nested_tuple() + b"Q", "object of another file"),
        (b"(" + nested_tuple() + b"K\x00K\x00K\x00K\x00tQ", "something else than a storage"),
        (b"(" + text("storage") + nested_tuple() + b"K\x00K\x00K\x00tQ", "something else"),
        (storage(4).replace(text("0"), nested_tuple()), "unexpected name or size"),
        (storage(-1), "unexpected name or size"),
        (b"(" * 20_000 + b"t" * 20_000, "a tuple, not a tensor"),
        (b"K\x01)\x81", "another class"),
        (b"K\x01)R", "no function"),
    ],
)
@pytest.mark.parametrize("script", [False, True])
def test_what_a_pickle_claims_is_not_allocated(tmp_path, little_memory, value, message, script):
    write_zip(tmp_path / "c.bin", state(value), script=script)
    with pytest.raises(CheckpointError, match=f"c.bin.*{message}"):
        read_tensors(tmp_path / "c.bin")


def test_old_files_that_claim_much(tmp_path, little_memory):
    path = tmp_path / "c.bin"
    whole = state(tensor((10**9,), (1,), numel=10**9)).replace(b"tQ", b"NtQ")
    write_legacy(path, whole, data=number(10**9)[2:] + b"\0" * 64)
    with pytest.raises(CheckpointError, match=r"c.bin.*end early"):
        read_tensors(path)
    write_legacy(path, whole, data=number(10**8)[2:] + b"\0" * 64)
    with pytest.raises(CheckpointError, match=r"c.bin.*unexpected size"):
        read_tensors(path)
    path.write_bytes(b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.")
    with pytest.raises(CheckpointError, match=r"c.bin"):
        read_tensors(path)


@pytest.mark.parametrize("script", [False, True])
def test_compressed_records_are_not_inflated(tmp_path, little_memory, script):
    path = tmp_path / "c.bin"
    compressed = {"compression": zipfile.ZIP_DEFLATED, "script": script}
    write_zip(path, b"\x80\x02" + text("a" * (16 << 20)) + b".", **compressed)
    with pytest.raises(CheckpointError, match=r"c.bin.*data.pkl.*is compressed"):
        read_tensors(path)
    numel = 4 << 20
    with zipfile.ZipFile(tmp_path / "d.bin", "w") as archive:
        archive.writestr("archive/data.pkl", state(tensor((numel,), (1,), numel=numel)))
        archive.writestr("archive/data/0", bytes(numel * 4), zipfile.ZIP_DEFLATED)
        if script:
            archive.writestr("archive/constants.pkl", b")")
    with pytest.raises(CheckpointError, match=r"d.bin.*claim more bytes"):
        read_tensors(tmp_path / "d.bin")


def test_an_index_larger_than_any_checkpoint_has(tmp_path):
    path = tmp_path / "c.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", state())
        for number in range(150):
            archive.writestr(f"{number:060000}", b"")
    with pytest.raises(CheckpointError, match=r"c.bin.*its index claims \d+ bytes"):
        read_tensors(path)


def test_a_header_larger_than_any_checkpoint_has(tmp_path, little_memory):
    path = tmp_path / "c.safetensors"
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = b"{" + b",".join(entry % number for number in range(200_000)) + b"}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError, match=r"c.safetensors.*a header of \d+ bytes"):
        read_tensors(path)


def test_safetensors_that_overlap_or_leave_gaps(tmp_path):
    # the library checks it; this test notices if that ends
    path = tmp_path / "c.safetensors"
    for offsets in ((0, 4), (2, 6), (0, 2**62), (6, 2)):
        entries = {
            name: {"dtype": "F32", "shape": [1], "data_offsets": where}
            for name, where in (("a", (0, 4)), ("b", offsets))
        }
        header = json.dumps(entries).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
        with pytest.raises(CheckpointError, match="c.safetensors"):
            read_tensors(path)


def test_numbers_with_many_names_are_refused(tmp_path):
    numel = 4096
    one = tensor((numel,), (1,), numel=numel)
    write_zip(tmp_path / "c.bin", state(one, one), data=bytes(numel * 4))
    assert len(read_tensors(tmp_path / "c.bin")) == 2
    write_zip(tmp_path / "c.bin", state(*[one] * 30), data=bytes(numel * 4))
    with pytest.raises(CheckpointError, match="more than two names"):
        read_tensors(tmp_path / "c.bin")


def test_deeply_nested_modules(tmp_path):
    module = b"c__torch__\nM\n)\x81"
    depth = 20_000
    pickled = b"\x80\x02" + (module + b"}" + text("a")) * depth + module + b"sb" * depth + b"."
    write_zip(tmp_path / "c.pt", pickled, script=True)
    with pytest.raises(CheckpointError, match="names of more than 1000 characters"):
        read_tensors(tmp_path / "c.pt")


def test_modules_in_a_circle(tmp_path):
    module = b"c__torch__\nM\n)\x81q\x00"
    inner = module + b"}(" + text("w") + tensor((1,), (1,)) + text("self") + b"h\x00ub."
    write_zip(tmp_path / "c.pt", b"\x80\x02" + inner, script=True)
    assert list(read_tensors(tmp_path / "c.pt")) == ["w"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.empty(3, device="meta"),
        lambda: torch.ones(3).to(torch.float8_e5m2),
    ],
)
def test_tensors_that_are_no_plain_numbers(tmp_path, make):
    torch.save({"a": make()}, tmp_path / "c.bin")
    with pytest.raises(CheckpointError, match="c.bin: a is no weight: it is sparse, "):
        read_tensors(tmp_path / "c.bin")
    # beside the weights it does no harm
    torch.save({"state_dict": {"w": torch.ones(2)}, "other": make()}, tmp_path / "c.bin")
    assert read_tensors(tmp_path / "c.bin")["w"].tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["dict", "list", "state"])
def test_what_is_named_again_and_again_is_not_copied(tmp_path, kind):
    items = b"".join(text(f"{i}") + b"K\x01" for i in range(1000))
    pairs = b"".join(text(f"{i}") + b"K\x01\x86" for i in range(1000))
    if kind == "state":
        start, again = b"}(" + items + b"uq\x00", b"c__torch__\nM\n)\x81h\x00b"
    else:
        start = (b"}(" + items + b"u" if kind == "dict" else b"](" + pairs + b"e") + b"q\x00"
        again = b"ccollections\nOrderedDict\nh\x00\x85R"
    write_zip(tmp_path / "c.bin", b"\x80\x02" + start + b"](" + again * 20_000 + b"e.")
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="c.bin"):
        read_tensors(tmp_path / "c.bin")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # 20,000 copies would take 700 MB


def test_training_state_beside_the_weights_is_not_read(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2, 3))
    # as torch.optim.AdamW writes it
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 3)}
    optimizer = {"state": {0: moments}, "param_groups": [{"betas": (0.9, 0.999), "params": [0]}]}
    content = {
        "epoch": 3,
        "state_dict": {"weight": weight, "b": torch.ones(2)[None].expand(1, 2)},
        "optimizer": optimizer,
        "shape": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "counts": Counter("abc"),
        "random": torch.get_rng_state(),
    }
    for zipped in (True, False):
        torch.save(content, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
        loaded = read_tensors(tmp_path / "c.pt")
        assert torch.equal(loaded["weight"], weight)
        assert loaded["b"].shape == (1, 2)


def test_a_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "c.bin"
    torch.save({"a": torch.ones(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(10).numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"c.bin.*another checksum"):
        read_tensors(path)


def test_what_is_no_file_is_refused_by_what_it_is(tmp_path):
    cases = {"pipe": "a named pipe", "folder": "a directory", "link": "a link to /nowhere/else"}
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/nowhere/else")
    for name, kind in cases.items():
        with pytest.raises(CheckpointError, match=f"{name}.* is {kind}"):
            read_tensors(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as listener:
        path = os.path.relpath(tmp_path / "socket")
        listener.bind(path if len(path) < 100 else str(tmp_path / "socket"))
        with pytest.raises(CheckpointError, match="is a socket"):
            read_tensors(tmp_path / "socket")
    for device in ("/dev/null", "/dev/zero"):
        with pytest.raises(CheckpointError, match=f"{device}.* is a device"):
            read_tensors(Path(device))
    (tmp_path / "empty").touch()
    with pytest.raises(CheckpointError, match="empty is empty"):
        read_tensors(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="No such file"):
        read_tensors(tmp_path / "missing")


def test_long_names_are_shortened_in_messages(tmp_path):
    torch.save({"x" * 10_000: 1}, tmp_path / "c.bin")
    with pytest.raises(CheckpointError) as caught:
        read_tensors(tmp_path / "c.bin")
    assert len(str(caught.value)) < 500
