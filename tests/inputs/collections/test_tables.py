"""Tables in CSV and TSV files."""

import pytest
from collection_files import rows_of

from skclip.inputs.collections.collection import open_collection


def test_paths_are_relative_to_the_table(tmp_path, monkeypatch):
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
def test_columns_by_name(tmp_path, encoding):
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
        (b"image\n" + b"a" * 2**21, {}, "cannot be read as CSV: it has a line of at least 1048576"),
        (b"," * 2**21, {}, "it has a line of at least"),
        (b",".join(b"%d" % i for i in range(1000)), {}, "it has '0', .*, '19' and others"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, text, options, message):
    (tmp_path / "x.csv").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        open_collection([tmp_path / "x.csv"], **options)


def test_the_digest_changes_with_an_image_file(tmp_path):
    (tmp_path / "x.csv").write_text("image\na.jpg\nmissing.jpg\n")
    (tmp_path / "a.jpg").write_text("a")
    before = open_collection([tmp_path / "x.csv"]).digest()
    (tmp_path / "a.jpg").write_text("another")
    assert open_collection([tmp_path / "x.csv"]).digest() != before
