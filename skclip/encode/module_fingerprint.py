"""Fingerprints of other libraries' models, from their weights and their preprocessing."""

import hashlib
import re
import weakref
from collections.abc import Mapping
from itertools import chain

import numpy as np
import torch
from PIL import Image

from skclip._torch_compat import version_of

# texts for which different tokenizers return different tokens
SAMPLE_TEXTS = ("a photo of a cat.", "Two  RED squares &amp; 37 naïve ☆", "word " * 100)


class ModuleFingerprint:
    """The digest of torch modules, which is computed again when a weight has changed.

    Parameters
    ----------
    *modules : torch.nn.Module
        The digest depends on their parameters, their buffers and their structure (their ``repr``).

    Notes
    -----
    Reading all weights takes about a second per gigabyte. It is repeated only if a parameter or
    buffer was replaced, moved or changed in place since the last time. torch counts changes in
    place in each tensor's version counter; so further training gives another digest. Two changes
    are not noticed: writing through ``tensor.data``, and a change of the structure alone.
    """

    def __init__(self, *modules):
        self.modules = modules
        self._states = None
        self._digest = None

    def hexdigest(self):
        """Return the digest as hexadecimal digits; None if a model is no torch module."""
        if not all(isinstance(module, torch.nn.Module) for module in self.modules):
            return None
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
            # the repr of some functions and objects contains their address in memory
            digest.update(re.sub(r" at 0x[0-9a-f]+", "", repr(module)).encode())
        for name, tensor in self._tensors():
            _update(digest, name)
            _update(digest, tensor)
        return digest.hexdigest()


class _TensorState:
    """The identity, address and version of a tensor, which differ after any change of it."""

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
    """Return a digest of values.

    Parameters
    ----------
    *values : tensor, array, str, number, None, or lists, tuples and mappings of these
        Such as what a preprocessing returns for the sample pictures and texts.

    Returns
    -------
    digest : str
        Hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=32)
    for value in values:
        _update(digest, value)
    return digest.hexdigest()


def digest_of_outputs(function, samples):
    """Return a digest of what a function returns for some samples.

    Parameters
    ----------
    function : callable
        Such as a preprocessing or a tokenizer.
    samples : iterable

    Returns
    -------
    digest : str or None
        None if the function returns something else when it is called again, as random cropping
        does. An exception counts as what it returns: some tokenizers refuse long texts.
    """
    first, second = (
        digest_of(*(_output_or_error(function, sample) for sample in samples)) for _ in range(2)
    )
    return first if first == second else None


def _output_or_error(function, sample):
    try:
        return function(sample)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def sample_pictures():
    """Return a few pictures for which different kinds of preprocessing return different pixels.

    Returns
    -------
    pictures : list of PIL.Image.Image
        Of mode RGB: a wide one, a tall one and a small one, each half noise and half a gradient.
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
        # viewed as bytes, because numpy does not have all of torch's dtypes
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    else:
        digest.update(repr(value).encode("utf-8", "surrogatepass"))
