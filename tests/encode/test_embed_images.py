"""Embedding collections: the order of rows, duplicates, unreadable rows, batches, memory."""

import threading
import warnings
from functools import partial

import numpy as np
import pytest
from PIL import Image
from subprocesses import run_script

from skclip.encode import images as images_module
from skclip.encode import texts as texts_module
from skclip.encode.images import embedding_width
from skclip.encode.protocol import Encoder
from skclip.encode.vectors import normalize_rows
from skclip.exceptions import ImageReadError, MissingImageWarning

# means and lengths are easier to compute by hand than rows of unit length
embed_images = partial(images_module.embed_images, normalize=False)
embed_texts = partial(texts_module.embed_texts, normalize=False)


class MeanColor:
    """An encoder that is not an `Encoder`: mean colors, lengths of texts; records its batches."""

    def __init__(self):
        self.batches = []

    def encode_images(self, images):
        assert all(isinstance(image, Image.Image) and image.mode == "RGB" for image in images)
        self.batches.append(len(images))
        return np.stack([np.asarray(image).mean(axis=(0, 1)) for image in images])

    def encode_texts(self, texts):
        self.batches.append(list(texts))
        return [[len(text), text.count("a"), 1] for text in texts]


@pytest.fixture
def images(rng):
    return [rng.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(23)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def expected(images):
    return np.stack([image.mean(axis=(0, 1)) for image in images])


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100, "auto"])
@pytest.mark.parametrize("n_jobs", [None, 1, 3])
def test_rows_keep_their_order_with_any_batches_and_threads(images, batch_size, n_jobs):
    vectors = embed_images(MeanColor(), images, batch_size=batch_size, n_jobs=n_jobs)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(images), rtol=1e-6)


def test_duplicate_images_are_embedded_once(images):
    encoder = MeanColor()
    repeated = [images[i] for i in (0, 1, 0, 2, 1, 0)]
    vectors = embed_images(encoder, repeated, batch_size=10)
    assert encoder.batches == [3]
    np.testing.assert_allclose(vectors, expected(repeated), rtol=1e-6)


def test_duplicate_texts_are_embedded_once_and_sorted_by_length():
    encoder = MeanColor()
    texts = ["banana", "a", "banana", "kiwi", "a"]
    vectors = embed_texts(encoder, texts, batch_size=2)
    assert encoder.batches == [["a", "kiwi"], ["banana"]]
    np.testing.assert_array_equal(vectors[:, 0], [6, 1, 6, 4, 1])


def test_the_first_unreadable_row_raises_an_error(images):
    images[5] = b"no picture"
    images[9] = None
    with pytest.raises(ImageReadError, match="^image in row 5: "):
        embed_images(MeanColor(), images, batch_size=4)


def test_unreadable_rows_become_nan_and_do_not_change_their_neighbors(images):
    whole = embed_images(MeanColor(), images, batch_size=4)
    images[5] = images[21] = b"no picture"
    images[9] = None
    with pytest.warns(MissingImageWarning, match=r"^3 of 23 images .* row 5: "):
        vectors = embed_images(MeanColor(), images, batch_size=4, on_error="nan")
    bad = [5, 9, 21]
    assert np.isnan(vectors[bad]).all()
    np.testing.assert_array_equal(np.delete(vectors, bad, axis=0), np.delete(whole, bad, axis=0))


def test_if_no_row_is_readable_all_are_nan():
    with pytest.warns(MissingImageWarning, match="^2 of 2 images"):
        vectors = embed_images(MeanColor(), [None, np.nan], on_error="nan")
    assert vectors.shape == (2, 3)
    assert np.isnan(vectors).all()


def test_only_a_few_batches_are_read_ahead():
    """A sequence records which rows were read; the encoder checks them with each batch."""
    read = set()

    class Rows:
        def __len__(self):
            return 500

        def __getitem__(self, row):
            if threading.current_thread().name.startswith("skclip-read"):
                read.add(row)
            return np.full((2, 2), row % 256, dtype=np.uint8)

    class Slow(MeanColor):
        def encode_images(self, images):
            seen = sum(self.batches)
            assert len(read) <= seen + 4 * 10
            return super().encode_images(images)

    encoder = Slow()
    assert embed_images(encoder, Rows(), batch_size=10).shape == (500, 3)
    assert len(read) == 500


def test_a_row_for_which_a_sequence_raises_an_error_is_unreadable():
    class Rows:
        def __len__(self):
            return 3

        def __getitem__(self, row):
            if row == 1:
                raise OSError("the disk is gone")
            return np.zeros((2, 2), dtype=np.uint8)

    with pytest.raises(ImageReadError, match="^image in row 1: .*OSError: the disk is gone"):
        embed_images(MeanColor(), Rows())
    with pytest.warns(MissingImageWarning):
        vectors = embed_images(MeanColor(), Rows(), on_error="nan")
    assert np.isnan(vectors).any(axis=1).tolist() == [False, True, False]


def test_odd_items_are_unreadable_rows():
    items = [Image.new("RGB", (0, 5)), memoryview(b"abcdef")[::2], np.zeros((2, 2))]
    with pytest.warns(MissingImageWarning, match="^2 of 3 images"):
        vectors = embed_images(MeanColor(), items, on_error="nan")
    assert np.isnan(vectors).any(axis=1).tolist() == [True, True, False]


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    paths = []
    for i in range(400):
        path = tmp_path / f"{i}.jpg"
        noise[0, 0] = i % 256, i // 256, 0
        Image.fromarray(noise).resize((640, 480)).save(path, quality=60)
        paths.append(str(path))
    run = run_script("measure_memory.py", *paths)
    assert float(run.stdout) < 60  # MB; decoded, the last 300 pictures would take 264


def test_an_encoder_that_returns_a_wrong_shape_is_an_error(images):
    class Flat(MeanColor):
        def encode_images(self, images):
            return np.zeros(len(images))

    with pytest.raises(ValueError, match=r"one row for each of 23 inputs, got .* \(23,\)"):
        embed_images(Flat(), images)


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": 2.5}, {"features": "x"}, {"on_error": "drop"}]
)
def test_bad_options_are_refused(images, options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must be"):
        embed_images(MeanColor(), images, **options)


def test_an_error_of_the_models_own_preprocessing_is_no_bad_row(images):
    class Faulty(Encoder):
        def encode_images(self, images):
            return np.zeros((len(images), 3))

        def encode_texts(self, texts):
            return np.zeros((len(texts), 3))

        def prepare_image(self, item):
            raise AttributeError("a mistake")

    for on_error in ("raise", "nan"):
        with pytest.raises(AttributeError, match="a mistake"):
            embed_images(Faulty(), images, on_error=on_error)


def test_pooled_features_need_a_method_of_their_own(images):
    class Pooled(Encoder):
        pooled_dim = 7

        def encode_images(self, images):
            return np.zeros((len(images), 3))

        def encode_texts(self, texts):
            return np.zeros((len(texts), 3))

    assert embed_images(Pooled(), images).shape == (23, 3)
    with pytest.raises(ValueError, match="features must be 'projected' for Pooled"):
        embed_images(Pooled(), images, features="pooled")


def test_a_bad_batch_size_for_texts_is_refused():
    with pytest.raises(
        ValueError, match="batch_size must be 'auto' or an int of at least 1, got 0"
    ):
        embed_texts(MeanColor(), ["a"], batch_size=0)


def test_an_error_names_the_item_whose_vector_is_not_finite(images):
    class Overflowing(MeanColor):
        def encode_images(self, images):
            vectors = super().encode_images(images)
            vectors[-1, 0] = np.inf
            return vectors

        def encode_texts(self, texts):
            return np.full((len(texts), 3), np.nan)

    with pytest.raises(ValueError, match="not finite for the image in row 3; a model in float16"):
        embed_images(Overflowing(), images, batch_size=4)
    with pytest.raises(ValueError, match="not finite for the text 'a'"):
        embed_texts(Overflowing(), ["a"])


def test_pooled_features_need_a_model_loaded_by_skclip(images):
    with pytest.raises(ValueError, match="offers only 'projected'"):
        embed_images(MeanColor(), images, features="pooled")


def test_embedding_width_of_an_encoder_without_embed_dim():
    assert embedding_width(MeanColor()) == 3


def test_verbose_shows_a_progress_bar(images, capsys):
    embed_images(MeanColor(), images, verbose=1)
    assert "23/23" in capsys.readouterr().err
    embed_images(MeanColor(), images)
    assert capsys.readouterr().err == ""


def test_normalize_rows_keeps_rows_of_zeros():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = normalize_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(rows, [[0.6, 0.8], [0, 0]])
