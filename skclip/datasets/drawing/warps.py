"""Random distortions of drawings: slant, rotation, aspect and waves of low frequency."""

import numpy as np


def random_linear_maps(n_samples, rng, distortion):
    """Random matrices (n_samples, 2, 2) that change aspect and slant, then rotate a little."""
    # handwriting slants to the right more often than to the left
    slant = distortion * (0.05 + 0.16 * rng.standard_normal(n_samples))
    angle = distortion * 0.1 * rng.standard_normal(n_samples)
    stretch = np.exp(distortion * 0.15 * rng.standard_normal(n_samples))
    shear = np.zeros((n_samples, 2, 2))
    shear[:, 0, 0], shear[:, 1, 1] = stretch, 1 / stretch
    # y points down, so a slant to the right moves points with a small y to the right
    shear[:, 0, 1] = -slant
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2) @ shear


def bend(points, rng, distortion):
    """Shift points (n, m, 2) in a unit box by two random sine waves of low frequency per axis."""
    n_samples = len(points)
    moved = points.copy()
    for axis in (0, 1):
        for _ in range(2):
            wave = rng.uniform(-4.0, 4.0, size=(n_samples, 2, 1))
            phase = rng.uniform(0, 2 * np.pi, size=(n_samples, 1))
            amplitude = distortion * 0.03 * rng.uniform(size=(n_samples, 1))
            moved[:, :, axis] += amplitude * np.sin((points @ wave)[:, :, 0] + phase)
    return moved
