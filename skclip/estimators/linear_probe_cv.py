"""A linear probe that chooses the strength of its penalty by cross-validation."""

from contextlib import closing
from inspect import Parameter, signature
from numbers import Integral

import numpy as np
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from tqdm.auto import tqdm

from skclip._messages import shown
from skclip._sklearn_compat import Interval, StrOptions, _fit_context
from skclip._warnings import warn
from skclip.estimators.folds import check_folds, default_n_folds, take_rows
from skclip.estimators.linear_probe import BaseLinearProbe, LinearProbe
from skclip.solvers.rows import arrange, coefficients

# tolerance of the fits that are only scored: scores change less beyond it than from fold to fold
FOLD_TOL = {"float32": 1e-6, "float64": 1e-8}
# with more folds, few rows are left out of each, and grouping the rows by folds gains nothing
MAX_GROUPED_FOLDS = 64


def as_score(score):
    """Return a score as a float; refuse what is no number."""
    value = np.asarray(score)
    if value.shape != () or value.dtype.kind not in "biuf":
        raise ValueError(f"scoring must return a number, got {shown(score)}.")
    return float(value)


def takes_weights(scorer):
    """Return whether a scorer accepts ``sample_weight``.

    Parameters
    ----------
    scorer : callable
        ``scorer(estimator, X, y)``, scikit-learn's own or a user's.

    Returns
    -------
    bool
    """
    # scorers made by make_scorer accept weights even if their metric does not
    function = getattr(scorer, "_score_func", scorer)
    parameters = signature(function).parameters.values()
    return any(p.name == "sample_weight" or p.kind is Parameter.VAR_KEYWORD for p in parameters)


def choose(scores, *, one_standard_error=False):
    """Return the position of the best mean score, the first one of equals.

    Parameters
    ----------
    scores : ndarray of shape (n_folds, n_Cs)
        Those of a column without a mean, such as NaN, are not chosen.
    one_standard_error : bool, default=False
        Return the first position whose mean is at most one standard error of the best mean below
        it instead.

    Returns
    -------
    index : int

    Raises
    ------
    ValueError
        If no column has a mean.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # of infinities, and their sums
        mean = scores.mean(axis=0)
    if np.isnan(mean).all():
        raise ValueError(
            "scoring gave NaN for every C; check that each test fold holds what the score needs."
        )
    best = np.flatnonzero(mean == np.nanmax(mean))[0]
    # rounding alone can make means of the same fold scores differ in their last digits
    margin = 1e-12 * abs(mean[best]) if np.isfinite(mean[best]) else 0.0
    if one_standard_error and np.isfinite(mean[best]) and len(scores) > 1:
        margin = max(margin, scores[:, best].std(ddof=1) / np.sqrt(len(scores)))
    return int(np.flatnonzero((mean >= mean[best] - margin) & ~np.isnan(mean))[0])


class FittedOnFold(LinearProbe):
    """A probe that was fitted on the rows of one fold, for the scorer.

    It knows the logits of the rows to test on, which most scorers ask for several times.
    """

    def set_fit(self, classes, coef, intercept, test_rows):
        """Set what `fit` would set."""
        self.classes_, self.n_features_in_ = classes, coef.shape[1]
        self.coef_, self.intercept_ = coef, intercept
        with np.errstate(over="ignore"):  # then float64 is wide enough
            narrow = coef.astype(test_rows.dtype)
        if not np.isfinite(narrow).all():
            narrow = coef
        self._known = test_rows, test_rows @ narrow.T + intercept
        return self

    def _logits(self, X):
        rows, logits = self._known
        return logits if X is rows else super()._logits(X)


class LinearProbeCV(BaseLinearProbe):
    """Linear classifier on frozen embeddings that chooses ``C`` by cross-validation.

    All values of ``C`` are tried on all folds, which share the passes over the rows, so that the
    sweep of the CLIP paper [1]_ takes seconds. The last fit, on all rows with the chosen ``C``, is
    that of :class:`LinearProbe`.

    Parameters
    ----------
    Cs : int or array-like of float, default=96
        Values of ``C`` to choose from. An int is a number of values between 1e-6 and 1e6, evenly
        spaced on a logarithmic scale; 96 are those of the paper.
    cv : int, splitter, iterable of splits or None, default=None
        None means stratified folds: five, or fewer if the smallest class has fewer rows. Other
        values are those of :func:`~sklearn.model_selection.check_cv`.
    scoring : str, callable or None, default=None
        The score to choose by: the name of a scorer of scikit-learn, or a callable
        ``scorer(estimator, X, y)``. None is the accuracy. The score is weighted by the
        ``sample_weight`` of `fit` if the metric or the callable accepts ``sample_weight``.
    one_standard_error : bool, default=False
        Whether to choose the smallest ``C`` whose mean score is at most one standard error below
        the best mean score, instead of the ``C`` with the best one. The standard error is that of
        the best mean over the folds. It prefers the stronger penalty among values that the folds
        cannot tell apart.
    fit_intercept : bool, default=True
        Whether each class has an intercept.
    class_weight : dict of label to weight, "balanced" or None, default=None
        Weights of the classes, multiplied with ``sample_weight``; "balanced" is computed
        once, from all rows. Class weights count in the fits, not in the scores.
    max_iter : int, default=1000
        Maximum number of steps in each fit.
    tol : float or None, default=None
        Tolerance of each fit, as in :class:`LinearProbe`. None means the same for the last fit, and
        1e-6 (X in float32) or 1e-8 (float64) for those that are only scored.
    device : str, default="cpu"
        Where the passes over the rows run. "auto" takes the first CUDA device, or the CPU if there
        is none.
    verbose : int, default=0
        Whether to show how many of the fits are done.

    Attributes
    ----------
    C_ : float
        The chosen value: the one with the best mean score over the folds, the smallest of several
        such values, or the one of ``one_standard_error``.
    best_score_ : float
        Mean score of the chosen value over the folds.
    Cs_ : ndarray of shape (n_Cs,)
        Values to choose from, ascending and distinct.
    scores_ : ndarray of shape (n_folds, n_Cs)
        Score on each test fold.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights of the last fit, of the dtype of X; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts, zero without ``fit_intercept``.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_iter_ : int
        Number of steps of the last fit, at least 1.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns of X. Defined only if X is a frame with column names that are
        strings.

    See Also
    --------
    LinearProbe : The same classifier with a given ``C``.

    Notes
    -----
    Appendix A.3 of [1]_ chooses the penalty among 96 values between 1e-6 and 1e6 by a search from
    coarse to fine, which can miss the highest of several peaks. Here all values are tried: in each
    fold, each fit starts from the minimum for the last smaller ``C``, and in the direction in which
    the minimum moved, so that most fits take a few steps.

    The folds differ only in the weights of the rows. All of them use one copy of X, in the dtype of
    X, and are fitted side by side: a product of X with the coefficients of five folds takes less
    than half the time of five products.

    The one-standard-error rule is that of [2]_, section 7.10.

    References
    ----------
    .. [1] Radford et al., "Learning Transferable Visual Models From Natural Language
       Supervision", ICML 2021, arXiv:2103.00020.
    .. [2] Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd edition,
       Springer, 2009.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skclip import LinearProbeCV
    >>> X, y = load_iris(return_X_y=True)
    >>> probe = LinearProbeCV(Cs=[0.01, 1, 100]).fit(X, y)
    >>> probe.C_
    100.0
    >>> probe.scores_.shape
    (5, 3)
    """

    _parameter_constraints: dict = {
        **LinearProbe._parameter_constraints,
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "one_standard_error": ["boolean"],
        "verbose": ["verbose"],
    }
    _parameter_constraints.pop("C")

    def __init__(
        self,
        Cs=96,
        *,
        cv=None,
        scoring=None,
        one_standard_error=False,
        fit_intercept=True,
        class_weight=None,
        max_iter=1000,
        tol=None,
        device="cpu",
        verbose=0,
    ):
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.one_standard_error = one_standard_error
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None, **params):
        """Choose ``C`` and train the classifier on all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Weight of each row, not negative; a row of weight 2 counts as two rows. It counts in
            the fits, and in the scores if the metric accepts it. None gives all rows the
            weight 1.
        **params : dict
            Metadata that ``cv`` and ``scoring`` have requested, such as ``groups``, with metadata
            routing enabled. A given ``scoring`` then gets ``sample_weight`` only if it has
            requested it.

        Returns
        -------
        self : LinearProbeCV

        Raises
        ------
        ValueError
            If y has fewer than two classes, ``cv`` is None and a class has a single row, a value
            of ``Cs`` is not positive and finite, a weight is negative, fewer than two classes have
            a positive weight, a number in X or a weight is larger than 1e50, or a fold cannot be
            fitted or scored.
        """
        X, y, sample_weight_, weight = self._check_training_data(X, y, sample_weight)
        self.Cs_ = self._check_Cs()
        split_params, score_params = self._route(sample_weight, sample_weight_, params)
        labels = self.classes_[y]
        cv = default_n_folds(self.classes_, y) if self.cv is None else self.cv
        cv = check_cv(cv, labels, classifier=True)
        folds = list(cv.split(X, labels, **split_params))
        folds = check_folds(folds, y, weight, score_params.get("sample_weight"))
        self.scores_ = self._score_folds(X, y, weight, folds, score_params)
        chosen = choose(self.scores_, one_standard_error=self.one_standard_error)
        self.C_ = float(self.Cs_[chosen])
        self.best_score_ = float(self.scores_[:, chosen].mean())
        self._fit_minimum(X, y, weight, self.C_)
        return self

    def _score_folds(self, X, y, weight, folds, score_params):
        """Return ``scores_``; warn of fits that have not converged."""
        scorer = get_scorer(self.scoring or "accuracy")
        scores = np.full((len(folds), len(self.Cs_)), np.nan)
        n_failed = 0
        trains = [train for train, _ in folds]
        members = None
        if len(folds) <= MAX_GROUPED_FOLDS:
            members = np.zeros((len(folds), len(X)), dtype=bool)
            for row, train in zip(members, trains, strict=True):
                row[train] = True
        rows = arrange(
            X,
            y,
            len(self.classes_),
            weight,
            fit_intercept=self.fit_intercept,
            members=members,
            n_fits=scores.size,
        )
        tol = FOLD_TOL[X.dtype.name] if self.tol is None else self.tol
        solutions = self._solve(rows, trains, self.Cs_, tol)

        def score(solution):
            test = folds[solution.fold][1]
            test_rows, labels = X[test], self.classes_[y[test]]
            coef, intercept = coefficients(rows, solution.minimum.point.theta)
            probe = FittedOnFold(self.Cs_[solution.position])
            probe.set_fit(self.classes_, coef, intercept, test_rows)
            params = take_rows(score_params, test, len(X))
            return as_score(scorer(probe, test_rows, labels, **params))

        # a scorer that raises ends the fits
        with (
            closing(solutions),
            tqdm(total=scores.size, unit="fit", disable=not self.verbose) as progress,
        ):
            for solution in solutions:
                scores[solution.fold, solution.position] = score(solution)
                n_failed += not solution.minimum.converged
                progress.update()
        if n_failed:
            warn(
                f"{n_failed} of the {scores.size} fits of the cross-validation have not converged "
                f"within max_iter={self.max_iter} steps and the accuracy of float64; raise "
                "max_iter, scale X, or leave out the largest Cs.",
                ConvergenceWarning,
            )
        return scores

    def _check_Cs(self):
        if isinstance(self.Cs, Integral):
            return np.logspace(-6, 6, self.Cs) if self.Cs > 1 else np.array([1.0])
        message = f"Cs must be positive and finite numbers, got {shown(self.Cs)}."
        try:
            Cs = np.asarray(self.Cs)
            # not text, which numpy would convert
            Cs = np.unique(Cs.astype(np.float64)) if Cs.dtype.kind in "biufO" else np.empty(0)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(message) from error
        if Cs.size == 0 or not np.isfinite(Cs).all() or Cs[0] <= 0:
            raise ValueError(message)
        return Cs

    def _route(self, sample_weight, checked_weight, params):
        """Return the parameters of the splitter and those of the scorer."""
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
            split_params = routed["splitter"]["split"]
            score_params = {} if self.scoring is None else routed["scorer"]["score"]
        elif params:
            raise ValueError(
                f"fit got {sorted(params)}, which the splitter and the scorer get only after "
                "sklearn.set_config(enable_metadata_routing=True); call it, or pass a list of "
                "splits as cv."
            )
        else:
            split_params = {}
            weighted = takes_weights(get_scorer(self.scoring or "accuracy"))
            score_params = {"sample_weight": sample_weight} if weighted else {}
        if self.scoring is None:
            score_params = {"sample_weight": sample_weight}
        score_params = {
            name: checked_weight if name == "sample_weight" else value
            for name, value in score_params.items()
            if value is not None
        }
        return split_params, score_params

    def get_metadata_routing(self):
        """Return which metadata ``fit`` takes and passes to the splitter and the scorer.

        Returns
        -------
        routing : MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(
            splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split")
        )
        if self.scoring is not None:
            router.add(
                scorer=get_scorer(self.scoring),
                method_mapping=MethodMapping().add(caller="fit", callee="score"),
            )
        return router
