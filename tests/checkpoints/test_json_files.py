import errno
import json
import math
import os
import sys
from pathlib import Path

import pytest

from skclip.checkpoints.json_files import LARGEST, REQUIRED, read_fields, read_json
from skclip.exceptions import CheckpointError
from skclip.model import fields


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b'"text"', "must hold a JSON object, got a str"),
        (b"[1, 2]", "must hold a JSON object, got a list"),
        (b'{"a": "\xff"}', "is not valid JSON: 'utf-8' codec"),
        (b'\xef\xbb\xbf{"a": 1}', "is not valid JSON: Unexpected UTF-8 BOM"),
        (b'{"a": NaN}', "is not valid JSON: NaN is not a number"),
        (b'{"a": -Infinity}', "is not valid JSON: -Infinity is not a number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not valid JSON: Exceeds the limit"),
        (b'{"a": 1, "b": 2, "a": 3}', "is not valid JSON: it gives 'a' twice"),
        (b'{"a": {"b": 1, "b": 1}}', "is not valid JSON: it gives 'b' twice"),
        (b'{"a": ' + b"[" * 100_000, "is nested too deeply"),
        (b'{"a": ' * 100_000, "is nested too deeply"),
    ],
    ids=range(13),
)
def test_what_is_not_an_object_of_json_is_refused(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^[^ ]*config.json {message}"):
        read_json(path)


def test_what_is_not_a_file_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.mkdir()
    with pytest.raises(CheckpointError, match="^[^ ]*config.json must be a file"):
        read_json(path)
    path.rmdir()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="^[^ ]*config.json is a link to .*No such file"):
        read_json(path)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(CheckpointError, match="^[^ ]*config.json is a link to .*Too many levels"):
        read_json(path)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in the file system")
def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match="^[^ ]*config.json must be a file"):
        read_json(tmp_path / "config.json")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    path = tmp_path / "config.json"
    path.write_text("{}")
    # not by chmod, which does not keep out the superuser
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(CheckpointError, match="config.json cannot be read: Permission denied"):
        read_json(path)


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"")
    os.truncate(path, 2 * LARGEST)
    with pytest.raises(CheckpointError, match="^[^ ]*config.json has 32 MB, but a configuration"):
        read_json(path)


SCHEMA = {
    "layers": (fields.LAYERS, REQUIRED),
    "width": (fields.WIDTH, 8),
    "act": (fields.code({"swish": "silu"}), "swish"),
    "name": (fields.TEXT, None),
    "size": (fields.optional(fields.SQUARE), 4),
}


def test_fields_are_converted_and_filled_up():
    assert read_fields({"layers": 2, "name": None, "other": math.nan}, SCHEMA, "file") == {
        "layers": 2,
        "width": 8,
        "act": "silu",
        "name": None,
        "size": 4,
    }
    assert read_fields({"layers": 2, "size": None}, SCHEMA, "file")["size"] is None
    for size in (6, [6], [6, 6], {"height": 6, "width": 6}, {"shortest_edge": 6}):
        assert read_fields({"layers": 2, "size": size}, SCHEMA, "file")["size"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ...}, "file lacks layers; there is no safe default"),
        ({"layers": None}, "file lacks layers; there is no safe default"),
        ({"layers": True}, "file: layers must be an int from 1 to 1024, got True"),
        ({"layers": 2.0}, "file: layers must be an int from 1 to 1024, got 2.0"),
        ({"width": None}, "file: width must be an int from 1 to 65536, got None"),
        ({"width": 10**400}, r"file: width must be an int from 1 to 65536, got 10+\.\.\.0+$"),
        ({"act": []}, r"file: act must be 'swish', got \[\]"),
        ({"name": "\ud800"}, r"file: name must be a str, got '\\ud800'"),
        ({"name": "x" * 10**6}, None),
        ({"name": [["x" * 10**6] * 99] * 99}, "file: name must be a str, got .{20,3000}$"),
        ({"size": [6, 7]}, "file: size must be one side of a square"),
        ({"size": [6, 6, 6]}, "file: size must be one side of a square"),
        ({"size": []}, "file: size must be one side of a square"),
        ({"size": {"height": 6}}, "file: size must be one side of a square"),
        ({"size": {"shortest_edge": [6]}}, "file: size must be one side of a square"),
    ],
)
def test_fields_that_are_refused(change, message):
    content = {key: value for key, value in ({"layers": 2} | change).items() if value is not ...}
    if message is None:
        assert read_fields(content, SCHEMA, "file")
        return
    with pytest.raises(CheckpointError, match=message):
        read_fields(content, SCHEMA, "file")


def test_numbers_beyond_a_float_are_out_of_range(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"eps": 1e400}')
    with pytest.raises(CheckpointError, match="eps must be a number from 1e-12 to 1, got inf"):
        read_fields(read_json(path), {"eps": (fields.LAYER_NORM_EPS, 1e-5)}, path)
    for value in (math.nan, json.loads("1" + "0" * 400), "1e-5", True, None):
        assert not fields.LAYER_NORM_EPS.accepts(value)
