"""Good image files of many kinds, damage to them, and a process that reads the damaged ones."""

import io
import json
import struct
import subprocess
import warnings
import zlib

import numpy as np
import PIL
from PIL import ExifTags, Image, features
from subprocesses import script_command


def good_files():
    """Return the contents of small files by the names of their kinds."""
    y, x = np.mgrid[:20, :28]
    rgb = Image.fromarray(np.stack([x * 9, y * 12, (x > 12) * 200], -1).astype(np.uint8))
    gray, palette = rgb.convert("L"), rgb.quantize(16)
    alpha = rgb.convert("RGBA")
    alpha.putalpha(gray)
    frames = {"save_all": True, "append_images": [rgb.transpose(method) for method in (0, 1)]}
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "somebody"
    gray16 = Image.fromarray(np.asarray(gray) * np.uint16(256))
    files = {
        "jpeg": (rgb, "JPEG", {}),
        "jpeg progressive": (rgb, "JPEG", {"progressive": True}),
        "jpeg cmyk": (rgb.convert("CMYK"), "JPEG", {}),
        "jpeg gray": (gray, "JPEG", {}),
        "jpeg rotated": (rgb, "JPEG", {"exif": exif, "subsampling": 0}),
        "jpeg restarts": (rgb, "JPEG", {"restart_marker_rows": 1}),
        "png": (rgb, "PNG", {}),
        "png 16 bits": (gray16, "PNG", {"exif": exif}),
        "png palette": (palette, "PNG", {"transparency": 1}),
        "png alpha": (alpha, "PNG", {}),
        "png animated": (rgb, "PNG", frames),
        "gif animated": (palette, "GIF", frames),
        "tiff": (rgb, "TIFF", {"exif": exif}),
        "tiff lzw": (rgb, "TIFF", {"compression": "tiff_lzw"}),
        "tiff deflate": (alpha, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff packbits": (palette, "TIFF", {"compression": "packbits"}),
        "tiff jpeg": (rgb, "TIFF", {"compression": "jpeg"}),
        "tiff float": (gray.convert("F").point(lambda v: v / 255 + 0), "TIFF", {}),
        "bmp": (rgb, "BMP", {}),
        "bmp palette": (palette, "BMP", {}),
        "ppm": (rgb, "PPM", {}),
        "pgm 16 bits": (gray16, "PPM", {}),
        "tga": (alpha, "TGA", {"compression": "tga_rle"}),
        "ico": (alpha, "ICO", {"sizes": [(20, 20)]}),
        "icns": (alpha.resize((16, 16)), "ICNS", {}),
        "pcx": (rgb, "PCX", {}),
        "sgi": (rgb, "SGI", {}),
        "dds": (rgb, "DDS", {}),
        "im": (rgb, "IM", {}),
        "msp": (rgb.convert("1"), "MSP", {}),
        "xbm": (rgb.convert("1"), "XBM", {}),
        "spider": (gray.convert("F").point(lambda v: v / 255 + 0), "SPIDER", {}),
    }
    # The MPO files that Pillow 11 writes are broken, and its libtiff leaves the rest of damaged
    # faxes undefined, so that it differs each time.
    if int(PIL.__version__.split(".")[0]) >= 12:
        files["mpo"] = (rgb, "MPO", frames)
        files["tiff fax"] = (rgb.convert("1"), "TIFF", {"compression": "group4"})
    Image.init()
    if "AVIF" in Image.SAVE:
        files["avif"] = (rgb, "AVIF", {"exif": exif})
    if features.check("webp"):
        files["webp"] = (rgb, "WEBP", {})
        files["webp lossless"] = (alpha, "WEBP", {"lossless": True, "exif": exif})
        files["webp animated"] = (rgb, "WEBP", frames)
    if features.check("jpg_2000"):
        files["jpeg 2000"] = (rgb, "JPEG2000", {})
    contents = {name: _saved(*file) for name, file in files.items()}
    contents["plain ppm"] = b"P3 # text\n4 2 255\n" + b" ".join(b"%d" % i for i in range(24))
    contents["bmp rle"] = _rle_bmp()
    contents["png interlaced"] = _interlaced_png()
    contents["psd"] = (
        struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 2, 4, 8, 3) + bytes(12) + bytes(2 + 24)
    )
    return contents


def damage(content, operations):
    """Return a content to which operations (name, place, number) were done, one after the other.

    The place is a float from 0 (start) to 1 (end), the number an int of at least 0.
    """
    for name, place, number in operations:
        at = int(place * len(content))
        rest = content[at:]
        if name == "byte":
            changed = bytes([number % 256]) + rest[1:]
        elif name == "bit":
            changed = bytes([rest[0] ^ (1 << number % 8)]) + rest[1:] if rest else b""
        elif name == "field":  # an integer of 2 or 4 bytes, in either order
            value, format = _FIELDS[number % len(_FIELDS)]
            changed = struct.pack(format, value) + rest[struct.calcsize(format) :]
        elif name == "cut":
            changed = b""
        elif name == "delete":
            changed = rest[1 + number % 64 :]
        elif name == "insert":
            changed = np.random.default_rng(number).bytes(1 + number % 64) + rest
        elif name == "zeros":
            changed = bytes(1 + number % 64) + rest[1 + number % 64 :]
        elif name == "repeat":
            changed = rest[: 1 + number % 64] * (1 + number % 7) + rest
        content = content[:at] + changed
    return with_checksums(content) if content.startswith(b"\x89PNG") else content


OPERATIONS = ("byte", "bit", "field", "cut", "delete", "insert", "zeros", "repeat")
_FIELDS = [
    (value & (256 ** struct.calcsize(format) - 1), format)
    for value in (0, 1, 2, 3, 28, 255, 1000, 2000, 30_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
    for format in ("<H", ">H", "<I", ">I")
]


def with_checksums(png):
    """Return a PNG file in which the checksums fit to the chunks, so that these are read."""
    at, parts = 8, [png[:8]]
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        end = at + 8 + length
        if end + 4 > len(png):
            break
        parts += [png[at:end], struct.pack(">I", zlib.crc32(png[at + 4 : end]))]
        at = end + 4
    return b"".join([*parts, png[at:]])


class Worker:
    """A process that reads images in little memory; see tests/scripts/read_damaged_images.py."""

    def __init__(self):
        command = script_command("read_damaged_images.py")
        # libtiff and libjpeg write to the standard error stream
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def check(self, content):
        """Return a dict: whether the content is `readable`, and the `problem`, or None."""
        self.process.stdin.write(struct.pack("<I", len(content)) + content)
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if answer:
            return json.loads(answer)
        code = self.process.wait()
        self.__init__()
        return {"readable": False, "problem": f"the process ended with code {code}"}

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def _saved(image, format, options):
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that Pillow will drop
        image.save(stream, format, **options)
    return stream.getvalue()


def _rle_bmp():
    """Return a compressed palette BMP (8 x 2), which Pillow does not write."""
    colors = bytes(range(64)) * 16
    pixels = b"\x08\x05\0\0" + b"\x04\x01\0\x04\1\2\3\4" + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, 8, 2, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    start = 14 + len(header) + len(colors)
    size = start + len(pixels)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, start) + header + colors + pixels


def _interlaced_png():
    """Return a gray PNG of 1 x 1 in the order of Adam7, where its first pass is all."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1))]
    parts += [(b"IDAT", zlib.compress(b"\0\x80")), (b"IEND", b"")]
    chunks = b"".join(struct.pack(">I", len(data)) + kind + data + bytes(4) for kind, data in parts)
    return with_checksums(b"\x89PNG\r\n\x1a\n" + chunks)
