"""Resizing and cropping: as published, with Pillow, and faster, within one gray level of that."""

import math
from functools import cache, partial

import numpy as np
import torch
from PIL import Image

# EXIF orientation: whether the stored pixels are transposed, and whether the order of their rows
# and of their columns is reversed
_STORED = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}

_PILLOW_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_FILTER_RADII = {"bicubic": 2, "bilinear": 1}  # in pixels of the result

# if a picture shrinks by less than this factor, rounding errors of torch's two passes may add up
_MIN_SCALE = 2

# a picture that would become larger than this (64 MB in Pillow) is resized only in part
_MAX_RESIZED_PIXELS = 2**24


def resize_and_crop(image, config):
    """Resize a picture and cut out its center.

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
    and ``CenterCrop`` on Pillow images, which is OpenAI's recipe [1]_. With ``"squash"`` they are
    those of ``Resize((image_size, image_size))``.

    In a very long picture (for 224 pixels: more than 334 times as long as wide), only the part that
    the crop keeps is resized, since the whole would take gigabytes: 1 x 5000 pixels become
    224 x 1,120,000. Some pixels of such a picture may differ by one gray level, because Pillow
    computes the position of the part in single precision; or by a few levels, because Pillow may
    do its two passes, each of which rounds, in the other order.

    References
    ----------
    .. [1] `clip/clip.py` in https://github.com/openai/CLIP, function ``_transform``.

    Examples
    --------
    >>> from PIL import Image
    >>> from skclip.encode.resize import resize_and_crop
    >>> from skclip.model.config import PreprocessConfig
    >>> resize_and_crop(Image.new("RGB", (640, 480)), PreprocessConfig()).shape
    (224, 224, 3)
    """
    size = config.image_size
    resample = _PILLOW_FILTERS[config.interpolation]
    if config.resize_mode == "squash":
        return np.asarray(image.resize((size, size), resample))

    width, height = image.size
    resized, (left, top) = _resized_and_starts(image.size, config)
    if resized[0] * resized[1] > _MAX_RESIZED_PIXELS:
        long, resized_long, offset = max(image.size), max(resized), max(left, top)
        scale = long / resized_long
        start, stop = offset * scale, (offset + size) * scale
        first, last = _needed_range(long, resized_long, offset, config)
        if width < height:
            part, box = (0, first, width, last), (0, start - first, width, stop - first)
        else:
            part, box = (first, 0, last, height), (start - first, 0, stop - first, height)
        return np.asarray(image.crop(part).resize((size, size), resample, box=box))

    pixels = np.asarray(image.resize(resized, resample))
    return pixels[top : top + size, left : left + size].copy()


def can_resize_fast(size, config):
    """Whether `resize_and_crop_fast` can be used for pictures of a size.

    Parameters
    ----------
    size : tuple (width, height) of int
        At least 1. The order of the two does not matter.
    config : PreprocessConfig

    Returns
    -------
    fast : bool
        False for the very long pictures that `resize_and_crop` resizes only in part; on processors
        without AVX2, for which torch has no fast code; and with a version of Pillow whose order of
        passes is unknown.
    """
    width, height = _resized_and_starts(size, config)[0]
    return (
        width * height <= _MAX_RESIZED_PIXELS
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and _rule_of_pillow() is not None
    )


def resize_and_crop_fast(pixels, config, *, orientation=1):
    """Resize a picture and cut out its center, within one gray level of `resize_and_crop`.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        Of a size for which `can_resize_fast` is true.
    config : PreprocessConfig
    orientation : int, default=1
        The EXIF orientation of `pixels`, 1 to 8. The result is upright.

    Returns
    -------
    pixels : ndarray of shape (image_size, image_size, 3), uint8
        Contiguous, and not a view of a larger array.

    Notes
    -----
    Pillow resizes in two passes, one along each axis, and rounds after each. torch has the same
    passes for uint8, with weights of 16 bits instead of 32 [1]_, so that one sum in 500 is rounded
    to the other side: a difference of one gray level. In the second pass such differences may add
    up, mostly where one row has a weight of about 1. So Pillow does the first pass unless a picture
    shrinks to half its size or less. With this, no pixel of noise or of photographs was seen to
    differ by two levels; in computer-drawn gradients, one pixel in a million did.

    The passes are done in the same order as in the installed version of Pillow: in the other order,
    pictures of noise differ by 20 levels. A rotated or mirrored picture is resized as it is stored,
    since turning a large picture takes longer than resizing it.

    References
    ----------
    .. [1] `aten/src/ATen/native/cpu/UpSampleKernelAVXAntialias.h` in
       https://github.com/pytorch/pytorch.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.encode.resize import resize_and_crop_fast
    >>> from skclip.model.config import PreprocessConfig
    >>> resize_and_crop_fast(np.zeros((480, 640, 3), np.uint8), PreprocessConfig()).shape
    (224, 224, 3)
    """
    transposed, *mirrored = _STORED.get(orientation, _STORED[1])
    size, n_rows = config.image_size, pixels.shape[0]
    # (width, height) of the upright picture
    upright = pixels.shape[:2] if transposed else pixels.shape[1::-1]
    resized, starts = _resized_and_starts(upright, config)
    vertical_first = _rule_of_pillow()(upright, resized)
    # the vertical axis of a transposed picture lies along the columns of the array
    rows_first = not vertical_first if transposed else vertical_first
    # from here on, sizes are (height, width) of the stored array
    if not transposed:
        resized, starts = resized[::-1], starts[::-1]
    starts = [
        length - size - start if mirror else start
        for length, start, mirror in zip(resized, starts, mirrored, strict=True)
    ]
    resize = partial(_resize_axis, resized=resized, starts=starts, config=config)
    scales = [length / new for length, new in zip(pixels.shape[:2], resized, strict=True)]
    exactly = 1 not in scales and min(scales) < _MIN_SCALE
    if rows_first:
        pixels = resize(resize(pixels, 0, exactly=exactly), 1)
    else:
        # only the rows on which the crop depends are resized; the second pass reads no others
        first, last = _needed_range(n_rows, resized[0], starts[0], config)
        part = resize(pixels[first:last], 1, exactly=exactly)
        pixels = np.empty((n_rows, size, 3), np.uint8)
        pixels[first:last] = part
        pixels = resize(pixels, 0)
    pixels = pixels[tuple(slice(None, None, -1 if mirror else 1) for mirror in mirrored)]
    return np.array(pixels.swapaxes(0, 1) if transposed else pixels, order="C")


def _resized_and_starts(size, config):
    """Return the resized (width, height), and the (left, top) of the crop."""
    wanted = config.image_size
    if config.resize_mode == "squash":
        return (wanted, wanted), (0, 0)
    width, height = size
    resized_long = int(wanted * max(size) / min(size))
    # rounds half to even, as torchvision does
    start = round((resized_long - wanted) / 2)
    if width <= height:
        return (wanted, resized_long), (0, start)
    return (resized_long, wanted), (start, 0)


def _needed_range(length, resized_length, start, config):
    """Return the range (start, stop) of the `length` pixels on which the crop depends."""
    scale = length / resized_length
    # the radius of the filter, and one pixel for rounding
    margin = math.ceil(_FILTER_RADII[config.interpolation] * max(scale, 1)) + 1
    first = math.floor(start * scale) - margin
    last = math.ceil((start + config.image_size) * scale) + margin
    return max(0, first), min(length, last)


def _resize_axis(pixels, axis, *, resized, starts, config, exactly=False):
    """Resize and crop along one axis, 0 or 1.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
    axis : int
    resized, starts : sequence of two int
        For each axis, the length after resizing, and where the crop starts.
    config : PreprocessConfig
    exactly : bool, default=False
        Whether Pillow resizes; otherwise torch does.
    """
    if pixels.shape[axis] != resized[axis]:
        shape = list(pixels.shape[:2])
        shape[axis] = resized[axis]
        if exactly:
            resample = _PILLOW_FILTERS[config.interpolation]
            pixels = np.asarray(Image.fromarray(pixels).resize(shape[::-1], resample))
        else:
            # torch is fast only where the three colors of a pixel are next to each other in memory
            pixels = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
            image = pixels[None].permute(0, 3, 1, 2)
            image = torch.nn.functional.interpolate(
                image, size=shape, mode=config.interpolation, antialias=True
            )
            pixels = image[0].permute(1, 2, 0).numpy()
    kept = slice(starts[axis], starts[axis] + config.image_size)
    return pixels[kept] if axis == 0 else pixels[:, kept]


@cache
def _rule_of_pillow():
    """Find out for which sizes the installed version of Pillow does the vertical pass first.

    Returns
    -------
    rule : `_never`, `_where_height_shrinks_most` or None
        From the sizes (width, height) before and after resizing to bool. None if neither rule
        explains what Pillow does with a few pictures.
    """
    sizes = [(40, 60), (40, 61), (20, 30), (20, 30), (60, 40)]
    resized_sizes = [(20, 20), (20, 20), (30, 29), (30, 31), (20, 20)]
    rng = np.random.default_rng(0)
    outcomes = []
    for size, resized in zip(sizes, resized_sizes, strict=True):
        noise = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8))
        at_once = noise.resize(resized, Image.Resampling.BICUBIC)
        orders = []
        for between in ((resized[0], size[1]), (size[0], resized[1])):
            once = noise.resize(between, Image.Resampling.BICUBIC)
            orders.append(once.resize(resized, Image.Resampling.BICUBIC) == at_once)
        outcomes.append(orders)
    for rule in (_never, _where_height_shrinks_most):
        expected = [rule(*pair) for pair in zip(sizes, resized_sizes, strict=True)]
        if outcomes == [[not vertical, vertical] for vertical in expected]:
            return rule
    return None


def _never(size, resized):
    """Pillow's rule up to version 12."""
    return False


def _where_height_shrinks_most(size, resized):
    """Pillow's rule in version 13: the height loses over twice as many pixels as the width."""
    lost_width, lost_height = size[0] - resized[0], size[1] - resized[1]
    return lost_height > 0 and lost_height > 2 * lost_width
