import pytest

from skclip.encode.cache.disk import EmbeddingStore


@pytest.fixture
def on_disk(tmp_path):
    return EmbeddingStore(tmp_path / "cache")
