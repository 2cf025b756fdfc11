"""Files that would cost memory or time out of proportion to their pixels, or run a program."""

import gzip
import io
import struct

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from reading_one import read_image

from skclip.exceptions import ImageReadError
from skclip.inputs import identify

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))


def saved(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


class TestPrograms:
    @pytest.fixture(autouse=True)
    def ghostscript(self, monkeypatch):
        """Fail when Pillow would start Ghostscript."""

        def run(*args, **options):
            pytest.fail("a PostScript program was run")

        monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)

    def test_postscript_is_not_run(self):
        with pytest.raises(ImageReadError, match="format EPS, .* convert it to PNG or JPEG"):
            read_image(saved(NOISE, "EPS"))

    def test_postscript_that_the_user_has_opened_is_not_run(self):
        with Image.open(io.BytesIO(saved(NOISE, "EPS"))) as image:
            with pytest.raises(ImageReadError, match="format EPS"):
                read_image(image)
            # pixels that have been made of it already are an image
            image.im, image.tile = NOISE.im, []
            np.testing.assert_array_equal(read_image(image), NOISE)

    def test_postscript_inside_of_another_file_is_not_run(self):
        def field(record, number, data):
            return struct.pack(">BBBH", 0x1C, record, number, len(data)) + data

        fields = [(60, b"\1\0"), (20, struct.pack(">H", 32)), (30, struct.pack(">H", 24))]
        header = b"".join(field(3, number, data) for number, data in [*fields, (120, b"\5")])
        content = header + field(8, 10, saved(NOISE, "EPS"))
        with pytest.raises(ImageReadError, match="not an image of a format that Pillow reads"):
            read_image(content)


class TestBounds:
    @pytest.mark.parametrize("start", [b"RIFF\0\0\0\1WEBPVP8 ", b"\0\0\0\x1cftypavif"])
    def test_a_huge_file_is_not_read(self, tmp_path, start):
        path = tmp_path / "huge"
        with open(path, "wb") as file:
            file.write(start)
            file.truncate(3 * 2**30)
        with pytest.raises(ImageReadError, match="has 3221225472 bytes, more than the 715827880"):
            read_image(path)

    def test_the_limit_on_bytes_is_lifted_with_that_on_pixels(self, tmp_path, monkeypatch):
        path = tmp_path / "picture.bmp"
        NOISE.save(path)
        monkeypatch.setattr(identify, "_LEAST_FILE_LIMIT", 100)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(ImageReadError, match="bytes, more than the 800"):
            read_image(path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        np.testing.assert_array_equal(read_image(path), NOISE)

    @pytest.mark.parametrize("block", [identify._BLOCK, 7])
    def test_a_progressive_jpeg_file_of_many_scans_is_refused(self, monkeypatch, block):
        monkeypatch.setattr(identify, "_BLOCK", block)
        content = saved(NOISE, "JPEG", progressive=True)
        n_scans = content.count(b"\xff\xda")
        read_image(content)
        last = content.rindex(b"\xff\xda")
        for n_more, readable in [(100 - n_scans, True), (101 - n_scans, False)]:
            longer = content[:last] + content[last:-2] * n_more + content[last:]
            if readable:
                read_image(longer)
            else:
                with pytest.raises(ImageReadError, match="more than 100 scans"):
                    read_image(longer)

    def test_a_text_of_pixels_with_many_comments_is_refused(self):
        header, pixels = b"P2\n2 1\n255\n", b"1 2\n"
        with pytest.raises(ImageReadError, match="more than 1000 comments"):
            read_image(header + b"#\n" * 1001 + pixels)
        image = read_image(header + b"#\n" * 1000 + pixels)
        assert np.asarray(image)[0, :, 0].tolist() == [1, 2]
        # in pixels that are bytes, the sign is one of them
        read_image(b"P5\n50 50\n255\n" + b"#" * 2500)

    def test_a_texture_of_too_few_bytes_is_refused_by_its_header(self):
        content = bytearray(saved(NOISE, "DDS"))
        np.testing.assert_array_equal(read_image(bytes(content)), NOISE)
        content[12:20] = struct.pack("<II", 9000, 9000)
        with pytest.raises(ImageReadError, match="claims 9000 x 9000 pixels, too many for a file"):
            read_image(bytes(content))
        # the format with the fewest bits per pixel
        read_image(saved(NOISE.convert("RGBA"), "DDS", pixel_format="DXT1"))

    def test_compressed_fits_files_are_refused(self):
        def header(**cards):
            lines = [f"{name:8}= {value:>20}".ljust(80) for name, value in cards.items()]
            text = "".join([*lines, "END".ljust(80)])
            return text.ljust(-(-len(text) // 2880) * 2880).encode()

        table = {"XTENSION": "'BINTABLE'", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 16, "NAXIS2": 1}
        pixels = {"ZIMAGE": "T", "ZCMPTYPE": "'GZIP_1  '", "ZBITPIX": 16, "ZNAXIS": 2}
        content = header(SIMPLE="T", BITPIX=8, NAXIS=0) + header(
            **table, PCOUNT=0, **pixels, ZNAXIS1=9000, ZNAXIS2=9000
        )
        with pytest.raises(ImageReadError, match="is a compressed FITS file"):
            read_image(content + gzip.compress(bytes(1000)))
