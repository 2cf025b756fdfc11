"""Pillow without its warnings, in a thread that reads an image and in no other."""

import ctypes
import sys
import threading
import warnings
from contextlib import contextmanager
from functools import cache

import PIL.TiffImagePlugin  # noqa: F401 - so that it is here before an image with EXIF data is
from PIL import Image


class _Thread(threading.local):
    is_quiet = False


class _PillowsWarnings:
    """What Pillow's modules have as `warnings`: the module itself, except in quiet threads."""

    def warn(self, message, category=None, stacklevel=1, *args, **options):
        if not _thread.is_quiet:
            # one level more, which is this method
            warnings.warn(message, category, stacklevel + 1, *args, **options)
        elif category is Image.DecompressionBombWarning:
            raise Image.DecompressionBombError(message)

    def __getattr__(self, name):
        return getattr(warnings, name)


_thread = _Thread()
_pillows_warnings = _PillowsWarnings()


@contextmanager
def pillow_without_warnings():
    """Discard the warnings that Pillow issues in this thread, while the context lasts.

    Notes
    -----
    A filter would not do. `warnings.catch_warnings` changes the filters of all threads, so it would
    hide the warnings of others, and two threads that leave it in another order than they entered it
    leave the wrong filters behind. With the filter "error", a warning would end the decoding of an
    image that is readable. So Pillow's modules get an object in place of the module `warnings` that
    asks which thread it is in. For other threads, and outside of the context, it does what the
    module does.

    What Pillow warns of does not change the pixels, with one exception: a picture inside another
    file, such as an icon, may have more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``. Here that is an
    error, as it is for other files.
    """
    was_quiet = _thread.is_quiet
    _thread.is_quiet = True
    try:
        yield
    finally:
        _thread.is_quiet = was_quiet


@cache
def load_common_plugins():
    """Let Pillow import its plugins for the most common formats."""
    Image.preinit()
    _replace_warnings()
    _silence_libtiff()


@cache
def load_all_plugins():
    """Let Pillow import its plugins for all formats."""
    Image.init()
    _replace_warnings()


def _replace_warnings():
    for name, module in list(sys.modules.items()):
        if name.startswith("PIL.") and getattr(module, "warnings", None) is warnings:
            module.warnings = _pillows_warnings


def _silence_libtiff():
    """Let Pillow's libtiff print no errors, as Pillow does with its warnings.

    Pillow raises an exception for each error; what libtiff prints besides goes past Python.
    """
    try:
        set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):  # a Pillow that was built in another way
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    set_handler(None)


_replace_warnings()
