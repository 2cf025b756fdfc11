"""A column of texts in any container -> a list of str."""

import numpy as np

from skclip._messages import shown
from skclip._warnings import warn
from skclip.inputs.collections.suffixes import IMAGE_SUFFIXES, suffix_of
from skclip.inputs.columns import as_column, is_missing


def as_texts(X, *, name="X"):
    """Return the texts in X as a new list of str.

    Parameters
    ----------
    X : list, tuple, sequence, Series, one-column frame or table, or array (n,) or (n, 1), of str
    name : str, default="X"
        The parameter's name, for messages.

    Returns
    -------
    texts : list of str

    Raises
    ------
    TypeError
        If X is one str, or a row is not a str.
    ValueError
        If X is empty or has several columns, or a row is missing (None or NaN).

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.inputs.texts import as_texts
    >>> as_texts(np.array([["a cat"], ["a dog"]]))
    ['a cat', 'a dog']
    """
    column = as_column(X, name=name, items="texts")
    texts = column.tolist() if isinstance(column, np.ndarray) else list(column)
    for row, text in enumerate(texts):
        if type(text) is str:
            continue
        if isinstance(text, str):  # numpy.str_, or the member of an Enum, which becomes its value
            texts[row] = str.__str__(text)
        elif is_missing(text):
            raise ValueError(
                f"the text in row {row} of {name} is missing ({text!r}); fill it in (an empty "
                "text is '') or drop the row"
            )
        else:
            advice = "decode it first" if isinstance(text, bytes) else "convert it with str()"
            raise TypeError(
                f"the text in row {row} of {name} must be a str, got {type(text).__name__} "
                f"{shown(text)}; {advice}"
            )
    return texts


def warn_of_image_files(texts):
    """Warn if all texts are names of image files, which are meant as images, not as texts.

    Parameters
    ----------
    texts : list of str
        What `as_texts` returns.
    """
    if all(suffix_of(text) in IMAGE_SUFFIXES for text in texts):
        warn(
            f"each text is the name of an image file, such as {shown(texts[0])}; the names "
            "are embedded, not the images: for these use CLIPImageEmbedder or embed_images"
        )
