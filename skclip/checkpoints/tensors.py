"""Read named tensors from weight files without running code that a file contains."""

import pickle
import struct

import torch
from safetensors.torch import load_file

from skclip._messages import first_line, shorten, shown
from skclip.checkpoints.files import regular_file
from skclip.checkpoints.torch_files import (
    MAX_DESCRIPTION,
    StoredModule,
    StoredTensor,
    UnreadableTensor,
    module_tensors,
    open_torch_file,
)
from skclip.exceptions import CheckpointError

# The number formats of weights, and of what a module counts, such as num_batches_tracked.
WEIGHT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COUNT_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

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

    Notes
    -----
    The tensors take no more memory than the file, and what describes them at most some hundred
    megabytes.
    """
    size = regular_file(path)
    if not size:
        raise CheckpointError(f"{path} is empty")
    try:
        with open(path, "rb") as file:
            head = file.read(9)
            if head[8:] == b"{":
                return _read_safetensors(path, head)
            opened = open_torch_file(file, size)
            if isinstance(opened.root, StoredModule):
                stored = module_tensors(opened.root)
                stored = {key: value for key, value in stored.items() if _is_weight(key)}
            else:
                stored = _state_dict(opened.root, path)
            if not stored:
                raise CheckpointError(f"{path} holds no tensors")
            for key, value in stored.items():
                if isinstance(value, UnreadableTensor):
                    raise CheckpointError(f"{path}: {shorten(key)} is no weight: {value.reason}")
            return opened.load(stored)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} cannot be read because it holds more than tensors, or is damaged; "
            f"save its state dict as safetensors ({first_line(error)})"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error})") from error
    except (MemoryError, CheckpointError):
        raise
    # which exception the readers raise depends on the damage
    except Exception as error:
        raise CheckpointError(f"{path} is damaged or truncated ({first_line(error)})") from error


def _read_safetensors(path, head):
    # safetensors checks that the tensors fill the file, but reads a header of up to 100 MB
    (length,) = struct.unpack("<Q", head[:8])
    if length > MAX_DESCRIPTION:
        raise CheckpointError(f"{path} is damaged: it claims a header of {length} bytes")
    return load_file(path)


def _state_dict(loaded, path):
    for key in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not loaded:
        found = "an empty dict" if loaded == {} else _kind(loaded)
        raise CheckpointError(f"{path} must hold a state dict, got {found}")
    state = {key: value for key, value in loaded.items() if _is_weight(key)}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, (StoredTensor, UnreadableTensor)):
            raise CheckpointError(
                f"{path} is not a state dict: {shown(key)} is {_kind(value)}, not a tensor"
            )
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _is_weight(key):
    return not isinstance(key, str) or key.rpartition(".")[2] not in _NO_WEIGHTS


def _kind(value):
    if isinstance(value, (StoredTensor, UnreadableTensor)):
        return "a tensor"
    if value is None:
        return "something else"
    return f"a {type(value).__name__}"
