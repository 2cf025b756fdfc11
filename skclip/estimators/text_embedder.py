"""Texts to vectors, as a transformer."""

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from skclip._sklearn_compat import _fit_context
from skclip.encode.encoder import DEFAULT_MODEL
from skclip.encode.images import embedding_width
from skclip.encode.texts import embed_texts
from skclip.estimators.base import ENCODER_CONSTRAINTS, load_fitted, load_to_fit
from skclip.estimators.prompts import embed_prompts, resolve_templates
from skclip.inputs.texts import as_texts


class CLIPTextEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn texts into CLIP embeddings.

    The transformer is stateless: it may transform without being fitted.

    Parameters
    ----------
    model : str, path or Encoder, default="openai/clip-vit-base-patch32"
        What `load_encoder` takes.
    templates : None, str or list of str, default=None
        Prompt templates with one ``{}`` for the text. With several, the normalised embeddings of a
        text are averaged and normalised again. A name of a set is "plain", "photo", "photos",
        "sketches", "textures" or "actions"; "auto" is the model's own. None takes texts as they
        are.
    normalize : bool, default=True
        Whether to scale each row to unit length. With `templates` False is an error, because an
        ensemble is a mean of unit vectors.
    batch_size : int or "auto", default="auto"
        Texts that pass the model together; "auto" is as many as fill the device or the core.
    device : str, default="auto"
        Where the model runs; "auto" is the first CUDA card, or the CPU.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Number format inside the model; "auto" is bfloat16 on CUDA and float32 elsewhere.
    cache : None, "memory", path or EmbeddingStore, default=None
        Where embeddings are kept, and looked up before anything is computed: in this process, or in
        a directory that processes share; see `EmbeddingStore`.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Attributes
    ----------
    fingerprint_ : str or None
        Names the weights and the tokenizer seen in `fit`. None if the model has no fingerprint.

    See Also
    --------
    CLIPImageEmbedder : The same for images.

    Notes
    -----
    Texts are cleaned and lower-cased as OpenAI's tokenizer does it. Texts longer than the model's
    context length are cut, with one `TextTruncationWarning`. Equal texts are embedded once.

    Radford et al. 2021, section 2.4.

    Examples
    --------
    >>> from skclip import CLIPTextEmbedder
    >>> CLIPTextEmbedder("skclip/tiny").fit_transform(["a red circle", "a blue star"]).shape[0]
    2
    """

    _parameter_constraints = {
        **ENCODER_CONSTRAINTS,
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
        y : Ignored

        Returns
        -------
        self : CLIPTextEmbedder
        """
        as_texts(X)
        self._resolve_templates(load_to_fit(self))
        return self

    def transform(self, X):
        """Embed texts.

        Parameters
        ----------
        X : list, series or column of str, n_samples of them

        Returns
        -------
        ndarray of shape (n_samples, embed_dim), float32
        """
        self._validate_params()
        encoder = load_fitted(self)
        options = {"batch_size": self.batch_size, "cache": self.cache, "verbose": self.verbose}
        templates = self._resolve_templates(encoder)
        if templates is not None:
            return embed_prompts(encoder, [[text] for text in as_texts(X)], templates, **options)
        return embed_texts(encoder, X, normalize=self.normalize, **options)

    def _resolve_templates(self, encoder):
        if self.templates is None:
            return None
        if not self.normalize:
            raise ValueError(
                f"normalize must be True with templates, got templates={self.templates!r} and "
                "normalize=False; leave templates out, or format the texts yourself"
            )
        return resolve_templates(self.templates, encoder)

    @property
    def _n_features_out(self):
        return embedding_width(load_fitted(self))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
