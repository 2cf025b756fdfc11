"""Parts of error messages. What a user passes or a file holds may be of any length."""

import reprlib

_LONGEST = 200
_LONGEST_NAME = 100
_LONGEST_LINE = 400
_MOST_NAMES = 8


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


def first_line(error):
    """Return the first line of an exception's message, or its type if the message is empty."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return shorten(line, _LONGEST_LINE)


def some(names):
    """Return sorted names separated by commas; of many names only the first eight."""
    names = [shorten(name) for name in sorted(names)]
    more = ["..."] * (len(names) > _MOST_NAMES)
    return ", ".join([*names[:_MOST_NAMES], *more]) or "nothing"


def shorten(text, longest=_LONGEST_NAME):
    """Return a text, or its beginning with dots if it is longer than `longest` characters."""
    return text if len(text) <= longest else f"{text[:longest]}..."
