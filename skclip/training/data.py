"""Images and captions as shuffled batches."""

from typing import NamedTuple

import numpy as np
import torch

from skclip.model.tokenizer import pad


class Batch(NamedTuple):
    """One batch, in which equal captions are tokenized and embedded once.

    Parameters
    ----------
    images : tensor of shape (batch, 3, height, width), uint8
    token_ids : tensor of shape (n_captions, length), int64
        The distinct captions.
    groups : tensor of shape (batch,), int64
        For each image, the row of its caption in `token_ids`.
    """

    images: torch.Tensor
    token_ids: torch.Tensor
    groups: torch.Tensor


class Pairs:
    """Images with their tokenized captions.

    Parameters
    ----------
    images : array of shape (n, height, width, 3), uint8
        Or any object with a length for which ``images[indices]`` is such an array.
    captions : sequence of str
    tokenizer : Tokenizer

    Raises
    ------
    ValueError
        If the numbers of images and captions differ, or are zero.
    """

    def __init__(self, images, captions, tokenizer):
        if len(images) != len(captions) or not len(images):
            raise ValueError(
                "there must be one caption for each image, and at least one pair, got "
                f"{len(images)} images and {len(captions)} captions"
            )
        unique, self.groups = np.unique(np.asarray(captions, dtype=object), return_inverse=True)
        self.images = images
        self.rows = tokenizer.encode_batch(unique)
        self.pad_id = tokenizer.end_id

    def __len__(self):
        return len(self.groups)

    def take(self, indices):
        """Return the pairs at the given indices, an int array, as a `Batch`."""
        images = np.asarray(self.images[indices])
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                "images must be uint8 of shape (n, height, width, 3), got "
                f"{images.dtype} of shape {images.shape}"
            )
        captions, groups = np.unique(self.groups[indices], return_inverse=True)
        return Batch(
            torch.from_numpy(images).permute(0, 3, 1, 2),
            pad([self.rows[caption] for caption in captions], self.pad_id),
            torch.from_numpy(groups),
        )


def shuffled(n_samples, batch_size, seed, epoch):
    """Return the batches of one epoch, an int array (n_batches, batch_size).

    The order depends on the seed and the epoch alone. Samples that do not fill a last batch are
    left out of the epoch. If there are fewer samples than `batch_size`, one smaller batch holds
    them all.

    Examples
    --------
    >>> from skclip.training.data import shuffled
    >>> shuffled(7, batch_size=3, seed=0, epoch=0).shape
    (2, 3)
    """
    batch_size = min(batch_size, n_samples)
    order = np.random.default_rng([seed, epoch]).permutation(n_samples)
    n_batches = n_samples // batch_size
    return order[: n_batches * batch_size].reshape(n_batches, batch_size)
