"""A transformer from texts to vectors."""

from sklearn.base import BaseEstimator, TransformerMixin

from skclip._messages import shown
from skclip._sklearn_compat import _fit_context
from skclip.encode.encoder import DEFAULT_MODEL
from skclip.encode.images import embedding_width
from skclip.encode.texts import embed_texts
from skclip.estimators.base import ColumnNamesMixin, EncoderMixin
from skclip.estimators.prompts import embed_prompts, resolve_templates
from skclip.inputs.texts import as_texts, warn_of_image_files


class CLIPTextEmbedder(ColumnNamesMixin, TransformerMixin, EncoderMixin, BaseEstimator):
    """Turn texts into CLIP embeddings.

    The transformer is stateless: it can transform without being fitted.

    Parameters
    ----------
    model : str, path or Encoder, default="openai/clip-vit-base-patch32"
        What `load_encoder` takes.
    templates : None, str or list of str, default=None
        Prompt templates with one ``{}`` for the text. With several, the normalized embeddings of a
        text are averaged, and the mean is normalized. "plain", "photo", "photos", "sketches",
        "textures" and "actions" are names of sets; "auto" takes the model's own, or "a photo of a
        {}." if it has none. None takes texts as they are.
    normalize : bool, default=True
        Whether to scale each row to unit length. With `templates` it must be True, because an
        ensemble is a mean of unit vectors.
    batch_size : int or "auto", default="auto"
        Number of texts in one pass through the model. "auto" takes as many as keep the device, or
        the CPU core, busy.
    device : str, default="auto"
        Where the model runs. "auto" takes the first CUDA device, or the CPU if there is none.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Number format inside the model. "auto" takes bfloat16 on CUDA and float32 elsewhere.
    cache : None, "memory", path or EmbeddingStore, default=None
        Where embeddings are kept and looked up before they are computed: "memory" is this
        process, a path is a directory that several processes can share; see `EmbeddingStore`.
    verbose : int, default=0
        Values above 0 show a progress bar.

    Attributes
    ----------
    fingerprint_ : str or None
        Identifies the weights and the tokenizer of the model that `fit` loaded. None if the model
        has no fingerprint. `transform` raises an error if the model of the same name has another
        fingerprint.

    See Also
    --------
    CLIPImageEmbedder : The same for images.

    Notes
    -----
    Texts are cleaned and lower-cased as in OpenAI's tokenizer. Texts longer than the model's
    context length are cut, with one `TextTruncationWarning`. Duplicates are embedded once. If each
    text is the name of an image file, a warning says that images were probably meant.

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
    section 2.4.

    Examples
    --------
    >>> from skclip import CLIPTextEmbedder
    >>> CLIPTextEmbedder("skclip/tiny").fit_transform(["a red circle", "a blue star"]).shape[0]
    2
    """

    _parameter_constraints = {
        **EncoderMixin._parameter_constraints,
        "templates": [None, str, list, tuple],
        "normalize": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model=DEFAULT_MODEL,
        *,
        templates=None,
        normalize=True,
        batch_size="auto",
        device="auto",
        dtype="auto",
        cache=None,
        verbose=0,
    ):
        self.model = model
        self.templates = templates
        self.normalize = normalize
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.cache = cache
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Load the model; nothing is learned from the texts.

        Parameters
        ----------
        X : list, series or column of str
            Texts.
        y : Ignored

        Returns
        -------
        self : CLIPTextEmbedder
        """
        as_texts(X)
        self._resolve_templates(self._load_to_fit())
        return self

    def transform(self, X):
        """Embed texts.

        Parameters
        ----------
        X : list, series or column of str, n_samples of them
            Texts.

        Returns
        -------
        vectors : ndarray of shape (n_samples, embed_dim), float32

        Raises
        ------
        CheckpointError
            If the estimator is fitted and its model has another fingerprint now.
        """
        self._validate_params()
        encoder = self._load_fitted()
        options = {"batch_size": self.batch_size, "cache": self.cache, "verbose": self.verbose}
        templates = self._resolve_templates(encoder)
        if templates is not None:
            texts = as_texts(X)
            warn_of_image_files(texts)
            return embed_prompts(encoder, [[text] for text in texts], templates, **options)
        return embed_texts(encoder, X, normalize=self.normalize, **options)

    def _resolve_templates(self, encoder):
        if self.templates is None:
            return None
        if not self.normalize:
            raise ValueError(
                f"normalize must be True with templates, got templates={shown(self.templates)} and "
                "normalize=False; leave templates out, or format the texts yourself"
            )
        return resolve_templates(self.templates, encoder)

    def _n_columns(self):
        return embedding_width(self._load_fitted())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags
