"""From the parameter ``cache`` to a store."""

import os

from skclip._messages import shown
from skclip.encode.cache.directory import check_directory
from skclip.encode.cache.disk import EmbeddingStore
from skclip.encode.cache.keys import key_prefix
from skclip.encode.cache.memory import MemoryStore

_process_wide = MemoryStore()


def store_for(encoder, cache, *kind):
    """Return the store for an encoder's embeddings, and what their keys have in common.

    Parameters
    ----------
    encoder : Encoder
    cache : None, "memory", str, Path, EmbeddingStore or MemoryStore
        As for `resolve_cache`.
    *kind : str
        What else the vectors depend on: "image" and the features, or "text".

    Returns
    -------
    store : EmbeddingStore, MemoryStore or None
    prefix : bytes or None
        For `skclip.encode.cache.keys.key_of`; None without a store.

    Raises
    ------
    ValueError
        If there is a store, and the encoder has no fingerprint to identify its embeddings.
    """
    store = resolve_cache(cache)
    if store is None:
        return None, None
    fingerprint = encoder.fingerprint  # read once: an adapter computes it
    if not isinstance(fingerprint, str):
        raise ValueError(
            f"cache={shown(cache)} needs a model with a fingerprint (a str), and this one has "
            "none; leave cache=None, or give the encoder a fingerprint that changes whenever its "
            "vectors would"
        )
    return store, key_prefix(fingerprint, encoder.variant, *kind)


def resolve_cache(cache):
    """Return the store that the parameter ``cache`` means.

    Parameters
    ----------
    cache : None, "memory", str, Path, EmbeddingStore or MemoryStore
        "memory" is one store of at most 1 GiB for the whole process; any other str is a directory.

    Returns
    -------
    store : EmbeddingStore, MemoryStore or None

    Raises
    ------
    TypeError
        If `cache` is something else.
    ValueError
        If `cache` is an empty str, a URL, a file, or no valid path.

    Examples
    --------
    >>> from skclip.encode.cache.resolve import resolve_cache
    >>> resolve_cache("memory") is resolve_cache("memory")
    True
    >>> resolve_cache("embeddings").max_bytes is None
    True
    """
    if cache is None:
        return None
    if isinstance(cache, (str, os.PathLike)):
        if not os.fspath(cache):
            raise ValueError("cache must be None, 'memory' or a directory, got an empty str")
        if cache == "memory":
            return _process_wide
        check_directory(cache, "cache")
        return EmbeddingStore(cache)
    if hasattr(cache, "session") and not isinstance(cache, type):
        return cache
    raise TypeError(
        "cache must be None, 'memory', a directory (str or Path) or an EmbeddingStore, "
        f"got {shown(cache)}"
    )
