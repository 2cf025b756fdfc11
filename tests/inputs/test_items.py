"""Rows of a column of images: their kinds, pictures, keys and contents."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from reading_one import read_image

from skclip.exceptions import ImageReadError
from skclip.inputs.items import as_item, distinct_items


def read(item):
    return np.asarray(read_image(item))


def key_of(item):
    return as_item(item).key()


def content_of(item, hash_files=False):
    return as_item(item).content(hash_files)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3)).save(path)
    return path


class TestKindsOfItem:
    def test_all_kinds_of_item_give_the_same_picture(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
        path = tmp_path / "picture.png"
        Image.fromarray(pixels).save(path)
        content = path.read_bytes()
        channels_first = torch.from_numpy(pixels).permute(2, 0, 1)
        for item in (
            str(path),
            path,
            np.str_(path),
            content,
            bytearray(content),
            memoryview(content),
            memoryview(content + bytes(-len(content) % 4)).cast("i"),
            memoryview(np.repeat(np.frombuffer(content, np.uint8), 2))[::2],
            {"bytes": content, "path": None},
            {"bytes": content, "path": "elsewhere.png"},
            {"bytes": None, "path": str(path)},
            {"path": path},
            Image.open(path),
            pixels,
            np.asfortranarray(pixels),
            pixels.astype(np.int64),
            pixels / 255,
            (pixels / 255).astype(np.float32),
            pixels.astype(np.uint16) * 257,
            channels_first,
            (channels_first / 255).requires_grad_(),
        ):
            image = read_image(item, row=0)
            assert image.mode == "RGB"
            np.testing.assert_array_equal(image, pixels)

    def test_a_bfloat16_tensor_is_read(self):
        assert read(torch.ones(3, 2, 2, dtype=torch.bfloat16)).min() == 255

    @given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)))
    def test_gray_arrays_have_three_equal_channels(self, gray):
        expected = np.stack([gray] * 3, axis=-1)
        for item in (gray, gray[..., None], gray / 255, torch.from_numpy(gray)[None]):
            np.testing.assert_array_equal(read(item), expected)

    @given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(4))))
    def test_transparent_pixels_are_drawn_over_white(self, rgba):
        alpha = rgba[..., 3:] / 255
        over_white = rgba[..., :3] * alpha + 255 * (1 - alpha)
        np.testing.assert_allclose(read(rgba), over_white, rtol=0, atol=0.51)

    @given(
        hnp.arrays(
            st.sampled_from([np.float16, np.float32, np.float64]),
            st.just((3, 4)),
            elements={"min_value": 0, "max_value": 1},
        )
    )
    def test_floats_are_rounded_to_the_nearest_level(self, pixels):
        expected = pixels.astype(np.float64) * 255
        assert np.abs(read(pixels)[..., 0] - expected).max() <= 0.5 + 1e-4

    def test_booleans_are_black_and_white(self):
        assert read(np.array([[True, False]]))[0, :, 1].tolist() == [255, 0]

    def test_the_picture_of_the_caller_is_not_changed(self, tmp_path):
        path = tmp_path / "two_frames.gif"
        frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with Image.open(path) as image:
            image.seek(1)
            assert read(image)[0, 0].tolist() == [0, 0, 255]
            assert image.tell() == 1


@pytest.mark.parametrize(
    ("item", "cause"),
    [
        (None, "the image is missing (None or NaN)"),
        (float("nan"), "the image is missing (None or NaN)"),
        (pd.NA, "the image is missing (None or NaN)"),
        ({"bytes": None, "path": None}, "the image is missing (None or NaN)"),
        ({"image": 1}, "the dict with the keys ['image'] has neither 'bytes' nor 'path'"),
        (5, "int 5 is not an image; an image is a path"),
        (
            ("a.jpg", 1),
            "tuple ('a.jpg', 1) is not an image; if it is an image with its label, pass",
        ),
        (
            io.BytesIO(),
            "is not an image; pass the file's path or its content, the bytes that read()",
        ),
        ("*.nothing", "does not exist; list the files that match: sorted(glob.glob('*.nothing'))"),
        (".", "is a directory; list the images in it: sorted(pathlib.Path('.').rglob('*.jpg'))"),
        ([[0, 1]], "list [[0, 1]] is not an image"),
        (b"", "the image of 0 bytes is empty"),
        (memoryview(bytes(8)).cast("i"), "the image of 8 bytes is not an image of a format"),
        (b"hello", "the image of 5 bytes is not an image of a format that Pillow reads"),
        ("http://a.org/b.jpg", "the file 'http://a.org/b.jpg' does not exist; download it first"),
        ("a\0b", "the file 'a\\x00b' cannot be decoded (ValueError: "),
        ("x" * 9999, f"the file '{'x' * 299}... cannot be decoded (OSError: "),
        (
            np.zeros(64),
            "the array of shape (64,) and dtype float64 does not have the shape of an image",
        ),
        (
            np.zeros((3, 8, 8)),
            "the array of shape (3, 8, 8) and dtype float64 does not have the shape",
        ),
        (
            torch.zeros(8, 8, 3),
            "the tensor of shape (8, 8, 3) and dtype torch.float32 does not have",
        ),
        (np.zeros((0, 8)), "has no pixels"),
        (np.full((2, 2), np.nan), "has NaN pixels; fill them"),
        (np.array([[0.0, 16.0]]), "has pixels from 0.0 to 16.0, where floats must lie in [0, 1]"),
        (np.array([[0.0, 15.0]]), "by the largest value possible (such as 16)"),
        (np.array([[0.0, 200.0]]), "by the largest value possible (such as 255)"),
        (np.array([[-1.0, 1.0]]), "undo the normalization first"),
        (np.array([[0.0, np.inf]]), "from 0.0 to inf"),
        (np.array([[0, 256]]), "has pixels from 0 to 256, where integers must lie in 0 to 255"),
        (np.array([[-1, 5]]), "has pixels from -1 to 5"),
        (np.array([["a"]]), "does not hold numbers"),
        (Image.fromarray(np.full((2, 2), 300.0)), "and mode F has pixels from 300.0 to 300.0"),
        (
            Image.fromarray(np.full((2, 2), 70_000, np.int32)),
            "and mode I has pixels from 70000 to 70000",
        ),
    ],
)
def test_each_failure_is_an_error_with_row_and_cause(item, cause):
    with pytest.raises(ImageReadError) as caught:
        read_image(item, row=12)
    assert caught.value.row == 12
    assert cause in caught.value.cause
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


class TestKeys:
    @given(st.data())
    def test_arrays_with_equal_keys_are_equal(self, data):
        arrays = hnp.arrays(
            st.sampled_from([np.uint8, np.int8, np.float32]),
            hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=2),
            elements={"min_value": 0, "max_value": 1},
        )
        a, b = data.draw(arrays), data.draw(arrays)
        # -0.0 equals 0.0 but has other bytes; different keys of equal pictures do no harm
        if key_of(a) == key_of(b):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
        assert key_of(a) == key_of(np.asfortranarray(a.copy()))
        assert hash(key_of(a)) == hash(key_of(a.copy()))

    def test_equal_images_have_equal_keys(self):
        assert key_of("a.jpg") == key_of(Path("a.jpg")) == key_of({"path": "a.jpg"})
        assert key_of(b"abc") == key_of(bytearray(b"abc")) == key_of({"bytes": b"abc"})
        image = Image.new("RGB", (2, 2))
        assert key_of(image) == key_of(image)
        assert len({key_of(image), key_of(image)}) == 1

    def test_different_images_have_different_keys(self):
        # equal numbers in another layout are another picture
        array = np.zeros((3, 3, 3))
        items = [b"abc", "abc", array, torch.from_numpy(array), array.astype("f4")]
        items += [Image.new("RGB", (2, 2)), Image.new("RGB", (2, 2)), array[0]]
        assert len({key_of(item) for item in items}) == len(items)

    def test_pictures_made_on_access_are_not_duplicates(self):
        """They do not live at the same time, so Python may give them the same id."""

        class Pictures:
            def __len__(self):
                return 1000

            def __getitem__(self, row):
                return Image.new("RGB", (2, 2))

        items, first_rows, item_of = distinct_items(Pictures())
        assert len(items) == 1000
        np.testing.assert_array_equal(first_rows, np.arange(1000))
        np.testing.assert_array_equal(item_of, np.arange(1000))
        # the pictures of a list live as long as the list
        items, _, item_of = distinct_items([Image.new("RGB", (2, 2)) for _ in range(1000)])
        assert len({item.key() for item in items}) == 1000

    @pytest.mark.parametrize("item", [None, float("nan"), 5, {}, np.array([None])])
    def test_an_object_that_is_not_an_image_has_no_key(self, item):
        assert key_of(item) is None


class TestContents:
    def test_equal_images_have_equal_contents(self, picture, monkeypatch):
        content = picture.read_bytes()
        same = [content, bytearray(content), memoryview(content), {"bytes": content, "path": "x"}]
        assert len({content_of(item) for item in same}) == 1
        monkeypatch.chdir(picture.parent)
        same = [picture, str(picture), "picture.png", Path("./picture.png"), {"path": picture}]
        for hash_files in (False, True):
            assert len({content_of(item, hash_files) for item in same}) == 1

    def test_pictures_are_identified_by_their_pixels(self, picture):
        pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        with Image.open(picture) as opened:
            assert content_of(opened) == content_of(Image.fromarray(pixels))
            assert content_of(opened) != content_of(Image.fromarray(pixels[::-1].copy()))
        wide = Image.fromarray(np.zeros((1, 4, 3), np.uint8))
        assert content_of(wide) != content_of(Image.fromarray(np.zeros((2, 2, 3), np.uint8)))

    def test_different_images_have_different_contents(self, picture):
        array = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
        items = [
            picture,
            picture.read_bytes(),
            array,
            torch.from_numpy(array),  # channels come first there
            array[:, :, 0],
            array.astype(np.uint16),
            array.astype(np.float32) / 255,
            array.tobytes(),
            Image.fromarray(array),
        ]
        contents = [content_of(item, hash_files) for item in items for hash_files in (0, 1)]
        assert None not in contents
        assert len(set(contents)) == len(items) + 1  # the file, in two ways

    def test_an_item_without_a_picture_has_no_content(self, picture):
        items = [None, float("nan"), np.nan, 5, {}, {"bytes": None, "path": None}, object()]
        items += [picture.parent, "no such file", "", "a\0b", os.devnull, Image.new("RGB", (0, 3))]
        broken = picture.parent / "broken.png"
        broken.write_bytes(picture.read_bytes()[:50])
        with Image.open(broken) as opened:
            assert content_of(opened) is None
        for item in items:
            assert content_of(item) is None
            assert content_of(item, hash_files=True) is None
        # a file is not decoded for its content, so this one has one
        assert content_of(broken) is not None

    def test_reading_content_changes_no_picture(self, picture):
        with Image.open(picture) as opened:
            before = opened.copy()
            content_of(opened)
            assert opened.tobytes() == before.tobytes()
        stream = memoryview(picture.read_bytes())
        content_of(stream)
        stream.release()


class TestFiles:
    def test_an_edited_file_has_another_content(self, picture):
        before = content_of(picture), content_of(picture, hash_files=True)
        content = bytearray(picture.read_bytes())
        content[-1] ^= 1
        status = picture.stat()
        picture.write_bytes(content)
        os.utime(picture, ns=(status.st_atime_ns, status.st_mtime_ns))
        # its size and modification time are the same, but not its ctime
        assert content_of(picture) != before[0]
        assert content_of(picture, hash_files=True) != before[1]

    def test_a_file_replaced_by_an_equal_one_differs_unless_files_are_hashed(self, picture):
        before = content_of(picture), content_of(picture, hash_files=True)
        other = picture.with_suffix(".new")
        other.write_bytes(picture.read_bytes())
        os.utime(other, ns=(picture.stat().st_atime_ns, picture.stat().st_mtime_ns))
        os.replace(other, picture)
        assert content_of(picture) != before[0]
        assert content_of(picture, hash_files=True) == before[1]

    def test_a_moved_or_touched_file_differs_unless_files_are_hashed(self, picture):
        before = content_of(picture), content_of(picture, hash_files=True)
        os.utime(picture, (1, 1))
        moved = picture.rename(picture.with_name("moved.png"))
        assert content_of(moved) != before[0]
        assert content_of(moved, hash_files=True) == before[1]

    @pytest.mark.skipif(os.name == "nt", reason="file names are not bytes on Windows")
    def test_file_names_that_are_not_valid_text_have_contents(self, picture):
        path = picture.rename(os.fsdecode(os.fsencode(picture.parent) + b"/\xff.png"))
        assert content_of(path) is not None
        assert content_of(os.fsencode(path)) != content_of(path)
