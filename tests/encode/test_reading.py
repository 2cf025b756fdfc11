"""The fast way from a file to pixels, compared with the exact way through Pillow."""

import importlib.util
import io
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_files import write_orientations
from PIL import Image, ImageFile
from reading_one import read_image, read_pixels
from subprocesses import run_script

from skclip.encode import jpeg as jpeg_module
from skclip.encode import reading
from skclip.encode.resize import can_resize_fast, resize_and_crop
from skclip.exceptions import ImageReadError
from skclip.model.config import PreprocessConfig

CONFIG = PreprocessConfig(image_size=32)

needs_fast_decoding = pytest.mark.skipif(
    not (can_resize_fast((640, 480), CONFIG) and jpeg_module._processes_decoded_alike()),
    reason="no AVX2, or torchvision has no JPEG decoder like Pillow's",
)


def picture(height=70, width=90, seed=0):
    """Return pixels like those of a photograph: smooth, with a little noise."""
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC)
    return (np.asarray(smooth) + rng.integers(-6, 7, (height, width, 3))).clip(0, 255)


def jpeg(pixels=None, mode="RGB", **options):
    stream = io.BytesIO()
    pixels = picture() if pixels is None else pixels
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def both(item, config=CONFIG):
    """Read exactly and fast; return the pixels or the message of the error for each."""
    outcomes = []
    for exact in (True, False):
        try:
            outcomes.append(read_pixels(item, config, row=3, exact=exact).astype(int))
        except ImageReadError as error:
            outcomes.append(str(error))
    return outcomes


def check_alike(item, config=CONFIG):
    exact, fast = both(item, config)
    if isinstance(exact, str):
        assert isinstance(fast, str)
        assert exact == fast
    else:
        assert not isinstance(fast, str), fast
        assert np.abs(exact - fast).max() <= 1
    return fast


@pytest.fixture
def decoded(monkeypatch):
    """A list of whether torchvision has decoded each file that it was given."""
    successes = []
    original = jpeg_module._decode

    def decode(content):
        pixels = original(content)
        successes.append(pixels is not None)
        return pixels

    jpeg_module._processes_decoded_alike()
    monkeypatch.setattr(jpeg_module, "_decode", decode)
    return successes


def test_exact_is_the_published_recipe_bit_for_bit(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    expected = resize_and_crop(read_image(path), CONFIG)
    np.testing.assert_array_equal(read_pixels(path, CONFIG, exact=True), expected)


def test_odd_files_give_the_same_errors_and_almost_the_same_pixels(odd_files):
    for config in (CONFIG, PreprocessConfig(resize_mode="squash", interpolation="bilinear")):
        for file in odd_files:
            outcome = check_alike(file.path, config)
            assert isinstance(outcome, str) == (not file.readable), file.name


def test_items_of_every_kind_give_the_same_pixels(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    content = path.read_bytes()
    pixels = np.asarray(Image.open(path).convert("RGB"))
    expected = read_pixels(str(path), CONFIG)
    for item in (
        path,
        content,
        bytearray(content),
        memoryview(content),
        {"bytes": content, "path": None},
        {"path": str(path)},
        Image.fromarray(pixels),
        pixels,
        pixels[::-1][::-1],
        pixels / np.float64(255),
    ):
        actual = read_pixels(item, CONFIG)
        np.testing.assert_array_equal(actual, expected)
        assert actual.flags.c_contiguous
    no_pixels = [np.zeros((0, 5, 3), np.uint8), Image.new("RGB", (0, 5))]
    for item in (None, *no_pixels, np.zeros((5, 5, 7), np.uint8), 17):
        assert isinstance(check_alike(item), str)


def test_a_lazily_opened_picture_is_not_changed(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    with Image.open(path) as image:
        read_pixels(image, CONFIG)
        assert image.size == (90, 70)
        assert image.format == "JPEG"


@needs_fast_decoding
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "gray", "rgb", "4:1:1"])
def test_ordinary_jpeg_files_are_decoded_to_the_same_pixels(subsampling, progressive, decoded):
    rng = np.random.default_rng(0)
    for _ in range(8):
        options = {"quality": int(rng.integers(20, 101)), "progressive": progressive}
        if subsampling == "gray":
            options["mode"] = "L"
        elif subsampling == "rgb":
            options["keep_rgb"] = True
        else:
            options["subsampling"] = "4:2:0" if subsampling == "4:1:1" else subsampling
        content = jpeg(picture(*rng.integers(20, 90, 2), seed=rng.integers(100)), **options)
        if subsampling == "4:1:1":
            # changes the layout of 4:2:0 into 4:1:1, which has as many luma blocks per chroma block
            content = content.replace(b"\x03\x01\x22\x00", b"\x03\x01\x41\x00")
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        actual = jpeg_module._decode(bytearray(content))
        np.testing.assert_array_equal(actual, expected)
        del decoded[:]
        check_alike(content)
        kinds = jpeg_module._processes_decoded_alike()
        assert decoded == [True] or (progressive and jpeg_module._PROGRESSIVE not in kinds)


@needs_fast_decoding
def test_unusual_jpeg_files_are_left_to_pillow(decoded):
    layout_440 = jpeg(subsampling="4:2:2").replace(b"\x03\x01\x21\x00", b"\x03\x01\x12\x00")
    # marked as lossless JPEG, which Pillow may or may not read
    lossless = jpeg().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc3\x00\x11\x08")
    for content in (jpeg(mode="CMYK"), layout_440, lossless):
        check_alike(content)
    assert decoded == []


@needs_fast_decoding
def test_a_file_with_a_film_behind_its_picture_is_not_read_to_its_end(decoded, monkeypatch):
    monkeypatch.setattr(jpeg_module, "_MAX_OTHER_BYTES", 1000)
    content = jpeg()
    check_alike(content)
    assert len(decoded) == 1
    check_alike(content + bytes(4 * 70 * 90 + 1000))
    assert len(decoded) == 1


@needs_fast_decoding
def test_the_first_frame_of_an_mpo_file_is_decoded_by_torchvision(decoded):
    stream = io.BytesIO()
    frames = [Image.fromarray(picture(seed=seed).astype(np.uint8)) for seed in (0, 1)]
    frames[0].save(stream, "MPO", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(stream.getvalue())).format == "MPO"
    check_alike(stream.getvalue())
    assert decoded == [True]


def test_all_eight_orientations_give_almost_the_same_pixels(tmp_path):
    for config in (CONFIG, PreprocessConfig(image_size=9), PreprocessConfig(resize_mode="squash")):
        for file in write_orientations(tmp_path):
            check_alike(file.path, config)


@settings(max_examples=100)
@given(cut=st.floats(0, 1), progressive=st.booleans(), kept=st.booleans())
def test_truncated_files_give_the_same_outcome(cut, progressive, kept):
    content = jpeg(progressive=progressive)
    content = content[: int(cut * len(content))]
    check_alike(content + b"\xff\xd9" if kept else content)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_files_without_their_last_bytes_give_the_same_outcome(missing):
    """Pillow accepts a file without end marker if it has all pixels."""
    check_alike(jpeg()[:-missing])


def test_truncated_files_are_refused_where_pillow_is_told_to_load_them(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = jpeg()
    assert "is truncated" in check_alike(content[: len(content) // 2])


@settings(max_examples=200)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    progressive=st.booleans(),
)
def test_damaged_files_give_the_same_outcome(flips, subsampling, progressive):
    """Almost the same pixels, or the same error."""
    content = bytearray(jpeg(subsampling=subsampling, progressive=progressive))
    for place, value in flips:
        content[int(2 + place * (len(content) - 3))] = value
    check_alike(bytes(content))


@needs_fast_decoding
def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch, decoded):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 70 * 90 - 1)
    assert "MAX_IMAGE_PIXELS = 6299" in check_alike(jpeg())
    assert decoded == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    check_alike(jpeg())
    assert decoded == [True]


@needs_fast_decoding
def test_a_file_decoded_to_another_size_than_in_its_header_is_left_to_pillow(monkeypatch):
    monkeypatch.setattr(jpeg_module, "_decode", lambda content: np.zeros((70, 91, 3), np.uint8))
    assert check_alike(jpeg()).max() > 0


def test_without_torchvision_pillow_decodes(monkeypatch):
    def find_spec(name):
        raise ValueError(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert jpeg_module.jpeg_operator.__wrapped__() is None
    monkeypatch.setattr(jpeg_module, "jpeg_operator", lambda: None)
    assert jpeg_module._processes_decoded_alike.__wrapped__() == ()
    monkeypatch.setattr(jpeg_module, "_processes_decoded_alike", lambda: ())
    check_alike(jpeg())


def test_on_processors_without_avx2_everything_is_exact(monkeypatch):
    monkeypatch.setattr(reading, "can_resize_fast", lambda size, config: False)
    for item in (jpeg(), picture().astype(np.uint8), Image.fromarray(picture().astype(np.uint8))):
        exact, fast = both(item)
        np.testing.assert_array_equal(exact, fast)


def test_decoders_that_differ_are_not_used(monkeypatch):
    monkeypatch.setattr(jpeg_module, "jpeg_operator", lambda: "any")
    monkeypatch.setattr(jpeg_module, "_decoded_alike", lambda content: False)
    assert jpeg_module._processes_decoded_alike.__wrapped__() == ()
    outcomes = iter([True, False])
    monkeypatch.setattr(jpeg_module, "_decoded_alike", lambda content: next(outcomes))
    assert jpeg_module._PROGRESSIVE not in jpeg_module._processes_decoded_alike.__wrapped__()


def test_reading_in_a_thread_starts_no_threads_and_does_not_import_torchvision(tmp_path):
    """Nor does it print or warn."""
    if not sys.platform.startswith("linux"):
        pytest.skip("counts threads as Linux does")
    path = tmp_path / "large.jpg"
    path.write_bytes(jpeg(picture(1200, 1600)))
    run = run_script("read_in_thread.py", path, options=["-W", "error"])
    assert run.stdout == "1 False\n"
    assert run.stderr == ""
