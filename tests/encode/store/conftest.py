import pytest

from skclip.encode.store.disk import EmbeddingStore


@pytest.fixture
def on_disk(tmp_path):
    return EmbeddingStore(tmp_path / "cache")
