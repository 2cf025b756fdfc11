import decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

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


def test_sparse_input_is_refused():
    with pytest.raises(TypeError, match="sparse"):
        as_column(sparse.csr_array(np.eye(3)), name="X", items="images")


@pytest.mark.parametrize(
    "X", [[], (), np.array([]), pd.Series([], dtype=object), pl.DataFrame({"a": []})]
)
def test_empty_collections_raise_as_in_scikit_learn(X):
    with pytest.raises(ValueError, match=r"^Found array with 0 sample\(s\) .* minimum of 1 is req"):
        as_column(X, name="X", items="images")


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
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
