"""The one file that reaches what is private in torch or torchvision."""

import importlib.util
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

# looked up once, because they are called for every layer of every batch
_linear_pointwise = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_packed_linear = getattr(_linear_pointwise, "default", None)
_packed_linear_add = getattr(_linear_pointwise, "binary", None)

# name and algorithm of the oneDNN operation that follows a matrix product, as torch's own compiler
# passes them
_ONEDNN_ACTIVATION = {
    None: ("none", ""),
    "silu": ("swish", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
}


def can_pack_linear(weight):
    """Whether oneDNN can multiply by a weight on this weight's device.

    Parameters
    ----------
    weight : Tensor
        Of a linear layer.

    Returns
    -------
    bool
    """
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return _linear_pointwise is not None


def pack_linear_weight(weight):
    """Reorder the weight of a linear layer into the memory layout that oneDNN multiplies fastest.

    Parameters
    ----------
    weight : Tensor of shape (out_features, in_features)
        For which `can_pack_linear` is true.

    Returns
    -------
    Tensor
        Only for `packed_linear` and `packed_linear_add`; most other operations refuse it, and
        torch's compiler cannot trace it.
    """
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def packed_linear(x, weight, bias, activation=None):
    """Return ``activation(x @ weight.T + bias)``, computed in one pass.

    Parameters
    ----------
    x : Tensor of shape (..., in_features)
    weight : Tensor
        Returned by `pack_linear_weight`.
    bias : Tensor of shape (out_features,) or None
    activation : {None, "silu", "gelu", "gelu_tanh"}, default=None

    Returns
    -------
    Tensor of shape (..., out_features)
    """
    name, algorithm = _ONEDNN_ACTIVATION[activation]
    return _packed_linear(x, weight, bias, name, [], algorithm)


def packed_linear_add(x, residual, weight, bias):
    """Return ``x @ weight.T + bias + residual``, computed in one pass.

    Parameters
    ----------
    x : Tensor of shape (..., in_features)
    residual : Tensor of shape (..., out_features)
    weight : Tensor
        Returned by `pack_linear_weight`.
    bias : Tensor of shape (out_features,) or None

    Returns
    -------
    Tensor of shape (..., out_features)
    """
    return _packed_linear_add(x, residual, weight, bias, "add")


def cpu_multiplies_bfloat16():
    """Whether the CPU has instructions for bfloat16 products.

    Without them torch emulates these products, which takes several times as long as in float32.
    """
    return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


def version_of(tensor):
    """Return how often a tensor was changed in place, or None where torch does not count.

    Tensors that were made in inference mode have no counter. Neither does one count what is written
    through ``tensor.data`` or through a numpy array that shares the tensor's memory.
    """
    return None if tensor.is_inference() else tensor._version


@cache
def jpeg_operator():
    """Return torchvision's JPEG decoder, or None if it cannot be loaded.

    The decoder takes the bytes of a file (uint8 tensor), the number of a
    ``torchvision.io.ImageReadMode`` and whether to apply the Exif orientation, and returns pixels,
    (channels, height, width).

    The function in ``torchvision.io`` that calls it warns that it is deprecated, and importing
    torchvision takes a second or more. The library that registers the operator is therefore loaded
    without importing torchvision.
    """
    try:
        spec = importlib.util.find_spec("torchvision")
        for folder in spec.submodule_search_locations:
            for name in ("image_stable", "image"):
                for path in (Path(folder) / (name + suffix) for suffix in EXTENSION_SUFFIXES):
                    if path.exists():
                        torch.ops.load_library(path)
        return torch.ops.image.decode_jpeg
    # torchvision may be absent, built without JPEG or for another torch; the errors vary
    except Exception:
        return None
