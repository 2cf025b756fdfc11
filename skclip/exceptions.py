"""Exceptions and warnings that a user of skclip may catch. Imports the standard library only."""


class ImageReadError(ValueError):
    """An image cannot be read; the message names its row and the cause.

    Parameters
    ----------
    row : int
        Position of the image in the collection, from 0.
    cause : str
        What is wrong with it, and what to do.

    Examples
    --------
    >>> from skclip import ImageReadError
    >>> raise ImageReadError(3, "the file 'cat.jpg' is empty")
    Traceback (most recent call last):
        ...
    skclip.exceptions.ImageReadError: image in row 3: the file 'cat.jpg' is empty
    """

    def __init__(self, row, cause):
        super().__init__(row, cause)
        self.row = row
        self.cause = cause

    def __str__(self):
        return f"image in row {self.row}: {self.cause}"


class MissingImageWarning(UserWarning):
    """Some images could not be read: rows of NaN, or without prediction (``on_error="nan"``)."""


class TextTruncationWarning(UserWarning):
    """Some texts are longer than the model's context length and were truncated."""


class CheckpointError(ValueError):
    """A checkpoint is damaged, ambiguous, of an unknown kind, or not the expected one."""


class ModelNotAvailableError(OSError):
    """A model is neither bundled nor on disk, and cannot be downloaded from the hub."""
