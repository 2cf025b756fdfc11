"""Contrastive losses, passed to the trainer as objects."""

import torch
from torch.nn import functional as F


class InfoNCE:
    """The contrastive loss of CLIP: symmetric cross-entropy over the pairs of a batch.

    An instance is called with the normalized embeddings of a batch. It returns the mean of two
    cross-entropies: of each image among the texts, and of each text among the images. Pairs of the
    same group, such as images with equal captions, are positives of each other and share the target
    evenly.

    Notes
    -----
    Radford et al. 2021, section 2.3 and figure 3; van den Oord et al. 2018, equation 4. Shared
    targets follow Yang et al. 2022, "Unified Contrastive Learning in Image-Text-Label Space",
    equations 4 and 5, averaged over the positives.

    Examples
    --------
    >>> import torch
    >>> from skclip.training import InfoNCE
    >>> embeddings = torch.eye(2)
    >>> InfoNCE()(embeddings, embeddings, torch.tensor(10.0)).item() < 1e-4
    True
    """

    def __call__(self, images, texts, logit_scale, groups=None):
        """Return the loss of one batch.

        Parameters
        ----------
        images, texts : tensor of shape (batch, dim)
            Normalized embeddings. Row i of both is one pair.
        logit_scale : tensor, scalar
            Factor by which the cosine similarities are multiplied (1 / temperature).
        groups : tensor of shape (batch,), int, default=None
            Rows with equal numbers are positives of each other. None means that each pair is a
            group of its own.

        Returns
        -------
        tensor, scalar
        """
        logits = logit_scale * images @ texts.T
        if groups is None:
            targets = torch.arange(len(logits), device=logits.device)
        else:
            same = (groups[:, None] == groups[None, :]).to(logits.dtype)
            targets = same / same.sum(dim=1, keepdim=True)
        return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
