"""The device on which a model runs, and the number format of its weights."""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_device(device):
    """Return a `torch.device`; "auto" is the first CUDA card if there is one, else the CPU.

    Parameters
    ----------
    device : str
        "auto", or anything that `torch.device` understands ("cpu", "cuda", "cuda:1", "mps").

    Raises
    ------
    ValueError
        If torch cannot use such a device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # the device of a tensor has an index ("cuda:0"), unlike "cuda"
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch asserts when it is built without CUDA
        raise ValueError(
            f"device must be 'auto' or a device that torch can use here, got {device!r}: {error}"
        ) from error


def resolve_dtype(dtype, device):
    """Return a torch dtype; "auto" is float32 on the CPU and bfloat16 on CUDA.

    Parameters
    ----------
    dtype : {"auto", "float32", "bfloat16"}
    device : torch.device

    Returns
    -------
    dtype : torch.dtype

    Raises
    ------
    ValueError
        If `dtype` is something else.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be 'auto', 'float32' or 'bfloat16', got {dtype!r}")
    return DTYPES[dtype]
