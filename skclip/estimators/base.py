"""What the estimators have in common, and what those that use a model do."""

import re
from numbers import Integral
from pathlib import Path

import numpy as np

from skclip._messages import shown
from skclip._sklearn_compat import HasMethods, Interval, InvalidParameterError, StrOptions
from skclip.encode.encoder import load_encoder
from skclip.encode.protocol import (
    as_encoder,
    check_fingerprint,
    describe,
    is_encoder,
    what_to_pass,
)


class EstimatorMixin:
    """Mixin for all estimators: the link to their documentation, and messages of bounded length."""

    # where scikit-learn's HTML repr finds the page of an estimator
    _doc_link_module = "skclip"
    _doc_link_template = (
        "https://skclip.readthedocs.io/en/latest/generated/skclip.{estimator_name}.html"
    )

    def _validate_params(self):
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            # scikit-learn's message contains the repr of the value, which may be a million numbers
            message = str(error)
            value = getattr(self, re.match(r"The '(\w+)' parameter", message)[1])
            raise InvalidParameterError(message.replace(repr(value), shown(value))) from None


class EncoderMixin(EstimatorMixin):
    """Mixin for estimators with the parameters ``model``, ``device`` and ``dtype``.

    It checks these and the other parameters of encoding, loads the model, and tells scikit-learn
    that X holds no table of numbers. Estimators that take images add ``three_d_array`` to the tags.

    Attributes
    ----------
    fingerprint_ : str or None
        Identifies the model that `fit` loaded. None if the model has no fingerprint.
    """

    _parameter_constraints = {
        "model": [str, Path, HasMethods(["encode_images", "encode_texts"])],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "dtype": [StrOptions({"auto", "float32", "bfloat16"})],
        "cache": [None, str, Path, HasMethods(["session"])],
    }

    def _validate_params(self):
        # before scikit-learn's check, whose message would contain the repr of a torch module
        if not isinstance(self.model, str | Path) and not is_encoder(self.model):
            raise InvalidParameterError(
                f"The 'model' parameter of {type(self).__name__} must be a name, a path or an "
                "object with encode_images and encode_texts. Got "
                f"{describe(self.model)} instead; {what_to_pass(self.model)}."
            )
        super()._validate_params()

    def _load_to_fit(self):
        """Return the encoder and set ``fingerprint_``."""
        encoder = load_encoder(self.model, device=self.device, dtype=self.dtype)
        encoder = as_encoder(encoder)
        self.fingerprint_ = encoder.fingerprint
        return encoder

    def _load_fitted(self):
        """Return the encoder; once fitted, check that the model is still the same.

        Raises
        ------
        CheckpointError
            If the estimator is fitted and its model has another fingerprint now.
        """
        encoder = load_encoder(self.model, device=self.device, dtype=self.dtype)
        if hasattr(self, "fingerprint_"):
            check_fingerprint(encoder, self.fingerprint_)
        return encoder

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


class ColumnNamesMixin:
    """Mixin for embedders: names of the columns of their output.

    scikit-learn's ``ClassNamePrefixFeaturesOutMixin`` does the same from an attribute. Here that
    would be a property that loads the model, and scikit-learn's HTML repr reads all properties: to
    show an embedder in a notebook would download its model. A subclass has a method `_n_columns`.
    """

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of the output: the name of the class, with numbers from 0.

        Parameters
        ----------
        input_features : Ignored

        Returns
        -------
        names : ndarray of shape (n_features,), object
        """
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{i}" for i in range(self._n_columns())], dtype=object)
