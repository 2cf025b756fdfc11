"""What is read does not depend on the warning filter, and nobody else's warnings are touched."""

import io
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from reading_one import read_image

from skclip.exceptions import ImageReadError
from skclip.inputs.pillow_warnings import pillow_without_warnings

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8))


def saved(image, format, **options):
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the format
        image.save(stream, format, **options)
    return stream.getvalue()


def icon(png, width, height):
    """An icon file of one PNG picture, whose directory claims a size."""
    entry = [width, height, 0, 0, 1, 0, 32, 0, *len(png).to_bytes(4, "little"), 22, 0, 0, 0]
    return bytes([0, 0, 1, 0, 1, 0, *entry]) + png


def files_with_warnings():
    palette = RGB.quantize(8)
    # the offset of the artist's name, which follows the tag, the type and the length
    tiff = saved(RGB, "TIFF", artist="x" * 100)
    at = tiff.index(b"\x3b\x01\x02\x00") + 8
    yield "tiff with a tag beyond the end", tiff[:at] + b"\xff\xff\xff\0" + tiff[at + 4 :]
    transparent = saved(palette, "PNG", transparency=bytes(range(8)))
    at = transparent.index(b"IDAT") - 4
    yield (
        "png that claims to be animated",
        transparent[:at]
        + chunk(b"acTL", bytes(8))
        + (
            transparent[at:]  # of no frames
        ),
    )
    yield "icon of another size", icon(saved(RGB, "PNG"), 16, 16)
    jpeg = saved(RGB, "JPEG")
    yield "malformed mpo", jpeg[:2] + b"\xff\xe2\0\x0cMPF\0II*\0xx" + jpeg[2:]
    yield "format that Pillow will no longer read", saved(RGB, "IM")


def chunk(kind, content):
    checksum = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + checksum


FILES = dict(files_with_warnings())


def warnings_of_pillow(content):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open(io.BytesIO(content)) as image:
            image.convert("RGB")
    return caught


def test_pillow_itself_warns_of_most_of_these_files():
    # versions of Pillow differ in a few
    assert sum(bool(warnings_of_pillow(content)) for content in FILES.values()) >= 3


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("action", ["error", "always", "default", "ignore"])
@pytest.mark.parametrize("opened", [False, True])
def test_files_are_read_without_warnings_whatever_the_filter(name, action, opened):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(FILES[name])) as image:
            expected = np.asarray(image.convert("RGBA").convert("RGB"))
            image.seek(0)
        given = Image.open(io.BytesIO(FILES[name])) if opened else FILES[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        shown = read_image(given)
    assert caught == []
    if "animated" not in name:  # which has transparent pixels
        np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("action", ["error", "ignore"])
def test_the_picture_in_an_icon_has_the_limit_of_other_pictures(monkeypatch, action):
    content = icon(saved(RGB, "PNG"), 16, 16)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 16 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(ImageReadError, match="DecompressionBombError"):
            read_image(content)


def test_other_threads_are_warned_by_pillow_meanwhile():
    content = FILES["tiff with a tag beyond the end"]
    expected = [str(warning.message) for warning in warnings_of_pillow(content)]
    assert expected
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(warnings_of_pillow(content)))
    filters = list(warnings.filters)
    with pillow_without_warnings():
        thread.start()
        thread.join()
        assert warnings_of_pillow(content) == []
        assert warnings.filters == filters
    assert [str(warning.message) for warning in seen] == expected
    # a warning names the place in Pillow, as it does without skclip
    assert seen[0].filename.endswith("TiffImagePlugin.py")


def test_warnings_of_others_in_the_same_thread_are_kept():
    with pillow_without_warnings(), pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


def test_the_context_ends_with_an_exception_and_can_be_nested():
    content = FILES["tiff with a tag beyond the end"]
    with pillow_without_warnings():
        with pytest.raises(KeyError), pillow_without_warnings():
            raise KeyError
        assert warnings_of_pillow(content) == []
    assert warnings_of_pillow(content)


def test_libtiff_prints_nothing(capfd):
    damaged = bytearray(saved(RGB, "TIFF", compression="tiff_lzw"))
    damaged[60:200] = b"\xff" * 140
    with pytest.raises(ImageReadError):
        read_image(bytes(damaged))
    assert capfd.readouterr().err == ""
