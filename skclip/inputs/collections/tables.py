"""Tables of image paths in CSV and TSV files, and the checks that all tables share."""

import csv
import os

from skclip.inputs.collections.paths import ImagePaths
from skclip.inputs.collections.suffixes import suffix_of

_LONGEST_LINE = 1 << 20


def read_csv(file, column, id_column):
    """Read the image paths in a CSV or TSV file.

    Parameters
    ----------
    file : str
        Columns are separated by tabs if its name ends in ".tsv", else by commas.
    column : str
        The column of paths; relative ones start from the folder of the file.
    id_column : str or None
        The column of ids; None numbers the rows.

    Returns
    -------
    source : ImagePaths

    Raises
    ------
    ValueError
        The file is not UTF-8 or not valid CSV, lacks a column, has a row with more fields than the
        header, or has a row without id.
    """
    names, ids = [], None if id_column is None else []
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(
                _lines(stream), delimiter="\t" if suffix_of(file) == ".tsv" else ","
            )
            check_columns(reader.fieldnames or [], file, column, id_column)
            for row, values in enumerate(reader):
                if None in values:
                    raise ValueError(
                        f"row {row} of {file!r} has more fields than the header; put values that "
                        "contain the delimiter in double quotes"
                    )
                names.append(values[column] or None)
                if ids is not None:
                    ids.append(as_id(values[id_column], file, row))
    except UnicodeDecodeError as error:
        raise ValueError(f"the table {file!r} must be encoded as UTF-8: {error}") from error
    except (csv.Error, OSError) as error:
        raise ValueError(f"the table {file!r} cannot be read as CSV: {error}") from error
    return ImagePaths(names, folder=os.path.dirname(file), ids=ids, table=file)


def _lines(stream):
    """Yield the lines of a text file, unless one is too long to be a row."""
    while line := stream.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"it has a line of at least {_LONGEST_LINE} characters")
        yield line


def check_columns(names, file, column, id_column):
    """Raise a ValueError unless `names`, the columns of a table, include both of the others."""
    for option, wanted in (("column", column), ("id_column", id_column)):
        if wanted is not None and wanted not in names:
            raise ValueError(
                f"{option} must be a column of {file!r}, got {wanted!r}; it has "
                f"{', '.join(map(repr, names[:20])) or 'none'}{' and others' * (len(names) > 20)}"
            )


def as_id(value, file, row):
    """Return a value of a table's id column as str; raise a ValueError if it is empty."""
    if value is None or value == "":
        raise ValueError(
            f"row {row} of {file!r} has no id; give every row an id, or leave out id_column"
        )
    return str(value)
