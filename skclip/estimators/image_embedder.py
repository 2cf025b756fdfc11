"""A transformer from images to vectors."""

from numbers import Integral

from sklearn.base import BaseEstimator, TransformerMixin

from skclip._sklearn_compat import StrOptions, _fit_context
from skclip.encode.encoder import DEFAULT_MODEL
from skclip.encode.images import embed_images, embedding_width
from skclip.estimators.base import ColumnNamesMixin, EncoderMixin
from skclip.inputs.images import as_images


class CLIPImageEmbedder(ColumnNamesMixin, TransformerMixin, EncoderMixin, BaseEstimator):
    """Turn images into CLIP embeddings.

    The transformer is stateless: it can transform without being fitted.

    Parameters
    ----------
    model : str, path or Encoder, default="openai/clip-vit-base-patch32"
        What `load_encoder` takes: the name of a bundled model ("skclip/tiny"), a hub id, a
        directory, a file, or an object with ``encode_images`` and ``encode_texts``.
    features : {"projected", "pooled"}, default="projected"
        "projected" embeddings can be compared with those of texts. "pooled" features are the
        output of the image tower before its last linear map; the linear probes on ViTs in the CLIP
        paper use them.
    normalize : bool, default=True
        Whether to scale each row to unit length.
    batch_size : int or "auto", default="auto"
        Number of images in one pass through the model. "auto" takes as many as keep the device, or
        each CPU core, busy.
    device : str, default="auto"
        Where the model runs. "auto" takes the first CUDA device, or the CPU if there is none.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Number format inside the model. "auto" takes bfloat16 on CUDA and float32 elsewhere.
    n_jobs : int or None, default=None
        Number of threads that read and resize images while the model runs. None means one for each
        free core.
    cache : None, "memory", path or EmbeddingStore, default=None
        Where embeddings are kept and looked up before they are computed: "memory" is this
        process, a path is a directory that several processes can share; see `EmbeddingStore`.
    on_error : {"raise", "nan"}, default="raise"
        What happens when images are missing or unreadable. "raise" raises an `ImageReadError` that
        names the row. "nan" returns rows of NaN, which an imputer can fill, and issues one
        `MissingImageWarning`.
    verbose : int, default=0
        Values above 0 show a progress bar.

    Attributes
    ----------
    fingerprint_ : str or None
        Identifies the weights and the preprocessing of the model that `fit` loaded. None if the
        model has no fingerprint. `transform` raises an error if the model of the same name has
        another fingerprint.

    See Also
    --------
    CLIPTextEmbedder : The same for texts.
    ZeroShotClassifier : Classify from class names alone.

    Notes
    -----
    *Images* are paths, ``bytes``, PIL images, arrays of shape (height, width[, 3 or 4]), tensors
    (3, height, width), or dicts with ``bytes`` or ``path``, in a list, tuple, object array,
    series or one-column frame; or one array (n, height, width[, channels]). EXIF orientation is
    applied, transparent pixels are blended with white, and float pixels must lie in [0, 1].
    Duplicates are embedded once.

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
    section 2; appendix A.3 for the features of linear probes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skclip import CLIPImageEmbedder
    >>> images = load_digits().images[:4] / 16
    >>> CLIPImageEmbedder("skclip/tiny").fit_transform(images).dtype
    dtype('float32')
    """

    _parameter_constraints = {
        **EncoderMixin._parameter_constraints,
        "features": [StrOptions({"projected", "pooled"})],
        "normalize": ["boolean"],
        "n_jobs": [None, Integral],
        "on_error": [StrOptions({"raise", "nan"})],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model=DEFAULT_MODEL,
        *,
        features="projected",
        normalize=True,
        batch_size="auto",
        device="auto",
        dtype="auto",
        n_jobs=None,
        cache=None,
        on_error="raise",
        verbose=0,
    ):
        self.model = model
        self.features = features
        self.normalize = normalize
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.cache = cache
        self.on_error = on_error
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Load the model; nothing is learned from the images.

        Parameters
        ----------
        X : images
            See the Notes of the class.
        y : Ignored

        Returns
        -------
        self : CLIPImageEmbedder
        """
        as_images(X)
        embedding_width(self._load_to_fit(), self.features)  # fails if the model lacks them
        return self

    def transform(self, X):
        """Embed images.

        Parameters
        ----------
        X : images, n_samples of them
            See the Notes of the class.

        Returns
        -------
        vectors : ndarray of shape (n_samples, n_features), float32

        Raises
        ------
        ImageReadError
            If an image is missing or unreadable, with ``on_error="raise"``.
        CheckpointError
            If the estimator is fitted and its model has another fingerprint now.
        """
        self._validate_params()
        return embed_images(
            self._load_fitted(),
            X,
            features=self.features,
            normalize=self.normalize,
            batch_size=self.batch_size,
            n_jobs=self.n_jobs,
            cache=self.cache,
            on_error=self.on_error,
            verbose=self.verbose,
        )

    def _n_columns(self):
        return embedding_width(self._load_fitted(), self.features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.on_error == "nan"
        tags.transformer_tags.preserves_dtype = []
        return tags
