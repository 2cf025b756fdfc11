"""Checking the output of encoders, and scaling it to unit length."""

import numpy as np
import torch

from skclip._messages import shown


def normalize_rows(vectors):
    """Scale rows to unit length, in place.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), of floats
        Is changed. Rows of zeros stay zero, and rows of NaN stay NaN.

    Returns
    -------
    vectors : ndarray of shape (n, d)
        The same array.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms == 0, 1, norms)
    return vectors


def as_vectors(embedded, what, names):
    """Convert an encoder's output to float32, and check that it has one finite row for each input.

    Parameters
    ----------
    embedded : array or tensor of shape (n_inputs, d)
    what : str
        What an input is called in messages: "text" or "image in row".
    names : sequence
        How messages name each input: the text, or the row of the image.

    Returns
    -------
    vectors : ndarray of shape (n_inputs, d), float32

    Raises
    ------
    ValueError
        If the shape is not (n_inputs, d), or a value is not finite.
    """
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
            "the encoder returned values that are not finite for the "
            f"{what} {shown(names[int(np.flatnonzero(~finite)[0])])}; "
            "a model in float16 may overflow: use float32 or bfloat16"
        )
    return embedded
