"""A linear probe that chooses the strength of its penalty by cross-validation."""

import warnings
from inspect import Parameter, signature
from numbers import Integral

import numpy as np
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.parallel import Parallel, delayed

from skclip._sklearn_compat import Interval, StrOptions, _fit_context
from skclip.estimators.linear_probe import LinearClassifier, LinearProbe
from skclip.estimators.solvers import coefficients, logistic_problem, minimise

# the paper's first values of the search, two decades apart from 1e-6 to 1e6
N_COARSE = 7


def default_n_folds(classes, y):
    """min(5, rows of the smallest class); an error names a class with a single row."""
    count = np.bincount(y, minlength=len(classes))
    if count.min() < 2:
        lonely = classes.tolist()[count.argmin()]
        raise ValueError(
            f"cv=None needs two rows of each class, but class {lonely!r} has one sample; "
            "add rows, leave that class out, or pass cv."
        )
    return min(5, int(count.min()))


def check_folds(folds, y, weight):
    """Raise where the training rows of a fold are of one class, or there is no fold."""
    if not folds:
        raise ValueError("cv must give at least one split, got none.")
    for number, (train, _) in enumerate(folds):
        if len(np.unique(y[train][weight[train] > 0])) < 2:
            raise ValueError(
                f"the training rows of fold {number} that have a positive weight are of one class; "
                "choose a cv that stratifies or shuffles."
            )


def best_index(scores):
    """Position of the best mean score, the first of equals; NaN columns are not tried yet.

    Parameters
    ----------
    scores : ndarray of shape (n_folds, n_Cs)

    Returns
    -------
    index : int
    """
    mean = scores.mean(axis=0)
    if np.isnan(mean).all():
        raise ValueError(
            "scoring gave NaN for every C; check that each test fold holds what the score needs."
        )
    top = np.nanmax(mean)
    # means of the same fold scores may differ in their last digits by rounding alone
    return int(np.flatnonzero(mean >= top - 1e-12 * abs(top))[0])


def search(evaluate, n_values, *, every):
    """Score the values of a grid, all of them or from coarse to fine around the peak.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(positions, starts)`` with ascending positions returns their scores, of
        shape (n_folds, n_positions), and a list with what each position can hand on as
        ``starts`` to the positions of the next round.
    n_values : int
        Length of the grid.
    every : bool
        Whether to score all values.

    Returns
    -------
    scores : ndarray of shape (n_folds, n_values)
        NaN where a value was not tried.
    """
    positions = np.arange(n_values)
    if not every:
        positions = np.unique(np.linspace(0, n_values - 1, N_COARSE).round().astype(int))
    gap = int(np.diff(positions).max(initial=1))
    scores, tried, starts = None, set(), None
    while len(positions):
        found, ends = evaluate(positions, starts)
        if scores is None:
            scores = np.full((len(found), n_values), np.nan)
        scores[:, positions] = found
        tried.update(positions)
        best = best_index(scores)
        if best in positions:
            starts = ends[list(positions).index(best)]
        positions = []
        while gap > 1 and not positions:
            gap = (gap + 1) // 2
            near = (best - gap, best + gap)
            positions = [p for p in near if 0 <= p < n_values and p not in tried]
    return scores


def takes_weights(scorer):
    """Whether a scorer can be handed ``sample_weight``.

    Parameters
    ----------
    scorer : callable
        ``scorer(estimator, X, y)``, one of scikit-learn's own among them.

    Returns
    -------
    bool
    """
    # what make_scorer returns takes weights in any case, and its metric may not
    function = getattr(scorer, "_score_func", scorer)
    parameters = signature(function).parameters.values()
    return any(p.name == "sample_weight" or p.kind is Parameter.VAR_KEYWORD for p in parameters)


def take_rows(params, rows, n_samples):
    """Cut those params that have one entry for each sample down to the given rows."""
    return {
        name: np.asarray(value)[rows] if np.shape(value)[:1] == (n_samples,) else value
        for name, value in params.items()
    }


def fit_fold(X, y, weight, train, test, probe, Cs, start, scorer, score_params):
    """Solve one fold for ascending Cs, each from the minimum before it, and score each.

    Parameters
    ----------
    X, y, weight : ndarray
        All rows, with class numbers for y.
    train, test : ndarray of int
        The rows of the fold.
    probe : LinearProbeCV
        Gives the options of the fit and ``classes_``.
    Cs : ndarray of shape (n_Cs,)
    start : ndarray or None
        Where the first fit begins.
    scorer : callable
    score_params : dict

    Returns
    -------
    scores : list of float
    minima : list of ndarray
    n_failed : int
        How many fits did not converge.
    """
    classes = probe.classes_
    problem = logistic_problem(
        X[train], y[train], len(classes), weight[train], fit_intercept=probe.fit_intercept
    )
    scores, minima, n_failed = [], [], 0
    for C in Cs:
        start, _, converged = minimise(
            problem, C, start=start, tol=probe.tol, max_iter=probe.max_iter
        )
        scored = LinearProbe(C)
        scored.classes_, scored.n_features_in_ = classes, X.shape[1]
        scored.coef_, scored.intercept_ = coefficients(problem, start)
        scores.append(scorer(scored, X[test], classes[y[test]], **score_params))
        minima.append(start)
        n_failed += not converged
    return scores, minima, n_failed


class LinearProbeCV(LinearClassifier):
    """Linear classifier on frozen embeddings that chooses ``C`` by cross-validation.

    The search is the one of the CLIP paper [1]_; the last fit, on all rows at the chosen
    ``C``, is that of :class:`LinearProbe`.

    Parameters
    ----------
    Cs : int or array-like of float, default=96
        Values of ``C`` to choose from. An int stands for so many values between 1e-6 and 1e6,
        evenly spaced on a logarithmic scale, that are searched from coarse to fine (see
        Notes). Of an array every value is tried.
    cv : int, splitter, iterable of splits or None, default=None
        None means stratified folds, five or as many as the smallest class has rows. Otherwise
        as in :func:`~sklearn.model_selection.check_cv`.
    scoring : str, callable or None, default=None
        The score to choose by: a name of scikit-learn's, or a callable
        ``scorer(estimator, X, y)``. None is the accuracy. The score is weighted by the
        ``sample_weight`` of `fit` if the name's metric or the callable takes ``sample_weight``.
    fit_intercept : bool, default=True
        Whether each class has an intercept.
    class_weight : dict of label to weight, "balanced" or None, default=None
        Weights of the classes, multiplied with ``sample_weight``; "balanced" is computed
        once, from all rows. They enter the fits, not the scores.
    max_iter : int, default=1000
        Largest number of Newton steps in each fit.
    tol : float, default=1e-12
        The limit of convergence of each fit, as in :class:`LinearProbe`.
    n_jobs : int or None, default=None
        Number of folds to fit at the same time. None means 1, or what a
        ``joblib.parallel_config`` context says; -1 all cores.

    Attributes
    ----------
    C_ : float
        The chosen value: the best mean score over the folds, of equals the smallest.
    Cs_ : ndarray of shape (n_Cs,)
        All values to choose from, ascending, each once.
    scores_ : ndarray of shape (n_folds, n_Cs)
        Score on each test fold; NaN for the values that the search did not need.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights of the last fit, of the dtype of X; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts, zero without ``fit_intercept``.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_iter_ : int
        Newton steps of the last fit, at least 1.
    n_features_in_ : int
        Width of the embeddings.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns of X, where X has them.

    See Also
    --------
    LinearProbe : The same at a given ``C``.

    Notes
    -----
    Appendix A.3 of [1]_ sweeps the penalty over 96 steps between 1e-6 and 1e6 by a
    parametric binary search: seven values two decades apart, then the interval around the
    peak is halved until the steps are used up. With ``Cs`` an int that is done here, on the
    mean score over the folds, where the paper has one validation set: at most 15 of 96 values
    are fitted in each fold. A score with several peaks can hide the highest one from such a
    search; ``Cs=np.logspace(-6, 6, 96)`` tries them all.

    Within a fold each fit starts from the minimum at the value before it.

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
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each row, not negative, in the fits and in the scores (of a ``scoring``
            that takes it); a row of weight 2 counts as two rows. None weighs all rows 1.
        **params : dict
            With metadata routing enabled, what ``cv`` and ``scoring`` have requested, such as
            ``groups``. ``sample_weight`` then reaches a given ``scoring`` only on its request.

        Returns
        -------
        self : LinearProbeCV

        Raises
        ------
        ValueError
            If y has fewer than two classes, ``cv=None`` and a class has a single row, a value
            of ``Cs`` is not positive and finite, or ``sample_weight`` is not usable.
        """
        X, y, sample_weight_, weight = self._check_training_data(X, y, sample_weight)
        self.Cs_ = self._check_Cs()
        split_params, score_params = self._route(sample_weight, sample_weight_, params)
        labels = self.classes_[y]
        cv = default_n_folds(self.classes_, y) if self.cv is None else self.cv
        cv = check_cv(cv, labels, classifier=True)
        folds = list(cv.split(X, labels, **split_params))
        check_folds(folds, y, weight)
        self.scores_ = self._search(X, y, weight, folds, score_params)
        self.C_ = float(self.Cs_[best_index(self.scores_)])
        self._fit_minimum(X, y, weight, self.C_)
        return self

    def _search(self, X, y, weight, folds, score_params):
        """Return ``scores_``."""
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

        scores = search(evaluate, len(self.Cs_), every=not isinstance(self.Cs, Integral))
        if n_failed:
            warnings.warn(
                f"{n_failed} of the {n_fits} fits of the cross-validation have not converged "
                f"after max_iter={self.max_iter} Newton steps; raise max_iter, scale X, or leave "
                "out the largest Cs.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return scores

    def _check_Cs(self):
        if isinstance(self.Cs, Integral):
            return np.logspace(-6, 6, self.Cs) if self.Cs > 1 else np.array([1.0])
        message = f"Cs must be positive and finite numbers, got {self.Cs!r}."
        try:
            Cs = np.unique(np.asarray(self.Cs, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(message) from error
        if Cs.size == 0 or not np.isfinite(Cs).all() or Cs[0] <= 0:
            raise ValueError(message)
        return Cs

    def _route(self, sample_weight, checked_weight, params):
        """Return what goes to the splitter and what goes to the scorer."""
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
            split_params = routed["splitter"]["split"]
            score_params = {} if self.scoring is None else routed["scorer"]["score"]
        elif params:
            raise ValueError(
                f"fit got {sorted(params)}, which reach the splitter and the scorer only with "
                "sklearn.set_config(enable_metadata_routing=True); or pass cv as a list of splits."
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
        """Say which metadata ``fit`` takes and hands on to the splitter and the scorer.

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
