"""One file, byte string, picture or array -> an upright RGB picture, as a viewer shows it."""

import os
import stat
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, ImageFile

from skclip.inputs.identify import Unreadable, check_has_pixels, check_pixel_count, identify
from skclip.inputs.paths import how_to_list

# what makes a picture upright, by its EXIF orientation
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class WatchedStream:
    """A binary stream that records whether a reader tried to read beyond its end.

    Parameters
    ----------
    file : binary stream
    n_bytes : int
        Its length.

    Attributes
    ----------
    starved : bool
        Whether a read returned nothing because the stream had ended. May be set back to False.
    """

    def __init__(self, file, n_bytes):
        self.file = file
        self.n_bytes = n_bytes
        self.starved = False

    def read(self, size=-1):
        data = self.file.read(size)
        self.starved |= size > 0 and not data
        return data

    def __getattr__(self, name):
        return getattr(self.file, name)


class OpenedImage:
    """An image whose header has been read, and whose pixels may not be decoded yet.

    Parameters
    ----------
    picture : PIL.Image.Image or None, default=None
        The picture, or None for an array. With a `stream`, only its header has been read.
    stream : WatchedStream or None, default=None
        The content of the image file. None for an array, and for a PIL image of the user's.
    pixels : ndarray of shape (height, width, 3), uint8, or None, default=None
        The pixels of an array, or None for a picture.

    Attributes
    ----------
    size : tuple (width, height) of int
        The size as stored, before the EXIF orientation is applied.
    """

    def __init__(self, picture=None, stream=None, pixels=None):
        self.picture = picture
        self.stream = stream
        self.pixels = pixels
        self.size = pixels.shape[1::-1] if picture is None else picture.size

    @property
    def orientation(self):
        """The EXIF orientation, an int; 1 (upright) where there is none."""
        return 1 if self.picture is None else _orientation(self.picture)

    def rgb(self):
        """Return the image as a decoded, upright PIL image of mode RGB."""
        if self.picture is None:
            return Image.fromarray(self.pixels)
        return picture_to_rgb(self.picture, self.stream)


@contextmanager
def open_file(path):
    """Open the image file at a path and read its header.

    Parameters
    ----------
    path : str or bytes

    Yields
    ------
    OpenedImage

    Raises
    ------
    Unreadable
        If there is no such file, or it is not a regular file or not an image.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        hint = (
            "download it first"
            if "://" in str(path)
            else how_to_list(path)
            or f"relative paths start from the working directory, {os.getcwd()!r}"
        )
        raise Unreadable(f"does not exist; {hint}") from error
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable(f"is a directory; {how_to_list(path)}")
    # opening a pipe would wait for its other end
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is not a regular file")
    with open(path, "rb") as stream:
        yield open_stream(stream, status.st_size)


def open_stream(stream, n_bytes):
    """Read the header of the image file in a binary stream.

    Parameters
    ----------
    stream : binary stream
        It is not closed, and must stay open while the image is in use.
    n_bytes : int
        Its length.

    Returns
    -------
    OpenedImage

    Raises
    ------
    Unreadable
        If it is empty, not an image that Pillow can read, or has too many pixels.
    """
    watched = WatchedStream(stream, n_bytes)
    return OpenedImage(identify(watched, n_bytes), watched)


def picture_to_rgb(image, stream=None):
    """Decode a picture of any mode, make it upright, and convert it to RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        Is not changed, and stays at its frame of an animation.
    stream : WatchedStream or None, default=None
        The file from which the picture is decoded, with which a truncated one is found.

    Returns
    -------
    picture : PIL.Image.Image
        Of mode RGB; `image` itself if it is upright, opaque and of that mode.

    Raises
    ------
    Unreadable
        If the picture has no pixels or too many, is truncated, or its values are out of range.
    """
    if isinstance(image, ImageFile.ImageFile):
        check_pixel_count(image.size)
        if image.tile:  # a file that has been opened, but not decoded
            check_has_pixels(image.format)
    container = image.format
    if stream is not None:
        stream.starved = False
    image.load()
    if 0 in image.size:
        raise Unreadable(f"has no pixels: its size is {image.size}")
    # where a caller has set LOAD_TRUNCATED_IMAGES, Pillow silently fills what is missing with gray
    if ImageFile.LOAD_TRUNCATED_IMAGES and stream is not None and stream.starved:
        raise Unreadable("is truncated")
    upright = _UPRIGHT.get(_orientation(image))
    image = _to_rgb(image, container)
    return image if upright is None else image.transpose(upright)


def array_to_rgb(pixels, *, channels_first):
    """Convert the pixels of an array to RGB.

    Parameters
    ----------
    pixels : ndarray of shape (H, W) or (H, W, C), or (C, H, W) with `channels_first`
        C is 1, 3 or 4.
    channels_first : bool

    Returns
    -------
    pixels : ndarray of shape (H, W, 3), uint8
        The array itself if it is RGB and uint8 already.

    Raises
    ------
    Unreadable
        If the shape, the type or the range of the values is not that of an image.
    """
    if channels_first and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))):
        raise Unreadable(
            "does not have the shape of an image: an array is (H, W), (H, W, 3) or (H, W, 4), "
            "a tensor (H, W), (3, H, W) or (4, H, W)"
        )
    if pixels.size == 0:
        raise Unreadable("has no pixels")
    pixels = _to_uint8(pixels)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return np.asarray(_to_rgb(Image.fromarray(np.ascontiguousarray(pixels)), None))


def _orientation(image):
    """Return the EXIF orientation of a picture, 1 where there is none."""
    # a picture with a damaged EXIF block is shown as it is stored, as viewers do
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1


def _to_rgb(image, container):
    if image.mode == "F":
        image = Image.fromarray(_to_uint8(np.asarray(image)))
    elif image.mode.startswith("I"):
        image = Image.fromarray(_integers_to_uint8(image, container))
    elif image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(rgba, mask=rgba)
    return image if image.mode == "RGB" else image.convert("RGB")


def _integers_to_uint8(image, container):
    """Convert a picture of mode "I" or "I;16" to gray levels (height, width), uint8.

    In PNG and PPM files, mode "I" means 16 bits. Elsewhere it means 32 bits; if no value is above
    255, the values are taken as they are.
    """
    values = np.asarray(image)
    if image.mode == "I" and container not in ("PNG", "PPM"):
        if values.min() < 0 or values.max() > 65535:
            _raise_range(values, "integers must lie in 0 to 255, or to 65535 for 16 bits")
        if values.max() <= 255:
            return values.astype(np.uint8)
    gray = (values >> 8).astype(np.uint8)
    if "transparency" in image.info:
        gray[values == image.info["transparency"]] = 255
    return gray


def _to_uint8(pixels):
    kind = pixels.dtype.kind
    if pixels.dtype == np.uint8:
        return pixels
    if kind == "b":
        return pixels * np.uint8(255)
    if kind == "u" and pixels.dtype.itemsize == 2:
        return (pixels >> 8).astype(np.uint8)
    if kind in "iu":
        if pixels.min() < 0 or pixels.max() > 255:
            _raise_range(pixels, "integers must lie in 0 to 255 (uint16: 0 to 65535)")
        return pixels.astype(np.uint8)
    if kind == "f":
        low, high = pixels.min(), pixels.max()
        if np.isnan(low):
            raise Unreadable("has NaN pixels; fill them, or pass None for a missing image")
        if low < 0 or high > 1:
            _raise_range(pixels, "floats must lie in [0, 1]")
        return np.rint(pixels * np.promote_types(pixels.dtype, np.float32).type(255)).astype(
            np.uint8
        )
    raise Unreadable("does not hold numbers that can be pixels; use uint8, or floats in [0, 1]")


def _raise_range(pixels, rule):
    low, high = pixels.min(), pixels.max()
    divisor = next((value for value in (16, 255, 65535) if high <= value), None)
    if low < 0:
        advice = "undo the normalization first"
    elif pixels.dtype.kind == "f" and high < 1.5:
        advice = "this looks like rounding or overshoot: clip the pixels to [0, 1]"
    elif divisor is None or pixels.dtype.kind != "f":
        advice = "rescale the whole collection"
    else:
        advice = f"divide the whole collection by the largest value possible (such as {divisor})"
    raise Unreadable(f"has pixels from {low} to {high}, where {rule}; {advice}")
