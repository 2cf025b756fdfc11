"""What the estimators that hold a model have in common."""

from numbers import Integral
from pathlib import Path

from skclip._sklearn_compat import HasMethods, Interval, StrOptions
from skclip.encode.encoder import load_encoder
from skclip.encode.protocol import as_encoder, check_fingerprint

ENCODER_CONSTRAINTS = {
    "model": [str, Path, HasMethods(["encode_images", "encode_texts"])],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "device": [str],
    "dtype": [StrOptions({"auto", "float32", "bfloat16"})],
    "cache": [None, str, Path, HasMethods(["session"])],
}


def load_to_fit(estimator):
    """Return the encoder that an estimator names, and note its fingerprint on the estimator."""
    encoder = load_encoder(estimator.model, device=estimator.device, dtype=estimator.dtype)
    encoder = as_encoder(encoder)
    estimator.fingerprint_ = encoder.fingerprint
    return encoder


def load_fitted(estimator):
    """Return the encoder of an estimator; once fitted, the very one that `fit` saw."""
    encoder = load_encoder(estimator.model, device=estimator.device, dtype=estimator.dtype)
    if hasattr(estimator, "fingerprint_"):
        check_fingerprint(encoder, estimator.fingerprint_)
    return encoder
