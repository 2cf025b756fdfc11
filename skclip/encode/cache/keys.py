"""Keys of embeddings: 16 bytes that identify an item, the model and the preprocessing.

A key is a digest of two parts. The prefix identifies the model and everything that is done to an
item before the model; it is the same for a whole collection. The content identifies one item.
Because keys are digests, they are short, and a store contains no paths of the user's files.
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
        32 bytes. Different parts, or the same text divided differently, give different prefixes.

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
    """Return the key of one item.

    Parameters
    ----------
    prefix : bytes
        What `key_prefix` returned.
    content : bytes
        What `text_content` or `ImageItem.content` returned for the item.

    Returns
    -------
    key : bytes
        16 bytes.
    """
    digest = hashlib.blake2b(len(prefix).to_bytes(8, "big"), digest_size=16)
    digest.update(prefix)
    digest.update(content)
    return digest.digest()


def text_content(text):
    """Return the content of one text, for `key_of`: bytes, different for different texts."""
    return b"text:" + text.encode("utf-8", "surrogatepass")
