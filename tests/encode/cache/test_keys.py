"""Keys: equal for equal things, different for all that could give another vector."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skclip.encode.cache.disk import EmbeddingStore
from skclip.encode.cache.keys import image_content, key_of, key_prefix, text_content


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3)).save(path)
    return path


parts = st.lists(st.text(st.characters(), max_size=3), max_size=3)


class TestPrefixes:
    @given(parts, parts)
    def test_other_parts_give_another_prefix(self, one, other):
        assert (key_prefix(*one) == key_prefix(*other)) == (one == other)

    @given(st.binary(max_size=3), st.binary(max_size=3), st.binary(max_size=3))
    def test_keys_of_other_prefixes_differ(self, prefix, other, content):
        key = key_of(prefix, content)
        assert len(key) == 16
        assert (key == key_of(other, content)) == (prefix == other)
        # nor does anything move between the two
        assert key != key_of(prefix + b"x", content[1:])

    def test_keys_are_the_same_in_every_process(self):
        # as they stand in stores: a change here makes users compute everything anew
        key = key_of(key_prefix("model", "bfloat16"), text_content("a cat"))
        assert key.hex() == "5599d82d0fb74570c0b00c843f366811"


def test_texts():
    texts = ["", "a", "a ", "A", "ä", "a\u0308", "\ud800", "日本"]
    assert len({text_content(text) for text in texts}) == len(texts)
    assert text_content("a") == text_content("a")


class TestImages:
    def test_equal_contents(self, picture, monkeypatch):
        content = picture.read_bytes()
        same = [content, bytearray(content), memoryview(content), {"bytes": content, "path": "x"}]
        assert len({image_content(item) for item in same}) == 1
        monkeypatch.chdir(picture.parent)
        same = [picture, str(picture), "picture.png", Path("./picture.png"), {"path": picture}]
        for hash_files in (False, True):
            assert len({image_content(item, hash_files) for item in same}) == 1

    def test_pictures_are_known_by_their_pixels(self, picture):
        pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        with Image.open(picture) as opened:
            assert image_content(opened) == image_content(Image.fromarray(pixels))
            assert image_content(opened) != image_content(Image.fromarray(pixels[::-1].copy()))
        wide = Image.fromarray(np.zeros((1, 4, 3), np.uint8))
        assert image_content(wide) != image_content(Image.fromarray(np.zeros((2, 2, 3), np.uint8)))

    def test_different_contents(self, picture):
        array = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
        items = [
            picture,
            picture.read_bytes(),
            array,
            torch.from_numpy(array),  # channels come first there
            array[:, :, 0],
            array.astype(np.uint16),
            array.astype(np.float32) / 255,
            array.tobytes(),
            Image.fromarray(array),
        ]
        contents = [image_content(item, hash_files) for item in items for hash_files in (0, 1)]
        assert None not in contents
        assert len(set(contents)) == len(items) + 1  # the file, in two ways

    def test_no_picture_has_no_content(self, picture):
        items = [None, float("nan"), np.nan, 5, {}, {"bytes": None, "path": None}, object()]
        items += [picture.parent, "no such file", "", "a\0b", os.devnull, Image.new("RGB", (0, 3))]
        broken = picture.parent / "broken.png"
        broken.write_bytes(picture.read_bytes()[:50])
        with Image.open(broken) as opened:
            assert image_content(opened) is None
        for item in items:
            assert image_content(item) is None
            assert image_content(item, hash_files=True) is None
        # whoever reads a file finds out
        assert image_content(broken) is not None

    def test_reading_content_changes_no_picture(self, picture):
        with Image.open(picture) as opened:
            before = opened.copy()
            image_content(opened)
            assert opened.tobytes() == before.tobytes()
        stream = memoryview(picture.read_bytes())
        image_content(stream)
        stream.release()


class TestFiles:
    def test_an_edited_file(self, picture):
        before = image_content(picture), image_content(picture, hash_files=True)
        content = bytearray(picture.read_bytes())
        content[-1] ^= 1
        status = picture.stat()
        picture.write_bytes(content)
        os.utime(picture, ns=(status.st_atime_ns, status.st_mtime_ns))
        # size and modification time are the same; the time of the change of status tells
        assert image_content(picture) != before[0]
        assert image_content(picture, hash_files=True) != before[1]

    def test_a_file_replaced_by_another(self, picture):
        before = image_content(picture), image_content(picture, hash_files=True)
        other = picture.with_suffix(".new")
        other.write_bytes(picture.read_bytes())
        os.utime(other, ns=(picture.stat().st_atime_ns, picture.stat().st_mtime_ns))
        os.replace(other, picture)
        assert image_content(picture) != before[0]
        assert image_content(picture, hash_files=True) == before[1]

    def test_a_moved_or_touched_file(self, picture):
        before = image_content(picture), image_content(picture, hash_files=True)
        os.utime(picture, (1, 1))
        moved = picture.rename(picture.with_name("moved.png"))
        assert image_content(moved) != before[0]
        assert image_content(moved, hash_files=True) == before[1]

    @pytest.mark.skipif(os.name == "nt", reason="file names are no bytes there")
    def test_names_that_are_no_text(self, picture):
        path = picture.rename(os.fsdecode(os.fsencode(picture.parent) + b"/\xff.png"))
        assert image_content(path) is not None
        assert image_content(os.fsencode(path)) != image_content(path)


def test_a_stale_vector_is_never_met(tmp_path, picture):
    """Another model, another crop, an edited file."""
    store = EmbeddingStore(tmp_path / "cache")
    clip = key_prefix("model a", "crop 224")
    key = key_of(clip, image_content(picture))
    with store.session() as session:
        session.put([key], np.ones((1, 4)))
        assert session.get([key_of(clip, image_content(picture))])[0].tolist() == [0]
        for prefix in (key_prefix("model b", "crop 224"), key_prefix("model a", "crop 336")):
            assert session.get([key_of(prefix, image_content(picture))])[0].tolist() == []
        Image.new("RGB", (5, 5)).save(picture)
        assert session.get([key_of(clip, image_content(picture))])[0].tolist() == []
