"""Which files folders, patterns and lists of files name."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skclip.inputs.collections.collection import open_collection
from skclip.inputs.collections.find import expand_braces


def ids_of(collection):
    return collection.rows(0, len(collection)).ids


# sorted by path, as Python sorts strings
IN_PHOTOS = [
    *("photos/_DSC01.jpg", "photos/a-b.jpeg", "photos/a/y.webp"),
    *("photos/a/z.PNG", "photos/b.jpg", "photos/c.tiff"),
]


@pytest.mark.parametrize("name", ["photos", "photos/", "./photos", "photos//."])
def test_a_folder_stands_for_its_images_sorted_by_path(folder, name):
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
    if expected is None:  # photos/c.jpg does not exist
        with pytest.raises(ValueError, match=r"the input 'photos/c\.jpg' does not exist"):
            open_collection([pattern])
        return
    assert ids_of(open_collection([pattern])) == expected


def test_duplicates_are_listed_once_under_their_first_name(folder):
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
def test_inputs_without_images_are_refused(folder, inputs, message):
    (folder / "empty").mkdir()
    (folder / "mixed").mkdir()
    for name in ("mixed/a.jpg", "mixed/a.parquet", "shards.tar.gz"):
        (folder / name).touch()
    (folder / "empty.csv").write_text("image\n")
    with pytest.raises(ValueError, match=message):
        open_collection(inputs)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_an_error(folder):
    (folder / "photos" / "a").chmod(0)
    with pytest.raises(PermissionError):
        open_collection(["photos"])


# expected values: bash 5
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
def test_braces_expand_as_in_a_shell(pattern, expected):
    assert sorted(expand_braces(pattern)) == sorted(expected.split(" "))


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 5))
def test_brace_ranges_keep_leading_zeros(first, last, width):
    ends = [f"{first:0{width}}", f"{last:0{width}}"]
    padded = any(end.startswith("0") and end != "0" for end in ends)
    numbers = range(first, last + 1) if first <= last else range(first, last - 1, -1)
    names = [str(n).zfill(max(map(len, ends)) if padded else 0) for n in numbers]
    assert expand_braces(f"s-{{{ends[0]}..{ends[1]}}}.tar") == [f"s-{name}.tar" for name in names]


@given(st.text(alphabet="{},.a1", max_size=12))
def test_braces_that_are_not_a_pattern_are_kept(text):
    names = expand_braces(text)
    assert names
    assert len(set(names)) == len(names)
    if "," not in text and ".." not in text:
        assert names == [text]
