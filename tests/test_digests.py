"""Vectors, keys and fingerprints stay what they were, on every machine."""

import json

import numpy as np
import pytest
from digests import KEPT, PIXELS, TINY, containers, measure_portable, write_lossless_images

from skclip import CLIPImageEmbedder


def test_digests_are_those_that_were_kept(tmp_path):
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    found = measure_portable(tmp_path)
    changed = [name for name in kept | found if kept.get(name) != found.get(name)]
    assert not changed, "changed, new or gone: " + ", ".join(changed)


@pytest.mark.parametrize("features", ["projected", "pooled"])
def test_equal_images_in_any_container_give_exactly_the_same_vectors(features, tmp_path):
    embedder = CLIPImageEmbedder(TINY, features=features)
    collections = containers(PIXELS, write_lossless_images(tmp_path))
    expected = embedder.transform(collections.pop("array"))
    for other_images in ("array of gray", "duplicates", "mixed"):
        del collections[other_images]
    different = [
        name
        for name, X in collections.items()
        if not np.array_equal(embedder.transform(X), expected)
    ]
    assert not different
