"""A classifier that needs only class names."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d

from skclip._sklearn_compat import Interval, _fit_context
from skclip.encode.encoder import DEFAULT_MODEL
from skclip.encode.images import embed_images
from skclip.encode.vectors import normalize_rows
from skclip.estimators.base import ENCODER_CONSTRAINTS, load_fitted, load_to_fit
from skclip.estimators.prompts import embed_prompts, resolve_templates
from skclip.estimators.solvers import log_probabilities
from skclip.inputs.arrays import to_numpy
from skclip.inputs.images import is_embeddings

DEFAULT_LOGIT_SCALE = 100.0
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-6, 1e6


class ZeroShotClassifier(ClassifierMixin, BaseEstimator):
    """Classify images from the names of the classes alone.

    `fit` learns nothing from images: it turns class names into the weights of a linear classifier
    on normalised embeddings. So it can be cloned, cross-validated and grid-searched.

    Parameters
    ----------
    classes : list of str, mapping or None, default=None
        The names; or a mapping from label to name, or from label to several names or descriptions,
        whose embeddings are averaged. None takes the labels of `y` in `fit` as names.
    model : str, path or Encoder, default="openai/clip-vit-base-patch32"
        What `load_encoder` takes.
    templates : None, str or list of str, default="auto"
        Prompt templates with one ``{}`` for the name; several are averaged. "auto" is the model's
        own, or "a photo of a {}." if it has none. A name of a set is "plain", "photo", "photos",
        "sketches", "textures" or "actions". None takes the bare name.
    temperature : float or None, default=None
        Cosine similarities are divided by it. None is the model's own, 0.01 for most.
    reject_below : float or None, default=None
        `predict` gives `reject_label` to rows whose highest probability is lower than this.
    reject_label : str, int or None, default=None
        None is "rejected" for classes that are strings, and -1 for numbers.
    batch_size : int or "auto", default="auto"
        Images, or prompts, that pass the model together.
    device : str, default="auto"
        Where the model runs; "auto" is the first CUDA card, or the CPU.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Number format inside the model.
    cache : None, "memory", path or EmbeddingStore, default=None
        Where embeddings are kept, and looked up before anything is computed: in this process, or in
        a directory that processes share; see `EmbeddingStore`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    coef_ : ndarray of shape (n_classes, embed_dim), or (1, embed_dim) for two classes
        Class embeddings divided by the temperature; for two classes the second less the first.
    intercept_ : ndarray of shape (n_classes,) or (1,)
        Zeros.
    temperature_ : float
        The one in use.
    templates_ : tuple of str
        The ones in use.
    fingerprint_ : str or None
        Names the model seen in `fit`. None if the model has no fingerprint.

    See Also
    --------
    LinearProbe : Learn the classifier from labelled embeddings.

    Notes
    -----
    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
    sections 3.1.2 (the classifier) and 3.1.4 (prompts and their ensembles). The probabilities are a
    softmax over the classes that were named and over no others: with another list of classes the
    same picture gets other ones.

    Inside meta-estimators that number the labels before they fit, such as `VotingClassifier`,
    `StackingClassifier` and `OneVsRestClassifier`, hand over a mapping from number to name.

    Rejection by the highest probability is the maximum concept matching score of Ming et al. 2022,
    "Delving into Out-of-Distribution Detection with Vision-Language Representations", section 3.

    Where methods take `X`, a 2-D numeric array or frame is embeddings, normalised here if they are
    not; everything else is images, see `CLIPImageEmbedder`.

    Examples
    --------
    >>> from skclip import ZeroShotClassifier
    >>> from skclip.datasets import make_scenes
    >>> scenes = make_scenes(n_samples=4, random_state=0)
    >>> classifier = ZeroShotClassifier(["one shape", "several shapes"], model="skclip/tiny")
    >>> classifier.fit().predict_proba(scenes.images).shape
    (4, 2)
    """

    _parameter_constraints = {
        **ENCODER_CONSTRAINTS,
        "classes": ["array-like", Mapping, None],
        "templates": [None, str, list, tuple],
        "temperature": [None, Interval(Real, 0, None, closed="neither")],
        "reject_below": [None, Interval(Real, 0, 1, closed="both")],
        "reject_label": [None, str, Integral],
    }

    def __init__(
        self,
        classes=None,
        *,
        model=DEFAULT_MODEL,
        templates="auto",
        temperature=None,
        reject_below=None,
        reject_label=None,
        batch_size="auto",
        device="auto",
        dtype="auto",
        cache=None,
    ):
        self.classes = classes
        self.model = model
        self.templates = templates
        self.temperature = temperature
        self.reject_below = reject_below
        self.reject_label = reject_label
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.cache = cache

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X=None, y=None):
        """Turn class names into weights.

        Parameters
        ----------
        X : Ignored
        y : array-like of shape (n_samples,) or None, default=None
            Labels. They are the class names if `classes` is None; else they must be among them.

        Returns
        -------
        self : ZeroShotClassifier

        Raises
        ------
        ValueError
            If there are neither `classes` nor `y`, fewer than two classes, a name twice, or labels
            in `y` that are not among the classes.
        """
        labels, names = name_classes(self.classes, y)
        if self.reject_below is not None:
            _reject_label(self.reject_label, labels)
        encoder = load_to_fit(self)
        self.templates_ = resolve_templates(self.templates, encoder)
        self.temperature_ = self.temperature
        if self.temperature is None:
            self.temperature_ = 1 / _logit_scale(encoder)
        options = {"batch_size": self.batch_size, "cache": self.cache}
        weights = embed_prompts(encoder, names, self.templates_, **options)
        if len(labels) == 2:
            weights = weights[1:] - weights[:1]
        if not MIN_TEMPERATURE <= self.temperature_ <= MAX_TEMPERATURE:
            raise ValueError(
                f"temperature must lie between {MIN_TEMPERATURE} and {MAX_TEMPERATURE}, got "
                f"{self.temperature_}"
            )
        self.classes_ = labels
        self.coef_ = weights / np.float32(self.temperature_)
        self.intercept_ = np.zeros(len(self.coef_), dtype=self.coef_.dtype)
        return self

    def decision_function(self, X):
        """Return the logits: cosine similarities over the temperature.

        Parameters
        ----------
        X : images, or 2-D array or frame (n_samples, embed_dim)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            For two classes the logit of ``classes_[1]`` less that of ``classes_[0]``.
        """
        check_is_fitted(self)
        self._validate_params()
        scores = self._embed(X) @ self.coef_.T + self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict_proba(self, X):
        """Return probabilities over the classes, in the order of `classes_`.

        Parameters
        ----------
        X : images, or 2-D array or frame (n_samples, embed_dim)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return _probabilities(self.decision_function(X))

    def predict_log_proba(self, X):
        """Return logarithms of the probabilities, exact where those round to 0.

        Parameters
        ----------
        X : images, or 2-D array or frame (n_samples, embed_dim)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return _log_probabilities(self.decision_function(X))

    def predict(self, X):
        """Return the most probable label, or `reject_label` where none is probable enough.

        Parameters
        ----------
        X : images, or 2-D array or frame (n_samples, embed_dim)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        scores = self.decision_function(X)
        labels = self.classes_[_per_class(scores).argmax(axis=1)]
        if self.reject_below is None:
            return labels
        rejected = _probabilities(scores).max(axis=1) < self.reject_below
        return np.where(rejected, _reject_label(self.reject_label, self.classes_), labels)

    def top_k(self, X, k=5):
        """Return the k most probable labels and their probabilities, best first.

        Parameters
        ----------
        X : images, or 2-D array or frame (n_samples, embed_dim)
        k : int, default=5
            At most as many as there are classes are returned.

        Returns
        -------
        labels : ndarray of shape (n_samples, k)
        probabilities : ndarray of shape (n_samples, k)
        """
        if not isinstance(k, Integral) or k < 1:
            raise ValueError(f"k must be an int of at least 1, got {k!r}")
        scores = self.decision_function(X)
        best = np.argsort(-_per_class(scores), axis=1, kind="stable")[:, :k]
        return self.classes_[best], np.take_along_axis(_probabilities(scores), best, axis=1)

    def _embed(self, X):
        if is_embeddings(X):
            if not hasattr(X, "columns"):
                X = to_numpy(X)
            X = check_array(X, dtype=[np.float32, np.float64], copy=True, input_name="X")
            if X.shape[1] != self.coef_.shape[1]:
                raise ValueError(
                    f"X has {X.shape[1]} columns, but the model's embeddings have "
                    f"{self.coef_.shape[1]}; hand over images, or embeddings of the same model"
                )
        else:
            options = {"batch_size": self.batch_size, "cache": self.cache}
            X = embed_images(load_fitted(self), X, normalize=False, **options)
            if X.shape[1] != self.coef_.shape[1]:
                raise ValueError(
                    f"the model embeds images in {X.shape[1]} dimensions and texts in "
                    f"{self.coef_.shape[1]}; its two halves do not belong together"
                )
        return normalize_rows(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.target_tags.required = self.classes is None
        return tags


def _per_class(scores):
    # of scores, not of probabilities, which round to equal ones at extreme temperatures
    return np.column_stack([-scores, scores]) if scores.ndim == 1 else scores


def _log_probabilities(scores):
    return log_probabilities(scores[:, None] if scores.ndim == 1 else scores)


def _probabilities(scores):
    return np.exp(_log_probabilities(scores))


def name_classes(classes, y):
    """Return sorted labels and, for each, its list of names.

    Parameters
    ----------
    classes : array-like of str, mapping or None
    y : array-like of shape (n_samples,) or None

    Returns
    -------
    labels : ndarray of shape (n_classes,)
    names : list of list of str
    """
    if y is not None:
        if hasattr(y, "tolist") and not isinstance(getattr(y, "dtype", None), np.dtype):
            y = np.asarray(y.tolist())  # pandas' own dtypes, of which numpy makes floats
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
    if classes is None:
        if y is None:
            raise ValueError(
                "classes=None takes the names from y, which requires y to be passed, but the "
                "target y is None; pass classes=[...] or fit(X, y)"
            )
        labels = unique_labels(y)
        named = {label: [_name_of(label)] for label in labels.tolist()}
    elif isinstance(classes, Mapping):
        named = {label: _as_names(label, value) for label, value in classes.items()}
        _check_distinct(named)
    else:
        named = {}
        for name in classes:
            names = _as_names(name, [name])
            if name in named:
                raise ValueError(f"classes must be distinct, got {name!r} more than once")
            named[name] = names
    if len(named) < 2:
        raise ValueError(
            f"a classifier needs at least two classes, got {len(named)} class: {_some(named)}"
        )
    kinds = {str if isinstance(label, str) else Real for label in named}
    if len(kinds) == 2 or not all(isinstance(label, (str, Real)) for label in named):
        raise ValueError(f"labels in classes must be all str or all numbers, got {_some(named)}")
    labels = np.unique(np.asarray(list(named)))
    if y is not None and (unknown := sorted(set(np.unique(y).tolist()) - set(labels.tolist()))):
        hint = ""
        if labels.dtype.kind == "U" and set(unknown) <= set(range(len(labels))):
            hint = (
                "; if they are numbers of the classes, as meta-estimators make them, hand over a "
                f"mapping such as {{0: {str(labels[0])!r}, ...}}"
            )
        raise ValueError(f"y holds labels that are not among classes: {_some(unknown)}{hint}")
    return labels, [named[label] for label in labels.tolist()]


def _name_of(label):
    is_whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if is_whole else label)


def _check_distinct(named):
    owners = {}
    for label, names in named.items():
        other = owners.setdefault(tuple(names), label)
        if other != label:
            raise ValueError(f"classes {other!r} and {label!r} have the same names: {names}")


def _logit_scale(encoder):
    scale = getattr(encoder, "logit_scale", None)
    if scale is None:
        return DEFAULT_LOGIT_SCALE
    return float(scale.detach() if hasattr(scale, "detach") else scale)


def _some(labels):
    shown = ", ".join(repr(label) for label in list(labels)[:5])
    return f"[{shown}{', ...' * (len(labels) > 5)}]"


def _as_names(label, value):
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple | np.ndarray) or len(names) == 0:
        raise ValueError(
            f"the names of class {label!r} must be a str or a list of str, got {value!r}"
        )
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"the names of class {label!r} must be non-empty str, got {name!r}")
    return [str(name) for name in names]


def _reject_label(reject_label, labels):
    of_strings = labels.dtype.kind in "UO"
    if reject_label is None:
        reject_label = "rejected" if of_strings else -1
    if isinstance(reject_label, str) != of_strings:
        raise ValueError(f"reject_label must be of the classes' type, got {reject_label!r}")
    if reject_label in labels.tolist():
        raise ValueError(
            f"reject_label must not be one of the classes, got {reject_label!r}; pass another one"
        )
    return reject_label
