"""scikit-learn's own checks of every public estimator."""

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

# not parametrize_with_checks: scikit-learn 1.6 makes that a generator, which pytest 9 warns of
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
    # a suite that silently collects nothing would pass as well
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


# Checks that feed 2-D numbers of their own, which are neither images nor texts nor embeddings of
# the model's width, and the test that shows the same property on images and texts.
EMBEDDERS = "tests/estimators/test_embedders.py::"
ZERO_SHOT = "tests/estimators/test_zero_shot.py::"
ON_IMAGES = {
    "check_classifier_data_not_an_array": ZERO_SHOT
    + "test_embeddings_and_images_give_the_same_answer",
    "check_classifiers_classes": ZERO_SHOT + "test_labels_of_y_are_the_names_without_classes",
    "check_classifiers_train": ZERO_SHOT + "test_predicts_from_names_alone",
    "check_complex_data": EMBEDDERS + "test_numbers_are_refused",
    "check_decision_proba_consistency": ZERO_SHOT
    + "test_probabilities_are_the_softmax_of_scaled_cosines",
    "check_dict_unchanged": EMBEDDERS + "test_input_and_parameters_stay_as_they_are",
    "check_dont_overwrite_parameters": EMBEDDERS + "test_input_and_parameters_stay_as_they_are",
    "check_dtype_object": EMBEDDERS + "test_every_container_gives_the_same_vectors",
    "check_estimator_sparse_array": EMBEDDERS + "test_numbers_are_refused",
    "check_estimator_sparse_matrix": EMBEDDERS + "test_numbers_are_refused",
    "check_estimator_sparse_tag": EMBEDDERS + "test_numbers_are_refused",
    "check_estimators_dtypes": EMBEDDERS + "test_every_container_gives_the_same_vectors",
    "check_estimators_empty_data_messages": EMBEDDERS + "test_one_item_is_not_a_collection",
    "check_estimators_fit_returns_self": EMBEDDERS
    + "test_transform_without_fit_equals_fit_transform",
    "check_estimators_nan_inf": ZERO_SHOT + "test_embeddings_of_another_width_are_refused",
    "check_estimators_overwrite_params": EMBEDDERS + "test_input_and_parameters_stay_as_they_are",
    "check_estimators_pickle": EMBEDDERS
    + "test_pickles_are_small_and_transform_alike_in_a_new_process",
    "check_f_contiguous_array_estimator": EMBEDDERS + "test_every_container_gives_the_same_vectors",
    "check_fit1d": EMBEDDERS + "test_numbers_are_refused",
    "check_fit2d_1feature": EMBEDDERS + "test_numbers_are_refused",
    "check_fit2d_1sample": EMBEDDERS + "test_subset_and_order_do_not_matter",
    "check_fit2d_predict1d": EMBEDDERS + "test_numbers_are_refused",
    "check_fit_check_is_fitted": ZERO_SHOT + "test_not_fitted",
    "check_fit_idempotent": EMBEDDERS + "test_transform_without_fit_equals_fit_transform",
    "check_fit_score_takes_y": ZERO_SHOT + "test_labels_of_y_are_the_names_without_classes",
    "check_methods_sample_order_invariance": EMBEDDERS + "test_subset_and_order_do_not_matter",
    "check_methods_subset_invariance": EMBEDDERS + "test_subset_and_order_do_not_matter",
    "check_n_features_in": EMBEDDERS + "test_set_output_and_feature_names",
    "check_n_features_in_after_fitting": ZERO_SHOT + "test_embeddings_of_another_width_are_refused",
    "check_pipeline_consistency": EMBEDDERS + "test_column_transformer_and_union",
    "check_positive_only_tag_during_fit": EMBEDDERS + "test_numbers_are_refused",
    "check_readonly_memmap_input": ZERO_SHOT
    + "test_input_parameters_and_attributes_stay_as_they_are",
    "check_supervised_y_2d": ZERO_SHOT + "test_y_as_a_column_warns",
    "check_transformer_data_not_an_array": EMBEDDERS
    + "test_every_container_gives_the_same_vectors",
    "check_transformers_unfitted_stateless": EMBEDDERS
    + "test_transform_without_fit_equals_fit_transform",
    "check_transformer_general": EMBEDDERS + "test_transform_without_fit_equals_fit_transform",
}

# Whose checks are yielded by name: an estimator of numbers of the same kind.
DONORS = {
    CLIPImageEmbedder("skclip/tiny"): Normalizer(),
    CLIPTextEmbedder("skclip/tiny"): Normalizer(),
    ZeroShotClassifier(["cat", "dog"], model="skclip/tiny"): QuadraticDiscriminantAnalysis(),
}


def named_checks():
    """Return (estimator, check) for every check that does not feed numbers of its own."""
    params = []
    for estimator, donor in DONORS.items():
        for _, check in estimator_checks_generator(donor):
            name = getattr(check, "func", check).__name__
            if name not in ON_IMAGES and "array_api" not in name:
                label = f"{type(estimator).__name__}-{name}"
                params.append(pytest.param(estimator, check, id=label))
    return params


@pytest.mark.parametrize(("estimator", "check"), named_checks())
def test_sklearn_checks_without_numbers(estimator, check):
    options = getattr(check, "keywords", {})
    getattr(check, "func", check)(type(estimator).__name__, clone(estimator), **options)


@pytest.mark.parametrize("estimator", DONORS, ids=lambda e: type(e).__name__)
def test_sklearn_checks_without_numbers_are_collected(estimator):
    names = {
        getattr(param.values[1], "func", param.values[1]).__name__
        for param in named_checks()
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


@pytest.mark.parametrize("test", sorted(set(ON_IMAGES.values())))
def test_the_tests_on_images_exist(test):
    path, name = test.split("::")
    assert f"def {name}(" in (Path(__file__).parents[1] / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("estimator", DONORS, ids=lambda e: type(e).__name__)
def test_parameter_validation(estimator):
    check_param_validation(type(estimator).__name__, clone(estimator))
