"""The stream of a file -> the header of an image, if it can be decoded within bounds.

A header may promise anything, and a few bytes may cost gigabytes or minutes. What a file costs must
follow from the number of its pixels, which ``PIL.Image.MAX_IMAGE_PIXELS`` limits.
"""

import re
import struct

from PIL import Image

from skclip.inputs.pillow_warnings import load_all_plugins, load_common_plugins

# These hold drawings, films or data that another program or a handler has to make pixels of. Pillow
# lets Ghostscript run the program that an EPS file is.
_NO_PIXELS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# its plugin reads the picture inside with a plugin of any format, without these checks
_SKIPPED = {"IPTC"}
# 16 bits for each of red, green, blue and alpha; or 256 MiB, where the limit on pixels is low
_MAX_BYTES_PER_PIXEL = 8
_LEAST_FILE_LIMIT = 2**28
# the smallest numbers of bits per pixel; Pillow 11 takes minutes to find that pixels are missing
_MIN_BITS_PER_PIXEL = {"DDS": 4}
# Each scan of a progressive JPEG file passes over all pixels, and a scan may have few bytes.
# Encoders write about ten; libtiff has the same limit for JPEG data in TIFF files.
_MAX_SCANS = 100
# the beginning of a scan of one to four colors, of the one length that it may have; the marker
# alone is found by chance in a film behind the picture
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
# Pillow copies up to a megabyte for each comment between pixels written as text
_MAX_COMMENTS = 1000
_COMMENT = re.compile(rb"#")
_BLOCK = 2**20


class Unreadable(Exception):
    """An item cannot be read as an image.

    The message is the predicate of a sentence whose subject is the item: "is empty (0 bytes)".
    """


def identify(stream, n_bytes):
    """Read the header with the first of Pillow's plugins that accepts it, as `PIL.Image.open` does.

    Unlike `PIL.Image.open`, it reports what each plugin found wrong, and does not use plugins that
    leave the work to others.

    Parameters
    ----------
    stream : binary stream
    n_bytes : int
        Its length.

    Returns
    -------
    picture : PIL.Image.Image
        Not yet decoded.

    Raises
    ------
    Unreadable
        If it is empty, not an image that Pillow can read, or would take memory or time out of
        proportion to its pixels.
    """
    _check_file_size(n_bytes)
    prefix = stream.read(16)
    if not prefix:
        raise Unreadable("is empty (0 bytes)")
    notes = set()
    for load_plugins in (load_common_plugins, load_all_plugins):
        load_plugins()
        for name in tuple(Image.ID):
            if name in _SKIPPED:
                continue
            factory, accept = Image.OPEN[name]
            try:
                accepted = accept is None or accept(prefix)
                if isinstance(accepted, str):
                    notes.add(accepted)
                elif accepted:
                    check_has_pixels(name)
                    stream.seek(0)
                    picture = factory(stream, "")
                    check_pixel_count(picture.size)
                    _check_proportions(picture, stream, n_bytes)
                    return picture
            except (SyntaxError, IndexError, TypeError, struct.error) as error:
                if accept is not None:
                    notes.add(f"{name}: {error}")
    if notes:
        raise Unreadable(f"has a damaged or unsupported header ({'; '.join(sorted(notes))})")
    raise Unreadable(f"is not an image of a format that Pillow reads; it begins with {prefix!r}")


def check_has_pixels(name):
    """Raise Unreadable if the format of this name is not one of pixels."""
    if name in _NO_PIXELS:
        raise Unreadable(
            f"has the format {name}, which Pillow does not decode itself; convert it to PNG or "
            "JPEG first"
        )


def check_pixel_count(size):
    """Raise Unreadable if a size (width, height) is above Pillow's limit."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size[0] * size[1] > limit:
        raise Unreadable(
            f"claims {size[0]} x {size[1]} pixels, more than PIL.Image.MAX_IMAGE_PIXELS = {limit} "
            "(it could be a decompression bomb); if you trust it, raise that limit"
        )


def _check_file_size(n_bytes):
    """Raise Unreadable if a file is too long; many plugins read all of it before they check it."""
    max_pixels = Image.MAX_IMAGE_PIXELS
    if max_pixels is not None:
        limit = max(_MAX_BYTES_PER_PIXEL * max_pixels, _LEAST_FILE_LIMIT)
        if n_bytes > limit:
            raise Unreadable(
                f"has {n_bytes} bytes, more than the {limit} of an image of {max_pixels} pixels; "
                "if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS"
            )


def _check_proportions(picture, stream, n_bytes):
    """Raise Unreadable if decoding would take much longer than the number of pixels suggests."""
    width, height = picture.size
    codecs = {tile[0] for tile in getattr(picture, "tile", ())}
    if width * height * _MIN_BITS_PER_PIXEL.get(picture.format, 0) > 8 * n_bytes:
        raise Unreadable(
            f"claims {width} x {height} pixels, too many for a file of {n_bytes} bytes"
        )
    if "fits_gzip" in codecs:
        raise Unreadable(
            "is a compressed FITS file, which Pillow decompresses without a limit; decompress it "
            "first"
        )
    if picture.info.get("progressive") and _has_more(stream, _SCAN, 5, _MAX_SCANS):
        raise Unreadable(
            f"is a progressive JPEG file of more than {_MAX_SCANS} scans (it could be a "
            "decompression bomb)"
        )
    if "ppm_plain" in codecs and _has_more(stream, _COMMENT, 1, _MAX_COMMENTS):
        raise Unreadable(f"is a plain PPM file of more than {_MAX_COMMENTS} comments")


def _has_more(stream, pattern, length, limit):
    """Whether a pattern of some bytes' length occurs more than `limit` times in a stream."""
    position = stream.tell()
    stream.seek(0)
    count, end = 0, b""
    while count <= limit and (block := stream.read(_BLOCK)):
        searched = end + block
        count += len(pattern.findall(searched))
        end = searched[max(len(searched) - length + 1, 0) :]
    stream.seek(position)
    return count > limit
