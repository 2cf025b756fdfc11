"""A column of texts in any container -> a list of str."""

import reprlib

import numpy as np

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
        if isinstance(text, str):  # numpy.str_
            texts[row] = str(text)
        elif is_missing(text):
            raise ValueError(
                f"the text in row {row} of {name} is missing ({text!r}); fill it in (an empty "
                "text is '') or drop the row"
            )
        else:
            advice = "decode it first" if isinstance(text, bytes) else "convert it with str()"
            raise TypeError(
                f"the text in row {row} of {name} must be a str, got {type(text).__name__} "
                f"{reprlib.repr(text)}; {advice}"
            )
    return texts
