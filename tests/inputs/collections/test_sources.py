"""Tables and shards: their rows, a range at a time, and what keeps them from being read."""

import io
import pickle
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skclip.inputs.collections.collection import open_collection


def write_table(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def write_tar(path, files, **options):
    with tarfile.open(path, "w", **options) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def rows_of(*inputs, **options):
    collection = open_collection(inputs, **options)
    return collection.rows(0, len(collection))


class TestCSV:
    def test_paths_are_relative_to_the_table(self, tmp_path, monkeypatch):
        (tmp_path / "lists").mkdir()
        table = tmp_path / "lists" / "all.csv"
        text = 'image,age\na.jpg,1\n../b.jpg,2\n/c.jpg,3\n,4\nhttp://x.org/d.jpg,5\n"e,f.jpg",6\n'
        table.write_text(text)
        monkeypatch.chdir(tmp_path)
        rows = rows_of("lists/all.csv")
        here = str(tmp_path / "lists")
        expected = [f"{here}/a.jpg", f"{here}/../b.jpg", "/c.jpg", None, "http://x.org/d.jpg"]
        assert rows.images == rows.paths == [*expected, f"{here}/e,f.jpg"]
        assert rows.ids == [f"lists/all.csv:{row}" for row in range(6)]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_columns_by_name(self, tmp_path, encoding):
        table = tmp_path / "all.tsv"
        table.write_text("name\tpicture\nTöm\tt.jpg\nRex\tr.jpg\n", encoding=encoding)
        rows = rows_of(table, column="picture", id_column="name")
        assert rows.ids == ["Töm", "Rex"]
        assert rows.paths == [str(tmp_path / "t.jpg"), str(tmp_path / "r.jpg")]

    @pytest.mark.parametrize(
        ("text", "options", "message"),
        [
            (b"a,b\n1,2\n", {}, r"column must be a column of '.*x\.csv', got 'image'; .* 'a', 'b'"),
            (b"image\n1\n", {"id_column": "id"}, "id_column must be a column .* has 'image'"),
            (b"", {}, "it has none"),
            (b"image,id\na,1\nb,\n", {"id_column": "id"}, r"row 1 of '.*' has no id"),
            (b"image,id\na,1\nb\n", {"id_column": "id"}, r"row 1 of '.*' has no id"),
            (b"image\na\nb,c\n", {}, "row 1 of .* has more fields than the header"),
            (b"image\n\xff\n", {}, "must be encoded as UTF-8"),
            (b"image\n" + b"a" * 200_000, {}, "cannot be read as CSV: field larger"),
        ],
    )
    def test_faults(self, tmp_path, text, options, message):
        (tmp_path / "x.csv").write_bytes(text)
        with pytest.raises(ValueError, match=message):
            open_collection([tmp_path / "x.csv"], **options)

    def test_an_edited_picture_is_noticed(self, tmp_path):
        (tmp_path / "x.csv").write_text("image\na.jpg\nmissing.jpg\n")
        (tmp_path / "a.jpg").write_text("a")
        before = open_collection([tmp_path / "x.csv"]).digest()
        (tmp_path / "a.jpg").write_text("another")
        assert open_collection([tmp_path / "x.csv"]).digest() != before


TYPES = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]


class TestParquet:
    @pytest.mark.parametrize("kind", TYPES, ids=str)
    def test_paths(self, tmp_path, kind):
        names = pa.array(["a.jpg", None, "", "b.jpg"], pa.string()).cast(kind)
        table = write_table(tmp_path / "x.parquet", {"image": names, "n": [5, 6, 7, 8]})
        rows = rows_of(table, id_column="n")
        assert rows.images == [str(tmp_path / "a.jpg"), None, None, str(tmp_path / "b.jpg")]
        assert rows.paths == rows.images
        assert rows.ids == ["5", "6", "7", "8"]

    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
    def test_bytes_in_any_order(self, tmp_path, kind):
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

    def test_rows_in_order_are_read_once(self, tmp_path, monkeypatch):
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

    def test_structs_as_datasets_writes_them(self, tmp_path):
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

    def test_a_folder_of_parts(self, tmp_path, monkeypatch):
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

    def test_faults(self, tmp_path):
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

    def test_a_damaged_cell_is_an_error_for_all_that_follow(self, tmp_path):
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
            with pytest.raises(OSError, match=r"."):
                images[row]
        assert images[0] == columns["image"][0]

    def test_without_pyarrow(self, tmp_path, monkeypatch):
        table = write_table(tmp_path / "x.parquet", {"image": ["a"]})
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(ImportError, match=r"pip install 'skclip\[parquet\]'"):
            open_collection([table])


class TestShards:
    @pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_samples(self, tmp_path, tar_format):
        long = "x" * 150
        files = [
            ("0001.txt", b"a cat"),
            ("0001.png", b"PNG"),
            ("0001.jpg", b"JPEG"),  # goes before png
            ("0002.JPG", b"second"),
            ("0002.webp", b"comes after jpg"),
            ("0002.json", b"{}"),
            ("0003.txt", b"no picture"),
            ("README", b"no sample"),
            (".hidden.jpg", b"no sample"),
            ("a.b/0004.mask.png", b"no picture"),
            ("a.b/0004.webp", b"fourth"),
            (f"{long}/{long}.jpg", b"fifth"),
            ("ünï.jpg", b"sixth"),
        ]
        shard = write_tar(tmp_path / "x.tar", files, format=tar_format)
        collection = open_collection([shard])
        rows = collection.rows(0, len(collection))
        # the keys that webdataset 1.0 gives
        assert rows.ids == ["0001", "0002", "0003", "a.b/0004", f"{long}/{long}", "ünï"]
        assert rows.paths == [None] * 6
        expected = [b"JPEG", b"second", None, b"fourth", b"fifth", b"sixth"]
        assert [rows.images[row] for row in range(6)] == expected
        images = pickle.loads(pickle.dumps(collection.rows(3, 5).images))
        assert [images[1], images[0]] == [b"fifth", b"fourth"]

    def test_several_shards_by_pattern_and_by_folder(self, tmp_path):
        (tmp_path / "data").mkdir()
        for i in range(8, 12):
            write_tar(tmp_path / "data" / f"s-{i:03}.tar", [(f"{i}.jpg", b"%d" % i)])
        for source in ("data", "data/*.tar", "data/s-{008..011}.tar"):
            rows = rows_of(tmp_path / source)
            assert rows.ids == ["8", "9", "10", "11"]
            assert [rows.images[row] for row in range(4)] == [b"8", b"9", b"10", b"11"]

    def test_directories_and_links_are_no_images(self, tmp_path):
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            for name, kind in [("d.jpg", tarfile.DIRTYPE), ("s.jpg", tarfile.SYMTYPE)]:
                member = tarfile.TarInfo(name)
                member.type = kind
                tar.addfile(member)
            tar.addfile(tarfile.TarInfo("a.jpg"))
        assert rows_of(tmp_path / "x.tar").ids == ["a"]

    def test_an_index_holds_no_file(self, tmp_path):
        files = [(f"{i}.jpg", b"x" * 10_000) for i in range(50)]
        shard = write_tar(tmp_path / "x.tar", files)
        assert len(pickle.dumps(open_collection([shard]).rows(0, 50).images)) < 2_000

    @pytest.mark.parametrize("cut", [700, 100])
    def test_a_shard_that_ends_early(self, tmp_path, cut):
        shard = write_tar(tmp_path / "x.tar", [("1.jpg", b"a"), ("2.jpg", b"b" * 700)])
        shard.write_bytes(shard.read_bytes()[: 1024 + cut])
        with pytest.raises(ValueError, match=r"the shard '.*x\.tar' cannot be read .*incomplete"):
            open_collection([shard])

    def test_a_damaged_header_is_not_the_end(self, tmp_path):
        shard = write_tar(tmp_path / "x.tar", [("1.jpg", b"a"), ("2.jpg", b"b")])
        content = bytearray(shard.read_bytes())
        content[1024 + 148] ^= 1  # in the checksum of the second header
        shard.write_bytes(content)
        with pytest.raises(ValueError, match="no header at byte 1024"):
            open_collection([shard])

    def test_a_compressed_shard_under_a_plain_name(self, tmp_path):
        with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("1.jpg"))
        with pytest.raises(ValueError, match="cannot be read as an uncompressed TAR file"):
            open_collection([tmp_path / "x.tar"])

    def test_a_shard_that_shrinks_meanwhile(self, tmp_path):
        shard = write_tar(tmp_path / "x.tar", [("1.jpg", b"a" * 700)])
        images = rows_of(shard).images
        shard.write_bytes(shard.read_bytes()[:800])
        with pytest.raises(OSError, match="ends too early; it changed while it was read"):
            images[0]

    def test_a_changed_shard_is_noticed(self, tmp_path):
        shard = write_tar(tmp_path / "x.tar", [("1.jpg", b"a")])
        before = open_collection([shard]).digest()
        write_tar(shard, [("1.jpg", b"a"), ("2.jpg", b"b")])
        assert open_collection([shard]).digest() != before


def test_tables_shards_and_files_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "x.csv").write_text("image\nc.jpg\n")
    write_tar(tmp_path / "x.tar", [("k.jpg", b"k")])
    write_table(tmp_path / "x.parquet", {"image": [b"p"]})
    rows = rows_of("b.jpg", "x.tar", "a.jpg", "x.csv", "x.parquet")
    assert rows.ids == ["b.jpg", "k", "a.jpg", "x.csv:0", "x.parquet:0"]
    expected = [
        str(tmp_path / "b.jpg"),
        b"k",
        str(tmp_path / "a.jpg"),
        str(tmp_path / "c.jpg"),
        b"p",
    ]
    assert list(rows.images) == expected
    assert rows.paths == [path if isinstance(path, str) else None for path in expected]
