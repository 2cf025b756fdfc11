import enum
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skclip.inputs.texts import as_texts, warn_of_image_files


@pytest.mark.parametrize(
    "container",
    [
        tuple,
        np.array,
        pd.Series,
        pl.Series,
        lambda texts: np.array(texts, dtype=object)[:, None],
        lambda texts: pd.Series(texts, dtype="category"),
        lambda texts: pd.DataFrame({"text": texts}),
        lambda texts: pl.DataFrame({"text": texts}),
    ],
)
def test_texts_in_every_container(container):
    texts = ["ein Bär", "", "猫"]
    result = as_texts(container(texts))
    assert result == texts
    assert {type(text) for text in result} == {str}


@given(st.lists(st.text(), min_size=1))
def test_texts_pass_unchanged(texts):
    assert as_texts(texts) == texts


def test_the_list_of_the_caller_is_not_changed():
    texts = [np.str_("a"), "b"]
    as_texts(texts)
    assert type(texts[0]) is np.str_


def test_the_member_of_an_enum_is_its_value():
    color = enum.Enum("Color", {"A": "red"}, type=str)
    texts = as_texts([color.A])
    assert texts == ["red"]
    assert type(texts[0]) is str


def test_names_of_image_files_are_hardly_texts():
    with pytest.warns(UserWarning, match="name of an image file, such as 'cats/1.JPG'; the names"):
        warn_of_image_files(["cats/1.JPG", "https://example.org/dog.webp"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_image_files(["cats/1.jpg", "a photo of a cat"])
        warn_of_image_files(["a photo.", ".jpg", "cat.txt"])


def test_a_bare_str_is_refused():
    with pytest.raises(TypeError, match="captions must be a collection of texts, got one str"):
        as_texts("a cat", name="captions")


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_an_error_names_the_row_of_a_missing_text(missing):
    with pytest.raises(ValueError, match="row 1 of X is missing .*; fill it in"):
        as_texts(["a", missing])


@pytest.mark.parametrize(
    ("text", "got"), [(3, "int 3"), (b"cat", "bytes b'cat'; decode it"), (["a"], "list")]
)
def test_an_error_names_the_row_that_is_not_a_text(text, got):
    with pytest.raises(TypeError, match=f"row 2 of X must be a str, got {got}"):
        as_texts(["a", "b", text])


def test_numbers_are_refused():
    with pytest.raises(ValueError, match="got 3 columns"):
        as_texts(np.zeros((2, 3)))
    with pytest.raises(TypeError, match="row 0 of X must be a str, got float 0.0"):
        as_texts(np.zeros(2))


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        as_texts([])
