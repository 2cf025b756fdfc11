import decimal
import glob  # noqa: F401 - used by a piece of advice, as the next one
import io
import pathlib  # noqa: F401
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from torch.utils.data import DataLoader

from skclip.inputs.columns import as_column, is_missing

ITEMS = ["a.jpg", "b.jpg", None]


class Lazy:
    """Stands for sequences that decode on access, such as a column of Hugging Face datasets."""

    def __len__(self):
        return len(ITEMS)

    def __getitem__(self, index):
        return ITEMS[index]


@pytest.mark.parametrize(
    "X",
    [
        ITEMS,
        tuple(ITEMS),
        Lazy(),
        np.array(ITEMS, dtype=object),
        np.array(ITEMS, dtype=object)[:, None],
        pd.Series(ITEMS, index=[7, 8, 9], dtype=object),
        pd.DataFrame({"image": ITEMS}, index=[2, 1, 0]),
        pl.Series(ITEMS),
        pl.DataFrame({"image": ITEMS}),
        pa.array(ITEMS),
        pa.chunked_array([ITEMS[:1], ITEMS[1:]]),
        pa.table({"image": ITEMS}),
        pa.record_batch({"image": ITEMS}),
    ],
    ids=lambda X: f"{type(X).__module__.split('.')[0]}-{type(X).__name__}",
)
def test_every_container_is_indexed_by_position(X):
    column = as_column(X, name="X", items="images")
    assert len(column) == 3
    assert column[0] == "a.jpg"
    assert column[1] == "b.jpg"
    assert is_missing(column[2])


def test_a_list_is_not_copied():
    assert as_column(ITEMS, name="X", items="images") is ITEMS


@pytest.mark.parametrize("X", ["a.jpg", b"a", {"bytes": b""}, (i for i in ITEMS), {1, 2}, 3, None])
def test_an_object_that_is_not_a_collection_is_refused(X):
    with pytest.raises(TypeError, match="^photos must be .* images"):
        as_column(X, name="photos", items="images")


@pytest.mark.parametrize(
    ("X", "advice"),
    [
        ((i for i in ITEMS), "generator; make a list of it: list(X)"),
        (map(str, ITEMS), "map; make a list of it: list(X)"),
        ({"a.jpg"}, "set; make a list of it: list(X)"),
        ({1: "a.jpg"}.values(), "dict_values; make a list of it: list(X)"),
        (io.BytesIO(), "BytesIO; pass its content in a list: [X.read()]"),
        (DataLoader(ITEMS), "DataLoader; put the images that it yields into a list"),
        (pl.LazyFrame({"image": ITEMS}), "LazyFrame; compute it first: X.collect()"),
    ],
)
def test_what_to_do_with_an_object_that_is_not_a_sequence(X, advice):
    with pytest.raises(TypeError, match=re.escape(f"of images, got {advice}")):
        as_column(X, name="X", items="images")


class TestFolders:
    @pytest.fixture(autouse=True)
    def photos(self, tmp_path, monkeypatch):
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "odd[1].jpg").write_bytes(b"")
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize("X", ["photos", "photos/", Path("photos")])
    def test_a_folder_is_told_how_its_images_are_listed(self, X):
        expected = f"got the path {str(X)!r}; list the images in it: sorted(pathlib.Path("
        with pytest.raises(TypeError, match=re.escape(expected)) as caught:
            as_column(X, name="X", items="images")
        advice = str(caught.value).split(": ", 1)[1]
        assert eval(advice) == [Path("photos/odd[1].jpg")]

    def test_a_pattern_is_told_how_its_files_are_listed(self):
        expected = "got the path 'photos/*.jpg'; list the files that match: sorted(glob.glob("
        with pytest.raises(TypeError, match=re.escape(expected)) as caught:
            as_column("photos/*.jpg", name="X", items="images")
        assert eval(str(caught.value).split(": ", 1)[1]) == ["photos/odd[1].jpg"]

    @pytest.mark.parametrize("X", ["photos/odd[1].jpg", "a.jpg", "a\0b", ""])
    def test_a_file_is_put_into_a_list(self, X):
        with pytest.raises(TypeError, match=re.escape("got one str; put it into a list: [X]")):
            as_column(X, name="X", items="images")

    def test_a_text_that_names_a_folder_is_a_text(self):
        with pytest.raises(TypeError, match="of texts, got one str; put it into a list"):
            as_column("photos", name="X", items="texts")


def test_sparse_input_is_refused():
    with pytest.raises(TypeError, match="sparse"):
        as_column(sparse.csr_array(np.eye(3)), name="X", items="images")


@pytest.mark.parametrize(
    "X", [[], (), np.array([]), pd.Series([], dtype=object), pl.DataFrame({"a": []})]
)
def test_empty_collections_raise_as_in_scikit_learn(X):
    with pytest.raises(ValueError, match=r"^Found array with 0 sample\(s\) .* minimum of 1 is req"):
        as_column(X, name="X", items="images")


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_frame_of_several_columns_is_an_error_that_names_column_transformer(frame):
    with pytest.raises(ValueError, match="got 2 columns .'front', 'back'.; .*ColumnTransformer"):
        as_column(frame({"front": ITEMS, "back": ITEMS}), name="X", items="images")


def test_an_array_of_several_columns_is_refused():
    with pytest.raises(ValueError, match="got 2 columns; select"):
        as_column(np.full((3, 2), "a.jpg", dtype=object), name="X", items="images")


def test_a_frame_without_columns_is_refused():
    with pytest.raises(ValueError, match=r"0 feature\(s\)"):
        as_column(pd.DataFrame(index=range(3)), name="X", items="images")


def test_is_missing():
    for item in (None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT):
        assert is_missing(item)
    assert is_missing({"bytes": None, "path": None})
    for item in ("", "nan", b"", 0, 0.0, False, [], {}, decimal.Decimal(1), np.array(np.nan)):
        assert not is_missing(item)
    assert not is_missing({"bytes": None, "path": "a.jpg"})
