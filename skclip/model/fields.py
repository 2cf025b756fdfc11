"""What a field of a configuration may hold: checks, with the words for a message.

The bounds are several times what the largest known models have. They keep a damaged configuration
from asking for memory and time without end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real


@dataclass(frozen=True)
class Kind:
    """The values that a field may hold.

    Parameters
    ----------
    words : str
        What the field must be, in a message.
    accepts : callable
        Says whether a value, which may be anything, is one of them.
    convert : callable
        Turns a value of a file into skclip's own.
    """

    words: str
    accepts: Callable
    convert: Callable = lambda value: value


def integer(lowest, highest):
    """Return the kind of an int in a range; a bool is none."""
    return Kind(
        f"an int from {lowest} to {highest}",
        lambda value: _is_a(value, int) and lowest <= value <= highest,
    )


def number(lowest, highest):
    """Return the kind of a number in a range; NaN and a bool are none."""
    return Kind(
        f"a number from {lowest} to {highest}",
        lambda value: _is_a(value, Real) and lowest <= value <= highest,
    )


def near(target, words):
    """Return the kind of a number that equals another but for its rounding in a file."""
    return Kind(words, number(target * (1 - 1e-6), target * (1 + 1e-6)).accepts)


def choice(*values):
    """Return the kind of one of a few values, each compared with its type."""
    return Kind(
        "one of " * (len(values) > 1) + ", ".join(map(repr, values)),
        lambda value: any(isinstance(value, type(one)) and value == one for one in values),
    )


def code(meanings):
    """Return the kind of a key of a dict, which becomes the value at that key."""
    kind = choice(*meanings)
    return Kind(kind.words, kind.accepts, meanings.get)


def sequence(kind, length):
    """Return the kind of a list or tuple of a given length, with items of one kind."""
    return Kind(
        f"{length} values, each {kind.words}",
        lambda value: (
            isinstance(value, (list, tuple))
            and len(value) == length
            and all(map(kind.accepts, value))
        ),
    )


def optional(kind):
    """Return the kind of what another kind accepts, or None."""
    return Kind(
        f"{kind.words} or None",
        lambda value: value is None or kind.accepts(value),
        lambda value: None if value is None else kind.convert(value),
    )


def side_of_square(value):
    """Return the side of a square: a number, a pair or an object; anything else as it is."""
    if isinstance(value, dict) and value.keys() in ({"height", "width"}, {"shortest_edge"}):
        value = list(value.values())
    if isinstance(value, list) and len(value) in (1, 2) and value[0] == value[-1]:
        return value[0]
    return value


def _is_a(value, type_):
    return isinstance(value, type_) and not isinstance(value, bool)


def _is_encodable(text):
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


TEXT = Kind("a str", lambda value: isinstance(value, str) and _is_encodable(value))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
FLAG = choice(True, False)

LAYERS = integer(1, 1 << 10)
LAYERS_OR_STAGES = Kind(
    f"{LAYERS.words}, or 4 of them for a ResNet",
    lambda value: LAYERS.accepts(value) or sequence(LAYERS, 4).accepts(value),
)
WIDTH = integer(1, 1 << 16)
MLP_WIDTH = integer(1, 1 << 20)
# a text has at least its start and its end token
CONTEXT_LENGTH = integer(2, 1 << 16)
VOCAB_SIZE = integer(1, 1 << 22)
TOKEN_ID = integer(0, (1 << 22) - 1)
TOKEN_ID_OR_LIST = Kind(
    f"a token id, {TOKEN_ID.words}, or a list of one",
    lambda value: TOKEN_ID.accepts(value) or sequence(TOKEN_ID, 1).accepts(value),
    lambda value: value[0] if isinstance(value, list) else value,
)
LAYER_NORM_EPS = number(1e-12, 1)
SIDE = integer(1, 1 << 14)
SQUARE = Kind(
    f"one side of a square ({SIDE.words}), an equal pair of them, or an object with such values "
    "of height and width or of shortest_edge",
    lambda value: SIDE.accepts(side_of_square(value)),
    side_of_square,
)
# of pixels from 0 to 1: wider than any statistics of such pixels, and far from an overflow
MEAN = sequence(number(-255, 255), 3)
STD = sequence(number(1e-4, 255), 3)
