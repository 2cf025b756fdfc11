"""Every warning of skclip names the user's own line, however skclip was called."""

import runpy
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skclip import (
    CLIPImageEmbedder,
    CLIPTextEmbedder,
    LinearProbe,
    LinearProbeCV,
    MissingImageWarning,
    TextTruncationWarning,
    ZeroShotClassifier,
    embed_images,
    embed_texts,
    load_encoder,
)
from skclip._warnings import warn

TINY = "skclip/tiny"
IMAGES = [np.zeros((4, 4, 3), np.uint8), None]
TEXTS = ["word " * 200]
X, Y = load_iris(return_X_y=True)


def files_of_warnings(category, function, *args, **kwargs):
    """Return the files of the warnings of a call, which is made in this file."""
    with pytest.warns(category) as caught:
        function(*args, **kwargs)
    return {warning.filename for warning in caught}


@pytest.mark.parametrize(
    "options",
    [{}, {"cache": "memory"}, {"n_jobs": 2, "batch_size": 1}],
    ids=["plain", "with a store", "in threads"],
)
def test_missing_images(options):
    embedder = CLIPImageEmbedder(TINY, on_error="nan", **options)
    to_pandas = clone(embedder).set_output(transform="pandas")
    for transform in (
        embedder.transform,
        embedder.fit_transform,
        to_pandas.transform,
        make_pipeline(embedder).fit_transform,
    ):
        assert files_of_warnings(MissingImageWarning, transform, IMAGES) == {__file__}
    arguments = load_encoder(TINY), IMAGES
    options = {"on_error": "nan", **options}
    found = files_of_warnings(MissingImageWarning, embed_images, *arguments, **options)
    assert found == {__file__}


def test_long_texts():
    encoder = load_encoder(TINY)
    for embed, texts in (
        (encoder.tokenizer, TEXTS),
        (encoder.encode_texts, TEXTS),
        (lambda texts: embed_texts(encoder, texts), TEXTS),
        (CLIPTextEmbedder(TINY).transform, TEXTS),
        (CLIPTextEmbedder(TINY, templates="photo").transform, TEXTS),
        (make_pipeline(CLIPTextEmbedder(TINY, cache="memory")).fit_transform, TEXTS),
        (lambda names: ZeroShotClassifier(names, model=TINY).fit(), [*TEXTS, "cat"]),
    ):
        assert files_of_warnings(TextTruncationWarning, embed, texts) == {__file__}


def test_fits_that_have_not_converged():
    probe = LinearProbe(max_iter=1)
    for fit in (
        probe.fit,
        LinearProbeCV([1.0], cv=2, max_iter=1).fit,
        make_pipeline(probe).fit,
        GridSearchCV(probe, {"C": [1.0, 2.0]}, cv=2).fit,
        lambda X, y: cross_val_score(probe, X, y, cv=2),
    ):
        assert files_of_warnings(ConvergenceWarning, fit, X, Y) == {__file__}


def test_stores_that_are_damaged_or_cannot_be_written(tmp_path):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "vectors-000001.sqlite").write_bytes(b"no database")
    (tmp_path / "locked" / "store.lock").mkdir(parents=True)
    for name in ("damaged", "locked"):
        embedder = CLIPTextEmbedder(TINY, cache=tmp_path / name)
        assert files_of_warnings(UserWarning, embedder.transform, ["a"]) == {__file__}


def test_the_main_script(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "from skclip import CLIPImageEmbedder\n"
        "embedder = CLIPImageEmbedder('skclip/tiny', on_error='nan')\n"
        "embedder.transform([None])\n"
    )
    with pytest.warns(MissingImageWarning) as caught:
        runpy.run_path(str(script), run_name="__main__")
    assert [(warning.filename, warning.lineno) for warning in caught] == [(str(script), 3)]


def test_a_line_is_warned_of_once():
    # the default filter counts by line
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            warn("the same")
        warn("the same")
    assert len(caught) == 2
