"""A fingerprint of other libraries' models: their weights, and what their preprocessing does."""

import hashlib
import re
import weakref
from collections.abc import Mapping
from itertools import chain

import numpy as np
import torch
from PIL import Image

from skclip._torch_compat import version_of

SAMPLE_TEXTS = ("a photo of a cat.", "Two  RED squares &amp; 37 naïve ☆", "word " * 100)


class ModuleFingerprint:
    """The digest of torch modules; taken again when a weight has changed.

    Parameters
    ----------
    *modules : torch.nn.Module
        Their structure (what ``repr`` shows), parameters and buffers count.

    Notes
    -----
    Reading all weights takes a second for each gigabyte or so. It is done again only when a tensor
    was replaced, moved or written to in place, as its version counter tells; so training on in
    place gives another digest. Torch does not count what is written through ``tensor.data``.
    """

    def __init__(self, *modules):
        self.modules = modules
        self._states = None
        self._digest = None

    def hexdigest(self):
        """Return the digest as hexadecimal digits."""
        states = [_TensorState(tensor) for _, tensor in self._tensors()]
        known = self._states is not None and len(states) == len(self._states)
        if not known or not all(map(_TensorState.equals, states, self._states)):
            self._digest = self._read()
            self._states = states
        return self._digest

    def _tensors(self):
        for module in self.modules:
            yield from chain(module.named_parameters(), module.named_buffers())

    def _read(self):
        digest = hashlib.blake2b(digest_size=32)
        for module in self.modules:
            # functions and objects without a repr of their own show their place in memory
            digest.update(re.sub(r" at 0x[0-9a-f]+", "", repr(module)).encode())
        for name, tensor in self._tensors():
            _update(digest, name)
            _update(digest, tensor)
        return digest.hexdigest()

    def __getstate__(self):
        return {**vars(self), "_states": None, "_digest": None}


class _TensorState:
    """What tells that a tensor is the same one and was not written to."""

    def __init__(self, tensor):
        self.reference = weakref.ref(tensor)
        self.address = tensor.data_ptr()
        self.version = version_of(tensor)

    def equals(self, other):
        return (
            self.reference() is other.reference()
            and self.address == other.address
            and self.version is not None
            and self.version == other.version
        )


def digest_of(*values):
    """Return a digest of values, as hexadecimal digits.

    Parameters
    ----------
    *values : tensor, array, str, number, None, or lists, tuples and mappings of these
        What a preprocessing returns for the sample pictures and texts.
    """
    digest = hashlib.blake2b(digest_size=32)
    for value in values:
        _update(digest, value)
    return digest.hexdigest()


def sample_pictures():
    """Return a few pictures that different preprocessings turn into different pixels.

    Returns
    -------
    pictures : list of PIL.Image.Image
        Of mode RGB: wide, tall and small ones, of noise and with smooth parts.
    """
    rng = np.random.default_rng(0)
    pictures = []
    for height, width in ((48, 96), (90, 50), (7, 7)):
        ramp = np.linspace(0, 255, width)[None, :, None] * np.linspace(0, 1, height)[:, None, None]
        noise = rng.integers(0, 256, (height, width, 3))
        pixels = np.where(np.arange(width)[None, :, None] < width // 2, noise, ramp)
        pictures.append(Image.fromarray(pixels.astype(np.uint8)))
    return pictures


def _update(digest, value):
    if isinstance(value, Mapping):
        digest.update(b"mapping")
        for key in sorted(value, key=str):
            _update(digest, str(key))
            _update(digest, value[key])
    elif isinstance(value, list | tuple):
        digest.update(b"sequence%d" % len(value))
        for item in value:
            _update(digest, item)
    elif isinstance(value, torch.Tensor | np.ndarray):
        tensor = torch.as_tensor(value).detach()
        digest.update(repr((str(tensor.dtype), tuple(tensor.shape))).encode())
        # a view as bytes, since numpy does not know all number formats
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    else:
        digest.update(repr(value).encode("utf-8", "surrogatepass"))
