"""Parts of error messages."""

_MOST = 8


def first_line(error):
    """Return the first line of what an exception says, or its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def some(names):
    """Return names in order with commas between them, the first few of many."""
    names = sorted(names)
    return ", ".join([*names[:_MOST], *["..."] * (len(names) > _MOST)]) or "nothing"
