"""Image files as they turn up in the wild, readable and not, with what a viewer shows."""

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image


class OddFile(NamedTuple):
    name: str
    path: str
    readable: bool
    expected: np.ndarray | None  # (H, W, 3) uint8, where it can be told without decoding the file


def write_odd_files(folder):
    """Write the files into `folder` and return their records."""
    folder = Path(folder)
    files = []

    def add(name, content, expected=None, readable=True, **options):
        path = folder / name
        if isinstance(content, Image.Image):
            content.save(path, **options)
        elif content is not None:
            path.write_bytes(content)
        files.append(OddFile(name, str(path), readable, expected))
        return path

    rgb = upright_picture()
    image = Image.fromarray(rgb)
    grey = rgb[..., 0]
    ramp = np.linspace(0, 65535, grey.size).astype(np.uint16).reshape(grey.shape)
    alpha = np.linspace(0, 255, grey.size).astype(np.uint8).reshape(grey.shape)
    black = np.zeros(rgb.shape, np.uint8)

    # unreadable
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    jpeg = add("whole.jpg", noise).read_bytes()
    png = add("whole.png", noise, np.asarray(noise)).read_bytes()
    add("truncated.jpg", jpeg[: len(jpeg) // 2], readable=False)
    add("truncated.png", png[: len(png) // 2], readable=False)
    add("header_only.png", png[:20], readable=False)
    add("empty.jpg", b"", readable=False)
    add("text.jpg", b"This is not a picture.\n" * 20, readable=False)
    add("bomb.png", png_file(30_000, 30_000, 2, b""), readable=False)
    add("bomb_that_pillow_only_warns_of.png", png_file(10_000, 10_000, 2, b""), readable=False)
    add("zero_width.png", png_file(0, 4, 2, b""), readable=False)
    add("missing.jpg", None, readable=False)
    (folder / "directory.jpg").mkdir()
    add("directory.jpg", None, readable=False)

    # modes
    add("cmyk.jpg", image.convert("CMYK"))
    add("cmyk.tif", image.convert("CMYK"), np.asarray(image.convert("CMYK").convert("RGB")))
    add("grey.jpg", image.convert("L"))
    add("progressive.jpg", image, progressive=True)
    add("1bit.png", Image.fromarray(grey > 128), stack(np.where(grey > 128, 255, 0)))
    add("16bit.png", Image.fromarray(ramp), stack(ramp >> 8))
    add("16bit_big_endian.tif", Image.fromarray(ramp.astype(">u2")), stack(ramp >> 8))
    pgm = b"P5 %d %d 65535\n" % grey.shape[::-1]
    add("16bit.pgm", pgm + ramp.astype(">u2").tobytes(), stack(ramp >> 8))
    rgb16 = (rgb * np.uint16(256) + 200).astype(">u2")
    add("16bit_colour.png", png_file(*image.size, 2, scanlines(rgb16), depth=16), rgb)
    add("float.tif", Image.fromarray(grey.astype(np.float32) / 255), stack(grey))
    la = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    add("grey_alpha.png", la, over_white(stack(grey), alpha))
    rgba = np.dstack([rgb, alpha])
    add("alpha.png", Image.fromarray(rgba), over_white(rgb, alpha))
    add("alpha.webp", Image.fromarray(rgba), over_white(rgb, alpha), lossless=True, exact=True)

    # palettes and transparent colours: entry 0 is transparent, the others are red and blue
    indices = np.arange(grey.size).reshape(grey.shape) % 3
    colours = np.array([[9, 9, 9], [255, 0, 0], [0, 0, 255]], np.uint8)
    palette = Image.fromarray(indices.astype(np.uint8))
    palette.putpalette(colours.ravel().tolist())
    shown = np.array([[255] * 3, [255, 0, 0], [0, 0, 255]], np.uint8)[indices]
    add("palette_transparent.png", palette, shown, transparency=0)
    add("palette_transparent.gif", palette, shown, transparency=0)
    add("palette_half_transparent.png", palette, transparency=bytes([0, 128, 255]))
    add("transparent_colour.png", Image.fromarray(colours[indices]), shown, transparency=(9, 9, 9))

    # containers
    add("plain.bmp", image, rgb)
    add("plain.ppm", image, rgb)
    frames = [Image.fromarray(stack(grey)), Image.fromarray(black)]
    add("animated.gif", frames[0], stack(grey), save_all=True, append_images=frames[1:])
    junk = [(b"gAMA", struct.pack(">I", 45455)), (b"iCCP", b"icc\0\0" + zlib.compress(b"junk"))]
    add("junk_profile.png", png_file(*image.size, 2, scanlines(rgb), chunks=junk), rgb)
    plain = add("grün und blau.png", image, rgb)
    add("png_named.jpg", plain.read_bytes(), rgb)

    # sizes
    line = np.random.default_rng(1).integers(0, 256, (5000, 1, 3), np.uint8)
    add("1x1.png", Image.fromarray(line[:1]), line[:1])
    add("1x5000.png", Image.fromarray(line), line)
    add("5000x1.png", Image.fromarray(line[:, 0][None]), line[:, 0][None])

    return files + write_orientations(folder)


def write_orientations(folder):
    """Write one picture in all eight EXIF orientations."""
    files = []
    for orientation, stored in enumerate(stored_by_orientation(upright_picture()), start=1):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        path = Path(folder) / f"orientation_{orientation}.jpg"
        Image.fromarray(np.ascontiguousarray(stored)).save(
            path, exif=exif, quality=100, subsampling=0
        )
        files.append(OddFile(path.name, str(path), True, None))
    return files


def stored_by_orientation(upright):
    """The rows and columns that a camera stores, by EXIF 2.3, tag 274, values 1 to 8."""
    turned = upright.swapaxes(0, 1)
    return [
        upright,
        upright[:, ::-1],  # column 0 is the right of the picture
        upright[::-1, ::-1],  # row 0 the bottom, column 0 the right
        upright[::-1],  # row 0 the bottom
        turned,  # row 0 the left, column 0 the top
        turned[::-1],  # row 0 the right, column 0 the top
        turned[::-1, ::-1],  # row 0 the right, column 0 the bottom
        turned[:, ::-1],  # row 0 the left, column 0 the bottom
    ]


def upright_picture():
    """A picture (16, 24, 3) that differs from each of its turned and mirrored selves."""
    y, x = np.mgrid[:16, :24]
    return np.stack([x * 10, y * 15, (x > 12) * 200], axis=-1).astype(np.uint8)


def over_white(rgb, alpha):
    alpha = alpha[..., None] / 255
    return np.rint(rgb * alpha + 255 * (1 - alpha)).astype(np.uint8)


def stack(grey):
    return np.stack([grey.astype(np.uint8)] * 3, axis=-1)


def scanlines(pixels):
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))


def png_file(width, height, colour_type, data, *, depth=8, chunks=()):
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in body
    )
