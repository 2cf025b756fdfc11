"""How a collection is divided into batches."""

from skclip.encode.threads import resolve_n_threads


def parts_of(sequence, size):
    """Return the parts of a sequence, of a length of at most `size`, as a generator.

    Examples
    --------
    >>> from skclip.encode.batches import parts_of
    >>> list(parts_of(range(5), 2))
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    return (sequence[start : start + size] for start in range(0, len(sequence), size))


def plan_batches(n_items, batch_size, most, n_threads):
    """Choose the batch size, and how many threads run the model.

    Parameters
    ----------
    n_items : int
    batch_size : int or "auto"
        "auto" gives a size of at most `most` with which all threads get equally many batches.
    most : int
        The largest size that "auto" may give.
    n_threads : int
        How many threads may run the model at once; -1 means one for each free core.

    Returns
    -------
    batch_size : int
    n_threads : int
        Not more than there are batches.

    Examples
    --------
    >>> from skclip.encode.batches import plan_batches
    >>> plan_batches(64, "auto", most=20, n_threads=2)
    (16, 2)
    >>> plan_batches(1, "auto", most=20, n_threads=2)
    (1, 1)
    """
    n_threads = resolve_n_threads(n_threads)
    if batch_size == "auto":
        batch_size = even_batch_size(n_items, most, n_threads)
    return batch_size, min(n_threads, -(-n_items // batch_size))


def even_batch_size(n_items, most, n_threads):
    """Return a batch size of at most `most` with which all threads get equally many batches.

    Parameters
    ----------
    n_items, most, n_threads : int

    Returns
    -------
    batch_size : int

    Examples
    --------
    >>> from skclip.encode.batches import even_batch_size
    >>> even_batch_size(64, most=20, n_threads=2)
    16
    """
    n_rounds = -(-n_items // (most * n_threads))
    return max(1, -(-n_items // (n_rounds * n_threads)))
