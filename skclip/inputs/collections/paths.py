"""Image files, each named by its path."""

import os

from skclip.inputs.collections.rows import Rows, file_status, resolve_path


class ImagePaths:
    """A source of image files, which a folder, a pattern, a list or a table names.

    Parameters
    ----------
    names : list of str or None
        Paths as they were named; None for a row of a table that names no image.
    folder : str, default=""
        Where relative paths start; "" is the working directory.
    ids : list of str or None, default=None
        One for each row. With None, ids are ``"table:row"`` if `table` is given, else the names.
    table : str or None, default=None
        The table that the names come from.
    """

    def __init__(self, names, *, folder="", ids=None, table=None):
        self.names = names
        # absolute, so that the paths stay right in another working directory
        self.folder = os.path.abspath(folder)
        self.ids = ids
        self.table = table

    def __len__(self):
        return len(self.names)

    def rows(self, start, stop):
        paths = [resolve_path(name, self.folder) for name in self.names[start:stop]]
        return Rows(self._ids(start, stop), paths, paths)

    def entries(self):
        for row, name in enumerate(self.names):
            (row_id,) = self._ids(row, row + 1)
            yield (row_id, name, *file_status(resolve_path(name, self.folder)))

    def _ids(self, start, stop):
        if self.ids is not None:
            return self.ids[start:stop]
        if self.table is not None:
            return [f"{self.table}:{row}" for row in range(start, stop)]
        return self.names[start:stop]
