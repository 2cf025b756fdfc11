"""One image as a user has it -> what the image tower takes."""

from typing import NamedTuple

import numpy as np

from skclip.encode.jpeg import decode_jpeg
from skclip.encode.resize import can_resize_fast, resize_and_crop, resize_and_crop_fast


class ReadImage(NamedTuple):
    """One image that was read, or the reason why it could not be.

    Parameters
    ----------
    prepared : object
        What the encoder's ``prepare_image`` made of it; None if it could not be read.
    cause : str or None
        Why it could not be read.
    """

    prepared: object
    cause: str | None


def read_item(items, prepare_image, position):
    """Read one item of a column; runs in a reading thread.

    Parameters
    ----------
    items : sequence of ImageItem
    prepare_image : callable
        That of an `Encoder`.
    position : int
        The item's place in `items`.

    Returns
    -------
    ReadImage
        Text instead of an exception, which would keep the pixels that were decoded so far.
    """
    item = items[position]
    try:
        return ReadImage(prepare_image(item), None)
    except Exception as error:
        return ReadImage(None, item.cause(error))


def read_rgb(item):
    """Return an image as an RGB picture (PIL), for encoders that prepare pictures themselves."""
    with item.open() as opened:
        return opened.rgb()


def read_pixels(item, config, *, exact=False):
    """Return one image as the model takes it: decoded, upright, resized and cropped.

    Parameters
    ----------
    item : ImageItem
    config : PreprocessConfig
    exact : bool, default=False
        Give the pixels of the published recipe on Pillow bit for bit, which takes two to three
        times as long. Otherwise they are within one gray level of it, as the notes of
        `skclip.encode.resize.resize_and_crop_fast` say.

    Returns
    -------
    pixels : ndarray of shape (image_size, image_size, 3), uint8

    Notes
    -----
    Pillow reads the header of every file, which decides about its size, its colors and its
    orientation. The usual JPEG files are then decoded by torchvision, straight to packed RGB, by
    the same library as in Pillow and to the same pixels; whatever it refuses is left to Pillow.
    Pillow does not report damage that can be decoded all the same; torchvision's library writes
    a note of it to the standard error stream.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.encode.reading import read_pixels
    >>> from skclip.inputs.items import as_item
    >>> from skclip.model.config import PreprocessConfig
    >>> read_pixels(as_item(np.ones((30, 40))), PreprocessConfig(image_size=8)).shape
    (8, 8, 3)
    """
    with item.open() as opened:
        if not exact and can_resize_fast(opened.size, config):
            pixels = decode_jpeg(opened) if opened.pixels is None else opened.pixels
            if pixels is not None:
                return resize_and_crop_fast(pixels, config, orientation=opened.orientation)
        picture = opened.rgb()
    if exact or not can_resize_fast(picture.size, config):
        return resize_and_crop(picture, config)
    return resize_and_crop_fast(np.asarray(picture), config)
