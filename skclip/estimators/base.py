"""What the estimators that use a model have in common."""

from numbers import Integral
from pathlib import Path

from skclip._sklearn_compat import HasMethods, Interval, StrOptions
from skclip.encode.encoder import load_encoder
from skclip.encode.protocol import as_encoder, check_fingerprint


class EncoderMixin:
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
