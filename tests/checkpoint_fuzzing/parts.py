"""Parts of a checkpoint's files, which change while the file around them stays whole.

A file is named as in `layouts.LAYOUTS`. "FILE!header" is the header of a safetensors file,
"FILE!data.pkl" a record of a zip archive, and "FILE!pickle" the part of an older torch file that
names the tensors.
"""

import io
import pickletools
import warnings
import zipfile


def read_part(directory, name):
    """Return the bytes of a file, or of a part of one."""
    name, _, part = name.partition("!")
    path = directory / name
    if not path.is_file():  # a named pipe would wait
        raise OSError(f"{path} is no file")
    content = path.read_bytes()
    if not part:
        return content
    if part == "header":
        return content[8 : 8 + int.from_bytes(content[:8], "little")]
    if part == "pickle":
        start, stop = _old_pickle(content)
        return content[start:stop]
    with zipfile.ZipFile(path) as archive:
        return archive.read(_record(archive, part))


def write_part(directory, name, new):
    name, _, part = name.partition("!")
    path = directory / name
    if not part:
        path.write_bytes(new)
        return
    content = path.read_bytes()
    if part == "header":
        rest = content[8 + int.from_bytes(content[:8], "little") :]
        path.write_bytes(len(new).to_bytes(8, "little") + new + rest)
    elif part == "pickle":
        start, stop = _old_pickle(content)
        path.write_bytes(content[:start] + new + content[stop:])
    else:
        with zipfile.ZipFile(path) as archive:
            chosen = _record(archive, part)
            records = [(info.filename, archive.read(info)) for info in archive.infolist()]
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore")  # about doubled names
            for record, data in records:
                archive.writestr(record, new if record == chosen else data)


def _record(archive, part):
    return next(name for name in archive.namelist() if name.endswith("/" + part))


def _old_pickle(content):
    """Find the fourth pickle of an older torch file; a number, a version and a system precede."""
    file = io.BytesIO(content)
    for _ in range(4):
        start = file.tell()
        for _ in pickletools.genops(file):
            pass
    return start, file.tell()
