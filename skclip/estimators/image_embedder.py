"""Images to vectors, as a transformer."""

from numbers import Integral

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from skclip._sklearn_compat import StrOptions, _fit_context
from skclip.encode.encoder import DEFAULT_MODEL
from skclip.encode.images import embed_images, embedding_width
from skclip.estimators.base import ENCODER_CONSTRAINTS, load_fitted, load_to_fit
from skclip.inputs.images import as_images


class CLIPImageEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn images into CLIP embeddings.

    The transformer is stateless: it may transform without being fitted.

    Parameters
    ----------
    model : str, path or Encoder, default="openai/clip-vit-base-patch32"
        What `load_encoder` takes: a bundled name ("skclip/tiny"), a hub id, a directory, a file, or
        an object with ``encode_images`` and ``encode_texts``.
    features : {"projected", "pooled"}, default="projected"
        "projected" embeddings can be compared with those of texts. "pooled" ones are what the image
        tower holds before its last linear map; the paper's linear probes on ViTs use them.
    normalize : bool, default=True
        Whether to scale each row to unit length.
    batch_size : int or "auto", default="auto"
        Images that pass the model together; "auto" is as many as fill the device or the core.
    device : str, default="auto"
        Where the model runs; "auto" is the first CUDA card, or the CPU.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Number format inside the model; "auto" is bfloat16 on CUDA and float32 elsewhere.
    n_jobs : int or None, default=None
        Threads that read and resize images while the model runs; None means all free cores.
    cache : None, "memory", path or EmbeddingStore, default=None
        Where embeddings are kept, and looked up before anything is computed: in this process, or in
        a directory that processes share; see `EmbeddingStore`.
    on_error : {"raise", "nan"}, default="raise"
        What a missing or unreadable image becomes: an `ImageReadError` that names the row, or a row
        of NaN and one `MissingImageWarning`, so that an imputer can follow.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Attributes
    ----------
    fingerprint_ : str or None
        Names the weights and the preprocessing seen in `fit`. None if the model has no fingerprint.
        Transforming with other weights under the same name is an error.

    See Also
    --------
    CLIPTextEmbedder : The same for texts.
    ZeroShotClassifier : Classify from class names alone.

    Notes
    -----
    *Images* are paths, ``bytes``, PIL images, arrays of shape (height, width[, 3 or 4]), tensors
    (3, height, width), or dicts with ``bytes`` or ``path``, in a list, tuple, object array,
    series or one-column frame; or one array (n, height, width[, channels]). EXIF orientation is
    applied, transparency is laid over white, and float pixels must lie in [0, 1]. Equal inputs are
    embedded once.

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
    section 2; for the features of linear probes appendix A.3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skclip import CLIPImageEmbedder
    >>> images = load_digits().images[:4] / 16
    >>> CLIPImageEmbedder("skclip/tiny").fit_transform(images).dtype
    dtype('float32')
    """

    _parameter_constraints = {
        **ENCODER_CONSTRAINTS,
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
        y : Ignored

        Returns
        -------
        self : CLIPImageEmbedder
        """
        as_images(X)
        embedding_width(load_to_fit(self), self.features)
        return self

    def transform(self, X):
        """Embed images.

        Parameters
        ----------
        X : images, n_samples of them

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32

        Raises
        ------
        ImageReadError
            If an image is missing or unreadable, with ``on_error="raise"``.
        """
        self._validate_params()
        return embed_images(
            load_fitted(self),
            X,
            features=self.features,
            normalize=self.normalize,
            batch_size=self.batch_size,
            n_jobs=self.n_jobs,
            cache=self.cache,
            on_error=self.on_error,
            verbose=self.verbose,
        )

    @property
    def _n_features_out(self):
        return embedding_width(load_fitted(self), self.features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = self.on_error == "nan"
        tags.transformer_tags.preserves_dtype = []
        return tags
