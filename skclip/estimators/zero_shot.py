"""A classifier that needs only class names."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_array, check_consistent_length

from skclip._messages import shown
from skclip._sklearn_compat import Interval, StrOptions, _fit_context
from skclip._warnings import warn
from skclip.encode.encoder import DEFAULT_MODEL
from skclip.encode.images import embed_readable_images
from skclip.encode.vectors import normalize_rows
from skclip.estimators.base import EncoderMixin
from skclip.estimators.class_names import append_reject_label, name_classes
from skclip.estimators.linear import LinearPredictionMixin, check_some_known, logits_per_class
from skclip.estimators.prompts import embed_prompts, resolve_templates
from skclip.exceptions import ImageReadError, MissingImageWarning
from skclip.inputs.arrays import to_numpy
from skclip.inputs.images import as_images, is_embeddings
from skclip.solvers.softmax import log_probabilities

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-6, 1e6


class ZeroShotClassifier(LinearPredictionMixin, EncoderMixin, BaseEstimator):
    """Classify images from the names of the classes alone.

    `fit` learns nothing from images: it turns class names into the weights of a linear classifier
    on normalized embeddings. So it can be cloned, cross-validated and grid-searched.

    Parameters
    ----------
    classes : list of str, mapping or None, default=None
        Class names, which are also the labels; or a mapping from label to name, or from label to
        several names or descriptions, whose embeddings are averaged. None takes the labels of `y`
        in `fit` as names.
    model : str, path or Encoder, default="openai/clip-vit-base-patch32"
        What `load_encoder` takes.
    templates : None, str or list of str, default="auto"
        Prompt templates with one ``{}`` for the name; the embeddings under several are averaged.
        "auto" takes the model's own, or "a photo of a {}." if it has none. "plain", "photo",
        "photos", "sketches", "textures" and "actions" are names of sets. None takes the bare name.
    temperature : float or None, default=None
        Divisor of the cosine similarities. None takes the model's own, 0.01 for most models.
    reject_below : float or None, default=None
        `predict` returns `reject_label` for rows whose highest probability is lower than this.
        None rejects no row.
    reject_label : str, int or None, default=None
        Label of rejected rows. None means "rejected" for classes that are strings, and -1 for
        numbers.
    batch_size : int or "auto", default="auto"
        Number of images, or prompts, in one pass through the model. "auto" takes as many as keep
        the device, or each CPU core, busy.
    device : str, default="auto"
        Where the model runs. "auto" takes the first CUDA device, or the CPU if there is none.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Number format inside the model. "auto" takes bfloat16 on CUDA and float32 elsewhere.
    cache : None, "memory", path or EmbeddingStore, default=None
        Where embeddings are kept and looked up before they are computed: "memory" is this
        process, a path is a directory that several processes can share; see `EmbeddingStore`.
    on_error : {"raise", "nan"}, default="raise"
        What happens when images are missing or unreadable, or embeddings hold NaN. "raise" raises
        an `ImageReadError` that names the row. "nan" issues one `MissingImageWarning` and predicts
        nothing for these rows: logits and probabilities are NaN, labels None in an array of
        objects, and `score` counts them as wrong. A row with a single NaN is treated as one of NaN
        only; infinite embeddings are an error in any case.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    coef_ : ndarray of shape (n_classes, embed_dim), or (1, embed_dim) for two classes
        Class embeddings divided by the temperature; for two classes the difference, the second
        minus the first.
    intercept_ : ndarray of shape (n_classes,) or (1,)
        Zeros.
    temperature_ : float
        The temperature in use.
    templates_ : tuple of str
        The templates in use.
    fingerprint_ : str or None
        Identifies the model that `fit` loaded. None if the model has no fingerprint.

    See Also
    --------
    LinearProbe : Learn the classifier from labeled embeddings.

    Notes
    -----
    Where methods take `X`, a 2-D numeric array or frame holds embeddings, which are normalized
    here; everything else holds images, see `CLIPImageEmbedder`. The logits that
    `decision_function` returns are cosine similarities divided by the temperature, for two classes
    the difference, the second minus the first.

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
    sections 3.1.2 (the classifier) and 3.1.4 (prompts and their ensembles). The probabilities are a
    softmax over the given classes only: with other classes the same image has other probabilities.

    Some meta-estimators number the labels before they fit, such as `VotingClassifier`,
    `StackingClassifier` and `OneVsRestClassifier`. Inside these, pass a mapping from number to
    name.

    Rejection by the highest probability is the maximum concept matching score of Ming et al. 2022,
    "Delving into Out-of-Distribution Detection with Vision-Language Representations", section 3.

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
        **EncoderMixin._parameter_constraints,
        "classes": ["array-like", Mapping, None],
        "templates": [None, str, list, tuple],
        "temperature": [None, Interval(Real, 0, None, closed="neither")],
        "reject_below": [None, Interval(Real, 0, 1, closed="both")],
        "reject_label": [None, str, Integral],
        "on_error": [StrOptions({"raise", "nan"})],
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
        on_error="raise",
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
        self.on_error = on_error

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
            If there are neither `classes` nor `y`, fewer than two classes, a name twice, labels
            that are missing or that an array of numpy would change, or labels in `y` that are not
            among the classes.
        """
        labels, names = name_classes(self.classes, y)
        if self.reject_below is not None:
            append_reject_label(labels, self.reject_label)
        encoder = self._load_to_fit()
        self.templates_ = resolve_templates(self.templates, encoder)
        self.temperature_ = resolve_temperature(self.temperature, encoder)
        weights = embed_prompts(
            encoder, names, self.templates_, batch_size=self.batch_size, cache=self.cache
        )
        if len(labels) == 2:
            weights = weights[1:] - weights[:1]
        self.classes_ = labels
        self.coef_ = weights / np.float32(self.temperature_)
        self.intercept_ = np.zeros(len(self.coef_), dtype=self.coef_.dtype)
        return self

    def predict(self, X):
        """Most probable label of each row, or `reject_label` where its probability is too low.

        Parameters
        ----------
        X : images, or array-like of shape (n_samples, embed_dim)
            Images or embeddings.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels out of ``classes_``, and `reject_label` for rows whose highest probability is
            lower than `reject_below`. None, in an array of objects, for rows without a prediction.
        """
        logits = self._logits(X)
        labels, best = self.classes_, logits_per_class(logits).argmax(axis=1)
        if self.reject_below is not None:
            labels = append_reject_label(labels, self.reject_label)
            best[np.exp(log_probabilities(logits)).max(axis=1) < self.reject_below] = -1
        return none_where_nan(labels[best], logits)

    def top_k(self, X, k=5):
        """Most probable labels of each row with their probabilities, best first.

        Parameters
        ----------
        X : images, or array-like of shape (n_samples, embed_dim)
            Images or embeddings.
        k : int, default=5
            Number of labels; all labels where there are fewer classes than this.

        Returns
        -------
        labels : ndarray of shape (n_samples, k)
            None, in an array of objects, for rows without a prediction.
        probabilities : ndarray of shape (n_samples, k)
            NaN for rows without a prediction.
        """
        if not isinstance(k, Integral) or k < 1:
            raise ValueError(f"k must be an int of at least 1, got {shown(k)}")
        logits = self._logits(X)
        best = np.argsort(-logits_per_class(logits), axis=1, kind="stable")[:, :k]
        probabilities = np.exp(log_probabilities(logits))
        labels = none_where_nan(self.classes_[best], logits)
        return labels, np.take_along_axis(probabilities, best, axis=1)

    def score(self, X, y, sample_weight=None):
        """Accuracy of the predictions.

        Parameters
        ----------
        X : images, or array-like of shape (n_samples, embed_dim)
            Images or embeddings.
        y : array-like of shape (n_samples,)
            True labels, of the type of ``classes_``. Rows whose label is not among these count as
            wrong; if that holds for all rows, a warning says so.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each row.

        Returns
        -------
        score : float
            Fraction of the rows, or of their weight, that is predicted right. Rows without a
            prediction count as wrong.
        """
        y = check_some_known(y, self)
        predicted = self.predict(X)
        check_consistent_length(y, predicted)
        if predicted.dtype.kind == "O":  # for None stands a class that is not the row's
            unpredicted = np.array([label is None for label in predicted])
            first, second = self.classes_[:2].tolist()
            predicted[unpredicted] = np.where(y[unpredicted] == first, second, first)
            predicted = np.array(predicted.tolist())
        return accuracy_score(y, predicted, sample_weight=sample_weight)

    def _as_features(self, X):
        """Return normalized embeddings, of images or those that X holds; NaN without one."""
        self._validate_params()
        embed_dim = self.coef_.shape[1]
        stop_at_error = self.on_error == "raise"
        if is_embeddings(X):
            vectors, causes = check_embeddings(X, embed_dim, stop_at_error=stop_at_error)
        else:
            vectors, causes = embed_readable_images(
                self._load_fitted(),
                as_images(X),
                batch_size=self.batch_size,
                cache=self.cache,
                stop_at_error=stop_at_error,
            )
        if vectors.shape[1] != embed_dim:
            raise ValueError(
                f"the model embeds images in {vectors.shape[1]} dimensions and texts in "
                f"{embed_dim}; its two halves do not belong together"
            )
        if causes:
            first = min(causes)
            warn(
                f"{len(causes)} of {len(vectors)} rows have no prediction, and count as wrong in "
                f"score; the first: {ImageReadError(first, causes[first])}",
                MissingImageWarning,
            )
        return normalize_rows(vectors)

    def __setstate__(self, state):
        super().__setstate__({"on_error": "raise", **state})  # earlier pickles lack it

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.on_error == "nan"
        tags.target_tags.required = self.classes is None
        return tags


def resolve_temperature(temperature, encoder):
    """Return the temperature: the given one, or that of the encoder.

    Parameters
    ----------
    temperature : float or None
    encoder : Encoder

    Returns
    -------
    temperature : float

    Raises
    ------
    ValueError
        If it is too small or too large to compute with in float32.
    """
    if temperature is None:
        temperature = 1 / encoder.logit_scale
    if not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
        raise ValueError(
            f"temperature must lie between {MIN_TEMPERATURE} and {MAX_TEMPERATURE}, got "
            f"{temperature}"
        )
    return temperature


def check_embeddings(X, embed_dim, *, stop_at_error):
    """Return a copy of a table of embeddings as a float32 or float64 array.

    Parameters
    ----------
    X : 2-D array, tensor or frame of numbers
    embed_dim : int
    stop_at_error : bool
        Whether to raise an `ImageReadError` for the first row with NaN.

    Returns
    -------
    embeddings : ndarray of shape (n_samples, embed_dim)
    causes : dict of int to str
        For each row with NaN that it holds NaN.

    Raises
    ------
    ImageReadError
        For the first row with NaN, with `stop_at_error`.
    ValueError
        If X has another number of columns, or infinite values.
    """
    if not hasattr(X, "columns"):
        X = to_numpy(X)
    X = check_array(
        X,
        dtype=[np.float32, np.float64],
        copy=True,
        ensure_all_finite="allow-nan",
        input_name="X",
    )
    if X.shape[1] != embed_dim:
        raise ValueError(
            f"X has {X.shape[1]} columns, but the model's embeddings have {embed_dim}; pass "
            "images, or embeddings of the same model"
        )
    rows = np.flatnonzero(np.isnan(X).any(axis=1)).tolist()
    if rows and stop_at_error:
        raise ImageReadError(
            rows[0], "its embedding holds NaN; leave the row out, or set on_error='nan'"
        )
    return X, dict.fromkeys(rows, "its embedding holds NaN")


def none_where_nan(labels, logits):
    """Return labels with None in the rows whose logits are NaN; unchanged if there are none.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,) or (n_samples, k)
    logits : ndarray of shape (n_samples, n_logits)

    Returns
    -------
    labels : ndarray
        Of objects if there are such rows.
    """
    unpredicted = np.isnan(logits).any(axis=1)
    if unpredicted.any():
        labels = labels.astype(object)
        labels[unpredicted] = None
    return labels
