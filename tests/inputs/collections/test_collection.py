"""Folders, patterns and lists of files as collections; what is in tables is in test_sources.py."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skclip.inputs.collections.collection import Collection, expand_braces, open_collection
from skclip.inputs.collections.sources import Rows


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with files of all kinds in `photos`; none of them holds a picture."""
    monkeypatch.chdir(tmp_path)
    names = ["b.jpg", "a/z.PNG", "a/y.webp", "c.tiff", "a-b.jpeg", "_DSC01.jpg"]
    others = ["notes.txt", "labels.csv", ".hidden.jpg", "._b.jpg", ".thumbnails/b.jpg"]
    for name in names + others:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def ids_of(collection):
    return collection.rows(0, len(collection)).ids


IN_PHOTOS = [
    *("photos/_DSC01.jpg", "photos/a-b.jpeg", "photos/a/y.webp"),
    *("photos/a/z.PNG", "photos/b.jpg", "photos/c.tiff"),
]


@pytest.mark.parametrize("name", ["photos", "photos/", "./photos", "photos//."])
def test_a_folder_is_all_its_images_by_path(folder, name):
    rows = open_collection([name]).rows(0, 6)
    assert rows.ids == IN_PHOTOS
    assert rows.paths == rows.images == [str(folder / path) for path in IN_PHOTOS]


def test_links_to_folders_are_followed_once(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "far.jpg").touch()
    os.symlink(folder / "elsewhere", folder / "photos" / "link")
    os.symlink(folder / "photos", folder / "photos" / "a" / "loop")
    assert ids_of(open_collection(["photos"])) == sorted([*IN_PHOTOS, "photos/link/far.jpg"])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/*.jp*g", [IN_PHOTOS[0], IN_PHOTOS[1], IN_PHOTOS[4]]),
        ("photos/?.*", IN_PHOTOS[4:]),
        ("photos/**/*.webp", IN_PHOTOS[2:3]),
        ("photos/{c,b}.{jpg,tiff}", None),
        ("{photos,photos}/{b.jpg,c.tiff}", IN_PHOTOS[4:]),
        ("photos/a*", [*IN_PHOTOS[2:4], IN_PHOTOS[1]]),
    ],
)
def test_patterns(folder, pattern, expected):
    if expected is None:  # one of the names it stands for does not exist
        with pytest.raises(ValueError, match=r"the input 'photos/c\.jpg' does not exist"):
            open_collection([pattern])
        return
    assert ids_of(open_collection([pattern])) == expected


def test_a_file_is_there_once_and_where_it_is_named_first(folder):
    inputs = ["photos/b.jpg", str(folder / "photos"), "photos/*.jpg"]
    ids = ids_of(open_collection(inputs))
    assert ids[0] == "photos/b.jpg"
    assert ids[1:] == [str(folder / path) for path in IN_PHOTOS if path != "photos/b.jpg"]


def test_a_name_that_looks_like_a_pattern(folder):
    for name in ("[1].jpg", "{a,b}.jpg"):
        (folder / name).touch()
        assert ids_of(open_collection([name])) == [name]


def test_a_named_file_is_an_image_whatever_its_suffix(folder):
    assert ids_of(open_collection(["photos/notes.txt"])) == ["photos/notes.txt"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one input, got none"),
        (["nowhere.jpg"], r"the input 'nowhere\.jpg' does not exist"),
        (["photos/*.gif"], r"no image, table or shard matches the pattern 'photos/\*\.gif'"),
        (["photos/*.txt"], "no image, table or shard matches"),
        (["empty"], "the folder 'empty' holds no images.*image files end in .jpg, "),
        (["mixed"], r"'mixed' holds images and Parquet files; .* 'mixed/\*\*/\*\.jpg'"),
        (["shards.tar.gz"], r"the archive 'shards\.tar\.gz' is compressed; decompress it"),
        (["empty.csv"], r"'empty\.csv' holds no rows"),
    ],
)
def test_inputs_that_are_none(folder, inputs, message):
    (folder / "empty").mkdir()
    (folder / "mixed").mkdir()
    for name in ("mixed/a.jpg", "mixed/a.parquet", "shards.tar.gz"):
        (folder / name).touch()
    (folder / "empty.csv").write_text("image\n")
    with pytest.raises(ValueError, match=message):
        open_collection(inputs)


@pytest.mark.parametrize("option", ["column", "id_column"])
def test_a_column_needs_a_table(folder, option):
    with pytest.raises(ValueError, match=f"{option} names a column of a table, got 'x'"):
        open_collection(["photos"], **{option: "x"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_no_empty_one(folder):
    (folder / "photos" / "a").chmod(0)
    with pytest.raises(PermissionError):
        open_collection(["photos"])


def test_digest_notices_what_changed(folder):
    def digest(*inputs):
        return open_collection(inputs or ["photos"]).digest()

    before = digest()
    assert digest() == before
    seen = {
        before,
        digest("photos/b.jpg", "photos/c.tiff"),
        digest("photos/c.tiff", "photos/b.jpg"),
    }
    assert len(seen) == 3
    path = folder / "photos" / "b.jpg"
    status = path.stat()
    path.write_text("x.jpg")  # of the same length
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.add(digest())
    path.write_text("longer")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.add(digest())
    path.rename(folder / "photos" / "d.jpg")
    seen.add(digest())
    assert len(seen) == 6


class Letters:
    """A source of some letters; some give their images on request only."""

    def __init__(self, letters, as_list):
        self.letters = letters
        self.as_list = as_list

    def __len__(self):
        return len(self.letters)

    def rows(self, start, stop):
        letters = self.letters[start:stop]
        return Rows(list(letters), list(letters), list(letters) if self.as_list else letters)


THIRTEEN = Collection(
    [Letters("abcd", True), Letters("ef", True), Letters("ghijkl", False), Letters("m", True)]
)


@given(st.lists(st.integers(0, 13), max_size=4))
def test_rows_of_any_range(cuts):
    cuts = [0, *sorted(cuts), 13]
    ids, paths, images = [], [], []
    for start, stop in zip(cuts, cuts[1:], strict=False):
        if start == stop:
            continue
        rows = THIRTEEN.rows(start, stop)
        assert len(rows.ids) == len(rows.paths) == len(rows.images) == stop - start
        ids += rows.ids
        paths += rows.paths
        images += [rows.images[row] for row in range(stop - start)]
    whole = THIRTEEN.rows(0, 13)
    assert (ids, paths, images) == (whole.ids, whole.paths, list(whole.images))


def test_rows_that_are_paths_alone_stay_a_list():
    assert THIRTEEN.rows(1, 6).images == list("bcdef")
    joined = THIRTEEN.rows(3, 13).images
    assert [joined[row] for row in (9, 0, 4)] == ["m", "d", "h"]
    with pytest.raises(IndexError):
        joined[10]


# what bash 5 answers
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("x{1..3}", "x1 x2 x3"),
        ("{08..11}.tar", "08.tar 09.tar 10.tar 11.tar"),
        ("{3..1}", "3 2 1"),
        ("{1..010..}", "{1..010..}"),
        ("{7..7}", "7"),
        ("{a,b}{1..2}", "a1 a2 b1 b2"),
        ("a{,b}", "a ab"),
        ("{one}", "{one}"),
        ("{}", "{}"),
        ("plain", "plain"),
        ("{a,b{1,2}}", "a b1 b2"),
    ],
)
def test_braces_as_a_shell_has_them(pattern, expected):
    assert sorted(expand_braces(pattern)) == sorted(expected.split(" "))


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 5))
def test_brace_ranges_count_with_zeros(first, last, width):
    ends = [f"{first:0{width}}", f"{last:0{width}}"]
    padded = any(end.startswith("0") and end != "0" for end in ends)
    numbers = range(first, last + 1) if first <= last else range(first, last - 1, -1)
    names = [str(n).zfill(max(map(len, ends)) if padded else 0) for n in numbers]
    assert expand_braces(f"s-{{{ends[0]}..{ends[1]}}}.tar") == [f"s-{name}.tar" for name in names]


@given(st.text(alphabet="{},.a1", max_size=12))
def test_braces_never_lose_what_is_no_pattern(text):
    names = expand_braces(text)
    assert names
    assert len(set(names)) == len(names)
    if "," not in text and ".." not in text:
        assert names == [text]
