"""Labels of any kind, in any container: they stay what they are, or are refused."""

import datetime
import enum
import re
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy import ColorEncoder, solid

from skclip import LinearProbe, LinearProbeCV, ZeroShotClassifier
from skclip.estimators.labels import as_labels, label_array

CLASSIFIERS = [
    ZeroShotClassifier(model=ColorEncoder()),
    LinearProbe(),
    LinearProbeCV(Cs=[1.0], cv=2),
]
Color = enum.Enum("Color", {"A": "red", "B": "blue"}, type=str)

# each has one missing label, in row 2
WITH_MISSING = {
    "list with None": ["red", "blue", None, "red"],
    "list with NaN": ["red", "blue", np.nan, "red"],
    "list with NA": ["red", "blue", pd.NA, "red"],
    "list with NaT": ["red", "blue", pd.NaT, "red"],
    "list of int with None": [1, 2, None, 1],
    "array of floats": np.array([1, 2, np.nan, 1]),
    "array of float32": np.array([1, 2, np.nan, 1], dtype=np.float32),
    "array of objects with None": np.array(["red", "blue", None, "red"], dtype=object),
    "array of objects with NaN": np.array([1, 2, np.nan, 1], dtype=object),
    "array of dates": np.array(["2020", "2021", "NaT", "2020"], dtype="M8[D]"),
    "masked array of int": np.ma.masked_array([1, 2, 3, 1], mask=[0, 0, 1, 0]),
    "masked array of str": np.ma.masked_array(["a", "b", "c", "a"], mask=[0, 0, 1, 0]),
    "tensor": torch.tensor([1.0, 2.0, np.nan, 1.0]),
    "series of str": pd.Series(["red", "blue", None, "red"]),
    "series of objects": pd.Series(["red", "blue", None, "red"], dtype=object),
    "series of string": pd.Series(["red", "blue", None, "red"], dtype="string"),
    "series of arrow strings": pd.Series(["a", "b", None, "a"], dtype=pd.ArrowDtype(pa.string())),
    "series of arrow integers": pd.Series([1, 2, None, 1], dtype=pd.ArrowDtype(pa.int64())),
    "series of Int64": pd.Series([1, 2, None, 1], dtype="Int64"),
    "series of Float64": pd.Series([1, 2, None, 1], dtype="Float64"),
    "series of boolean": pd.Series([True, False, None, True], dtype="boolean"),
    "series of categories": pd.Series(["red", "blue", None, "red"], dtype="category"),
    "series of numbered categories": pd.Series([1, 2, None, 1], dtype="category"),
    "series of dates": pd.Series(pd.to_datetime(["2020-01-01", "2021-01-01", None, "2020-01-01"])),
    "categorical": pd.Categorical(["red", "blue", None, "red"]),
    "index": pd.Index(["red", "blue", None, "red"]),
    "polars str": pl.Series(["red", "blue", None, "red"]),
    "polars categories": pl.Series(["red", "blue", None, "red"], dtype=pl.Categorical),
    "polars int": pl.Series([1, 2, None, 1]),
    "polars bool": pl.Series([True, False, None, True]),
    "pyarrow": pa.array(["red", "blue", None, "red"]),
}


@pytest.mark.parametrize("y", WITH_MISSING.values(), ids=WITH_MISSING)
@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda c: type(c).__name__)
def test_missing_labels_are_refused(classifier, y):
    with pytest.raises(
        ValueError, match=r"the label in row 2 of y is missing \((None|nan|<NA>|NaT)"
    ):
        classifier.fit(np.eye(4), y)


def test_missing_labels_in_one_column_of_a_frame():
    frame = pd.DataFrame({"y": pd.array([1, 2, None], dtype="Int64")})
    for column in (frame, pl.DataFrame({"y": [1, 2, None]})):
        with (
            pytest.warns(match="A column-vector y was passed"),
            pytest.raises(ValueError, match="the label in row 2 of y is missing"),
        ):
            as_labels(column)


@pytest.mark.parametrize(
    ("y", "labels", "kind"),
    [
        (["red", "blue", "red"], ["red", "blue", "red"], "U"),
        ([np.str_("red"), "blue"], ["red", "blue"], "U"),
        ([Color.A, Color.B], ["red", "blue"], "U"),
        (pd.Series(["red", "blue"]), ["red", "blue"], "O"),
        (pd.Series(["red", "blue"], dtype="category"), ["red", "blue"], "O"),
        (pl.Series(["red", "blue"]), ["red", "blue"], "O"),
        (pa.array(["red", "blue"]), ["red", "blue"], "O"),
        (pa.chunked_array([["red"], ["blue"]]), ["red", "blue"], "O"),
        (np.array(["red", "blue"], dtype=np.dtypes.StringDType()), ["red", "blue"], "O"),
        (np.ma.masked_array([1, 2], mask=[0, 0]), [1, 2], "i"),
        (pd.Series([1, 2], dtype="Int64"), [1, 2], "i"),
        (pd.Series([1, 2], dtype="category"), [1, 2], "i"),
        (pd.Series([True, False], dtype="boolean"), [True, False], "b"),
        (np.array([True, False], dtype=object), [True, False], "b"),
        ([np.True_, False], [True, False], "b"),
        (pl.Series([1, 2]), [1, 2], "i"),
        (torch.tensor([1, 2]), [1, 2], "i"),
        ([np.int8(1), 2], [1, 2], "i"),
        ([1, 2.5], [1.0, 2.5], "f"),
        ([-0.0, 0.0, 1.0], [0.0, 0.0, 1.0], "f"),
        ([2**53 + 1, 2**53], [2**53 + 1, 2**53], "i"),
        (np.array([2**63, 1], dtype=np.uint64), [2**63, 1], "u"),
        (["a\0b", "\ud800"], ["a\0b", "\ud800"], "U"),
        ([], [], "O"),
    ],
)
def test_labels_stay_what_they_are(y, labels, kind):
    found = as_labels(y)
    assert found.tolist() == labels
    assert found.dtype.kind == kind


def test_a_frame_with_one_column_is_a_column():
    with pytest.warns(match="A column-vector y was passed"):
        found = as_labels(pd.DataFrame({"y": pd.array([1, 2], dtype="Int64")}))
    assert found.tolist() == [1, 2]
    assert found.dtype.kind == "i"


def test_labels_of_the_user_are_not_written_to():
    y = np.ma.masked_array(np.array(["a", "b"], dtype=object), mask=[0, 1])
    with pytest.raises(ValueError, match="row 1 of y is missing"):
        as_labels(y)
    assert y.data.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["cat\0", "dog"], r"the label 'cat\x00' in {} would become 'cat', because numpy's arrays"),
        (["cat\0", "cat", "dog"], r"the label 'cat\x00' in {} would become 'cat'"),
        ([2**53 + 1, 0.5], "the label 9007199254740993 in {} would become 9007199254740992.0"),
        ([2**63, -1], "the label 9223372036854775808 in {} does not fit into one array of 64-bit"),
        ([2**80, 1], "the label 1208925819614629174706176 in {} does not fit"),
        ([1.0, np.inf], "Input {} contains infinity"),
        (["cat", 1], "labels in {} must be all str or all numbers, got ['cat', 1]"),
        ([b"cat", b"dog"], "labels in {} must be all str or all numbers, got [b'cat', b'dog']"),
        ([1j, 2], "labels in {} must be all str or all numbers, got [1j, 2"),
        ([Fraction(1, 3), 1], "labels in {} must be all str or all numbers, got [Fraction(1, 3)"),
        ([datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)], "labels in {} must be all str or"),
        (["a" * 10_001, "b"], "in {} has 10001 characters; a label has at most 10000"),
    ],
)
def test_labels_that_numpy_would_change_are_refused(labels, message):
    for classifier in CLASSIFIERS:
        with pytest.raises(ValueError, match=re.escape(message.format("y"))):
            classifier.fit(np.eye(4)[: len(labels)], labels)
    numbered = dict(zip(labels, ["red", "blue", "green"], strict=False))
    with pytest.raises(ValueError, match=re.escape(message.format("classes"))):
        ZeroShotClassifier(numbered, model=ColorEncoder()).fit()


def test_strings_of_a_series_are_held_to_the_same():
    y = pd.Series(["cat\0", "cat", "dog"])
    for classifier in CLASSIFIERS:
        with pytest.raises(ValueError, match=r"the label 'cat\\x00' in y would become 'cat'"):
            classifier.fit(np.eye(3), y)


def test_a_missing_label_among_the_classes():
    for label in (np.nan, None):
        with pytest.raises(ValueError, match="NaN|must be all str"):
            ZeroShotClassifier({label: "red", 1: "blue"}, model=ColorEncoder()).fit()


def test_a_name_must_not_be_empty_in_y_either():
    with pytest.raises(ValueError, match="the names of class '' must be non-empty str"):
        ZeroShotClassifier(model=ColorEncoder()).fit(None, ["red", "", "blue"])


@pytest.mark.parametrize(
    "classes",
    [
        ["red", "blue"],
        ("red", "blue"),
        {"red", "blue"},
        {"red": 0, "blue": 1}.keys(),
        np.array(["red", "blue"]),
        np.array(["red", "blue"], dtype=object),
        pd.Series(["red", "blue"], index=[5, 3]),
        pd.Series(["red", "blue"], dtype="category"),
        pd.Index(["red", "blue"]),
        pl.Series(["red", "blue"]),
        list(Color),
        {"red": "red", "blue": "blue"},
        {Color.A: "red", Color.B: [Color.B]},
    ],
)
def test_classes_in_any_container(classes):
    fitted = ZeroShotClassifier(classes, model=ColorEncoder()).fit()
    assert fitted.classes_.tolist() == ["blue", "red"]
    assert fitted.classes_.dtype.kind == "U"
    assert fitted.predict(solid("red", "blue")).tolist() == ["red", "blue"]


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        ({True: "red", False: "blue"}, [False, True]),
        ({np.True_: "red", np.False_: "blue"}, [False, True]),
        ({2.5: "red", 1: "blue"}, [1.0, 2.5]),
        ({np.float32(0.1): "red", -0.0: "blue"}, [0.0, float(np.float32(0.1))]),
        ({2**64 - 1: "red", 2**63: "blue"}, [2**63, 2**64 - 1]),
        ({np.uint64(2**63): "red", np.uint64(1): "blue"}, [1, 2**63]),
        ({"a\0b": "red", "a": "blue"}, ["a", "a\0b"]),
    ],
)
def test_labels_of_a_mapping(classes, labels):
    fitted = ZeroShotClassifier(classes, model=ColorEncoder()).fit()
    assert fitted.classes_.tolist() == labels
    assert fitted.predict(solid("red", "blue")).tolist() == labels[::-1]


def test_a_table_is_no_list_of_names():
    # its columns were taken for the names
    for table in (pd.DataFrame({"a": ["red"], "b": ["blue"]}), np.array([["red"], ["blue"]])):
        with pytest.raises(ValueError, match=r"classes must hold names in one dimension, got the"):
            ZeroShotClassifier(table, model=ColorEncoder()).fit()


@pytest.mark.parametrize(
    ("classes", "reject_label", "message"),
    [
        (
            {1: "red", 2: "blue"},
            2**80,
            "in classes and reject_label=1208925819614629174706176 does",
        ),
        ({1.5: "red", 2: "blue"}, 2**53 + 1, "the label 9007199254740993 in classes and reject_la"),
        (["red", "blue"], "red\0", r"the label 'red\x00' in classes and reject_label='red\x00' wo"),
        ({2**63: "red", 2**64 - 1: "blue"}, None, "in classes and reject_label=-1 does not fit"),
    ],
)
def test_reject_labels_that_do_not_go_with_the_others(classes, reject_label, message):
    classifier = ZeroShotClassifier(
        classes, model=ColorEncoder(), reject_below=0.5, reject_label=reject_label
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        classifier.fit()


@given(
    st.one_of(
        st.lists(st.text(alphabet="ab\0", max_size=3), min_size=1),
        st.lists(st.integers() | st.booleans(), min_size=1),
        st.lists(st.integers() | st.floats() | st.booleans(), min_size=1),
    )
)
def test_an_array_holds_each_label_or_there_is_none(labels):
    try:
        array = label_array(labels, "classes")
    except ValueError:
        return
    assert array.tolist() == labels
    if all(isinstance(label, int) for label in labels):
        assert array.dtype.kind in "biu"
