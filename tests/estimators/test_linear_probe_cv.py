"""LinearProbeCV: the folds, the search, the choice and the last fit."""

import re

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import GroupKFold, LeaveOneOut, StratifiedKFold, cross_val_score
from threadpoolctl import threadpool_info

from skclip._sklearn_compat import InvalidParameterError
from skclip.estimators.linear_probe import LinearProbe
from skclip.estimators.linear_probe_cv import LinearProbeCV, choose

CS = [1e-3, 1e-1, 1.0, 10.0]


def noisy_iris():
    X, y = load_iris(return_X_y=True)
    return X + np.random.default_rng(0).normal(scale=0.7, size=X.shape), y


def test_of_equal_scores_the_strongest_penalty_is_chosen():
    # the same three scores, whose sums differ in the last digit
    scores = np.array([[0.3, 0.1, np.nan], [0.2, 0.2, np.nan], [0.1, 0.3, np.nan]])
    assert scores[:, 0].mean() < scores[:, 1].mean()
    assert choose(scores) == 0
    assert choose(scores - [1e-6, 0, 0]) == 1
    X = np.r_[np.full((10, 1), -1.0), np.full((10, 1), 1.0)]
    assert LinearProbeCV(Cs=[100, 1, 10]).fit(X, [0] * 10 + [1] * 10).C_ == 1


def test_scores_are_those_of_cross_validated_logistic_regression():
    X, y = noisy_iris()
    for scoring in [None, "neg_log_loss"]:
        probe = LinearProbeCV(Cs=CS, scoring=scoring, tol=1e-18).fit(X, y)
        for column, C in enumerate(CS):
            reference = LogisticRegression(C=C, solver="newton-cg", tol=1e-8)
            expected = cross_val_score(reference, X, y, scoring=scoring, cv=5)
            np.testing.assert_allclose(probe.scores_[:, column], expected, atol=1e-5)
        assert probe.C_ == CS[np.argmax(probe.scores_.mean(axis=0))]


def test_last_fit_is_that_of_the_linear_probe():
    X, y = noisy_iris()
    search = LinearProbeCV(class_weight="balanced", fit_intercept=False).fit(X, y)
    probe = LinearProbe(search.C_, class_weight="balanced", fit_intercept=False).fit(X, y)
    np.testing.assert_array_equal(search.coef_, probe.coef_)
    np.testing.assert_array_equal(search.predict_proba(X), probe.predict_proba(X))
    assert search.n_iter_ == probe.n_iter_
    assert search.Cs_.shape == (96,)
    np.testing.assert_allclose(search.Cs_[[0, -1]], [1e-6, 1e6])
    assert search.scores_.shape == (5, 96)
    assert search.C_ in search.Cs_
    assert not np.isnan(search.scores_).any()
    column = list(search.Cs_).index(search.C_)
    assert search.best_score_ == search.scores_[:, column].mean()


def test_folds_are_as_many_as_the_smallest_class_has_rows():
    X, y = noisy_iris()
    kept = np.r_[0:20, 50:70, 100:103]
    assert LinearProbeCV(Cs=CS).fit(X[kept], y[kept]).scores_.shape == (3, 4)
    kept = kept[:-2]
    with pytest.raises(ValueError, match="class 2 has one sample; add rows"):
        LinearProbeCV(Cs=CS).fit(X[kept], y[kept])
    splits = [(np.arange(0, 41), np.arange(1, 41, 2))]
    assert LinearProbeCV(Cs=CS, cv=splits).fit(X[kept], y[kept]).scores_.shape == (1, 4)


def test_weights_count_in_fits_and_scores():
    X, y = noisy_iris()
    weight = np.random.default_rng(0).uniform(0, 3, size=len(X))
    rows = np.arange(len(X))
    train, test = rows[rows % 3 > 0], rows[rows % 3 == 0]
    probe = LinearProbeCV(Cs=CS, cv=[(train, test)]).fit(X, y, sample_weight=weight)
    for column, C in enumerate(CS):
        alone = LinearProbe(C).fit(X[train], y[train], sample_weight=weight[train])
        expected = alone.score(X[test], y[test], sample_weight=weight[test])
        assert probe.scores_[0, column] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scoring", "weighted"),
    [
        ("neg_log_loss", True),
        ("adjusted_rand_score", False),
        (make_scorer(lambda y, predicted: np.mean(y == predicted)), False),
        (lambda estimator, X, y: estimator.score(X, y), False),
        (lambda e, X, y, sample_weight=None: e.score(X, y, sample_weight=sample_weight), True),
        (lambda estimator, X, y, **kwargs: estimator.score(X, y, **kwargs), True),
    ],
)
def test_scores_are_weighted_where_the_scorer_takes_weights(scoring, weighted):
    X, y = noisy_iris()
    weight = np.random.default_rng(0).uniform(0, 3, size=len(X))
    rows = np.arange(len(X))
    train, test = rows[rows % 3 > 0], rows[rows % 3 == 0]
    search = LinearProbeCV(Cs=[1.0], cv=[(train, test)], scoring=scoring)
    search.fit(X, y, sample_weight=weight)
    probe = LinearProbe(1.0).fit(X[train], y[train], sample_weight=weight[train])
    extra = {"sample_weight": weight[test]} if weighted else {}
    expected = get_scorer(scoring)(probe, X[test], y[test], **extra)
    assert search.scores_[0, 0] == pytest.approx(expected, rel=1e-4)


def test_groups_and_weights_are_routed():
    X, y = noisy_iris()
    groups = np.arange(len(X)) % 4
    weight = np.random.default_rng(0).uniform(0, 3, size=len(X))
    splits = list(GroupKFold(4).split(X, y, groups))
    expected = LinearProbeCV(Cs=CS, cv=splits).fit(X, y)
    weighted = LinearProbeCV(Cs=CS, cv=splits).fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        LinearProbeCV(Cs=CS, cv=GroupKFold(4)).fit(X, y, groups=groups)
    with config_context(enable_metadata_routing=True):
        routed = LinearProbeCV(Cs=CS, cv=GroupKFold(4)).fit(X, y, groups=groups)
        np.testing.assert_array_equal(routed.scores_, expected.scores_)
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        for scoring in (None, scorer):
            routed = LinearProbeCV(Cs=CS, cv=GroupKFold(4), scoring=scoring)
            routed.fit(X, y, groups=groups, sample_weight=weight)
            np.testing.assert_array_equal(routed.scores_, weighted.scores_)


def test_says_how_many_fits_have_not_converged():
    X, y = noisy_iris()
    with pytest.warns(ConvergenceWarning) as caught:
        LinearProbeCV(Cs=[1.0, 1e4], cv=3, max_iter=2).fit(X, y)
    messages = [str(w.message) for w in caught]
    assert "6 of the 6 fits of the cross-validation" in messages[0]
    assert "LinearProbeCV has not converged" in messages[1]
    assert len(messages) == 2


@pytest.mark.parametrize(
    "Cs",
    [[], [1.0, 0.0], [1.0, np.inf], [np.nan], ["a"], ["1"], [1, [2, 3]], [None, {}]],
)
def test_refuses_unusable_values(Cs):
    message = f"Cs must be positive and finite numbers, got {Cs!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        LinearProbeCV(Cs=Cs).fit(*load_iris(return_X_y=True))


@pytest.mark.parametrize(
    "params", [{"Cs": 0}, {"scoring": "best"}, {"verbose": "yes"}, {"cv": "five"}]
)
def test_refuses_unusable_parameters(params):
    with pytest.raises(InvalidParameterError, match=f"The '{next(iter(params))}' parameter"):
        LinearProbeCV(**params).fit(*load_iris(return_X_y=True))


def test_refuses_a_score_without_numbers():
    with pytest.raises(ValueError, match="scoring gave NaN for every C"):
        LinearProbeCV(scoring=lambda estimator, X, y: np.nan).fit(*load_iris(return_X_y=True))


@pytest.mark.parametrize("score", ["high", None, {"score": 1.0}, [1.0, 2.0], 1j])
def test_refuses_a_score_that_is_no_number(score):
    with pytest.raises(
        ValueError, match=f"scoring must return a number, got {re.escape(repr(score))}"
    ):
        LinearProbeCV(CS, scoring=lambda estimator, X, y: score).fit(*load_iris(return_X_y=True))


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([-np.inf, 0.5, 1.0], 2),
        ([1.0, np.inf, 2.0], 1),
        ([np.inf, np.inf, 2.0], 0),
        ([-np.inf, -np.inf, -np.inf], 0),
        ([np.nan, -np.inf, np.nan], 1),
        ([1.7e308, 0.0, 1.7e308], 0),
    ],
)
def test_infinite_scores_are_compared(scores, best):
    assert choose(np.array([scores, scores])) == best


def test_infinities_of_both_signs_have_no_mean():
    assert choose(np.array([[np.inf, 1.0], [-np.inf, 1.0]])) == 1


ROWS = np.arange(150)
TRAIN, TEST = ROWS[ROWS % 3 > 0], ROWS[ROWS % 3 == 0]


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ([], "cv must give at least one split, got none"),
        ([(np.arange(40), np.arange(40, 150))], "the training rows of fold 0 .* one class"),
        ([(TRAIN, TEST), ([], TEST)], "the training rows of fold 1 .* one class"),
        ([(TRAIN, TEST), (TRAIN, [])], "fold 1 has no rows to test on"),
        ([(TRAIN, TEST), (TRAIN, [150])], "row numbers below 150, .* fold 1 is"),
        ([(TRAIN, TEST), (TRAIN, [-151])], "row numbers below 150, .* fold 1 is"),
        ([(TRAIN * 1.0, TEST)], "pairs of row numbers .* fold 0 is"),
        ([(TRAIN[:, None], TEST)], "pairs of row numbers .* fold 0 is"),
        ([(ROWS[:9] > 3, TEST)], "pairs of row numbers .* fold 0 is"),
        ([(["a"], TEST)], "pairs of row numbers .* fold 0 is"),
    ],
)
def test_folds_that_cannot_be_fitted_are_named(cv, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=message) as error:
        LinearProbeCV([1.0], cv=cv).fit(X, y)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("cv", [[(ROWS % 3 > 0, ROWS % 3 == 0)], [(TRAIN.tolist(), TEST.tolist())]])
def test_folds_of_masks_and_lists(cv):
    X, y = noisy_iris()
    expected = LinearProbeCV(CS, cv=[(TRAIN, TEST)]).fit(X, y)
    np.testing.assert_array_equal(LinearProbeCV(CS, cv=cv).fit(X, y).scores_, expected.scores_)


@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
def test_a_fold_whose_test_rows_weigh_nothing_is_named(scoring):
    X, y = noisy_iris()
    weight = np.ones(150)
    weight[TEST] = 0
    probe = LinearProbeCV([1.0], cv=[(TRAIN, ROWS), (TRAIN, TEST)], scoring=scoring)
    with pytest.raises(ValueError, match="rows to test on in fold 1 have the sample_weight 0"):
        probe.fit(X, y, sample_weight=weight)
    # this score does not take weights into account
    probe.set_params(scoring=lambda estimator, X, y: estimator.score(X, y))
    assert probe.fit(X, y, sample_weight=weight).scores_.shape == (2, 1)


@pytest.mark.parametrize("scoring", [None, "neg_log_loss", "roc_auc_ovr"])
def test_scores_are_those_of_a_loop_over_probes(scoring):
    X, y = noisy_iris()
    splits = list(StratifiedKFold(3).split(X, y))
    search = LinearProbeCV(Cs=CS, cv=splits, scoring=scoring, tol=1e-14).fit(X, y)
    scorer = get_scorer(scoring or "accuracy")
    for row, (train, test) in zip(search.scores_, splits, strict=True):
        for score, C in zip(row, CS, strict=True):
            probe = LinearProbe(C, tol=1e-14).fit(X[train], y[train])
            assert score == pytest.approx(scorer(probe, X[test], y[test]), abs=1e-6)


def test_one_standard_error_prefers_the_stronger_penalty():
    rng = np.random.default_rng(0)
    for _ in range(30):
        scores = rng.normal(scale=0.1, size=(5, 8)) + 0.1 * np.arange(8)
        mean = scores.mean(axis=0)
        error = scores[:, mean.argmax()].std(ddof=1) / np.sqrt(5)
        expected = min(c for c in range(8) if mean[c] >= mean.max() - error)
        assert choose(scores, one_standard_error=True) == expected
        assert choose(scores) == mean.argmax()
        # one fold has no standard error
        assert choose(scores[:1], one_standard_error=True) == scores[0].argmax()
    X, y = noisy_iris()
    best = LinearProbeCV().fit(X, y)
    simple = LinearProbeCV(one_standard_error=True).fit(X, y)
    np.testing.assert_array_equal(best.scores_, simple.scores_)
    assert simple.C_ < best.C_
    column = list(simple.Cs_).index(simple.C_)
    assert simple.best_score_ == simple.scores_[:, column].mean() <= best.best_score_


def test_verbose_counts_every_fit(capsys):
    X, y = noisy_iris()
    LinearProbeCV(Cs=CS, cv=3, verbose=1).fit(X, y)
    assert "12/12" in capsys.readouterr().err
    LinearProbeCV(Cs=CS, cv=3).fit(X, y)
    assert not capsys.readouterr().err


def test_every_row_may_be_a_fold():
    X, y = noisy_iris()
    kept = np.r_[0:30, 50:80, 100:130]
    search = LinearProbeCV(Cs=CS, cv=LeaveOneOut()).fit(X[kept], y[kept])
    assert search.scores_.shape == (90, 4)
    expected = cross_val_score(LinearProbe(1.0), X[kept], y[kept], cv=LeaveOneOut())
    assert np.count_nonzero(search.scores_[:, 2] != expected) <= 1


def test_a_scorer_may_ask_for_rows_of_its_own():
    X, y = noisy_iris()
    asked = []

    def scorer(estimator, X_test, y_test):
        asked.append(estimator.predict_proba(X_test[:7].copy()))
        np.testing.assert_allclose(asked[-1], estimator.predict_proba(X_test)[:7], rtol=1e-12)
        return estimator.score(X_test, y_test)

    search = LinearProbeCV(Cs=CS, cv=3, scoring=scorer).fit(X, y)
    np.testing.assert_array_equal(search.scores_, LinearProbeCV(Cs=CS, cv=3).fit(X, y).scores_)
    assert len(asked) == 12


def test_rows_that_a_fold_repeats_count_repeatedly():
    X, y = noisy_iris()
    train, test = np.r_[np.arange(100), np.arange(50, 150)], np.arange(0, 150, 3)
    search = LinearProbeCV(Cs=[1.0], cv=[(train, test)], scoring="neg_log_loss").fit(X, y)
    probe = LinearProbe(1.0).fit(X[train], y[train])
    expected = get_scorer("neg_log_loss")(probe, X[test], y[test])
    assert search.scores_[0, 0] == pytest.approx(expected, rel=1e-4)


def test_a_scorer_that_raises_leaves_the_threads_alone():
    X, y = noisy_iris()

    def scorer(estimator, X, y):
        raise KeyboardInterrupt

    before = [pool["num_threads"] for pool in threadpool_info()]
    with pytest.raises(KeyboardInterrupt):
        LinearProbeCV(Cs=CS, scoring=scorer).fit(X, y)
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_folds_without_a_class_are_fitted_as_if_it_did_not_exist():
    X, y = noisy_iris()
    X[:100] += 5 * (y[:100, None] - 0.5)  # two of the classes can be separated
    train, test = np.arange(100), np.arange(90, 110)
    search = LinearProbeCV(20, cv=[(train, test)], scoring=lambda e, X, y: e.predict_proba(X)[0, 1])
    search.fit(X, y)
    for column in (0, 8, 15):
        # two logits w and -w have half the penalty of their difference
        reference = LogisticRegression(C=2 * search.Cs_[column], tol=1e-8, max_iter=10_000)
        expected = reference.fit(X[train], y[train]).predict_proba(X[test])[0, 1]
        assert search.scores_[0, column] == pytest.approx(expected, abs=1e-4)
