"""A linear probe that chooses the strength of its penalty by cross-validation."""

from inspect import Parameter, signature
from numbers import Integral

import numpy as np
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.parallel import Parallel, delayed

from skclip._messages import shown
from skclip._sklearn_compat import Interval, StrOptions, _fit_context
from skclip._warnings import warn
from skclip.estimators.coarse_to_fine import best_index, search_grid
from skclip.estimators.linear_probe import BaseLinearProbe, LinearProbe
from skclip.estimators.solvers import coefficients, logistic_problem, minimize


def default_n_folds(classes, y):
    """Return five, or as many as the smallest class has rows; refuse a class with one row."""
    count = np.bincount(y, minlength=len(classes))
    if count.min() < 2:
        label = classes.tolist()[count.argmin()]
        raise ValueError(
            f"cv=None needs two rows of each class, but class {shown(label)} has one sample; "
            "add rows, leave that class out, or pass cv."
        )
    return min(5, int(count.min()))


def check_folds(folds, y, weight, score_weight):
    """Return folds that can be fitted and scored; refuse others by their number.

    Parameters
    ----------
    folds : list
        What a splitter gave: pairs of row numbers, or of masks.
    y, weight : ndarray of shape (n_samples,)
    score_weight : ndarray of shape (n_samples,) or None
        The weights that the score takes into account.

    Returns
    -------
    folds : list of (ndarray of int, ndarray of int)
        The row numbers to train and to test on.

    Raises
    ------
    ValueError
        If there is no fold; or if one is not a pair of row numbers, trains on a single class, or
        has no row to test on, or none of positive weight.
    """
    if not folds:
        raise ValueError("cv must give at least one split, got none.")
    checked = []
    for number, fold in enumerate(folds):
        try:
            train, test = (np.arange(len(y))[row_numbers(rows)] for rows in fold)
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(
                f"cv must give pairs of row numbers below {len(y)}, to train and to test on; fold "
                f"{number} is {shown(fold)}."
            ) from error
        if len(np.unique(y[train][weight[train] > 0])) < 2:
            raise ValueError(
                f"the training rows of fold {number} that have a positive weight are of one class; "
                "choose a cv that stratifies or shuffles."
            )
        if not len(test):
            raise ValueError(f"fold {number} has no rows to test on; choose another cv.")
        if score_weight is not None and not score_weight[test].any():
            raise ValueError(
                f"all rows to test on in fold {number} have the sample_weight 0, so they have no "
                "score; choose another cv, or leave these rows out."
            )
        checked.append((train, test))
    return checked


def row_numbers(rows):
    """Return one side of a split as what numpy indexes by: a slice, or 1-D ints or booleans."""
    if isinstance(rows, slice):
        return rows
    rows = np.asarray(rows)
    if rows.ndim != 1:
        raise ValueError(f"rows of shape {rows.shape}")
    return rows if len(rows) else rows.astype(int)


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


def take_rows(params, rows, n_samples):
    """Take the given rows of those params that have one entry for each sample."""
    return {
        name: np.asarray(value)[rows] if np.shape(value)[:1] == (n_samples,) else value
        for name, value in params.items()
    }


def fit_fold(X, y, weight, train, test, probe, Cs, start, scorer, score_params):
    """Fit one fold for ascending Cs, each from the minimum of the last one, and score each fit.

    Parameters
    ----------
    X, y, weight : ndarray
        All rows; y holds positions in ``classes_``.
    train, test : ndarray of int
        Row numbers of the fold.
    probe : LinearProbeCV
        Holds the options of the fit and ``classes_``.
    Cs : ndarray of shape (n_Cs,)
    start : ndarray or None
        Where the first fit begins; None begins at zero.
    scorer : callable
    score_params : dict

    Returns
    -------
    scores : list of float
    minima : list of ndarray
    n_failed : int
        Number of fits that did not converge.
    """
    classes = probe.classes_
    problem = logistic_problem(
        X[train], y[train], len(classes), weight[train], fit_intercept=probe.fit_intercept
    )
    scores, minima, n_failed = [], [], 0
    for C in Cs:
        start, _, converged = minimize(
            problem, C, start=start, tol=probe.tol, max_iter=probe.max_iter
        )
        scored = LinearProbe(C)
        scored.classes_, scored.n_features_in_ = classes, X.shape[1]
        scored.coef_, scored.intercept_ = coefficients(problem, start)
        scores.append(as_score(scorer(scored, X[test], classes[y[test]], **score_params)))
        minima.append(start)
        n_failed += not converged
    return scores, minima, n_failed


class LinearProbeCV(BaseLinearProbe):
    """Linear classifier on frozen embeddings that chooses ``C`` by cross-validation.

    The search is that of the CLIP paper [1]_. The last fit, on all rows with the chosen ``C``,
    is that of :class:`LinearProbe`.

    Parameters
    ----------
    Cs : int or array-like of float, default=96
        Values of ``C`` to choose from. An int is a number of values between 1e-6 and 1e6, evenly
        spaced on a logarithmic scale, which are searched from coarse to fine (see Notes). The
        values of an array are all tried.
    cv : int, splitter, iterable of splits or None, default=None
        None means stratified folds: five, or fewer if the smallest class has fewer rows. Other
        values are those of :func:`~sklearn.model_selection.check_cv`.
    scoring : str, callable or None, default=None
        The score to choose by: the name of a scorer of scikit-learn, or a callable
        ``scorer(estimator, X, y)``. None is the accuracy. The score is weighted by the
        ``sample_weight`` of `fit` if the metric or the callable accepts ``sample_weight``.
    fit_intercept : bool, default=True
        Whether each class has an intercept.
    class_weight : dict of label to weight, "balanced" or None, default=None
        Weights of the classes, multiplied with ``sample_weight``; "balanced" is computed
        once, from all rows. Class weights count in the fits, not in the scores.
    max_iter : int, default=1000
        Maximum number of Newton steps in each fit.
    tol : float, default=1e-12
        Tolerance of each fit, as in :class:`LinearProbe`.
    n_jobs : int or None, default=None
        Number of folds to fit at the same time. None means 1 unless in a
        ``joblib.parallel_config`` context; -1 means all cores.

    Attributes
    ----------
    C_ : float
        The value with the best mean score over the folds; the smallest of several such values.
    Cs_ : ndarray of shape (n_Cs,)
        Values to choose from, ascending and distinct.
    scores_ : ndarray of shape (n_folds, n_Cs)
        Score on each test fold; NaN for the values that the search did not try.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights of the last fit, of the dtype of X; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts, zero without ``fit_intercept``.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_iter_ : int
        Number of Newton steps of the last fit, at least 1.
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
    Appendix A.3 of [1]_ chooses the penalty among 96 values between 1e-6 and 1e6 by a parametric
    binary search: it tries seven values two decades apart, then halves the interval around the
    peak until it reaches the spacing of the grid. With an int for ``Cs`` the same search runs
    here, on the mean score over the folds, where the paper has one validation set. In each fold
    at most 15 of 96 values are fitted. If the score has several peaks, such a search can miss
    the highest one; ``Cs=np.logspace(-6, 6, 96)`` tries all values.

    Within a fold each fit starts from the minimum for the last smaller value of ``C``.

    References
    ----------
    .. [1] Radford et al., "Learning Transferable Visual Models From Natural Language
       Supervision", ICML 2021, arXiv:2103.00020.

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
        "n_jobs": [Integral, None],
    }
    _parameter_constraints.pop("C")

    def __init__(
        self,
        Cs=96,
        *,
        cv=None,
        scoring=None,
        fit_intercept=True,
        class_weight=None,
        max_iter=1000,
        tol=1e-12,
        n_jobs=None,
    ):
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs

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
        self.scores_ = self._search(X, y, weight, folds, score_params)
        self.C_ = float(self.Cs_[best_index(self.scores_)])
        self._fit_minimum(X, y, weight, self.C_)
        return self

    def _search(self, X, y, weight, folds, score_params):
        """Return ``scores_``; warn of fits that have not converged."""
        scorer = get_scorer(self.scoring or "accuracy")
        n_fits, n_failed = 0, 0

        def evaluate(positions, starts):
            nonlocal n_fits, n_failed
            results = Parallel(n_jobs=self.n_jobs)(
                delayed(fit_fold)(
                    X,
                    y,
                    weight,
                    train,
                    test,
                    self,
                    self.Cs_[positions],
                    start,
                    scorer,
                    take_rows(score_params, test, len(X)),
                )
                for (train, test), start in zip(folds, starts or [None] * len(folds), strict=True)
            )
            scores, minima, failed = zip(*results, strict=True)
            n_fits += len(folds) * len(positions)
            n_failed += sum(failed)
            return np.array(scores), list(zip(*minima, strict=True))

        exhaustive = not isinstance(self.Cs, Integral)
        scores = search_grid(evaluate, len(self.Cs_), exhaustive=exhaustive)
        if n_failed:
            warn(
                f"{n_failed} of the {n_fits} fits of the cross-validation have not converged "
                f"within max_iter={self.max_iter} Newton steps and the accuracy of float64; raise "
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
