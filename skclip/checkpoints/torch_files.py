"""Files of ``torch.save`` and TorchScript archives -> descriptions of tensors, and their bytes.

A pickle is a program for a small machine. Here the machine has no instruction that calls, imports
or allocates what a file asks for: the pickle yields descriptions of tensors, and those that are
wanted are read afterwards.
"""

import io
import math
import os
import pickle
import struct
import types
import zipfile
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

# The header or the index of a file with 100,000 tensors fits; those of CLIP have some thousands.
MAX_DESCRIPTION = 8 << 20
# The pickle of a CLIP with the state of its training takes about 1 MB, and the longest one seconds.
_MAX_PICKLE = 2 << 20
_MAX_DIMENSIONS = 8
_MAX_NAME = 1000
# a weight may be stored once and have two names
_MAX_NAMES_OF_A_TENSOR = 2

_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
}
# TorchScript wraps typed lists and dictionaries in these; each returns its first argument.
_TYPED_CONTAINERS = (
    "build_intlist",
    "build_tensorlist",
    "build_doublelist",
    "build_boollist",
    "restore_type_tag",
)
# What training states hold beside tensors, and torch's weights-only reading accepts.
_BESIDE_TENSORS = {
    ("torch", "Size"),
    ("torch", "Tensor"),
    ("torch", "device"),
    ("torch.serialization", "_get_layout"),
    ("_codecs", "encode"),
    ("builtins", "bytearray"),
    ("builtins", "complex"),
    ("builtins", "set"),
    ("__builtin__", "bytearray"),
    ("__builtin__", "complex"),
    ("__builtin__", "set"),
}
_OPCODES = (
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE "
    "SHORT_BINUNICODE BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES EMPTY_DICT EMPTY_LIST "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS BINGET LONG_BINGET BINPUT LONG_BINPUT "
    "MEMOIZE GLOBAL STACK_GLOBAL BINPERSID"
).split()

# torch/serialization.py: the numbers at the start of a file that is no zip file
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# the header before a record of a zip file: how long the name and the extra field are
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"


class StoredStorage(NamedTuple):
    """A run of numbers in a file."""

    key: str
    dtype: torch.dtype
    numel: int

    @property
    def nbytes(self):
        """Size in bytes."""
        return self.numel * self.dtype.itemsize


class StoredTensor(NamedTuple):
    """Where in a storage a tensor lies. All of it lies inside, which was checked."""

    storage: StoredStorage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class UnreadableTensor(NamedTuple):
    """A tensor that no weight can be. Beside the weights it does no harm."""

    reason: str


class StoredModule:
    """What stands for an object of a TorchScript class; its state is a dictionary."""

    __slots__ = ("state",)

    def __init__(self):
        self.state = {}


@dataclass
class TorchFile:
    """An open file with its description.

    Parameters
    ----------
    root : object
        What was saved, with `StoredTensor` and `StoredModule` in the place of tensors and modules.
    read_storage : callable
        Returns the bytes of a `StoredStorage` as an array.
    size : int
        Size of the file in bytes.
    """

    root: object
    read_storage: object
    size: int

    def load(self, stored):
        """Read tensors.

        Parameters
        ----------
        stored : dict of str to StoredTensor

        Returns
        -------
        dict of str to Tensor
        """
        storages = {tensor.storage for tensor in stored.values()}
        if sum(storage.nbytes for storage in storages) > self.size:
            raise pickle.UnpicklingError("its tensors claim more bytes than the file has")
        numbers = sum(math.prod(t.size) * t.storage.dtype.itemsize for t in stored.values())
        if numbers > _MAX_NAMES_OF_A_TENSOR * self.size:
            raise pickle.UnpicklingError("the same numbers have more than two names")
        loaded = {storage: self._load_storage(storage) for storage in storages}
        return {
            name: loaded[tensor.storage].as_strided(tensor.size, tensor.stride, tensor.offset)
            for name, tensor in stored.items()
        }

    def _load_storage(self, storage):
        if not storage.numel:
            return torch.empty(0, dtype=storage.dtype)
        return torch.frombuffer(self.read_storage(storage), dtype=storage.dtype)


def open_torch_file(file, size):
    """Read the description of what a file holds.

    Parameters
    ----------
    file : file object
        Opened for reading bytes. It must stay open as long as tensors are read.
    size : int
        Size of the file in bytes.

    Returns
    -------
    TorchFile
    """
    is_zip = zipfile.is_zipfile(file)
    file.seek(0)
    return _open_zipped(file, size) if is_zip else _open_legacy(file, size)


def module_tensors(root):
    """Return the tensors of a TorchScript module by their names."""
    tensors, seen, waiting = {}, set(), [("", root)]
    while waiting:
        prefix, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        inner = []
        for name, value in module.state.items():
            if not isinstance(value, (StoredTensor, UnreadableTensor, StoredModule)):
                continue
            name = f"{prefix}{name}"
            if len(name) > _MAX_NAME:
                raise pickle.UnpicklingError(f"it has names of more than {_MAX_NAME} characters")
            if isinstance(value, StoredModule):
                inner.append((f"{name}.", value))
            else:
                tensors[name] = value
        waiting += reversed(inner)
    return tensors


class _Index(io.BufferedReader):
    """A file of which `ZipFile` may read so much at once while it looks for the index."""

    most = MAX_DESCRIPTION

    def read(self, size=-1):
        if size > self.most:
            raise zipfile.BadZipFile(f"its index claims {size} bytes")
        return super().read(size)


def _open_zip(file):
    reader = _Index(io.FileIO(file.fileno(), closefd=False))
    archive = zipfile.ZipFile(reader)
    reader.most = math.inf
    return archive


def _open_zipped(file, size):
    archive = _open_zip(file)
    names = archive.namelist()
    data = next((name for name in names if name.endswith("/data.pkl")), None)
    if data is None:
        raise zipfile.BadZipFile("it is a zip file without data.pkl")
    folder = data.removesuffix(".pkl")
    byteorder = f"{data.removesuffix('data.pkl')}byteorder"
    if byteorder in names and _read_record(file, archive, byteorder).tobytes() == b"big":
        raise zipfile.BadZipFile("it was saved on a big-endian machine")
    pickled = io.BytesIO(_read_record(file, archive, data).tobytes())

    def read_storage(storage):
        return _read_record(file, archive, f"{folder}/{storage.key}", storage.nbytes)

    return TorchFile(_Unpickler(pickled).load(), read_storage, size)


def _read_record(file, archive, name, nbytes=None):
    """Read a record of `nbytes`, by default of no more than a description may have."""
    info = archive.getinfo(name)
    fits = info.file_size <= _MAX_PICKLE if nbytes is None else info.file_size == nbytes
    # torch compresses code only; a record that is stored as it is, is no larger than the file
    if not fits or info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(
            f"record {name!r} of {info.file_size} bytes has an unexpected size or is compressed"
        )
    if not 0 <= info.header_offset < os.fstat(file.fileno()).st_size:
        raise zipfile.BadZipFile(f"record {name!r} does not stand where the index says")
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    signature, length_of_name, length_of_extra = _LOCAL_HEADER.unpack(header)
    if signature != _LOCAL_SIGNATURE:
        raise zipfile.BadZipFile(f"record {name!r} does not stand where the index says")
    file.seek(length_of_name + length_of_extra, io.SEEK_CUR)
    raw = _read_exactly(file, info.file_size)
    if zlib.crc32(raw) != info.CRC:
        raise zipfile.BadZipFile(f"record {name!r} has another checksum")
    return raw


def _read_exactly(file, nbytes):
    # into memory that tensors may then share; read() would copy it once more
    raw = np.empty(nbytes, np.uint8)
    if file.readinto(raw) != nbytes:
        raise EOFError("the file ends early")
    return raw


def _open_legacy(file, size):
    """Open a file in the format before torch 1.6: five pickles, then the storages in order."""
    head = io.BytesIO(file.read(_MAX_PICKLE))
    if _Unpickler(head).load() != _LEGACY_MAGIC or _Unpickler(head).load() != _LEGACY_PROTOCOL:
        raise pickle.UnpicklingError("it is neither safetensors nor written by torch.save")
    system = _Unpickler(head).load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise pickle.UnpicklingError("it was saved on a big-endian machine")
    unpickler = _Unpickler(head)
    root, keys = unpickler.load(), _Unpickler(head).load()
    starts, position = {}, head.tell()
    for key in keys:
        storage = unpickler.storages[key]
        file.seek(position)
        if struct.unpack("<q", file.read(8)) != (storage.numel,):
            raise pickle.UnpicklingError(f"storage {key} has an unexpected size")
        starts[key] = position + 8
        position += 8 + storage.nbytes
    if position > size:
        raise EOFError("its storages end early")

    def read_storage(storage):
        file.seek(starts[storage.key])
        return _read_exactly(file, storage.nbytes)

    return TorchFile(root, read_storage, size)


class _Dispatch(dict):
    def __missing__(self, opcode):
        raise pickle.UnpicklingError(f"it has the pickle instruction {opcode}")


class _Unpickler(pickle._Unpickler):
    """Unpickler that builds plain containers and descriptions of tensors, and calls nothing else.

    It is the one written in Python, because each of its instructions is a method: those that can
    call or hash what they are given are replaced, and those that torch does not use are missing.
    """

    dispatch = _Dispatch(
        (getattr(pickle, name)[0], pickle._Unpickler.dispatch[getattr(pickle, name)[0]])
        for name in _OPCODES
    )

    def __init__(self, file):
        super().__init__(file, encoding="utf-8")
        self.storages = {}

    def find_class(self, module, name):
        if module == "__torch__" or module.startswith("__torch__."):
            return StoredModule
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        # not getattr, which imports parts of torch by their names
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        if module in ("torch", "torch.storage") and name == "UntypedStorage":
            return torch.uint8
        if module in ("torch._utils", "torch._tensor") and name.startswith("_rebuild_"):
            return _REBUILDERS.get(name, _other_tensor)
        if (module, name) == ("torch.nn.parameter", "Parameter"):
            return _first
        if module == "collections" and name in ("OrderedDict", "Counter"):
            return _dictionary
        if module == "torch.jit._pickle" and name in _TYPED_CONTAINERS:
            return _first
        if (module, name) in _BESIDE_TENSORS:
            return _ignored
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

    def persistent_load(self, pid):
        # the last of six, a view of another storage, was last written by torch 0.3
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[5:] not in ((), (None,)):
            raise pickle.UnpicklingError("it refers to an object of another file")
        kind, dtype, key, _, numel = pid[:5]
        if not isinstance(kind, str) or kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("it refers to something else than a storage")
        if not isinstance(key, str) or not _is_size(numel):
            raise pickle.UnpicklingError("a storage has an unexpected name or size")
        storage = StoredStorage(key, dtype, numel)
        return self.storages.setdefault(key, storage)

    def load_reduce(self):
        arguments, function = self.stack.pop(), self.stack.pop()
        # find_class alone puts functions there
        if not isinstance(function, types.FunctionType) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls what is no function for tensors")
        self.append(function(*arguments))

    def load_newobj(self):
        self.stack.pop()
        if self.stack.pop() is not StoredModule:
            raise pickle.UnpicklingError("it makes an object of another class")
        self.append(StoredModule())

    def load_build(self):
        state = self.stack.pop()
        if isinstance(self.stack[-1], StoredModule):
            self.stack[-1].state = _dictionary(state)

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        _set_item(self.stack[-1], key, value)

    def load_setitems(self):
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set_item(self.stack[-1], key, value)

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


def _set_item(target, key, value):
    # To hash a tuple of tuples can take forever, to find one of many numbers that were chosen for
    # it too; the names of tensors are text, the numbers beside them small.
    if isinstance(key, str) or _is_size(key):
        target[key] = value


def _is_size(value):
    return type(value) is int and 0 <= value < 1 << 60


def _stored_tensor(storage, offset, size, stride, *_):
    """Describe a tensor, as ``torch._utils._rebuild_tensor_v2`` would make it."""
    if not isinstance(storage, StoredStorage) or not _is_size(offset):
        return UnreadableTensor("it has no storage")
    for lengths in (size, stride):
        if not isinstance(lengths, tuple) or len(lengths) > _MAX_DIMENSIONS:
            return UnreadableTensor("it has an unexpected shape")
        if not all(_is_size(length) for length in lengths):
            return UnreadableTensor("it has an unexpected shape")
    if len(size) != len(stride):
        return UnreadableTensor("it has an unexpected shape")
    numel = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # a tensor with strides of 0 is larger than its storage, which no weight is
    if numel > storage.numel or (numel and last >= storage.numel):
        return UnreadableTensor(
            f"a tensor of shape {size} does not lie in its storage of {storage.numel} numbers"
        )
    return StoredTensor(storage, offset, size, stride)


def _dictionary(items=()):
    """Return what ``OrderedDict(items)`` would hold.

    Nothing is copied, because a file may name the same items a million times.
    """
    if isinstance(items, dict):
        return items
    if items != () and not isinstance(items, list):
        raise pickle.UnpicklingError("a dictionary is made of something else than pairs")
    made = {}
    for key, value in items:
        _set_item(made, key, value)
    if items:
        items.clear()
    return made


def _other_tensor(*_):
    return UnreadableTensor("it is sparse, quantized, or of another kind that no weight is")


def _typed_tensor(function, _, arguments, *__):
    """Describe a tensor with attributes, as ``torch._tensor._rebuild_from_type_v2`` makes it."""
    if not isinstance(function, types.FunctionType) or not isinstance(arguments, tuple):
        return _other_tensor()
    return function(*arguments)


def _first(value, *_):
    return value


def _ignored(*_):
    return None


_REBUILDERS = {
    "_rebuild_tensor": _stored_tensor,
    "_rebuild_tensor_v2": _stored_tensor,
    "_rebuild_from_type_v2": _typed_tensor,
    "_rebuild_parameter": _first,
    "_rebuild_parameter_with_state": _first,
}
