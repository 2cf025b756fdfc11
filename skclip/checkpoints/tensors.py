"""Read named tensors from weight files without running code that a file contains."""

import pickle
import zipfile

import torch
from safetensors.torch import load_file

from skclip.checkpoints.messages import first_line
from skclip.exceptions import CheckpointError

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
}
# TorchScript wraps typed lists and dictionaries in these; each returns its first argument.
_TYPED_CONTAINERS = (
    "build_intlist",
    "build_tensorlist",
    "build_doublelist",
    "build_boollist",
    "restore_type_tag",
)
_WRAPPERS = ("state_dict", "state_dict_ema", "model")
_PREFIXES = ("module.", "_orig_mod.")
# Attributes of OpenAI's modules that are stored with the weights.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")


def read_tensors(path):
    """Read the named tensors of one file: safetensors, a torch checkpoint or a TorchScript archive.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds anything but tensors.
    """
    with open(path, "rb") as file:
        head = file.read(9)
    try:
        if head[8:] == b"{":
            return load_file(path)
        if is_torchscript(path):
            return _read_torchscript(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} cannot be read because it holds more than tensors, or is damaged; "
            f"save its state dict as safetensors ({first_line(error)})"
        ) from error
    except (OSError, MemoryError):
        raise
    # which exception the readers raise depends on the damage
    except Exception as error:
        raise CheckpointError(f"{path} is damaged or truncated ({first_line(error)})") from error
    return _unwrap(loaded, path)


def is_torchscript(path):
    """Whether a file is a TorchScript archive: a zip file with code and constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _unwrap(loaded, path):
    for key in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(f"{path} must hold a state dict, got a {type(loaded).__name__}")
    state = {key: value for key, value in loaded.items() if key not in _NO_WEIGHTS}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(
                f"{path} is not a state dict: {key!r} is a {type(value).__name__}, not a tensor"
            )
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _read_torchscript(path):
    """Rebuild the tensors of a TorchScript archive; its code is never read."""
    with zipfile.ZipFile(path) as archive:
        data = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(data) as file:
            root = _TensorUnpickler(file, archive, data.removesuffix(".pkl")).load()
    tensors = {}
    _collect(root, "", tensors, set())
    if not tensors:
        raise CheckpointError(f"{path} is a TorchScript archive without tensors")
    return tensors


def _collect(module, prefix, tensors, seen):
    if id(module) in seen:
        return
    seen.add(id(module))
    for name, value in getattr(module, "state", {}).items():
        if isinstance(value, torch.Tensor):
            if name not in _NO_WEIGHTS:
                tensors[prefix + name] = value
        elif hasattr(value, "state"):
            _collect(value, f"{prefix}{name}.", tensors, seen)


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler that accepts tensors, containers and inert stand-ins for modules only."""

    def __init__(self, file, archive, folder):
        super().__init__(file)
        self._archive = archive
        self._folder = folder
        self._storages = {}

        # a new class for each file, so that no file can change it for the next one
        class Module:
            def __setstate__(self, state):
                self.state = dict(state)

        self._module = Module

    def find_class(self, module, name):
        if module == "__torch__" or module.startswith("__torch__."):
            return self._module
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch.jit._pickle" and name in _TYPED_CONTAINERS:
            return _first
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

    def persistent_load(self, pid):
        kind, dtype, key, _, numel = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"it refers to an object of kind {kind!r}")
        if key not in self._storages:
            info = self._archive.getinfo(f"{self._folder}/{key}")
            # an uncompressed record is no larger than the file, so it cannot ask for more memory
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != numel * dtype.itemsize:
                raise pickle.UnpicklingError(f"record {key!r} has an unexpected size")
            raw = bytearray(self._archive.read(info))
            self._storages[key] = (
                torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]


def _rebuild_tensor(storage, offset, size, stride, *_):
    return storage.as_strided(size, stride, offset)


def _first(value, *_):
    return value
