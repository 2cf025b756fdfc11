"""scikit-learn's own checks of every public estimator."""

import importlib.util
from functools import cache
from pathlib import Path

import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.preprocessing import Normalizer
from sklearn.utils.estimator_checks import (
    check_param_validation,
    estimator_checks_generator,
)

from skclip import (
    CLIPImageEmbedder,
    CLIPTextEmbedder,
    LinearProbe,
    LinearProbeCV,
    ZeroShotClassifier,
)

ESTIMATORS = [LinearProbe(), LinearProbeCV()]

# pytest 9 warns about parametrize_with_checks of scikit-learn 1.6, which hands it a generator
CHECKS = [
    pytest.param(*pair, id=f"{type(pair[0]).__name__}-{getattr(pair[1], 'func', pair[1]).__name__}")
    for estimator in ESTIMATORS
    for pair in estimator_checks_generator(estimator)
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_sklearn_checks_are_collected(estimator):
    # without this a suite that silently collects no checks would pass too
    (mark,) = test_sklearn_checks.pytestmark
    names = {
        getattr(param.values[1], "func", param.values[1]).__name__
        for param in mark.args[1]
        if type(param.values[0]) is type(estimator)
    }
    assert len(names) >= 50
    assert {
        "check_estimator_cloneable",
        "check_no_attributes_set_in_init",
        "check_classifiers_train",
        "check_class_weight_classifiers",
        "check_sample_weight_equivalence_on_dense_data",
        "check_decision_proba_consistency",
        "check_non_transformer_estimators_n_iter",
        "check_fit_idempotent",
    } <= names
    assert not any(param.marks for param in mark.args[1]), "no expected failures"


# scikit-learn chooses the checks of an estimator by its tags. Where these say that the input is not
# a 2-D array, it yields a single check, check_estimator_cloneable, and leaves out all the others,
# even those that never call fit, such as check_set_params. So take the checks that it yields for an
# estimator of the same kind, its donor, which does take 2-D arrays (Normalizer is a stateless
# transformer too, QuadraticDiscriminantAnalysis a classifier), and run them on our estimator.
DONORS = {
    CLIPImageEmbedder("skclip/tiny"): Normalizer(),
    CLIPTextEmbedder("skclip/tiny"): Normalizer(),
    ZeroShotClassifier(["cat", "dog"], model="skclip/tiny"): QuadraticDiscriminantAnalysis(),
    ZeroShotClassifier(
        ["cat", "dog"], model="skclip/tiny", on_error="nan"
    ): QuadraticDiscriminantAnalysis(),
}

# Their checks that make 2-D arrays of numbers cannot be run: those are neither images nor texts nor
# embeddings of the model's width. A test of ours, here by its node id, shows the same on images or
# texts for each of these checks.
EMBEDDERS = "estimators/test_embedders.py::"
ZERO_SHOT = "estimators/test_zero_shot.py::"
CHECKS_BY_TEST = {
    EMBEDDERS + "test_column_transformer_and_union": [
        "check_pipeline_consistency",
    ],
    EMBEDDERS + "test_every_container_gives_the_same_vectors": [
        "check_dtype_object",
        "check_estimators_dtypes",
        "check_f_contiguous_array_estimator",
        "check_transformer_data_not_an_array",
    ],
    EMBEDDERS + "test_input_and_parameters_stay_as_they_are": [
        "check_dict_unchanged",
        "check_dont_overwrite_parameters",
        "check_estimators_overwrite_params",
    ],
    EMBEDDERS + "test_numbers_are_refused": [
        "check_complex_data",
        "check_estimator_sparse_array",
        "check_estimator_sparse_matrix",
        "check_estimator_sparse_tag",
        "check_fit1d",
        "check_fit2d_1feature",
        "check_fit2d_predict1d",
        "check_positive_only_tag_during_fit",
    ],
    EMBEDDERS + "test_one_item_is_not_a_collection": [
        "check_estimators_empty_data_messages",
    ],
    EMBEDDERS + "test_pickles_are_small_and_transform_alike_in_a_new_process": [
        "check_estimators_pickle",
    ],
    EMBEDDERS + "test_set_output_and_feature_names": [
        "check_n_features_in",
    ],
    EMBEDDERS + "test_subset_and_order_do_not_matter": [
        "check_fit2d_1sample",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
    ],
    EMBEDDERS + "test_transform_without_fit_equals_fit_transform": [
        "check_estimators_fit_returns_self",
        "check_fit_idempotent",
        "check_transformer_general",
        "check_transformers_unfitted_stateless",
    ],
    ZERO_SHOT + "test_embeddings_and_images_give_the_same_answer": [
        "check_classifier_data_not_an_array",
    ],
    ZERO_SHOT + "test_embeddings_of_another_width_are_refused": [
        "check_estimators_nan_inf",
        "check_n_features_in_after_fitting",
    ],
    ZERO_SHOT + "test_input_parameters_and_attributes_stay_as_they_are": [
        "check_readonly_memmap_input",
    ],
    ZERO_SHOT + "test_labels_of_y_are_the_names_without_classes": [
        "check_classifiers_classes",
        "check_fit_score_takes_y",
    ],
    ZERO_SHOT + "test_not_fitted": [
        "check_fit_check_is_fitted",
    ],
    ZERO_SHOT + "test_predicts_from_names_alone": [
        "check_classifiers_train",
    ],
    ZERO_SHOT + "test_probabilities_are_the_softmax_of_scaled_cosines": [
        "check_decision_proba_consistency",
    ],
    ZERO_SHOT + "test_y_as_a_column_warns": [
        "check_supervised_y_2d",
    ],
}
NEEDS_NUMBERS = {check for checks in CHECKS_BY_TEST.values() for check in checks}


def checks_of_donors():
    """Return (estimator, check) for each of the donors' checks that needs no array of numbers."""
    params = []
    for estimator, donor in DONORS.items():
        for _, check in estimator_checks_generator(donor):
            name = getattr(check, "func", check).__name__
            if name not in NEEDS_NUMBERS and "array_api" not in name:
                label = f"{type(estimator).__name__}-{name}"
                params.append(pytest.param(estimator, check, id=label))
    return params


@pytest.mark.parametrize(("estimator", "check"), checks_of_donors())
def test_sklearn_checks_without_numbers(estimator, check):
    # the check is bound to the donor's name; its options, if it has any, are keywords
    options = getattr(check, "keywords", {})
    getattr(check, "func", check)(type(estimator).__name__, clone(estimator), **options)


@pytest.mark.parametrize("estimator", DONORS, ids=lambda e: type(e).__name__)
def test_sklearn_checks_without_numbers_are_collected(estimator):
    names = {
        getattr(param.values[1], "func", param.values[1]).__name__
        for param in checks_of_donors()
        if param.values[0] is estimator
    }
    assert len(names) >= 12
    assert {
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_no_attributes_set_in_init",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_mixin_order",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_valid_tag_types",
    } <= names


@cache
def import_test_file(path):
    """Import a file of tests by its path from this folder."""
    file = Path(__file__).parent / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("test", CHECKS_BY_TEST)
def test_our_tests_in_place_of_checks_exist(test):
    path, name = test.split("::")
    assert name.startswith("test_")
    assert callable(getattr(import_test_file(path), name, None)), f"there is no test {test}"


@pytest.mark.parametrize("estimator", DONORS, ids=lambda e: type(e).__name__)
def test_parameter_validation(estimator):
    check_param_validation(type(estimator).__name__, clone(estimator))
