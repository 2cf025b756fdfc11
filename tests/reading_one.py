"""One image, read as an embedder reads it: the picture, or the error that names the row."""

from functools import partial

from skclip.encode import reading
from skclip.exceptions import ImageReadError
from skclip.inputs.items import as_item


def read(given, row, prepare_image):
    prepared, cause = reading.read_item([as_item(given)], prepare_image, 0)
    if cause is not None:
        raise ImageReadError(row, cause)
    return prepared


def read_image(given, row=0):
    return read(given, row, reading.read_rgb)


def read_pixels(given, config, row=0, exact=False):
    return read(given, row, partial(reading.read_pixels, config=config, exact=exact))
