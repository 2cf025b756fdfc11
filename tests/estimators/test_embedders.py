"""The contract of scikit-learn's transformers, on images and texts instead of numbers."""

import pickle
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer
from subprocesses import run_script
from toy import ColorEncoder, solid

from skclip import (
    CLIPImageEmbedder,
    CLIPTextEmbedder,
    ImageReadError,
    MissingImageWarning,
    ZeroShotClassifier,
    embed_images,
    load_encoder,
)
from skclip.checkpoints.load import load_checkpoint
from skclip.datasets import make_scenes
from skclip.encode import encoder as encoder_module
from skclip.exceptions import CheckpointError

TINY = "skclip/tiny"
SCENES = make_scenes(n_samples=12, random_state=0)
TEXTS = ["a red circle", "two blue squares", "the digit three", "Ünïcode ☆", "a red circle", ""]


def cases():
    images = list(SCENES.images)
    return [
        pytest.param(CLIPImageEmbedder(TINY), images, id="images"),
        pytest.param(CLIPTextEmbedder(TINY), TEXTS, id="texts"),
        pytest.param(CLIPTextEmbedder(TINY, templates=["{}", "a {}"]), TEXTS, id="templates"),
    ]


@pytest.mark.parametrize(("embedder", "X"), cases())
def test_transform_without_fit_equals_fit_transform(embedder, X):
    vectors = embedder.transform(X)
    assert vectors.shape == (len(X), load_encoder(TINY).embed_dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(clone(embedder).fit_transform(X), vectors)
    fitted = clone(embedder).fit(X)
    np.testing.assert_array_equal(fitted.fit(X).transform(X), vectors)  # idempotent


@pytest.mark.parametrize(("embedder", "X"), cases())
def test_subset_and_order_do_not_matter(embedder, X):
    vectors = embedder.transform(X)
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = embedder.transform([X[i] for i in order])
    np.testing.assert_allclose(shuffled, vectors[order], atol=1e-6)
    one_by_one = np.concatenate([embedder.transform([x]) for x in X])
    np.testing.assert_allclose(one_by_one, vectors, atol=1e-6)
    small = clone(embedder).set_params(batch_size=5)
    np.testing.assert_allclose(small.transform(X), vectors, atol=1e-6)


@pytest.mark.parametrize(("embedder", "X"), cases())
def test_input_and_parameters_stay_as_they_are(embedder, X):
    params = embedder.get_params()
    kept = [np.array(x, copy=True) for x in X]
    for x in X:
        if isinstance(x, np.ndarray):
            x.flags.writeable = False
    fitted = clone(embedder).fit(X)
    before = dict(vars(fitted))
    fitted.transform(X)
    assert vars(fitted) == before
    assert all(np.array_equal(a, b) for a, b in zip(X, kept, strict=True))
    assert fitted.get_params() == params


def test_pickles_are_small_and_transform_alike_in_a_new_process(tmp_path):
    fitted = [clone(embedder).fit(X) for embedder, X in (case.values for case in cases())]
    inputs = [X for _, X in (case.values for case in cases())]
    assert all(len(pickle.dumps(embedder)) < 10_000 for embedder in fitted)
    joblib.dump((fitted, inputs), tmp_path / "embedders.joblib")
    paths = [tmp_path / "embedders.joblib", tmp_path / "vectors.npz"]
    run_script("transform_pickled.py", *paths)
    found = np.load(paths[1])
    for name, embedder, X in zip(found.files, fitted, inputs, strict=True):
        np.testing.assert_allclose(found[name], embedder.transform(X), atol=1e-6)


@pytest.mark.parametrize(("embedder", "X"), cases())
def test_set_output_and_feature_names(embedder, X):
    vectors = embedder.transform(X)
    names = [f"{type(embedder).__name__.lower()}{i}" for i in range(vectors.shape[1])]
    assert embedder.get_feature_names_out().tolist() == names
    frame = clone(embedder).set_output(transform="pandas").fit_transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == names
    np.testing.assert_array_equal(frame.to_numpy(), vectors)
    column = pd.DataFrame({"item": X}, index=range(100, 100 + len(X)))
    frame = clone(embedder).set_output(transform="pandas").fit_transform(column)
    assert frame.index.tolist() == column.index.tolist()
    frame = clone(embedder).set_output(transform="polars").fit_transform(X)
    assert frame.columns == names
    np.testing.assert_array_equal(frame.to_numpy(), vectors)


@pytest.mark.parametrize(
    ("make", "X"), [(CLIPImageEmbedder, SCENES.images), (CLIPTextEmbedder, TEXTS)]
)
@pytest.mark.parametrize(
    "params",
    [
        {"model": 3},
        {"batch_size": 0},
        {"batch_size": "large"},
        {"dtype": "int8"},
        {"device": None},
        {"normalize": "yes"},
        {"verbose": "no"},
    ],
)
def test_bad_parameters_are_named_in_fit_and_in_transform(make, X, params):
    (name,) = params
    embedder = make(**{"model": TINY, **params})
    message = f"The '{name}' parameter of {make.__name__} must be"
    for method in ("fit", "transform"):
        with pytest.raises(ValueError, match=re.escape(message)):
            getattr(embedder, method)(X)


@pytest.mark.parametrize("params", [{"features": "both"}, {"on_error": "skip"}, {"n_jobs": 1.5}])
def test_bad_image_parameters(params):
    with pytest.raises(ValueError, match="parameter of CLIPImageEmbedder must be"):
        CLIPImageEmbedder(TINY, **params).transform(SCENES.images)


@pytest.mark.parametrize("embedder", [CLIPImageEmbedder(TINY), CLIPTextEmbedder(TINY)], ids=repr)
def test_one_item_is_not_a_collection(embedder):
    for method in ("fit", "transform"):
        with pytest.raises(TypeError, match="put it into a list"):
            getattr(embedder, method)("cat.jpg")
        with pytest.raises(ValueError, match="0 sample"):
            getattr(embedder, method)([])


def test_every_container_gives_the_same_vectors(tmp_path):
    images = SCENES.images[:3]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image).save(path)
    expected = CLIPImageEmbedder(TINY).transform(images)
    collections = {
        "list of arrays": list(images),
        "float array": images / 255,
        "tensors": [torch.from_numpy(image).permute(2, 0, 1) for image in images],
        "paths": paths,
        "strings": [str(path) for path in paths],
        "bytes": [path.read_bytes() for path in paths],
        "pictures": [Image.open(path) for path in paths],
        "dicts": [{"bytes": None, "path": str(path)} for path in paths],
        "series": pd.Series([str(path) for path in paths]),
        "frame": pd.DataFrame({"photo": [str(path) for path in paths]}),
        "object column": np.array([[str(path)] for path in paths], dtype=object),
    }
    for name, X in collections.items():
        vectors = CLIPImageEmbedder(TINY).transform(X)
        np.testing.assert_allclose(vectors, expected, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("embedder", [CLIPImageEmbedder(TINY), CLIPTextEmbedder(TINY)], ids=repr)
@pytest.mark.parametrize(
    "X",
    [
        np.ones((5, 1)),
        np.ones((5, 3)),
        -np.ones((5, 3)),
        np.ones(5),
        np.ones((5, 3)) * 1j,
        scipy.sparse.csr_matrix(np.eye(5)),
        scipy.sparse.csr_array(np.eye(5)),
    ],
    ids=["column", "table", "negative", "1-D", "complex", "sparse matrix", "sparse array"],
)
def test_numbers_are_refused(embedder, X):
    for method in ("fit", "transform"):
        with pytest.raises((TypeError, ValueError), match="images|texts|str"):
            getattr(embedder, method)(X)


def test_normalize_and_features():
    encoder = load_encoder(TINY)
    raw = CLIPImageEmbedder(TINY, normalize=False).transform(SCENES.images)
    assert np.abs(np.linalg.norm(raw, axis=1) - 1).min() > 1e-3
    np.testing.assert_array_equal(raw, embed_images(encoder, SCENES.images, normalize=False))
    pooled = CLIPImageEmbedder(TINY, normalize=False, features="pooled")
    vectors = pooled.set_output(transform="pandas").fit_transform(SCENES.images)
    assert vectors.shape == (12, encoder.pooled_dim)
    with torch.no_grad():
        tower = load_checkpoint(TINY).model.visual
        projected = tower.project(torch.from_numpy(vectors.to_numpy(copy=True)))
    np.testing.assert_allclose(projected.numpy(), raw, atol=1e-4)


@pytest.mark.parametrize("templates", [None, "a {}"])
def test_image_files_given_to_the_embedder_of_texts(templates):
    embedder = CLIPTextEmbedder(TINY, templates=templates)
    with pytest.warns(UserWarning, match="for these use CLIPImageEmbedder") as caught:
        embedder.fit_transform(pd.Series(["cat.jpg", "dog.png"]))
    assert len(caught) == 1


def test_templates_and_raw_vectors_exclude_each_other():
    embedder = CLIPTextEmbedder(TINY, templates="photo", normalize=False)
    for method in ("fit", "transform"):
        with pytest.raises(ValueError, match="normalize must be True with templates"):
            getattr(embedder, method)(TEXTS)


def test_logit_scale_does_not_depend_on_the_number_format():
    whole, half = load_encoder(TINY), load_encoder(TINY, dtype="bfloat16")
    assert half.logit_scale == whole.logit_scale


def test_an_encoder_made_for_a_card_that_is_not_here_loads_elsewhere():
    encoder = load_encoder(TINY)
    reload, (fingerprint, source, _, *others) = encoder.__reduce__()
    assert reload(fingerprint, source, "cuda:7", *others).fingerprint == fingerprint


def test_a_slow_load_blocks_no_other_model(monkeypatch, tmp_path):
    load_encoder(TINY)
    started, finish = threading.Event(), threading.Event()

    def slow(model, **options):
        started.set()
        assert finish.wait(30)
        raise OSError("the other model fails")

    monkeypatch.setattr(encoder_module, "load_checkpoint", slow)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(load_encoder, tmp_path)
        assert started.wait(30)
        assert load_encoder(TINY).embed_dim  # must not wait for the other model
        finish.set()
        with pytest.raises(OSError, match="other model"):
            other.result()


def test_bfloat16_is_close_to_float32():
    whole = CLIPImageEmbedder(TINY).transform(SCENES.images)
    half = CLIPImageEmbedder(TINY, dtype="bfloat16").transform(SCENES.images)
    assert half.dtype == np.float32
    assert (whole * half).sum(axis=1).min() > 0.99
    assert not np.array_equal(whole, half)


def test_odd_files_under_both_settings(odd_files):
    neighbor = SCENES.images[0]
    (alone,) = CLIPImageEmbedder(TINY).transform([neighbor])
    items = [neighbor]
    for file in odd_files:
        items += [file.path, neighbor]
    with pytest.warns(MissingImageWarning) as record:
        vectors = CLIPImageEmbedder(TINY, on_error="nan").transform(items)
    n_bad = sum(not file.readable for file in odd_files)
    assert len(record) == 1
    assert str(record[0].message).startswith(f"{n_bad} of {len(items)} images")
    assert len(odd_files) >= 40
    np.testing.assert_allclose(vectors[::2], np.tile(alone, (len(odd_files) + 1, 1)), atol=1e-6)
    for vector, file in zip(vectors[1::2], odd_files, strict=True):
        assert np.isfinite(vector).all() == file.readable, file.name
        assert np.isnan(vector).all() == (not file.readable), file.name
        if not file.readable:
            with pytest.raises(ImageReadError, match="^image in row 1: "):
                CLIPImageEmbedder(TINY).transform([neighbor, file.path])


def test_clones_and_folds_share_one_loaded_model(monkeypatch):
    loads = []
    load = encoder_module.load_checkpoint
    monkeypatch.setattr(encoder_module, "_loaded", type(encoder_module._loaded)())
    monkeypatch.setattr(
        encoder_module, "load_checkpoint", lambda *a, **k: loads.append(a) or load(*a, **k)
    )
    embedder = CLIPImageEmbedder(TINY)
    for each in (embedder, clone(embedder), clone(embedder).fit(SCENES.images)):
        each.transform(SCENES.images[:1])
    CLIPTextEmbedder(TINY).transform(["a"])
    ZeroShotClassifier(["a", "b"], model=TINY).fit().predict(SCENES.images[:1])
    assert len(loads) == 1
    for number in range(10):
        encoder_module.load_encoder(TINY, dtype=("float32", "bfloat16")[number % 2])
    assert len(loads) == 2
    assert len(encoder_module._loaded) <= encoder_module.MAX_LOADED_MODELS


def test_another_model_than_the_fitted_one_is_refused():
    embedder = CLIPImageEmbedder(TINY).fit(SCENES.images)
    embedder.fingerprint_ = "another"
    with pytest.raises(CheckpointError, match="expected 'another'; fit again"):
        embedder.transform(SCENES.images)
    with pytest.raises(CheckpointError, match="fit again"):
        pickle.loads(pickle.dumps(embedder)).transform(SCENES.images)
    embedder.fit(SCENES.images).transform(SCENES.images)


def test_an_encoder_object_is_shared_by_clones_and_pickled_by_name():
    encoder = load_encoder(TINY)
    embedder = CLIPImageEmbedder(encoder)
    assert clone(embedder).model is encoder
    assert len(pickle.dumps(embedder)) < 10_000
    assert pickle.loads(pickle.dumps(embedder)).model is encoder
    assert repr(encoder).startswith("<CLIPEncoder of ")
    with pytest.raises(ValueError, match="must be 'auto' when model is an object"):
        CLIPImageEmbedder(encoder, dtype="bfloat16").transform(SCENES.images)


def test_foreign_encoders_join_in():
    X = solid("red", "green", "white", "red")
    vectors = CLIPImageEmbedder(ColorEncoder(), normalize=False).fit_transform(X)
    np.testing.assert_allclose(vectors, ColorEncoder().encode_images(X), rtol=1e-6)
    assert CLIPTextEmbedder(ColorEncoder()).fit_transform(["red", "blue"]).shape == (2, 4)
    assert len(CLIPImageEmbedder(ColorEncoder()).get_feature_names_out()) == 4
    pooled = CLIPImageEmbedder(ColorEncoder(), features="pooled")
    for method in (pooled.fit, pooled.transform, lambda X: pooled.get_feature_names_out()):
        with pytest.raises(ValueError, match="offers only 'projected'"):
            method(X)


def test_column_transformer_and_union(tmp_path):
    frame = pd.DataFrame({"left": list(SCENES.images), "right": list(SCENES.images[::-1])})
    frame["weight"] = np.arange(12.0)
    columns = make_column_transformer(
        (CLIPImageEmbedder(TINY), "left"),
        (CLIPImageEmbedder(TINY), ["right"]),
        remainder="passthrough",
    ).set_output(transform="pandas")
    out = columns.fit_transform(frame)
    width = load_encoder(TINY).embed_dim
    assert out.shape == (12, 2 * width + 1)
    np.testing.assert_allclose(out.iloc[:, :width], out.iloc[::-1, width : 2 * width], atol=1e-6)
    assert out.columns[0] == "clipimageembedder-1__clipimageembedder0"
    brightness = FunctionTransformer(lambda X: np.mean(X, axis=(1, 2)))
    union = make_union(CLIPImageEmbedder(TINY), brightness)
    assert union.fit_transform(SCENES.images).shape == (12, width + 3)
    assert make_pipeline(CLIPImageEmbedder(TINY)).transform(SCENES.images).shape == (12, width)


def test_html_repr():
    assert "CLIPImageEmbedder" in CLIPImageEmbedder(TINY)._repr_html_()
    assert repr(CLIPImageEmbedder(TINY)) == "CLIPImageEmbedder(model='skclip/tiny')"
