"""Warnings that point at the user's own line."""

import sys
import warnings

# who calls skclip on behalf of a user, and what lies between two of its own functions
_BETWEEN = {"skclip", "sklearn", "joblib", "torch", "contextlib", "functools"}


def warn(message, category=UserWarning):
    """Issue a warning for the first line outside of skclip and of the libraries that call it.

    Parameters
    ----------
    message : str
    category : type, default=UserWarning

    Notes
    -----
    ``warnings.warn`` counts frames, but how many there are between a user and a warning depends on
    the way: scikit-learn wraps `fit` and `transform`, and a pipeline or a search adds frames of
    its own. A thread of skclip has no line of the user on its stack, so warn in the caller's.

    Examples
    --------
    >>> import warnings
    >>> from skclip._warnings import warn
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn("this line is shown")
    >>> "doctest" in caught[0].filename
    True
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_between(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_between(frame):
    """Whether a frame runs code of a module of these libraries.

    The names that a docstring example sees are those of its module, but its code is not in the
    module's file.
    """
    names = frame.f_globals
    library = str(names.get("__name__")).partition(".")[0]
    return library in _BETWEEN and frame.f_code.co_filename == names.get("__file__")
