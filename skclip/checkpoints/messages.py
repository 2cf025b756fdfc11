"""Parts of error messages."""

import reprlib

_MOST = 8
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


def first_line(error):
    """Return the first line of an exception's message, or its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def some(names):
    """Return sorted names separated by commas; of many names only the first eight."""
    names = sorted(names)
    return ", ".join([*names[:_MOST], *["..."] * (len(names) > _MOST)]) or "nothing"


def shown(value):
    """Return the repr of a value that a file holds, shortened."""
    return _REPR.repr(value)
