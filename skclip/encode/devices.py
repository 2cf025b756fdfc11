"""The device on which a model runs, and the number format of its weights."""

import torch

from skclip._messages import first_line, shown

_CHOICES = "'cpu', 'cuda' or 'cuda:0' (a CUDA card), 'mps' (an Apple GPU)"
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
        If torch cannot compute on such a device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    rule = f"device must be 'auto' or a device that torch can compute on here, such as {_CHOICES}"
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:  # torch's message lists what other builds know
        raise ValueError(f"{rule}; got {shown(device)}") from error
    try:
        # "meta" has tensors, but no numbers in them
        probe = torch.ones(1, device=device)
        probe.sum().item()
    # torch asserts when it is built without CUDA, and imports what other devices need
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        raise ValueError(f"{rule}; got {str(device)!r}: {first_line(error)}") from error
    # the device of a tensor has an index ("cuda:0"), unlike "cuda"
    return probe.device


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
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"dtype must be 'auto', 'float32' or 'bfloat16', got {shown(dtype)}")
    return DTYPES[dtype]
