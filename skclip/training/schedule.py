"""The learning rate over a training run."""

import math


def warmup_cosine(step, n_steps, n_warmup):
    """Return the fraction of the peak learning rate at a step, counted from 0.

    The fraction rises linearly over `n_warmup` steps, then falls to zero along half a cosine.

    Notes
    -----
    Loshchilov and Hutter 2017, "SGDR", equation 5, with one cycle; Radford et al. 2021, section
    2.5.

    Examples
    --------
    >>> from skclip.training.schedule import warmup_cosine
    >>> [round(warmup_cosine(step, 6, 2), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step < n_warmup:
        return (step + 1) / n_warmup
    return (1 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup))) / 2
