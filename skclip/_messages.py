"""What a user passed, short enough for an error message."""

import reprlib

_LONGEST = 200


class _Repr(reprlib.Repr):
    def repr_instance(self, value, level):
        # the text of an array, of a frame or of a torch module has many lines
        return " ".join(super().repr_instance(value, level).split())


_repr = _Repr()
_repr.maxstring = _repr.maxother = _LONGEST
_repr.maxlevel = 3


def shown(value):
    """Return the repr of a value in one line of at most 200 characters.

    Parameters
    ----------
    value : object
        Only the first items of a list or a dict are shown, and both ends of a long text.

    Returns
    -------
    text : str

    Examples
    --------
    >>> from skclip._messages import shown
    >>> shown([0.5, None, "a"])
    "[0.5, None, 'a']"
    >>> shown(range(10**6))
    'range(0, 1000000)'
    >>> shown(list(range(10**6)))
    '[0, 1, 2, 3, 4, 5, ...]'
    """
    text = _repr.repr(value)
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - len("...")) // 2
    return f"{text[:half]}...{text[-half:]}"
