from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image

from skclip.inputs.images import as_images, is_embeddings


class TestAsImages:
    def test_a_list_of_a_million_paths_is_not_copied(self):
        paths = ["no such file.jpg"] * 1_000_000
        assert as_images(paths) is paths

    @pytest.mark.parametrize("shape", [(5, 8, 8), (5, 8, 8, 1), (5, 8, 8, 3), (5, 3, 8, 8)])
    def test_rows_of_one_array_are_not_copied(self, shape):
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

    def test_the_array_of_one_color_image_is_refused(self):
        with pytest.raises(ValueError, match="shape .480, 640, 3., that of one image"):
            as_images(np.zeros((480, 640, 3), np.uint8))

    @pytest.mark.parametrize("X", [np.zeros((5, 64)), torch.zeros(5, 64), np.zeros((5, 1))])
    def test_rows_of_numbers_are_refused(self, X):
        with pytest.raises(ValueError, match=r"numeric array of shape \(5, .*\(n, H, W\)"):
            as_images(X)

    def test_a_column_of_numbers_is_refused(self):
        with pytest.raises(TypeError, match="got 5 numbers of dtype int64"):
            as_images(np.arange(5))

    @pytest.mark.parametrize("shape", [(3,), (3, 1)])
    def test_a_column_of_nan_is_a_column_of_missing_images(self, shape):
        assert len(as_images(np.full(shape, np.nan))) == 3

    def test_empty_arrays_are_refused(self):
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
