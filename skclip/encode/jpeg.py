"""Ordinary JPEG files, decoded by torchvision: the same pixels as from Pillow, but faster."""

import io
import struct
from functools import cache

import numpy as np
import torch
from PIL import Image

from skclip._torch_compat import jpeg_operator

# (horizontal, vertical) sampling factors of the three components: 4:4:4, 4:2:2, 4:2:0 and 4:1:1.
# Older versions of libjpeg-turbo upsample other layouts differently.
_SAMPLINGS = {(luma, (1, 1), (1, 1)) for luma in [(1, 1), (2, 1), (2, 2), (4, 1)]}

_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2

# A file with more has something else in it, such as a film behind the picture. Pillow reads it in
# blocks and only to the end of the picture.
_MAX_BYTES_PER_PIXEL, _MAX_OTHER_BYTES = 4, 2**24

_RGB = 3  # the value of torchvision.io.ImageReadMode.RGB


def decode_jpeg(opened):
    """Decode an ordinary JPEG file.

    Parameters
    ----------
    opened : OpenedImage

    Returns
    -------
    pixels : ndarray of shape (height, width, 3), uint8, or None
        As stored in the file, before the EXIF orientation is applied. None where Pillow must
        decode: another format, an unusual kind of JPEG, or a file that torchvision refuses.
    """
    image, stream = opened.picture, opened.stream
    # the first frame of an MPO file is an ordinary JPEG
    if stream is None or image.format not in ("JPEG", "MPO"):
        return None
    file = stream.file
    width, height = image.size
    if stream.n_bytes > _MAX_BYTES_PER_PIXEL * width * height + _MAX_OTHER_BYTES:
        return None
    position = file.tell()
    file.seek(0)
    content = bytearray(file.read())  # writable, as torch.frombuffer requires
    file.seek(position)
    if _process_of(image, content) not in _processes_decoded_alike():
        return None
    pixels = _decode(content)
    if pixels is None or pixels.shape[1::-1] != image.size:
        return None
    return pixels


def _process_of(image, content):
    """Return the marker of a file's JPEG process (baseline and so on), None for unusual files."""
    components = [component[:3] for component in image.layer]
    samplings = tuple((horizontal, vertical) for _, horizontal, vertical in components)
    if not (image.mode == "L" or (image.mode == "RGB" and samplings in _SAMPLINGS)):
        return None
    # Pillow has read the frame header. It begins with its length, the bits per sample, the height,
    # the width and the number of components; the marker is the byte before it.
    n, (width, height) = len(components), image.size
    start = content.find(struct.pack(">HBHHB", 8 + 3 * n, 8, height, width, n))
    return content[start - 1] if start > 0 else None


def _decode(content):
    """Decode with torchvision: pixels (height, width, 3), uint8, None where it raises an error."""
    try:
        pixels = jpeg_operator()(torch.frombuffer(content, dtype=torch.uint8), _RGB, False)
    except RuntimeError:
        return None
    return pixels.permute(1, 2, 0).numpy()


@cache
def _processes_decoded_alike():
    """Return the markers of the JPEG processes that torchvision decodes to the pixels of Pillow.

    torchvision and Pillow contain different versions of libjpeg, so two samples are decoded with
    both. One is a progressive file that lacks its last scans: where that gives different pixels,
    other damaged files may too, and all progressive files are left to Pillow.
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
    actual = _decode(bytearray(content))
    return actual is not None and np.array_equal(actual, expected)
