"""One item -> prepared pixels."""

from skclip.encode.preprocess import resize_and_crop
from skclip.inputs.images import read_image


def read_pixels(item, *, row, config, exact=False):
    """Read, resize and crop one image."""
    return resize_and_crop(read_image(item, row=row), config)
