"""Image files as users have them, readable and unreadable, with the pixels that a viewer shows."""

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
    expected: np.ndarray | None  # (H, W, 3) uint8, where known without decoding the file


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
    gray = rgb[..., 0]
    ramp = np.linspace(0, 65535, gray.size).astype(np.uint16).reshape(gray.shape)
    alpha = np.linspace(0, 255, gray.size).astype(np.uint8).reshape(gray.shape)
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
    add("bomb_that_pillow_only_warns_about.png", png_file(10_000, 10_000, 2, b""), readable=False)
    add("zero_width.png", png_file(0, 4, 2, b""), readable=False)
    add("missing.jpg", None, readable=False)
    (folder / "directory.jpg").mkdir()
    add("directory.jpg", None, readable=False)

    # pixel formats
    add("cmyk.jpg", image.convert("CMYK"))
    add("cmyk.tif", image.convert("CMYK"), np.asarray(image.convert("CMYK").convert("RGB")))
    add("gray.jpg", image.convert("L"))
    add("progressive.jpg", image, progressive=True)
    add("1bit.png", Image.fromarray(gray > 128), stack(np.where(gray > 128, 255, 0)))
    add("16bit.png", Image.fromarray(ramp), stack(ramp >> 8))
    add("16bit_big_endian.tif", Image.fromarray(ramp.astype(">u2")), stack(ramp >> 8))
    pgm = b"P5 %d %d 65535\n" % gray.shape[::-1]
    add("16bit.pgm", pgm + ramp.astype(">u2").tobytes(), stack(ramp >> 8))
    rgb16 = (rgb * np.uint16(256) + 200).astype(">u2")
    add("16bit_color.png", png_file(*image.size, 2, scanlines(rgb16), depth=16), rgb)
    add("float.tif", Image.fromarray(gray.astype(np.float32) / 255), stack(gray))
    la = Image.merge("LA", [Image.fromarray(gray), Image.fromarray(alpha)])
    add("gray_alpha.png", la, over_white(stack(gray), alpha))
    rgba = np.dstack([rgb, alpha])
    add("alpha.png", Image.fromarray(rgba), over_white(rgb, alpha))
    add("alpha.webp", Image.fromarray(rgba), over_white(rgb, alpha), lossless=True, exact=True)

    # palettes and transparent colors: entry 0 is transparent, the others are red and blue
    indices = np.arange(gray.size).reshape(gray.shape) % 3
    colors = np.array([[9, 9, 9], [255, 0, 0], [0, 0, 255]], np.uint8)
    palette = Image.fromarray(indices.astype(np.uint8))
    palette.putpalette(colors.ravel().tolist())
    shown = np.array([[255] * 3, [255, 0, 0], [0, 0, 255]], np.uint8)[indices]
    add("palette_transparent.png", palette, shown, transparency=0)
    add("palette_transparent.gif", palette, shown, transparency=0)
    add("palette_half_transparent.png", palette, transparency=bytes([0, 128, 255]))
    add("transparent_color.png", Image.fromarray(colors[indices]), shown, transparency=(9, 9, 9))

    # containers
    add("plain.bmp", image, rgb)
    add("plain.ppm", image, rgb)
    frames = [Image.fromarray(stack(gray)), Image.fromarray(black)]
    add("animated.gif", frames[0], stack(gray), save_all=True, append_images=frames[1:])
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
    """Write one picture in all eight EXIF orientations; return its records."""
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
    """Return the pixels that a camera stores, by orientation: EXIF 2.3, tag 274, values 1 to 8."""
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
    """Return a picture (16, 24, 3) that changes whenever it is rotated or mirrored."""
    y, x = np.mgrid[:16, :24]
    return np.stack([x * 10, y * 15, (x > 12) * 200], axis=-1).astype(np.uint8)


def over_white(rgb, alpha):
    alpha = alpha[..., None] / 255
    return np.rint(rgb * alpha + 255 * (1 - alpha)).astype(np.uint8)


def stack(gray):
    return np.stack([gray.astype(np.uint8)] * 3, axis=-1)


def scanlines(pixels):
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))


def png_file(width, height, color_type, data, *, depth=8, chunks=()):
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in body
    )
