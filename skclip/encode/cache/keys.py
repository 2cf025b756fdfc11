"""Keys of embeddings: what was embedded, and with what, as 16 bytes.

A key is a digest of two parts. The prefix names the model and all that is done to an item on its
way into it; it is the same for a whole collection. The content names one item. A digest and not the
parts, so that keys are short and no path of the user's stands in a store.
"""

import hashlib


def key_prefix(*parts):
    """Return the part of a key that a whole collection shares.

    Parameters
    ----------
    *parts : str
        The model's fingerprint, the preprocessing, the dtype and so on.

    Returns
    -------
    prefix : bytes
        32 bytes; other parts, or the same text divided otherwise, give another prefix.

    Examples
    --------
    >>> from skclip.encode.cache.keys import key_prefix
    >>> key_prefix("ab", "c") == key_prefix("a", "bc")
    False
    """
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        part = part.encode("utf-8", "surrogatepass")
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def key_of(prefix, content):
    """Return the key, 16 bytes, of one item under a prefix."""
    digest = hashlib.blake2b(len(prefix).to_bytes(8, "big"), digest_size=16)
    digest.update(prefix)
    digest.update(content)
    return digest.digest()


def text_content(text):
    """Return what a key says of one text: the text itself, as bytes."""
    return b"text:" + text.encode("utf-8", "surrogatepass")
