"""One image as a user has it -> the pixels that the model takes, with the fastest safe decoder."""

import io
import struct
from functools import cache

import numpy as np
import torch
from PIL import Image

from skclip._torch_compat import jpeg_operator
from skclip.encode.preprocess import can_resize_fast, resize_and_crop, resize_and_crop_fast
from skclip.inputs.decode import orientation
from skclip.inputs.images import read_image

# (horizontal, vertical) samples of the components: 4:4:4, 4:2:2, 4:2:0, 4:1:1; older versions of
# libjpeg-turbo upsample the others differently
_SAMPLINGS = {(luma, (1, 1), (1, 1)) for luma in [(1, 1), (2, 1), (2, 2), (4, 1)]}

_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2

_RGB = 3  # the mode's number in torchvision.io.ImageReadMode


def read_pixels(item, *, row, config, exact=False):
    """Return one image as the model takes it: decoded, upright, resized and cropped.

    Parameters
    ----------
    item : str, Path, bytes, PIL image, array, tensor or dict
        Whatever `skclip.inputs.images.read_image` takes.
    row : int
        Its position, for the error.
    config : PreprocessConfig
    exact : bool, default=False
        Give the pixels of the published recipe on Pillow bit for bit, which takes two to three
        times as long; otherwise they are within one grey level of it, as the notes of
        `skclip.encode.preprocess.resize_and_crop_fast` say.

    Returns
    -------
    pixels : ndarray of shape (image_size, image_size, 3), uint8

    Raises
    ------
    ImageReadError
        Whatever keeps it from being read; the same one with and without `exact`.

    Notes
    -----
    Pillow reads the header of every file and so decides about its size, its colours and its
    orientation. The usual JPEG files are then decoded by torchvision, straight to packed RGB, by
    the same library as in Pillow and to the same pixels; whatever it refuses is left to Pillow.
    Pillow keeps quiet about damage that can be decoded all the same; torchvision's library notes it
    on the standard error stream.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.encode.reading import read_pixels
    >>> from skclip.model.config import PreprocessConfig
    >>> read_pixels(np.ones((30, 40)), row=0, config=PreprocessConfig(image_size=8)).shape
    (8, 8, 3)
    """
    if exact:
        return resize_and_crop(read_image(item, row=row), config)

    if _is_rgb_array(item) and can_resize_fast(item.shape[1::-1], config):
        return resize_and_crop_fast(np.asarray(item), config)

    def reader(image, stream):
        return _read_jpeg(image, stream, config)

    picture = read_image(item, row=row, reader=reader)
    if isinstance(picture, np.ndarray):
        return picture
    if not can_resize_fast(picture.size, config):
        return resize_and_crop(picture, config)
    return resize_and_crop_fast(np.asarray(picture), config)


def _is_rgb_array(item):
    """Whether an item is what `read_image` would make of it, but for the wrapping."""
    is_uint8 = isinstance(item, np.ndarray) and item.dtype == np.uint8
    return is_uint8 and item.ndim == 3 and item.shape[2] == 3 and item.size > 0


def _read_jpeg(image, stream, config):
    """Decode and resize a JPEG file; None is for Pillow to decode."""
    if image.format not in ("JPEG", "MPO"):  # of the latter, the first frame is an ordinary JPEG
        return None
    turn = orientation(image)
    upright = image.size[::-1] if turn in (5, 6, 7, 8) else image.size
    if not can_resize_fast(upright, config):
        return None
    position = stream.tell()
    stream.seek(0)
    content = bytearray(stream.read())  # torch wants memory that could be written to
    stream.seek(position)
    if _jpeg_kind(image, content) not in _jpeg_kinds():
        return None
    pixels = _decode_jpeg(content)
    if pixels is None or pixels.shape[1::-1] != image.size:
        return None
    return resize_and_crop_fast(pixels, config, orientation=turn)


def _jpeg_kind(image, content):
    """Return the marker of the JPEG process, or None for an unusual file."""
    components = [component[:3] for component in image.layer]
    samplings = tuple((horizontal, vertical) for _, horizontal, vertical in components)
    if not (image.mode == "L" or (image.mode == "RGB" and samplings in _SAMPLINGS)):
        return None
    # the segment that Pillow found, which begins with its length and the bits of a sample
    n, (width, height) = len(components), image.size
    start = content.find(struct.pack(">HBHHB", 8 + 3 * n, 8, height, width, n))
    return content[start - 1] if start > 0 else None


def _decode_jpeg(content):
    """Return the pixels (height, width, 3) of a JPEG file, as they are stored, or None."""
    try:
        pixels = jpeg_operator()(torch.frombuffer(content, dtype=torch.uint8), _RGB, False)
    except RuntimeError:
        return None
    return pixels.permute(1, 2, 0).numpy()


@cache
def _jpeg_kinds():
    """Return the markers of the JPEG processes that torchvision decodes just as Pillow does.

    The versions of libjpeg that the two bring along differ. Those that are unlike in progressive
    files of which the last scans are missing may be so in damaged ones.
    """
    if jpeg_operator() is None:
        return ()
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((31, 23), box=(0, 0, 7, 5)).save(stream, "JPEG", quality=90)
    if not _decoded_alike(stream.getvalue()):
        return ()
    stream = io.BytesIO()
    smooth = Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC, box=(0, 0, 8, 6))
    smooth.save(stream, "JPEG", quality=50, progressive=True)
    content = stream.getvalue()
    first_scan = content.index(b"\xff\xda")
    first_scan_only = content[: content.index(b"\xff\xc4", first_scan)] + b"\xff\xd9"
    if not _decoded_alike(first_scan_only):
        return _BASELINE, _EXTENDED
    return _BASELINE, _EXTENDED, _PROGRESSIVE


def _decoded_alike(content):
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image)
    actual = _decode_jpeg(bytearray(content))
    return actual is not None and np.array_equal(actual, expected)
