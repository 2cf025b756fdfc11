"""The JSON files of a checkpoint, and the fields in them."""

import json

from skclip._messages import shown
from skclip.checkpoints.files import regular_file
from skclip.exceptions import CheckpointError

# The vocabulary of a quarter of a million tokens takes 12 MB. In memory, JSON takes up to 45 times
# its size.
LARGEST = 16_000_000

REQUIRED = object()


def read_json(path):
    """Read one JSON object; raise CheckpointError if the file holds anything else."""
    try:
        value = json.loads(
            _read_text(path), object_pairs_hook=_distinct, parse_constant=_refuse_constant
        )
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise CheckpointError(f"{path} is nested too deeply for a configuration") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got a {type(value).__name__}")
    return value


def write_json(path, value):
    """Write indented JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_fields(content, schema, where):
    """Return the fields of an object that a schema states, after checking each.

    Parameters
    ----------
    content : dict
        An object of a JSON file. Fields that the schema does not state are not read.
    schema : dict of str to (Kind, object)
        What each field may hold, and what an absent one stands for. REQUIRED means that it may not
        be absent, and None that null means the same as absent.
    where : str or Path
        The file and the place in it, for messages.

    Returns
    -------
    dict of str to object
        A value for every field of the schema.

    Raises
    ------
    CheckpointError
        If a field is missing, or holds what it may not hold.
    """
    missing = [
        name
        for name, (_, default) in schema.items()
        if default is REQUIRED and content.get(name) is None
    ]
    if missing:
        raise CheckpointError(f"{where} lacks {', '.join(missing)}; there is no safe default")
    values = {}
    for name, (kind, default) in schema.items():
        value = content.get(name, default)
        if value is default is None:
            values[name] = None
        elif kind.accepts(value):
            values[name] = kind.convert(value)
        else:
            raise CheckpointError(f"{where}: {name} must be {kind.words}, got {shown(value)}")
    return values


def _read_text(path):
    size = regular_file(path)
    if size > LARGEST:
        raise CheckpointError(
            f"{path} has {size / 1e6:.0f} MB, but a configuration or a vocabulary that "
            f"skclip reads has at most {LARGEST / 1e6:.0f} MB"
        )
    return path.read_text(encoding="utf-8")


def _distinct(pairs):
    value = dict(pairs)
    if len(value) < len(pairs):
        seen = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"it gives {shown(twice)} twice")
    return value


def _refuse_constant(name):
    raise ValueError(f"{name} is not a number of JSON")
