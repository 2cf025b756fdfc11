"""Images through scikit-learn's own tools, from pictures to predictions."""

import os
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from subprocesses import run_script

from skclip import (
    CLIPImageEmbedder,
    CLIPTextEmbedder,
    LinearProbe,
    LinearProbeCV,
    ZeroShotClassifier,
)
from skclip.datasets import make_glyphs

TINY = "skclip/tiny"
DIGITS = make_glyphs(n_samples=60, characters="037", random_state=0)
NAMES = {"0": "zero", "3": "three", "7": "seven"}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    paths = [str(folder / f"{i}.png") for i in range(len(DIGITS.images))]
    for image, path in zip(DIGITS.images, paths, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def y():
    return np.asarray(DIGITS.target)


def probe(**params):
    return make_pipeline(CLIPImageEmbedder(TINY, **params), LinearProbe())


def zero_shot(**params):
    return ZeroShotClassifier(NAMES, model=TINY, **params)


def test_cross_val_score_in_two_processes(paths, y):
    one = cross_val_score(probe(), paths, y, cv=3)
    two = cross_val_score(probe(), paths, y, cv=3, n_jobs=2)
    np.testing.assert_allclose(one, two)
    assert one.mean() > 0.8


def test_grid_search_over_the_embedder_and_the_probe(paths, y):
    grid = {"clipimageembedder__features": ["projected", "pooled"], "linearprobe__C": [0.01, 1.0]}
    search = GridSearchCV(probe(), grid, cv=2).fit(paths, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.score(paths, y) > 0.8
    assert len(pickle.dumps(search)) < 200_000


def test_zero_shot_with_unsorted_classes_has_the_right_log_loss(paths, y):
    classifier = ZeroShotClassifier({"7": "seven", "0": "zero", "3": "three"}, model=TINY)
    folds = list(StratifiedKFold(3).split(paths, y))
    scores = cross_val_score(classifier, paths, y, cv=folds, scoring="neg_log_loss")
    proba = classifier.fit().predict_proba(paths)
    assert classifier.classes_.tolist() == ["0", "3", "7"]
    by_hand = -np.log([row[["0", "3", "7"].index(label)] for row, label in zip(proba, y)])  # noqa: B905
    for score, (_, test) in zip(scores, folds, strict=True):
        assert -score == pytest.approx(by_hand[test].mean(), rel=1e-3, abs=1e-6)
    assert log_loss(y, proba) == pytest.approx(by_hand.mean(), rel=1e-3, abs=1e-6)
    assert by_hand.mean() < 0.5


def test_zero_shot_behind_the_embedder_equals_zero_shot_on_images(paths):
    pipeline = make_pipeline(CLIPImageEmbedder(TINY), zero_shot()).fit(paths, None)
    direct = zero_shot().fit()
    np.testing.assert_allclose(
        pipeline.predict_proba(paths), direct.predict_proba(paths), atol=1e-4
    )


def test_calibrated_classifier(paths, y):
    calibrated = CalibratedClassifierCV(zero_shot(), cv=2).fit(paths, y)
    assert calibrated.predict_proba(paths).shape == (60, 3)
    assert CalibratedClassifierCV(probe(), cv=2).fit(paths, y).score(paths, y) > 0.8


def test_stacking_classifier(paths, y):
    # it numbers the labels before it fits
    numbered = ZeroShotClassifier(dict(enumerate(NAMES.values())), model=TINY)
    stack = StackingClassifier(
        [("probe", probe()), ("zero-shot", numbered)], LogisticRegression(), cv=2
    )
    assert stack.fit(paths, y).score(paths, y) > 0.8


def test_union_of_two_kinds_of_features(paths, y):
    union = make_union(CLIPImageEmbedder(TINY), CLIPImageEmbedder(TINY, features="pooled"))
    assert make_pipeline(union, LinearProbeCV(Cs=3, cv=2)).fit(paths, y).score(paths, y) > 0.8


def test_table_of_images_texts_and_numbers(paths, y):
    table = pd.DataFrame({"photo": paths, "caption": DIGITS.captions, "size": np.arange(60.0)})
    columns = make_column_transformer(
        (CLIPImageEmbedder(TINY), "photo"),
        (CLIPTextEmbedder(TINY), "caption"),
        (StandardScaler(), ["size"]),
    )
    pipeline = make_pipeline(columns, LinearProbe())
    assert cross_val_score(pipeline, table, y, cv=3).mean() > 0.8
    names = pipeline.fit(table, y)[:-1].get_feature_names_out()
    assert names[0] == "clipimageembedder__clipimageembedder0"
    assert names[-1] == "standardscaler__size"


def test_fitted_estimators_return_from_other_processes(paths, y):
    results = cross_validate(probe(), paths, y, cv=2, n_jobs=2, return_estimator=True)
    for estimator, score in zip(results["estimator"], results["test_score"], strict=True):
        assert estimator.score(paths, y) >= score - 0.2


def test_cross_val_predict(paths, y):
    assert (
        cross_val_predict(zero_shot(), paths, y, cv=2) == zero_shot().fit().predict(paths)
    ).all()


def test_fitted_pipelines_are_small_and_predict_alike_in_a_new_process(paths, y, tmp_path):
    fitted = [probe().fit(paths, y), zero_shot().fit(), make_pipeline(zero_shot()).fit(paths, y)]
    for i, estimator in enumerate(fitted):
        assert len(pickle.dumps(estimator)) < 200_000
        joblib.dump(estimator, tmp_path / f"{i}.joblib")
        assert os.path.getsize(tmp_path / f"{i}.joblib") < 200_000
    run_script("predict_pickled.py", tmp_path, *paths)
    found = np.load(tmp_path / "proba.npz")
    for name, estimator in zip(found.files, fitted, strict=True):
        np.testing.assert_allclose(found[name], estimator.predict_proba(paths), atol=1e-5)


def test_clone_of_a_fitted_pipeline_is_unfitted(paths, y):
    copy = clone(probe().fit(paths, y))
    assert not hasattr(copy[0], "fingerprint_")
    assert not hasattr(copy[1], "coef_")
