"""Equal items have equal keys; everything that changes a vector changes its key."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skclip.encode.cache.disk import EmbeddingStore
from skclip.encode.cache.keys import key_of, key_prefix, text_content
from skclip.inputs.items import as_item


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


def test_no_stale_vector_is_found(tmp_path, picture):
    """With another model, with another crop, and after the file was edited."""
    store = EmbeddingStore(tmp_path / "cache")
    clip = key_prefix("model a", "crop 224")
    key = key_of(clip, as_item(picture).content())
    with store.session() as session:
        session.put([key], np.ones((1, 4)))
        assert session.get([key_of(clip, as_item(picture).content())])[0].tolist() == [0]
        for prefix in (key_prefix("model b", "crop 224"), key_prefix("model a", "crop 336")):
            assert session.get([key_of(prefix, as_item(picture).content())])[0].tolist() == []
        Image.new("RGB", (5, 5)).save(picture)
        assert session.get([key_of(clip, as_item(picture).content())])[0].tolist() == []
