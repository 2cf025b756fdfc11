"""The published preprocessing: resize, crop, normalise."""

import math

import numpy as np
from PIL import Image

_FILTERS = {
    # name: (Pillow's filter, its radius in output pixels)
    "bicubic": (Image.Resampling.BICUBIC, 2),
    "bilinear": (Image.Resampling.BILINEAR, 1),
}

# a picture that would grow beyond this (64 MB in Pillow) is not resized in full
_MAX_RESIZED_PIXELS = 2**24


def resize_and_crop(image, config):
    """Resize a picture and cut out its centre.

    Parameters
    ----------
    image : PIL.Image.Image
        Of mode RGB.
    config : PreprocessConfig

    Returns
    -------
    pixels : ndarray of shape (image_size, image_size, 3), uint8

    Notes
    -----
    With ``resize_mode="shortest"`` these are, bit for bit, the pixels of torchvision's ``Resize``
    and ``CenterCrop`` on Pillow images, which is OpenAI's recipe [1]_; with ``"squash"`` those of
    ``Resize((image_size, image_size))``.

    Of a very long picture (at 224 pixels: more than 334 times as long as wide) only the part that
    the crop keeps is resized, since the whole would take gigabytes: 1 x 5000 pixels become
    224 x 1,120,000. There some pixels may differ by a grey level, because Pillow places such a
    part in single precision, or by a few, because Pillow may choose another order of its two
    passes, each of which rounds.

    References
    ----------
    .. [1] `clip/clip.py` in https://github.com/openai/CLIP, function ``_transform``.

    Examples
    --------
    >>> from PIL import Image
    >>> from skclip.encode.preprocess import resize_and_crop
    >>> from skclip.model.config import PreprocessConfig
    >>> resize_and_crop(Image.new("RGB", (640, 480)), PreprocessConfig()).shape
    (224, 224, 3)
    """
    size = config.image_size
    resample, radius = _FILTERS[config.interpolation]
    if config.resize_mode == "squash":
        return np.asarray(image.resize((size, size), resample))

    width, height = image.size
    short, long = sorted(image.size)
    resized_long = int(size * long / short)
    # half to even, as Python and torchvision round
    offset = round((resized_long - size) / 2)
    if size * resized_long > _MAX_RESIZED_PIXELS:
        scale = long / resized_long
        start, stop = offset * scale, (offset + size) * scale
        # what the filter sees beyond the crop, and a pixel for the rounding
        margin = math.ceil(radius * max(scale, 1)) + 1
        first, last = max(0, math.floor(start) - margin), min(long, math.ceil(stop) + margin)
        if width < height:
            part, box = (0, first, width, last), (0, start - first, width, stop - first)
        else:
            part, box = (first, 0, last, height), (start - first, 0, stop - first, height)
        return np.asarray(image.crop(part).resize((size, size), resample, box=box))

    if width <= height:
        resized, left, top = (size, resized_long), 0, offset
    else:
        resized, left, top = (resized_long, size), offset, 0
    pixels = np.asarray(image.resize(resized, resample))
    return pixels[top : top + size, left : left + size].copy()


def normalize(pixels, config):
    """Scale pixels to [0, 1], subtract the mean and divide by the standard deviation.

    Parameters
    ----------
    pixels : Tensor of shape (batch, size, size, 3) or (batch, 3, size, size), uint8
        On any device.
    config : PreprocessConfig

    Returns
    -------
    pixels : Tensor of shape (batch, 3, size, size), float32
        On the same device.

    Notes
    -----
    The arithmetic of torchvision's ``ToTensor`` and ``Normalize``, operation by operation.

    Examples
    --------
    >>> import torch
    >>> from skclip.encode.preprocess import normalize
    >>> from skclip.model.config import PreprocessConfig
    >>> pixels = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    >>> normalize(pixels, PreprocessConfig(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))[0, 0]
    tensor([[1., 1.],
            [1., 1.]])
    """
    if pixels.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    pixels = pixels.contiguous().float()
    # a tensor, since on some devices torch divides by a number through its reciprocal
    pixels = pixels.div_(pixels.new_tensor(255))
    mean = pixels.new_tensor(config.mean).view(3, 1, 1)
    std = pixels.new_tensor(config.std).view(3, 1, 1)
    return pixels.sub_(mean).div_(std)
