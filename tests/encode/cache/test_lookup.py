"""What a store holds is not computed again by any thread, encoder object or estimator."""

import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skclip import CLIPImageEmbedder, CLIPTextEmbedder, EmbeddingStore, ZeroShotClassifier
from skclip.encode import images as images_module
from skclip.encode import texts as texts_module
from skclip.encode.cache.memory import MemoryStore
from skclip.encode.images import embed_readable_images
from skclip.exceptions import ImageReadError

TINY = "skclip/tiny"

# means and lengths are easier to compute by hand than rows of unit length
embed_images = partial(images_module.embed_images, normalize=False)
embed_texts = partial(texts_module.embed_texts, normalize=False)


class Counting:
    """Embeds by mean color and text length, and counts what it embeds."""

    embed_dim = 3

    def __init__(self, fingerprint="colors", seconds=0.0):
        self.fingerprint = fingerprint
        self.seconds = seconds
        self.n_images = self.n_texts = 0
        self.lock = threading.Lock()

    def encode_images(self, images):
        time.sleep(self.seconds)
        with self.lock:
            self.n_images += len(images)
        return np.stack([np.asarray(image).mean(axis=(0, 1)) for image in images])

    def encode_texts(self, texts):
        self.n_texts += len(texts)
        return np.array([[len(text), 1, 0] for text in texts])


@pytest.fixture(params=["disk", "memory"])
def store(request, tmp_path):
    return EmbeddingStore(tmp_path / "store") if request.param == "disk" else MemoryStore(2**20)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i in range(50):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def test_contents_of_images_are_read_in_threads(store, files):
    names = set()

    class Pictures:
        def __len__(self):
            return len(files)

        def __getitem__(self, row):
            names.add(threading.current_thread().name.rstrip("0123456789"))
            return files[row]

    encoder = Counting()
    embed_images(encoder, Pictures(), cache=store)
    vectors = embed_images(encoder, Pictures(), cache=store, n_jobs=1)
    assert names == {"skclip-read_"}
    assert encoder.n_images == len(files)
    np.testing.assert_array_equal(vectors, embed_images(Counting(), files))


def test_items_are_computed_once_in_any_order_and_subset(store, files):
    encoder = Counting()
    plain = embed_images(Counting(), files)
    for rows in (range(30), range(49, 9, -1), [7, 7, 3], range(50)):
        vectors = embed_images(encoder, [files[row] for row in rows], cache=store)
        np.testing.assert_array_equal(vectors, plain[list(rows)])
    assert encoder.n_images == 50
    info = store.cache_info()
    assert (info.misses, info.entries) == (50, 50)
    assert info.hits == 20 + 2 + 50


def test_another_model_or_an_edited_file_gets_no_stale_vector(store, files):
    encoder = Counting()
    before = embed_images(encoder, files[:5], cache=store)
    other = Counting(fingerprint="others")
    embed_images(other, files[:5], cache=store)
    assert other.n_images == 5
    Image.new("RGB", (4, 5), "white").save(files[0])
    after = embed_images(encoder, files[:5], cache=store)
    assert encoder.n_images == 6
    assert after[0].tolist() == [255] * 3
    np.testing.assert_array_equal(after[1:], before[1:])


def test_the_key_depends_on_dtype_and_features_but_not_on_normalize(store, files):
    for options in ({}, {"dtype": "bfloat16"}, {"features": "pooled"}):
        CLIPImageEmbedder(TINY, cache=store, **options).transform(files[:3])
    CLIPImageEmbedder(TINY, cache=store, normalize=False).transform(files[:3])
    assert store.cache_info()[:3] == (3, 9, 9)


def test_unreadable_images_are_not_stored(store, files):
    with pytest.raises(ImageReadError, match="row 1"):
        embed_images(Counting(), [files[0], "missing.png"], cache=store)
    vectors, errors = embed_readable_images(
        Counting(), [files[0], "missing.png", None], cache=store
    )
    assert sorted(errors) == [1, 2]
    assert np.isnan(vectors[1:]).all()
    assert store.cache_info().entries == 1


@pytest.mark.parametrize("kind", ["bytes", "array", "picture"])
def test_images_in_memory_are_recognized_by_their_content(store, files, kind):
    def load():
        if kind == "bytes":
            return [Path(path).read_bytes() for path in files]
        pictures = [Image.open(path) for path in files]
        return pictures if kind == "picture" else [np.array(picture) for picture in pictures]

    encoder = Counting()
    first, second = (embed_images(encoder, load(), cache=store) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert encoder.n_images == 50


def test_two_threads_share_the_work(store, files):
    encoder = Counting(seconds=0.005)
    results = [None, None]

    def embed(i):
        results[i] = embed_images(encoder, files, batch_size=2, cache=store)

    threads = [threading.Thread(target=embed, args=[i]) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(*results)
    assert encoder.n_images == 50


def test_after_a_failure_another_encoder_can_compute_everything(store, files):
    class Failing(Counting):
        def encode_images(self, images):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        embed_images(Failing(), files, cache=store)
    encoder = Counting()
    embed_images(encoder, files, cache=store)
    assert encoder.n_images == 50


def test_duplicate_texts_are_computed_once(store):
    encoder = Counting()
    for _ in range(2):
        vectors = embed_texts(encoder, ["a", "bb", "a", "ccc"], cache=store)
    assert vectors[:, 0].tolist() == [1, 2, 1, 3]
    assert encoder.n_texts == 3


def test_estimators_use_their_cache(store):
    embedder = CLIPTextEmbedder(TINY, templates=["a {}", "one {}"], cache=store)
    first = embedder.fit_transform(["star", "circle"])
    assert store.cache_info()[:2] == (0, 4)
    np.testing.assert_allclose(first, embedder.transform(["star", "circle"]), atol=1e-6)
    assert store.cache_info()[:2] == (4, 4)
    classifier = ZeroShotClassifier(
        ["star", "circle"], model=TINY, templates=["a {}", "one {}"], cache=store
    ).fit()
    assert store.cache_info()[:2] == (8, 4)
    image = np.zeros((1, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(*(classifier.predict_proba(image) for _ in range(2)))
    assert store.cache_info()[:2] == (9, 5)


def test_a_model_without_a_fingerprint_is_refused(store, files):
    with pytest.raises(ValueError, match="cache=.* needs a model with a fingerprint"):
        embed_images(Counting(fingerprint=None), files, cache=store)
