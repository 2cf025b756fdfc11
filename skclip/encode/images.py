"""Whole collections of images through any encoder: threads, batches, bad rows, a store.

An encoder here is any object with ``encode_images(images) -> (n, d)``. Our own has two steps more,
which let the reading threads do the resizing too: ``read_pixels(item, row)`` and
``encode_pixels(list, features)``. It also says how many images make a good batch
(``images_per_batch``) and how many threads may run it at once (``n_threads``).
"""

import warnings
from numbers import Integral

import numpy as np
from tqdm.auto import tqdm

from skclip.encode.cache.keys import image_content
from skclip.encode.cache.lookup import cached_rows
from skclip.encode.threads import (
    ahead,
    computing_threads,
    even_batch_size,
    in_order,
    reading_threads,
)
from skclip.encode.vectors import Rows, as_vectors, check_features, embedding_width
from skclip.exceptions import ImageReadError, MissingImageWarning
from skclip.inputs.images import as_images, image_key, read_image

# a foreign encoder is not asked to run in several threads
DEFAULT_BATCH_SIZE = 64


def embed_images(
    encoder,
    images,
    *,
    features="projected",
    batch_size="auto",
    n_jobs=None,
    cache=None,
    on_error="raise",
    verbose=0,
):
    """Embed a collection of images; equal ones are embedded once.

    Parameters
    ----------
    encoder : Encoder
    images : images
        Whatever `skclip.inputs.images.as_images` takes.
    features : {"projected", "pooled"}, default="projected"
    batch_size : int or "auto", default="auto"
    n_jobs : int or None, default=None
        Reading threads; None means as many as torch may use.
    cache : None, "memory", path or EmbeddingStore, default=None
        Where vectors are looked up and kept.
    on_error : {"raise", "nan"}, default="raise"
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Returns
    -------
    ndarray of shape (n_images, n_features), float32

    Raises
    ------
    ImageReadError
        For the first unreadable row, with ``on_error="raise"``.

    Warns
    -----
    MissingImageWarning
        Once, with the number of rows that became NaN, with ``on_error="nan"``.
    """
    if on_error not in ("raise", "nan"):
        raise ValueError(f"on_error must be 'raise' or 'nan', got {on_error!r}")
    vectors, errors = embed_readable_images(
        encoder,
        images,
        features=features,
        batch_size=batch_size,
        n_jobs=n_jobs,
        cache=cache,
        stop_at_error=on_error == "raise",
        verbose=verbose,
    )
    if errors:
        first = min(errors)
        warnings.warn(
            f"{len(errors)} of {len(vectors)} images could not be read and became rows of NaN; the "
            f"first: {ImageReadError(first, errors[first])}",
            MissingImageWarning,
            stacklevel=2,
        )
    return vectors


def embed_readable_images(
    encoder,
    images,
    *,
    features="projected",
    batch_size="auto",
    n_jobs=None,
    cache=None,
    stop_at_error=False,
    verbose=0,
):
    """Embed the images that can be read, and say of the others why not.

    Parameters are those of `embed_images`.

    Returns
    -------
    vectors : ndarray of shape (n_images, n_features), float32
        NaN where the image could not be read.
    errors : dict of int to str
        Row and cause.
    """
    check_batch_size(batch_size)
    images = as_images(images)
    read_item, encode = _image_steps(encoder, features)

    def read(row):
        try:
            return read_item(_item(images, row), row)
        except ImageReadError as error:
            return error

    def compute(batch):
        readable = [
            (row, item)
            for row, item in zip(*batch, strict=True)
            if not isinstance(item, ImageReadError)
        ]
        unreadable = [item for item in batch[1] if isinstance(item, ImageReadError)]
        if not readable or (unreadable and stop_at_error):
            return [], None, unreadable
        rows, items = map(list, zip(*readable, strict=True))
        return rows, as_vectors(encode(items), "image in row", rows), unreadable

    def content(row, store):
        try:
            return image_content(_item(images, row), getattr(store, "hash_files", False))
        except ImageReadError:
            return None

    def take(rows, vectors):
        collected[row_of[rows]] = vectors
        progress.update(len(rows))

    first_rows, row_of = _unique(images)
    collected, errors = Rows(len(first_rows)), {}
    n_threads = getattr(encoder, "n_threads", 1)
    if batch_size == "auto":
        most = getattr(encoder, "images_per_batch", DEFAULT_BATCH_SIZE)
        batch_size = even_batch_size(len(first_rows), most, n_threads)
    n_threads = min(n_threads, -(-len(first_rows) // batch_size))

    with (
        tqdm(total=len(first_rows), unit="image", disable=not verbose) as progress,
        cached_rows(cache, encoder, ("image", features), content) as cached,
        reading_threads(n_jobs) as readers,
        computing_threads(n_threads) as computers,
    ):
        for rows in cached.passes(first_rows, take, readers.map):
            batches = ahead(readers, read, rows, batch_size, n_ahead=1 + n_threads)
            for (asked, _), future in in_order(computers, compute, batches, n_ahead=n_threads):
                rows, vectors, unreadable = future.result()
                if unreadable:
                    if stop_at_error:
                        raise unreadable[0]
                    # the exceptions themselves would hold on to their frames
                    errors |= {error.row: error.cause for error in unreadable}
                    cached.release([error.row for error in unreadable])
                if rows:
                    collected[row_of[rows]] = vectors
                    cached.put(rows, vectors)
                progress.update(len(asked))
    vectors = collected.to_numpy(lambda: embedding_width(encoder, features))
    if len(first_rows) == len(images):
        return vectors, errors
    if errors:
        of_first = {row_of[row]: cause for row, cause in errors.items()}
        errors = {row: of_first[i] for row, i in enumerate(row_of) if i in of_first}
    return vectors[row_of], errors


def check_batch_size(batch_size):
    """Refuse what is no batch size."""
    if batch_size != "auto" and not (isinstance(batch_size, Integral) and batch_size >= 1):
        raise ValueError(f"batch_size must be 'auto' or an int of at least 1, got {batch_size!r}")


def _image_steps(encoder, features):
    check_features(encoder, features)
    if hasattr(encoder, "read_pixels"):
        return encoder.read_pixels, lambda batch: encoder.encode_pixels(batch, features)
    return lambda item, row: read_image(item, row=row), encoder.encode_images


def _unique(images):
    """Return the rows to embed and, for each row, which of those stands for it."""
    if not isinstance(images, (list, tuple, np.ndarray)):
        # it may decode its items on access, which is for the reading threads
        return range(len(images)), np.arange(len(images))
    position, first_rows = {}, []
    row_of = np.empty(len(images), dtype=np.intp)
    for row in range(len(images)):
        key = image_key(images[row])
        if key is None or key not in position:
            if key is not None:
                position[key] = len(first_rows)
            row_of[row] = len(first_rows)
            first_rows.append(row)
        else:
            row_of[row] = position[key]
    return first_rows, row_of


def _item(images, row):
    try:
        return images[row]
    except Exception as error:  # whatever a lazy sequence meets when it looks its item up
        cause = f"the collection does not give it ({type(error).__name__}: {error})"
        raise ImageReadError(row, cause) from error
