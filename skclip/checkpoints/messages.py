"""Parts of error messages. What comes from a file may be of any length, so it is shortened."""

_MOST = 8
_LONGEST_NAME = 100
_LONGEST_LINE = 400


def first_line(error):
    """Return the first line of an exception's message, or its type if the message is empty."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return shorten(line, _LONGEST_LINE)


def some(names):
    """Return sorted names separated by commas; of many names only the first eight."""
    names = [shorten(name) for name in sorted(names)]
    return ", ".join([*names[:_MOST], *["..."] * (len(names) > _MOST)]) or "nothing"


def shorten(text, longest=_LONGEST_NAME):
    """Return a text, or its beginning with dots if it is longer than `longest` characters."""
    return text if len(text) <= longest else f"{text[:longest]}..."
