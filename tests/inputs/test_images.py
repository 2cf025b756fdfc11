import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from skclip.exceptions import ImageReadError
from skclip.inputs.images import as_images, image_key, is_embeddings, read_image


def read(item):
    return np.asarray(read_image(item, row=0))


class TestAsImages:
    def test_a_million_paths_stay_the_list_they_are(self):
        paths = ["no such file.jpg"] * 1_000_000
        assert as_images(paths) is paths

    @pytest.mark.parametrize("shape", [(5, 8, 8), (5, 8, 8, 1), (5, 8, 8, 3), (5, 3, 8, 8)])
    def test_one_array_gives_its_rows_without_a_copy(self, shape):
        X = np.zeros(shape)
        images = as_images(X)
        assert len(images) == 5
        assert np.shares_memory(images[4], X)
        tensor = torch.zeros(shape)
        assert as_images(tensor)[4].data_ptr() == tensor[4].data_ptr()

    @pytest.mark.parametrize(
        "X", [Image.new("RGB", (2, 2)), "a.jpg", Path("a.jpg"), b"\xff\xd8", {"path": "a.jpg"}]
    )
    def test_one_image_is_refused(self, X):
        with pytest.raises(TypeError, match="X must be a collection of images, got one .*list"):
            as_images(X)

    def test_one_colour_array_is_refused(self):
        with pytest.raises(ValueError, match="shape .480, 640, 3., that of one image"):
            as_images(np.zeros((480, 640, 3), np.uint8))

    @pytest.mark.parametrize("X", [np.zeros((5, 64)), torch.zeros(5, 64), np.zeros((5, 1))])
    def test_rows_of_numbers_are_refused(self, X):
        with pytest.raises(ValueError, match=r"numeric array of shape \(5, .*\(n, H, W\)"):
            as_images(X)

    def test_numbers_are_refused(self):
        with pytest.raises(TypeError, match="got 5 numbers of dtype int64"):
            as_images(np.arange(5))

    @pytest.mark.parametrize("shape", [(3,), (3, 1)])
    def test_a_column_of_nothing_but_nan_is_missing_images(self, shape):
        assert len(as_images(np.full(shape, np.nan))) == 3

    def test_empty_arrays(self):
        with pytest.raises(ValueError, match=r"0 sample\(s\) \(shape=\(0,\)\)"):
            as_images(np.zeros((0, 8, 8)))


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.zeros((3, 4)), True),
        (np.zeros((3, 4), np.float16), True),
        (torch.zeros(3, 4), True),
        (pd.DataFrame(np.zeros((3, 4))), True),
        (pd.DataFrame({"a": [1, 2]}, dtype="Float32"), True),
        (pl.DataFrame({"a": [1.0], "b": [2.0]}), True),
        (np.zeros((3, 4, 4)), False),
        (np.zeros(3), False),
        (np.array([["a.jpg"]]), False),
        (np.array([[1.0]], dtype=object), False),
        (pd.DataFrame({"a": ["x"]}), False),
        (pd.DataFrame({"a": ["x"], "b": [1]}), False),
        (pd.Series([1.0]), False),
        (pl.Series([1.0]), False),
        (pl.DataFrame({"a": ["x"]}), False),
        (["a.jpg"], False),
        ([[1.0, 2.0]], False),
        ("a.jpg", False),
    ],
)
def test_is_embeddings(X, expected):
    assert is_embeddings(X) is expected


class TestKindsOfItem:
    def test_one_picture_in_every_kind(self, tmp_path):
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

    def test_bfloat16(self):
        assert read(torch.ones(3, 2, 2, dtype=torch.bfloat16)).min() == 255

    @given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)))
    def test_grey_arrays(self, grey):
        expected = np.stack([grey] * 3, axis=-1)
        for item in (grey, grey[..., None], grey / 255, torch.from_numpy(grey)[None]):
            np.testing.assert_array_equal(read(item), expected)

    @given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(4))))
    def test_alpha_is_laid_over_white(self, rgba):
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

    def test_booleans(self):
        assert read(np.array([[True, False]]))[0, :, 1].tolist() == [255, 0]

    def test_the_callers_picture_is_left_alone(self, tmp_path):
        path = tmp_path / "two_frames.gif"
        frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
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
        ([[0, 1]], "list [[0, 1]] is not an image"),
        (b"", "the image of 0 bytes is empty"),
        (b"hello", "the image of 5 bytes is not an image of a format that Pillow reads"),
        ("http://a.org/b.jpg", "the file 'http://a.org/b.jpg' does not exist; download it first"),
        ("a\0b", "the file 'a\\x00b' cannot be decoded (ValueError: "),
        ("x" * 9999, f"the file '{'x' * 299}... cannot be decoded (OSError: "),
        (np.zeros(64), "the array of shape (64,) and dtype float64 has not the shape of an image"),
        (np.zeros((3, 8, 8)), "the array of shape (3, 8, 8) and dtype float64 has not the shape"),
        (torch.zeros(8, 8, 3), "the tensor of shape (8, 8, 3) and dtype torch.float32 has not"),
        (np.zeros((0, 8)), "has no pixels"),
        (np.full((2, 2), np.nan), "has NaN pixels; fill them"),
        (np.array([[0.0, 16.0]]), "has pixels from 0.0 to 16.0, where floats must lie in [0, 1]"),
        (np.array([[0.0, 15.0]]), "by the largest value possible (such as 16)"),
        (np.array([[0.0, 200.0]]), "by the largest value possible (such as 255)"),
        (np.array([[-1.0, 1.0]]), "undo the normalisation first"),
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
def test_each_failure_is_one_error_with_row_and_cause(item, cause):
    with pytest.raises(ImageReadError) as caught:
        read_image(item, row=12)
    assert caught.value.row == 12
    assert cause in caught.value.cause
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


class TestKeys:
    @given(st.data())
    def test_arrays_have_equal_keys_where_they_are_equal(self, data):
        arrays = hnp.arrays(
            st.sampled_from([np.uint8, np.int8, np.float32]),
            hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=2),
            elements={"min_value": 0, "max_value": 1},
        )
        a, b = data.draw(arrays), data.draw(arrays)
        # -0.0 equals 0.0 but has other bytes: an unequal key for equal pictures does no harm
        if image_key(a) == image_key(b):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
        assert image_key(a) == image_key(np.asfortranarray(a.copy()))
        assert hash(image_key(a)) == hash(image_key(a.copy()))

    def test_equal_keys(self):
        assert image_key("a.jpg") == image_key(Path("a.jpg")) == image_key({"path": "a.jpg"})
        assert image_key(b"abc") == image_key(bytearray(b"abc")) == image_key({"bytes": b"abc"})
        image = Image.new("RGB", (2, 2))
        assert image_key(image) == image_key(image)
        assert len({image_key(image), image_key(image)}) == 1

    def test_unequal_keys(self):
        # the same numbers in other layouts are other pictures
        array = np.zeros((3, 3, 3))
        items = [b"abc", "abc", array, torch.from_numpy(array), array.astype("f4")]
        items += [Image.new("RGB", (2, 2)), Image.new("RGB", (2, 2)), array[0]]
        assert len({image_key(item) for item in items}) == len(items)

    def test_a_picture_that_is_gone_equals_no_other(self):
        # as from a sequence that decodes on access; their ids are reused
        keys = [image_key(Image.new("RGB", (2, 2))) for _ in range(1000)]
        assert len(set(keys)) == 1000

    @pytest.mark.parametrize("item", [None, float("nan"), 5, {}, np.array([None])])
    def test_none_for_what_is_no_image(self, item):
        assert image_key(item) is None
