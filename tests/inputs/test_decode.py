import sys
import threading
import warnings

import numpy as np
import pytest
from odd_files import stored_by_orientation, upright_picture, write_orientations
from PIL import ExifTags, Image, ImageFile, ImageOps
from reading_one import read_image

from skclip.exceptions import ImageReadError


def test_forty_odd_files_are_read_or_refused_by_name(odd_files):
    assert len(odd_files) >= 40
    for row, file in enumerate(odd_files):
        if not file.readable:
            with pytest.raises(ImageReadError) as caught:
                read_image(file.path, row=row)
            assert caught.value.row == row
            assert file.name in caught.value.cause
            continue
        image = read_image(file.path, row=row)
        assert image.mode == "RGB"
        if file.expected is not None:
            np.testing.assert_array_equal(image, file.expected, err_msg=file.name)


def test_opaque_8_bit_files_equal_what_pillow_decodes(odd_files):
    compared = 0
    for file in odd_files:
        if not file.readable:
            continue
        with Image.open(file.path) as image:
            if image.mode in ("RGB", "L", "CMYK", "1") and not image.has_transparency_data:
                compared += 1
                expected = ImageOps.exif_transpose(image).convert("RGB")
                np.testing.assert_array_equal(read_image(file.path), expected)
    assert compared >= 20


def test_a_half_transparent_palette_entry_is_mixed_with_white(odd_files):
    (file,) = (file for file in odd_files if file.name == "palette_half_transparent.png")
    colors = np.unique(np.asarray(read_image(file.path)).reshape(-1, 3), axis=0)
    # red at 128 of 255 over white: 255, 127, 127
    assert colors.tolist() == [[0, 0, 255], [255, 127, 127], [255, 255, 255]]


class TestOrientation:
    def test_all_eight_orientations_show_the_same_picture(self, tmp_path):
        for file in write_orientations(tmp_path):
            shown = np.asarray(read_image(file.path)).astype(int)
            # the files are JPEG of quality 100 without subsampling
            np.testing.assert_allclose(shown, upright_picture(), rtol=0, atol=12)

    @pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
    def test_lossless_formats_give_the_exact_pixels(self, tmp_path, suffix):
        for orientation, stored in enumerate(stored_by_orientation(upright_picture()), start=1):
            path = tmp_path / f"{orientation}.{suffix}"
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = orientation
            options = {"lossless": True} if suffix == "webp" else {}
            Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
            np.testing.assert_array_equal(read_image(path), upright_picture())
            with Image.open(path) as image:
                np.testing.assert_array_equal(read_image(image), upright_picture())

    def test_a_damaged_exif_block_is_ignored(self, tmp_path):
        path = tmp_path / "damaged.png"
        Image.fromarray(upright_picture()).save(path, exif=b"Exif\0\0II*\0junk")
        np.testing.assert_array_equal(read_image(path), upright_picture())


class TestModes:
    rgb = upright_picture()

    @pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB"])
    def test_color_spaces_are_converted_to_rgb(self, mode):
        image = Image.fromarray(self.rgb)
        if mode == "LAB":
            from PIL import ImageCms

            srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
            image = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
        else:
            image = image.convert(mode)
        difference = np.asarray(read_image(image)).astype(int) - self.rgb
        assert np.abs(difference).mean() < 2

    @pytest.mark.parametrize(("mode", "straight"), [("La", "LA"), ("RGBa", "RGBA")])
    def test_premultiplied_alpha_equals_straight_alpha(self, mode, straight):
        image = Image.fromarray(self.rgb).convert(straight)
        image.putalpha(128)
        shown = np.asarray(read_image(image.convert(mode))).astype(int)
        expected = np.asarray(read_image(image))
        np.testing.assert_allclose(shown, expected, rtol=0, atol=2)

    def test_the_transparent_level_of_16_bit_gray_becomes_white(self, tmp_path):
        path = tmp_path / "transparent.png"
        values = np.array([[0, 1000, 65535, 1001]], np.uint16)
        Image.fromarray(values).save(path, transparency=1000)
        shown = np.asarray(read_image(path))[..., 0]
        assert shown.tolist() == [[0, 255, 255, 1001 >> 8]]

    def test_32_bit_integers_in_memory_are_8_bit_where_they_fit(self):
        levels = np.arange(256, dtype=np.int32).reshape(16, 16)
        image = Image.fromarray(levels)
        assert image.mode == "I"
        np.testing.assert_array_equal(np.asarray(read_image(image))[..., 0], levels)
        image = Image.fromarray(levels * 257)
        np.testing.assert_array_equal(np.asarray(read_image(image))[..., 0], levels)

    def test_a_dark_16_bit_file_stays_dark(self, tmp_path):
        path = tmp_path / "dark.pgm"
        path.write_bytes(b"P5 2 1 65535\n" + np.array([0, 255], ">u2").tobytes())
        assert np.asarray(read_image(path)).max() == 0


class TestBombs:
    @pytest.fixture
    def bombs(self, odd_files):
        return [file.path for file in odd_files if file.name.startswith("bomb")]

    @pytest.mark.parametrize("action", ["error", "always"])
    def test_bombs_are_refused_by_their_header_without_pillows_warning(self, bombs, action):
        assert len(bombs) == 2
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            for path in bombs:
                with pytest.raises(ImageReadError, match="claims .* pixels, more than .*raise"):
                    read_image(path)
        assert caught == []

    def test_the_limit_is_that_of_pillow(self, bombs, odd_files, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        plain = next(file.path for file in odd_files if file.name == "plain.bmp")
        with pytest.raises(ImageReadError, match="24 x 16 pixels, more than .* = 10 "):
            read_image(plain)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        read_image(plain)

    def test_an_open_picture_is_refused_before_it_is_loaded(self, bombs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(bombs[1])
        with image, pytest.raises(ImageReadError, match="PIL image of size .* claims"):
            read_image(image)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp", "ppm"])
def test_truncated_files_are_refused_even_if_pillow_would_load_them(
    tmp_path, monkeypatch, suffix, kept, lenient
):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / f"noise.{suffix}"
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    assert read_image(content).size == (64, 64)
    with pytest.raises(ImageReadError):
        read_image(content[: int(kept * len(content))])


def test_threads_can_read_at_the_same_time(odd_files):
    readable = [file for file in odd_files if file.expected is not None]
    wrong = []

    def work():
        for file in readable:
            if not np.array_equal(read_image(file.path), file.expected):
                wrong.append(file.name)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in the file system")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageReadError, match="not a regular file"):
        read_image(tmp_path / "pipe.jpg")
