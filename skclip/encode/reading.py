"""One item of a column of images -> the input of an encoder."""

from typing import NamedTuple

import numpy as np

from skclip.encode.jpeg import decode_jpeg
from skclip.encode.resize import can_resize_fast, resize_and_crop, resize_and_crop_fast
from skclip.inputs.items import ImageUnreadableError


class ReadImage(NamedTuple):
    """The outcome of reading one image.

    Parameters
    ----------
    prepared : object
        What the encoder's ``prepare_image`` returned; None if the image could not be read.
    cause : str or None
        Why the image could not be read; None if it could.
    """

    prepared: object
    cause: str | None


def read_item(items, prepare_image, position):
    """Read one item of a column. Called in reading threads.

    Parameters
    ----------
    items : sequence of ImageItem
    prepare_image : callable
        The method of an `Encoder`.
    position : int
        The item's place in `items`.

    Returns
    -------
    ReadImage
        Its cause is text, because an exception would keep its frames, and the pixels decoded in
        them, in memory.
    """
    try:
        return ReadImage(prepare_image(items[position]), None)
    except ImageUnreadableError as error:
        return ReadImage(None, str(error))


def read_rgb(item):
    """Return the picture of an item, for encoders that do their own preprocessing.

    Parameters
    ----------
    item : ImageItem

    Returns
    -------
    picture : PIL.Image.Image
        Upright, of mode RGB.
    """
    with item.open() as opened:
        return opened.rgb()


def read_pixels(item, config, *, exact=False):
    """Return the pixels that CLIP takes for one item: decoded, upright, resized and cropped.

    Parameters
    ----------
    item : ImageItem
    config : PreprocessConfig
    exact : bool, default=False
        Whether to return the pixels of the published recipe on Pillow bit for bit, which takes two
        to three times as long. Otherwise they are within one gray level of these; the notes of
        `skclip.encode.resize.resize_and_crop_fast` say more.

    Returns
    -------
    pixels : ndarray of shape (image_size, image_size, 3), uint8

    Notes
    -----
    Pillow reads the header of every file, and with it the size, the colors and the orientation.
    Ordinary JPEG files are then decoded by torchvision, directly to packed RGB, with the same
    library as in Pillow and to the same pixels. Files that torchvision refuses are decoded by
    Pillow. Some damaged files can still be decoded; Pillow does so silently, while torchvision's
    library writes a message to the standard error stream.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.encode.reading import read_pixels
    >>> from skclip.inputs.items import as_item
    >>> from skclip.model.config import PreprocessConfig
    >>> read_pixels(as_item(np.ones((30, 40))), PreprocessConfig(image_size=8)).shape
    (8, 8, 3)
    """
    # only what decodes stands inside: an error in there means that the image is damaged
    with item.open() as opened:
        stored = None if exact else _stored_pixels(opened, config)
        picture = opened.rgb() if stored is None else None
    if stored is not None:
        pixels, orientation = stored
        return resize_and_crop_fast(pixels, config, orientation=orientation)
    if exact or not can_resize_fast(picture.size, config):
        return resize_and_crop(picture, config)
    return resize_and_crop_fast(np.asarray(picture), config)


def _stored_pixels(opened, config):
    """Return pixels and EXIF orientation, or None where Pillow must decode or resize.

    Parameters
    ----------
    opened : OpenedImage
    config : PreprocessConfig
    """
    # a size of 0 would divide by zero in there; `OpenedImage.rgb` reports it
    if 0 in opened.size or not can_resize_fast(opened.size, config):
        return None
    pixels = decode_jpeg(opened) if opened.pixels is None else opened.pixels
    # the orientation is read last: for some formats, that decodes the whole file
    return None if pixels is None else (pixels, opened.orientation)
