"""Equal items have equal keys; whatever could give another vector gives another key."""

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
    def test_different_parts_give_different_prefixes(self, one, other):
        assert (key_prefix(*one) == key_prefix(*other)) == (one == other)

    @given(st.binary(max_size=3), st.binary(max_size=3), st.binary(max_size=3))
    def test_different_prefixes_give_different_keys(self, prefix, other, content):
        key = key_of(prefix, content)
        assert len(key) == 16
        assert (key == key_of(other, content)) == (prefix == other)
        # even if prefix and content are the same when joined
        assert key != key_of(prefix + b"x", content[1:])

    def test_keys_are_the_same_in_every_process(self):
        # users have such keys in their stores; a change makes them compute everything again
        key = key_of(key_prefix("model", "bfloat16"), text_content("a cat"))
        assert key.hex() == "5599d82d0fb74570c0b00c843f366811"


def test_different_texts_have_different_contents():
    texts = ["", "a", "a ", "A", "ä", "a\u0308", "\ud800", "日本"]
    assert len({text_content(text) for text in texts}) == len(texts)
    assert text_content("a") == text_content("a")


class TestImages:
    def test_equal_files_in_any_form_have_equal_contents(self, picture, monkeypatch):
        content = picture.read_bytes()
        same = [content, bytearray(content), memoryview(content), {"bytes": content, "path": "x"}]
        assert len({image_content(item) for item in same}) == 1
        monkeypatch.chdir(picture.parent)
        same = [picture, str(picture), "picture.png", Path("./picture.png"), {"path": picture}]
        for hash_files in (False, True):
            assert len({image_content(item, hash_files) for item in same}) == 1

    def test_pil_images_are_recognized_by_their_pixels(self, picture):
        pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        with Image.open(picture) as opened:
            assert image_content(opened) == image_content(Image.fromarray(pixels))
            assert image_content(opened) != image_content(Image.fromarray(pixels[::-1].copy()))
        wide = Image.fromarray(np.zeros((1, 4, 3), np.uint8))
        assert image_content(wide) != image_content(Image.fromarray(np.zeros((2, 2, 3), np.uint8)))

    def test_different_images_have_different_contents(self, picture):
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
        assert len(set(contents)) == len(items) + 1  # the file by its path, and by its bytes

    def test_what_is_no_image_has_no_content(self, picture):
        items = [None, float("nan"), np.nan, 5, {}, {"bytes": None, "path": None}, object()]
        items += [picture.parent, "no such file", "", "a\0b", os.devnull, Image.new("RGB", (0, 3))]
        broken = picture.parent / "broken.png"
        broken.write_bytes(picture.read_bytes()[:50])
        with Image.open(broken) as opened:
            assert image_content(opened) is None
        for item in items:
            assert image_content(item) is None
            assert image_content(item, hash_files=True) is None
        # a damaged file is noticed only when it is decoded
        assert image_content(broken) is not None

    def test_images_stay_as_they_are(self, picture):
        with Image.open(picture) as opened:
            before = opened.copy()
            image_content(opened)
            assert opened.tobytes() == before.tobytes()
        stream = memoryview(picture.read_bytes())
        image_content(stream)
        stream.release()


class TestFiles:
    def test_an_edited_file_has_another_content(self, picture):
        before = image_content(picture), image_content(picture, hash_files=True)
        content = bytearray(picture.read_bytes())
        content[-1] ^= 1
        status = picture.stat()
        picture.write_bytes(content)
        os.utime(picture, ns=(status.st_atime_ns, status.st_mtime_ns))
        # size and modification time are the same, but not the time of the last status change
        assert image_content(picture) != before[0]
        assert image_content(picture, hash_files=True) != before[1]

    def test_a_file_replaced_by_a_copy_is_recognized_by_its_bytes(self, picture):
        before = image_content(picture), image_content(picture, hash_files=True)
        other = picture.with_suffix(".new")
        other.write_bytes(picture.read_bytes())
        os.utime(other, ns=(picture.stat().st_atime_ns, picture.stat().st_mtime_ns))
        os.replace(other, picture)
        assert image_content(picture) != before[0]
        assert image_content(picture, hash_files=True) == before[1]

    def test_a_moved_or_touched_file_is_recognized_by_its_bytes(self, picture):
        before = image_content(picture), image_content(picture, hash_files=True)
        os.utime(picture, (1, 1))
        moved = picture.rename(picture.with_name("moved.png"))
        assert image_content(moved) != before[0]
        assert image_content(moved, hash_files=True) == before[1]

    @pytest.mark.skipif(os.name == "nt", reason="file names are not bytes there")
    def test_file_names_need_not_be_text(self, picture):
        path = picture.rename(os.fsdecode(os.fsencode(picture.parent) + b"/\xff.png"))
        assert image_content(path) is not None
        assert image_content(os.fsencode(path)) != image_content(path)


def test_another_model_crop_or_edit_finds_no_stale_vector(tmp_path, picture):
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
