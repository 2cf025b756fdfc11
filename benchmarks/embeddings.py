"""Random vectors that are distributed like the image embeddings of a CLIP model."""

import numpy as np

# measured on embeddings of photographs by ViT-B/32: the length of their mean, and the exponent with
# which the variance along their principal axes falls
CONE, DECAY = 0.75, 1.0
WRONG_LABELS = 0.05
_BLOCK = 10_000


def make_embeddings(n_samples, n_features, n_classes, seed=0):
    """Draw unit vectors in a narrow cone, clustered by class, and labels of which some are wrong.

    Returns
    -------
    X : ndarray of float32, of shape (n_samples, n_features)
    y : ndarray of int, of shape (n_samples,)
    """
    rng = np.random.default_rng(seed)
    scale = np.arange(1, n_features + 1) ** (-DECAY / 2)
    scale *= np.sqrt((1 - CONE**2) / np.sum(scale**2))
    axes = np.linalg.qr(rng.standard_normal((n_features, n_features)))[0]
    centers = 0.25 * rng.standard_normal((n_classes, n_features)) * scale
    y = rng.integers(n_classes, size=n_samples)
    X = np.empty((n_samples, n_features), dtype=np.float32)
    for start in range(0, n_samples, _BLOCK):
        block = slice(start, start + _BLOCK)
        spread = 0.8 * rng.standard_normal((len(y[block]), n_features)) * scale
        vectors = (centers[y[block]] + spread) @ axes + CONE * axes[0]
        X[block] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    wrong = rng.random(n_samples) < WRONG_LABELS
    return X, np.where(wrong, rng.integers(n_classes, size=n_samples), y)
