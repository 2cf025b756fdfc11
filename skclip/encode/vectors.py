"""What encoders return, checked, and rows of it."""

import numpy as np
import torch


def normalize_rows(vectors):
    """Scale rows to unit length, in place; a row of zeros stays as it is."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms == 0, 1, norms)
    return vectors


def embedding_width(encoder, features="projected"):
    """Return the number of columns that an encoder's embeddings have."""
    check_features(encoder, features)
    if features == "pooled":
        return encoder.pooled_dim
    if getattr(encoder, "embed_dim", None) is None:
        return np.shape(encoder.encode_texts(["a"]))[1]
    return encoder.embed_dim


def check_features(encoder, features):
    """Refuse features that an encoder does not offer."""
    if features not in ("projected", "pooled"):
        raise ValueError(f"features must be 'projected' or 'pooled', got {features!r}")
    if features == "pooled" and not hasattr(encoder, "pooled_dim"):
        raise ValueError(
            "features='pooled' needs a model loaded by skclip; "
            f"{type(encoder).__name__} offers only 'projected'"
        )


def as_vectors(embedded, what, names):
    """Return an encoder's output as float32, one finite row for each of `names`."""
    if isinstance(embedded, torch.Tensor):
        embedded = embedded.detach().float().cpu().numpy()
    embedded = np.asarray(embedded, dtype=np.float32)
    if embedded.ndim != 2 or len(embedded) != len(names):
        raise ValueError(
            f"the encoder must return one row for each of {len(names)} inputs, got an array of "
            f"shape {embedded.shape}"
        )
    finite = np.isfinite(embedded).all(axis=1)
    if not finite.all():
        raise ValueError(
            "the encoder gave values that are not finite for the "
            f"{what} {names[int(np.flatnonzero(~finite)[0])]!r}; "
            "a model in float16 may overflow: use float32 or bfloat16"
        )
    return embedded


class Rows:
    """A matrix that gets its rows in any order; its width is that of the first to come."""

    def __init__(self, n_rows):
        self._n_rows = n_rows
        self._matrix = None

    def __setitem__(self, rows, vectors):
        if self._matrix is None:
            self._matrix = np.full((self._n_rows, vectors.shape[1]), np.nan, np.float32)
        self._matrix[rows] = vectors

    def to_numpy(self, width):
        """Return the matrix, NaN where no row came; `width` is called if none came at all."""
        if self._matrix is None:
            self._matrix = np.full((self._n_rows, width()), np.nan, np.float32)
        return self._matrix
