"""Parquet tables of paths, bytes and structs."""

import pickle
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from collection_files import rows_of, write_table

from skclip.inputs.collections import parquet as parquet_module
from skclip.inputs.collections.collection import open_collection

TYPES = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_columns_of_paths(tmp_path, kind):
    names = pa.array(["a.jpg", None, "", "b.jpg"], pa.string()).cast(kind)
    table = write_table(tmp_path / "x.parquet", {"image": names, "n": [5, 6, 7, 8]})
    rows = rows_of(table, id_column="n")
    assert rows.images == [str(tmp_path / "a.jpg"), None, None, str(tmp_path / "b.jpg")]
    assert rows.paths == rows.images
    assert rows.ids == ["5", "6", "7", "8"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
def test_bytes_in_any_order(tmp_path, kind):
    contents = [bytes([i % 256]) * (i % 7) if i % 50 else None for i in range(1000)]
    columns = {"image": pa.array(contents, kind), "name": [f"row {i}" for i in range(1000)]}
    table = write_table(tmp_path / "x.parquet", columns, row_group_size=300)
    collection = open_collection([table], id_column="name")
    for start, stop in [(0, 1000), (0, 299), (250, 950), (999, 1000)]:
        rows = collection.rows(start, stop)
        assert rows.ids == columns["name"][start:stop]
        assert rows.paths == [None] * (stop - start)
        assert list(rows.images) == contents[start:stop]
        images = pickle.loads(pickle.dumps(rows.images))
        for row in np.random.default_rng(0).permutation(stop - start)[:40].tolist():
            assert images[row] == contents[start + row]
    with pytest.raises(IndexError):
        rows.images[1]


def test_rows_in_order_are_read_once(tmp_path, monkeypatch):
    columns = {"image": [b"%d" % i for i in range(5000)]}
    table = write_table(tmp_path / "x.parquet", columns, row_group_size=2000)
    decoded = []
    iter_batches = pq.ParquetFile.iter_batches

    def counting(self, *args):
        for batch in iter_batches(self, *args):
            decoded.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    collection = open_collection([table])
    # threads ask a little out of order
    order = np.arange(1000).reshape(-1, 50)[:, ::-1].ravel().tolist()
    for start in range(0, 5000, 1000):
        images = collection.rows(start, start + 1000).images
        assert [images[row] for row in order] == [b"%d" % (start + row) for row in order]
    assert sum(decoded) == 5000
    assert max(decoded) <= 64


def test_structs_as_hugging_face_datasets_writes_them(tmp_path):
    cells = [
        {"bytes": b"abc", "path": "a.jpg"},
        {"bytes": None, "path": "b.jpg"},
        {"bytes": None, "path": None},
        None,
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = write_table(tmp_path / "x.parquet", {"image": pa.array(cells, kind)})
    rows = rows_of(table)
    assert list(rows.images) == [b"abc", str(tmp_path / "b.jpg"), None, None]
    assert rows.ids == [f"{table}:{row}" for row in range(4)]


def test_a_folder_of_parts(tmp_path, monkeypatch):
    folder = tmp_path / "table.parquet"
    folder.mkdir()
    for i in (1, 0):
        write_table(folder / f"part-{i}.parquet", {"image": [f"{i}.jpg"]})
    (folder / "_metadata.parquet").touch()
    (folder / "_SUCCESS").touch()
    monkeypatch.chdir(tmp_path)
    rows = rows_of("table.parquet")
    assert rows.ids == ["table.parquet/part-0.parquet:0", "table.parquet/part-1.parquet:0"]
    assert rows.paths == [str(folder / "0.jpg"), str(folder / "1.jpg")]


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="must hold paths, bytes, or structs .*, got int64"):
        open_collection([write_table(tmp_path / "x.parquet", {"image": [1, 2]})])
    with pytest.raises(ValueError, match=r"got 'image'; it has 'a', 'b'"):
        open_collection([write_table(tmp_path / "x.parquet", {"a": [1], "b": [2]})])
    columns = {"image": [b"a", b"b"], "id": ["x", None]}
    table = write_table(tmp_path / "x.parquet", columns)
    with pytest.raises(ValueError, match=r"row 1 of '.*x\.parquet' has no id"):
        open_collection([table], id_column="id").rows(0, 2)
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"'.*x\.parquet' cannot be read as Parquet"):
        open_collection([table])


def test_rows_after_a_damaged_page_cannot_be_read(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"image": [rng.bytes(1000) for _ in range(400)]}
    options = {"compression": "gzip", "use_dictionary": False}
    pages = {"data_page_size": 64_000, "write_batch_size": 10}
    table = write_table(tmp_path / "x.parquet", columns, **options, **pages)
    collection = open_collection([table])
    content = bytearray(table.read_bytes())
    content[250_000:250_400] = bytes(400)
    table.write_bytes(content)
    images = collection.rows(0, 400).images
    for row in (10, 100):
        assert images[row] == columns["image"][row]
    for row in (300, 399, 350):
        message = r"the column 'image' of '.*x\.parquet' cannot be read from row \d+ on: "
        with pytest.raises(OSError, match=message):
            images[row]
    assert images[0] == columns["image"][0]


def test_paths_after_a_damaged_page_cannot_be_read(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"image": [rng.bytes(500).hex() for _ in range(400)]}
    options = {"compression": "gzip", "use_dictionary": False}
    table = write_table(tmp_path / "x.parquet", columns, **options)
    content = bytearray(table.read_bytes())
    content[100_000:100_400] = bytes(400)
    table.write_bytes(content)
    with pytest.raises(ValueError, match=r"the column 'image' of '.*x\.parquet' cannot be read"):
        open_collection([table])


BLANK = bytes(2**21)


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        ([BLANK], {}, "its cells have 20971.. bytes on average"),
        ([BLANK, *[b"a"] * 100], {}, r"\d+ bytes become 20.* \(it could be a decompression bomb"),
        ([BLANK] * 4, {"use_dictionary": True}, r"\d+ bytes become 20.* \(it could be"),
    ],
)
def test_cells_that_are_too_large_are_not_read(tmp_path, cells, options, message, monkeypatch):
    monkeypatch.setattr(parquet_module, "_LARGEST_CELL", 2**20)  # instead of 256 MiB
    limits = {"compression": "zstd", "use_dictionary": False, "dictionary_pagesize_limit": 2**30}
    columns = {"image": pa.array(cells, pa.binary())}
    table = write_table(tmp_path / "x.parquet", columns, **{**limits, **options})
    with pytest.raises(OSError, match=rf"'.*x\.parquet' cannot be read from row 0 on: {message}"):
        rows_of(table).images[0]


def test_large_cells_are_read_a_few_at_a_time(tmp_path):
    rng = np.random.default_rng(0)
    cells = [rng.bytes(2**23) for _ in range(3)]
    table = write_table(tmp_path / "x.parquet", {"image": cells}, use_dictionary=False)
    reader = rows_of(table).images.reader
    metadata = pq.read_metadata(table)
    assert parquet_module._cells_per_batch(metadata, [0], "image") == 7
    assert [reader.cell(row) for row in range(3)] == cells


def test_more_rows_than_a_file_can_have(tmp_path, monkeypatch):
    table = write_table(tmp_path / "x.parquet", {"image": [b"a", b"b"]})
    monkeypatch.setattr(parquet_module, "_group_sizes", lambda metadata: [2**60])
    with pytest.raises(
        ValueError, match=rf"claims 2 rows, and {2**60} in its groups, in \d+ bytes"
    ):
        open_collection([table])
    monkeypatch.undo()
    monkeypatch.setattr(parquet_module, "_ROWS_PER_BYTE", 1e-6)
    with pytest.raises(ValueError, match=r"'.*x\.parquet' cannot be read .* claims 2 rows"):
        open_collection([table])


def test_without_pyarrow(tmp_path, monkeypatch):
    table = write_table(tmp_path / "x.parquet", {"image": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[parquet\]'"):
        open_collection([table])
