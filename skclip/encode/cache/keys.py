"""Keys of embeddings: what was embedded, and with what, as 16 bytes.

A key is a digest of two parts. The prefix names the model and all that is done to an item on its
way into it; it is the same for a whole collection. The content names one item. A digest and not the
parts, so that keys are short and no path of the user's stands in a store.
"""

import hashlib
import os
import stat

from PIL import Image

from skclip.exceptions import ImageReadError
from skclip.inputs.images import image_key, read_image


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


def image_content(item, hash_files=False):
    """Return what a key says of one image.

    Parameters
    ----------
    item : str, Path, bytes, PIL image, array, tensor or dict
    hash_files : bool, default=False
        Read every file and take its content instead of its path, size, times and inode. Slower,
        and then a file may be moved, copied or touched without being embedded again.

    Returns
    -------
    content : bytes or None
        Equal contents mean equal pictures. None where there is no picture: a missing item, a file
        that cannot be read, an object that is none.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.encode.cache.keys import image_content
    >>> image_content(np.zeros((4, 4))) == image_content(np.zeros((4, 4)))
    True
    >>> image_content("no such file.jpg") is None
    True
    """
    key = image_key(item)
    if key is None:
        return None
    if isinstance(item, Image.Image):
        # image_key knows a PIL image by its identity, which says nothing to another process
        try:
            picture = read_image(item, row=0)
        except ImageReadError:
            return None
        return _packed("picture", picture.size, hashlib.blake2b(picture.tobytes()).digest())
    if key[0] != "path":
        return _packed(*key)
    try:
        return _file_content(key[1], hash_files)
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None


def _file_content(path, hash_files):
    status = os.stat(path)
    # opening a pipe would wait for its other end
    if not stat.S_ISREG(status.st_mode):
        return None
    if hash_files:
        with open(path, "rb") as file:
            return _packed("content", hashlib.file_digest(file, "blake2b").digest())
    # ctime and inode tell a file that was replaced by one of the same size and modification time
    numbers = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    return _packed("file", os.fsencode(os.path.abspath(path)), numbers)


def _packed(*parts):
    # repr of str, bytes, int and tuples of them is unambiguous
    return repr(parts).encode("utf-8", "surrogatepass")
