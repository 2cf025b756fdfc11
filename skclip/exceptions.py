"""What a user of skclip may catch. Standard library only."""


class ImageReadError(ValueError):
    """An image that cannot be read; names the row it stands in and the cause.

    Parameters
    ----------
    row : int
        Position of the image in the collection that was handed over, from 0.
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
    """Rows without a readable image were turned into NaN (``on_error="nan"``)."""


class TextTruncationWarning(UserWarning):
    """Texts were longer than the model's context length and were cut."""


class CheckpointError(ValueError):
    """A checkpoint that is damaged, ambiguous, of an unknown kind, or not the one expected."""


class ModelNotAvailableError(OSError):
    """A model that is neither bundled, nor on disk, nor to be reached on the hub."""
