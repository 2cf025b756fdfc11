import pickle
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.utils import get_tags
from toy import ColorEncoder, solid

from skclip import ImageReadError, MissingImageWarning, ZeroShotClassifier
from skclip.encode.vectors import normalize_rows

NAMES = ["red", "green", "blue"]


def classifier(classes=NAMES, **params):
    return ZeroShotClassifier(classes, **{"model": ColorEncoder(), "templates": None, **params})


def unit(rows):
    return normalize_rows(np.array(rows, dtype=np.float32))


def test_predicts_from_names_alone():
    fitted = classifier().fit()
    X = solid("blue", "red", "green", "red")
    assert fitted.predict(X).tolist() == ["blue", "red", "green", "red"]
    assert fitted.score(X, ["blue", "red", "green", "blue"]) == 0.75
    assert fitted.classes_.tolist() == ["blue", "green", "red"]  # sorted, whatever the order given


def test_probabilities_are_the_softmax_of_scaled_cosines():
    # the pseudo-code of Radford et al. 2021, figure 3, written out
    encoder = ColorEncoder()
    X = solid("blue", "red", "white")
    images = unit(encoder.encode_images(X))
    texts = unit(encoder.encode_texts(sorted(NAMES)))
    logits = 10.0 * images @ texts.T
    fitted = classifier().fit()
    np.testing.assert_allclose(fitted.decision_function(X), logits, rtol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(X), softmax(logits, axis=1), rtol=1e-5)
    expected = log_softmax(logits, axis=1)
    np.testing.assert_allclose(fitted.predict_log_proba(X), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("temperature", "scale"), [(None, 10), (0.5, 2), (0.01, 100)])
def test_temperature_divides_the_similarities(temperature, scale):
    fitted = classifier(temperature=temperature).fit()
    assert fitted.temperature_ == pytest.approx(1 / scale)
    np.testing.assert_allclose(np.linalg.norm(fitted.coef_, axis=1), scale, rtol=1e-5)


def test_two_classes_have_one_row_of_weights():
    X = solid("red", "green", "white")
    two = classifier(["red", "green"]).fit()
    assert two.coef_.shape == (1, 4)
    assert two.intercept_.shape == (1,)
    assert two.decision_function(X).shape == (3,)
    proba = two.predict_proba(X)
    assert two.classes_.tolist() == ["green", "red"]
    encoder = ColorEncoder()
    logits = 10 * unit(encoder.encode_images(X)) @ unit(encoder.encode_texts(["green", "red"])).T
    np.testing.assert_allclose(proba, softmax(logits, axis=1), rtol=1e-5)
    expected = log_softmax(logits, axis=1)
    np.testing.assert_allclose(two.predict_log_proba(X), expected, rtol=1e-4, atol=1e-6)
    assert (two.predict(X)[:2] == ["red", "green"]).all()


def test_embeddings_and_images_give_the_same_answer():
    X = solid("blue", "red", "green")
    embeddings = ColorEncoder().encode_images(X)
    fitted = classifier().fit()
    expected = fitted.predict_proba(X)
    kept = embeddings.copy()
    for given in (embeddings, embeddings * 7, pd.DataFrame(embeddings), embeddings.astype("f4")):
        np.testing.assert_allclose(fitted.predict_proba(given), expected, rtol=1e-5)
    np.testing.assert_array_equal(embeddings, kept)


def test_embeddings_as_tensors():
    embeddings = torch.tensor(ColorEncoder().encode_images(solid("blue", "red")))
    fitted = classifier().fit()
    for given in (embeddings, embeddings.requires_grad_(), embeddings.to(torch.bfloat16)):
        assert fitted.predict(given).tolist() == ["blue", "red"]


def test_an_encoder_without_a_logit_scale_gets_clips_own():
    encoder = ColorEncoder()
    encoder.logit_scale = None
    assert classifier(model=encoder).fit().temperature_ == 0.01


def test_a_logit_scale_may_be_a_parameter():
    encoder = ColorEncoder()
    encoder.logit_scale = torch.nn.Parameter(torch.tensor(20.0))
    assert classifier(model=encoder).fit().temperature_ == 0.05


@pytest.mark.parametrize("temperature", [1e-50, 1e40])
def test_extreme_temperatures_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature must lie between 1e-06 and 1000000.0, got"):
        classifier(temperature=temperature).fit()


def test_the_temperature_changes_no_prediction():
    X = np.random.default_rng(0).normal(size=(200, 4))
    expected = classifier().fit().predict(X)
    for temperature in (1e-6, 1.0, 1e6):
        assert (classifier(temperature=temperature).fit().predict(X) == expected).all()


def test_parameters_are_checked_in_predict_too():
    fitted = classifier().fit().set_params(batch_size=0)
    with pytest.raises(ValueError, match="The 'batch_size' parameter of ZeroShotClassifier"):
        fitted.predict(solid("red"))


def test_halves_that_do_not_belong_together():
    class Mixed(ColorEncoder):
        def encode_images(self, images):
            return super().encode_images(images)[:, :3]

    with pytest.raises(ValueError, match="images in 3 dimensions and texts in 4"):
        classifier(model=Mixed()).fit().predict(solid("red"))


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (pd.Series([3, 4], dtype="Int64"), ["3", "4"]),
        (np.array([3.0, 4.0]), ["3", "4"]),
        (pd.Series([True, False], dtype="boolean"), ["False", "True"]),
        (pd.Series(["red", "blue"], dtype="category"), ["blue", "red"]),
        (np.array([3, 4]), ["3", "4"]),
    ],
)
def test_names_of_labels(y, names):
    seen = []

    class Noted(ColorEncoder):
        def encode_texts(self, texts):
            seen.extend(texts)
            return super().encode_texts(texts)

    assert len(classifier(None, model=Noted()).fit(None, y).classes_) == 2
    assert sorted(seen) == names


def test_meta_estimators_that_number_the_labels():
    y = np.array(["red", "green", "blue"] * 3)
    X = solid(*y)
    with pytest.raises(ValueError, match="pass a mapping such as {0: 'blue', ...}"):
        VotingClassifier([("zero-shot", classifier())]).fit(X, y)
    numbered = classifier({0: "blue", 1: "green", 2: "red"})
    assert VotingClassifier([("zero-shot", numbered)]).fit(X, y).score(X, y) == 1


def test_subset_order_and_repetition_do_not_matter():
    fitted = classifier().fit()
    X = solid("red", "white", "green", "blue", "red")
    proba = fitted.predict_proba(X)
    order = [3, 1, 4, 0, 2]
    np.testing.assert_allclose(fitted.predict_proba([X[i] for i in order]), proba[order])
    np.testing.assert_allclose(np.vstack([fitted.predict_proba([x]) for x in X]), proba)
    np.testing.assert_array_equal(fitted.fit(X, None).predict_proba(X), proba)  # idempotent


def test_input_parameters_and_attributes_stay_as_they_are():
    X = np.stack(solid("red", "white", "green"))
    X.flags.writeable = False
    kept = X.copy()
    fitted = classifier().fit(X, NAMES)
    params, attributes = fitted.get_params(), dict(vars(fitted))
    fitted.predict(X)
    fitted.top_k(X)
    np.testing.assert_array_equal(X, kept)
    assert fitted.get_params() == params
    assert vars(fitted) == attributes


@pytest.mark.parametrize(
    "X", [np.ones(4), scipy.sparse.csr_array(np.eye(4)), np.ones((2, 4)) * 1j, "cat.jpg", []]
)
def test_what_is_neither_images_nor_embeddings_is_refused(X):
    with pytest.raises((TypeError, ValueError), match="images|Complex|sample"):
        classifier().fit().predict(X)


def test_embeddings_of_another_width_are_refused():
    fitted = classifier().fit()
    with pytest.raises(ValueError, match="X has 3 columns, but the model's embeddings have 4"):
        fitted.predict(np.ones((2, 3)))
    with pytest.raises(ImageReadError, match="image in row 1: its embedding holds NaN"):
        fitted.predict(np.array([[1, 1, 1, 1], [1, np.nan, 1, 1]]))
    for on_error in ("raise", "nan"):
        with pytest.raises(ValueError, match="Input X contains infinity"):
            fitted.set_params(on_error=on_error).predict(np.array([[np.nan] * 4, [np.inf] * 4]))


def test_templates_are_averaged_as_unit_vectors_and_renormalized():
    # Radford et al. 2021, section 3.1.4
    templates = ["{}", "a very very very long sentence about the color {}"]
    fitted = classifier(templates=templates).fit()
    encoder = ColorEncoder()
    each = [unit(encoder.encode_texts([t.format(n) for n in sorted(NAMES)])) for t in templates]
    np.testing.assert_allclose(fitted.coef_, 10 * unit(np.mean(each, axis=0)), rtol=1e-5)


@pytest.mark.parametrize(
    ("templates", "used"),
    [
        (None, ("{}",)),
        ("plain", ("{}",)),
        ("photo", ("a photo of a {}.",)),
        ("auto", ("a photo of a {}.",)),
        ("my {} picture", ("my {} picture",)),
        (["one {}", "two {}"], ("one {}", "two {}")),
    ],
)
def test_templates_in_use(templates, used):
    assert classifier(templates=templates).fit().templates_ == used


def test_auto_is_the_models_own_templates():
    encoder = ColorEncoder()
    for templates in (("the color {}",), "the color {}"):
        encoder.templates = templates
        fitted = classifier(model=encoder, templates="auto").fit()
        assert fitted.templates_ == ("the color {}",)
    encoder.templates = ["a color"]
    with pytest.raises(ValueError, match="exactly one '{}', got 'a color'"):
        classifier(model=encoder, templates="auto").fit()


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ("nonsense", "templates must hold one '{}' for the name, or be 'auto' or one of"),
        ("{} and {}", "exactly one '{}', got '{} and {}'"),
        (["a {}", "b"], "exactly one '{}', got 'b'"),
        ([], "at least one template"),
    ],
)
def test_bad_templates(templates, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        classifier(templates=templates).fit()


def test_names_may_hold_braces():
    fitted = classifier(["red {}", "blue {0} {x}"], templates="a {}").fit()
    assert fitted.predict(solid("blue", "red")).tolist() == ["blue {0} {x}", "red {}"]


def test_mapping_from_labels_to_names_and_descriptions():
    classes = {2: "red", 0: ["blue", "a blue thing"], 1: ("green",)}
    fitted = classifier(classes).fit()
    assert fitted.classes_.tolist() == [0, 1, 2]
    assert fitted.predict(solid("red", "green", "blue")).tolist() == [2, 1, 0]
    encoder = ColorEncoder()
    mean = unit(encoder.encode_texts(["blue", "a blue thing"])).mean(axis=0)
    np.testing.assert_allclose(fitted.coef_[0], 10 * unit([mean])[0], rtol=1e-5)


def test_labels_of_y_are_the_names_without_classes():
    y = pd.Series(["red", "blue", "green", "red"])
    fitted = classifier(None).fit(solid(*y), y)
    assert fitted.classes_.tolist() == ["blue", "green", "red"]
    assert fitted.score(solid(*y), y) == 1


@pytest.mark.parametrize(
    ("classes", "y", "message"),
    [
        (None, None, "classes=None takes the names from y"),
        (["red"], None, "at least two classes, got 1 class"),
        (["red", "blue", "red"], None, "classes must be distinct, got 'red' more than once"),
        (["red", ""], None, "must be non-empty str, got ''"),
        (["red", 3], None, "the names of class 3 must be non-empty str, got 3"),
        ([["red"], ["blue"]], None, "the names of class ['red'] must be non-empty str"),
        ({("a", 1): "red", ("b", 2): "blue"}, None, "labels in classes must be all str or all"),
        (["red", "blue"], [str(i) for i in range(9)], "['0', '1', '2', '3', '4', ...]"),
        ({"a": "red", "b": []}, None, "the names of class 'b' must be a str or a list of str"),
        ({0: "red", 1: ["red"]}, None, "classes 0 and 1 have the same names: ['red']"),
        ({"a": "red", 1: "blue"}, None, "labels in classes must be all str or all numbers"),
        (["red", "blue"], ["red", "green"], "y holds labels that are not among classes: ['green']"),
        ({0: "red", 1: "blue"}, [0, 2], "y holds labels that are not among classes: [2]"),
    ],
)
def test_bad_classes(classes, y, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        classifier(classes).fit(None, y)


def test_y_with_fewer_labels_than_classes_is_fine():
    fitted = classifier(["red", "blue", "green"]).fit(None, ["red", "red"])
    assert len(fitted.classes_) == 3


def test_y_as_a_column_warns():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        fitted = classifier().fit(None, [["red"], ["blue"]])
    assert fitted.predict(solid("blue")).tolist() == ["blue"]


def test_top_k():
    fitted = classifier().fit()
    X = solid("red", "white")
    labels, probabilities = fitted.top_k(X, k=2)
    assert labels.shape == probabilities.shape == (2, 2)
    assert labels[0, 0] == "red"
    proba = fitted.predict_proba(X)
    np.testing.assert_array_equal(probabilities, -np.sort(-proba, axis=1)[:, :2])
    assert fitted.top_k(X)[0].shape == (2, 3)
    for k in (0, 1.5, "2"):
        with pytest.raises(ValueError, match="k must be an int of at least 1"):
            fitted.top_k(X, k=k)


def test_rejection():
    X = solid("red", "white", "blue")
    fitted = classifier(reject_below=0.5).fit()
    assert fitted.predict_proba(X)[1].max() < 0.5
    assert fitted.predict(X).tolist() == ["red", "rejected", "blue"]
    numbered = classifier({7: "red", 8: "blue", 9: "green"}, reject_below=0.5).fit()
    assert numbered.predict(X).tolist() == [7, -1, 8]
    assert numbered.classes_.tolist() == [7, 8, 9]
    named = classifier(reject_below=0.5, reject_label="?").fit()
    assert named.predict(X).tolist() == ["red", "?", "blue"]
    assert classifier(reject_below=0.0).fit().predict(X)[1] in NAMES
    assert classifier({-1: "red", 1: "blue"}).fit().predict(X).tolist()[::2] == [-1, 1]


def test_rejection_may_be_asked_for_after_fit():
    fitted = classifier().fit().set_params(reject_below=0.5)
    assert fitted.predict(solid("white", "red")).tolist() == ["rejected", "red"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"reject_label": "red"}, "reject_label must not be one of the classes, got 'red'"),
        ({"reject_label": -1}, "reject_label must be of the classes' type, got -1"),
    ],
)
def test_bad_reject_label(params, message):
    with pytest.raises(ValueError, match=message):
        classifier(reject_below=0.5, **params).fit()


def some_unreadable(kind):
    """Return images or their embeddings; rows 1 and 3 cannot be read, or hold NaN."""
    if kind == "images":
        red, white, blue = solid("red", "white", "blue")
        return [red, b"no image", white, None, blue]
    embeddings = ColorEncoder().encode_images(solid("red", "red", "white", "red", "blue"))
    embeddings[1, 2] = embeddings[3] = np.nan
    return embeddings


both_kinds = pytest.mark.parametrize("kind", ["images", "embeddings"])


@both_kinds
@pytest.mark.parametrize("classes", [NAMES, ["red", "blue"]])
def test_rows_that_cannot_be_read_have_no_probabilities(kind, classes):
    X = some_unreadable(kind)
    readable = [0, 2, 4]
    fitted = classifier(classes, on_error="nan").fit()
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        with pytest.warns(MissingImageWarning, match="^2 of 5 rows have no prediction.*in row 1"):
            found = getattr(fitted, method)(X)
        assert np.isnan(found[[1, 3]]).all()
        expected = getattr(fitted, method)(
            [X[row] for row in readable] if kind == "images" else X[readable]
        )
        np.testing.assert_allclose(found[readable], expected, rtol=1e-6)
        assert found.dtype == expected.dtype


@both_kinds
@pytest.mark.parametrize("labels", [NAMES, {7: "red", 8: "green", 9: "blue"}])
def test_rows_that_cannot_be_read_have_no_label(kind, labels):
    X = some_unreadable(kind)
    red, blue = ("red", "blue") if labels is NAMES else (7, 9)
    fitted = classifier(labels, on_error="nan").fit()
    with pytest.warns(MissingImageWarning):
        predicted = fitted.predict(X)
    assert predicted.dtype == object
    assert predicted.tolist()[::4] == [red, blue]
    assert predicted[2] is not None
    assert predicted[1] is None
    assert predicted[3] is None
    assert fitted.predict(X[:1]).dtype == fitted.classes_.dtype  # as without such rows
    with pytest.warns(MissingImageWarning):
        top, probabilities = fitted.top_k(X, k=2)
    assert top[[1, 3]].tolist() == [[None, None]] * 2
    assert top[0, 0] == red
    assert np.isnan(probabilities[[1, 3]]).all()
    assert np.isfinite(probabilities[[0, 2, 4]]).all()


@both_kinds
def test_rows_that_cannot_be_read_are_not_rejected(kind):
    fitted = classifier(reject_below=0.5, on_error="nan").fit()
    with pytest.warns(MissingImageWarning):
        predicted = fitted.predict(some_unreadable(kind))
    assert predicted.tolist() == ["red", None, "rejected", None, "blue"]


@both_kinds
@pytest.mark.parametrize("labels", [NAMES, {7: "red", 8: "green", 9: "blue"}])
def test_rows_that_cannot_be_read_are_wrong(kind, labels):
    X = some_unreadable(kind)
    red, green, blue = NAMES if labels is NAMES else labels
    fitted = classifier(labels, on_error="nan").fit()
    message = "2 of 5 rows have no prediction, and count as wrong in score; the first: image in ro"
    # blue is the first class, or the last: also a row of the first class is wrong
    for y in ([red, blue, "?", red, blue], [red, red, "?", blue, blue]):
        y[2] = green
        y = np.array(y)
        with pytest.warns(MissingImageWarning, match=message):
            right = fitted.score(X, y)
        assert right == pytest.approx((2 + (fitted.predict(X[2:3])[0] == green)) / 5)
        with pytest.warns(MissingImageWarning):
            assert fitted.score(X, y, sample_weight=[1, 3, 0, 0, 1]) == pytest.approx(2 / 5)
    with pytest.warns(MissingImageWarning):
        assert fitted.score(X[1:2], [blue]) == 0
    with (
        pytest.warns(MissingImageWarning),
        pytest.raises(ValueError, match="inconsistent numbers of samples"),
    ):
        fitted.score(X, [red, blue])


def test_unreadable_rows_are_errors_by_default():
    fitted = classifier().fit()
    for kind in ("images", "embeddings"):
        with pytest.raises(ImageReadError) as caught:
            fitted.predict(some_unreadable(kind))
        assert caught.value.row == 1


def test_unreadable_rows_in_cross_validation():
    y = np.array(["red", "green", "blue"] * 4)
    X = solid(*y)
    X[4] = None
    tolerant = classifier(on_error="nan")
    with pytest.warns(MissingImageWarning):
        assert cross_val_score(tolerant, X, y, cv=3).tolist() == [1, 0.75, 1]
    with pytest.warns(MissingImageWarning):
        predicted = cross_val_predict(tolerant, X, y, cv=3)
    assert predicted.tolist() == [*y[:4], None, *y[5:]]
    with pytest.warns(MissingImageWarning):
        search = GridSearchCV(tolerant, {"temperature": [0.1, 1.0]}, cv=3).fit(X, y)
    assert search.best_score_ == pytest.approx(11 / 12)


def test_tags_say_whether_nan_is_allowed():
    for on_error in ("raise", "nan"):
        tags = get_tags(classifier(on_error=on_error))
        assert tags.input_tags.allow_nan == (on_error == "nan")


def test_pickles_from_before_on_error_raise_errors():
    fitted = classifier().fit()
    del fitted.on_error
    restored = pickle.loads(pickle.dumps(fitted))
    assert restored.get_params()["on_error"] == "raise"
    with pytest.raises(ImageReadError, match="row 1"):
        restored.predict(some_unreadable("images"))


@pytest.mark.parametrize(
    ("y", "shown"),
    [
        (["Red", "Blue"], "y holds ['Blue', 'Red'], the classes are ['blue', 'green', 'red']"),
        (pd.Series(["cat"] * 2, dtype="category"), "y holds ['cat'], the classes are ['blue', "),
    ],
)
def test_score_warns_if_no_label_is_among_the_classes(y, shown):
    with pytest.warns(UserWarning, match=re.escape(shown)):
        assert classifier().fit().score(solid("red", "blue"), y) == 0


@pytest.mark.parametrize(
    ("classes", "y", "shown"),
    [
        (NAMES, [0, 1], "y holds [0, 1], the classes are ['blue', 'green', 'red']"),
        ({0: "red", 1: "blue"}, ["0", "1"], "y holds ['0', '1'], the classes are [0, 1]"),
    ],
)
def test_score_for_labels_of_another_type_is_an_error(classes, y, shown):
    with pytest.raises(ValueError, match=re.escape(f"among the classes: {shown}")):
        classifier(classes).fit().score(solid("red", "blue"), y)


def test_labels_that_are_no_class_count_as_wrong():
    # as with a classifier for some of the classes of a dataset
    assert classifier().fit().score(solid("red", "white", "blue"), ["red", "white", "?"]) == 1 / 3


def test_missing_labels_have_no_score():
    with pytest.raises(ValueError, match="the label in row 1 of y is missing"):
        classifier().fit().score(solid("red", "blue"), ["red", None])


def test_not_fitted():
    for method in ("predict", "predict_proba", "decision_function", "top_k"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), method)(solid("red"))
    with pytest.raises(NotFittedError):
        classifier().score(solid("red"), ["red"])


def test_refit_forgets_the_former_model():
    fitted = classifier().fit()
    fitted.model = ColorEncoder()
    fitted.model.fingerprint = "another"
    assert fitted.fit().predict(solid("red")).tolist() == ["red"]
    assert fitted.fingerprint_ == "another"


def test_clone_does_not_copy_what_says_so_and_pickle_carries_the_weights():
    fitted = classifier().fit()
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.coef_, fitted.coef_)
    assert copy.predict(solid("blue")).tolist() == ["blue"]
    assert not hasattr(clone(fitted), "coef_")


def test_log_loss_in_cross_validation_is_right_for_unsorted_classes():
    y = np.array(["red", "green", "blue"] * 4)
    X = solid(*y)
    unsorted = classifier(["red", "blue", "green"])
    scores = cross_val_score(unsorted, X, y, cv=3, scoring="neg_log_loss")
    proba = unsorted.fit().predict_proba(X)
    assert scores.mean() == pytest.approx(-log_loss(y, proba, labels=unsorted.classes_))
    assert scores.mean() > -0.1


def test_grid_search_over_templates_and_cross_val_predict():
    y = np.array(["red", "green", "blue"] * 4)
    X = solid(*y)
    grid = {"templates": ["plain", "{} red red red", ["a {}"]], "temperature": [None, 1.0]}
    search = GridSearchCV(classifier(), grid, cv=2, scoring="neg_log_loss").fit(X, y)
    assert search.best_params_["temperature"] is None
    assert search.score(X, y) > -0.1
    assert (cross_val_predict(classifier(), X, y, cv=2) == y).all()
