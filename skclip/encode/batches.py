"""Whole collections of images and texts through any encoder: threads, batches, bad rows.

An encoder here is any object with ``encode_images(images) -> (n, d)`` and
``encode_texts(texts) -> (n, d)``. Our own has two steps more, which let the reading threads do the
resizing too: ``prepare_image(image)`` and ``encode_prepared(list)``.
"""

import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from numbers import Integral

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from skclip.exceptions import ImageReadError, MissingImageWarning
from skclip.inputs.images import as_images, image_key, read_image
from skclip.inputs.texts import as_texts


def embed_images(
    encoder,
    images,
    *,
    features="projected",
    batch_size="auto",
    n_jobs=None,
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
    options = {"features": features, "batch_size": batch_size, "n_jobs": n_jobs}
    vectors, errors = embed_readable_images(
        encoder, images, **options, stop_at_error=on_error == "raise", verbose=verbose
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
    _check_batch_size(batch_size)
    images = as_images(images)
    prepare, forward = _image_steps(encoder, features)
    if batch_size == "auto":
        batch_size = default_batch_size(encoder)

    def read(row):
        try:
            return prepare(read_image(_item(images, row), row=row))
        except ImageReadError as error:
            return error

    first_rows, row_of = _unique(images)
    vectors, errors = None, {}
    progress = tqdm(total=len(first_rows), unit="image", disable=not verbose)
    with progress, _reading_threads(n_jobs) as pool:
        for rows, prepared in _ahead(pool, read, first_rows, batch_size):
            readable = []
            for position, (row, item) in enumerate(zip(rows, prepared, strict=True)):
                if isinstance(item, ImageReadError):
                    if stop_at_error:
                        raise item
                    errors[row] = item.cause  # the exception itself would hold on to its frames
                else:
                    readable.append(position)
            if readable:
                embedded = _as_vectors(forward([prepared[i] for i in readable]), len(readable))
                _check_finite(embedded, "image in row", [rows[i] for i in readable])
                if vectors is None:
                    vectors = np.full((len(first_rows), embedded.shape[1]), np.nan, np.float32)
                vectors[row_of[[rows[i] for i in readable]]] = embedded
            progress.update(len(rows))
    if vectors is None:
        vectors = np.full((len(first_rows), embedding_width(encoder, features)), np.nan, np.float32)
    if len(first_rows) == len(images):
        return vectors, errors
    if errors:
        of_first = {row_of[row]: cause for row, cause in errors.items()}
        errors = {row: of_first[i] for row, i in enumerate(row_of) if i in of_first}
    return vectors[row_of], errors


def embed_texts(encoder, texts, *, batch_size="auto", verbose=0):
    """Embed a collection of texts; equal ones are embedded once.

    Parameters
    ----------
    encoder : Encoder
    texts : list, Series or column of str
    batch_size : int or "auto", default="auto"
    verbose : int, default=0

    Returns
    -------
    ndarray of shape (n_texts, embed_dim), float32
    """
    _check_batch_size(batch_size)
    texts = as_texts(texts)
    if batch_size == "auto":
        batch_size = default_batch_size(encoder)
    if hasattr(encoder, "encode_tokens"):
        items = [tuple(row) for row in encoder.tokenizer.encode_batch(texts)]
        forward = encoder.encode_tokens
    else:
        items, forward = texts, encoder.encode_texts
    # by length, so that a batch holds little padding
    unique = sorted(dict.fromkeys(items), key=len)
    position = {item: i for i, item in enumerate(unique)}
    vectors = []
    with tqdm(total=len(unique), unit="text", disable=not verbose) as progress:
        for start in range(0, len(unique), batch_size):
            batch = unique[start : start + batch_size]
            vectors.append(_as_vectors(forward(batch), len(batch)))
            _check_finite(vectors[-1], "text", batch)
            progress.update(len(batch))
    return np.concatenate(vectors)[[position[item] for item in items]]


def embedding_width(encoder, features="projected"):
    """Return the number of columns that an encoder's embeddings have."""
    if features == "pooled":
        _check_features(encoder, features)
        return encoder.pooled_dim
    if getattr(encoder, "embed_dim", None) is None:
        return np.shape(encoder.encode_texts(["a"]))[1]
    return encoder.embed_dim


def default_batch_size(encoder):
    """Return a batch size that fills the encoder's device; a foreign encoder gets 64."""
    return 256 if str(getattr(encoder, "device", "")).startswith("cuda") else 64


def normalize_rows(vectors):
    """Scale rows to unit length, in place; a row of zeros stays as it is."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms == 0, 1, norms)
    return vectors


def _image_steps(encoder, features):
    _check_features(encoder, features)
    if hasattr(encoder, "prepare_image"):
        return encoder.prepare_image, lambda batch: encoder.encode_prepared(batch, features)
    return (lambda image: image), encoder.encode_images


def _check_batch_size(batch_size):
    if batch_size != "auto" and not (isinstance(batch_size, Integral) and batch_size >= 1):
        raise ValueError(f"batch_size must be 'auto' or an int of at least 1, got {batch_size!r}")


def _check_features(encoder, features):
    if features not in ("projected", "pooled"):
        raise ValueError(f"features must be 'projected' or 'pooled', got {features!r}")
    if features == "pooled" and not hasattr(encoder, "pooled_dim"):
        raise ValueError(
            "features='pooled' needs a model loaded by skclip; "
            f"{type(encoder).__name__} offers only 'projected'"
        )


def _check_finite(embedded, what, names):
    if not np.isfinite(embedded).all():
        row = int(np.flatnonzero(~np.isfinite(embedded).all(axis=1))[0])
        raise ValueError(
            f"the encoder gave values that are not finite for the {what} {names[row]!r}; "
            "a model in float16 may overflow: use float32 or bfloat16"
        )


def _as_vectors(embedded, n_rows):
    if isinstance(embedded, torch.Tensor):
        embedded = embedded.detach().float().cpu().numpy()
    embedded = np.asarray(embedded, dtype=np.float32)
    if embedded.ndim != 2 or len(embedded) != n_rows:
        raise ValueError(
            f"the encoder must return one row for each of {n_rows} inputs, got an array of shape "
            f"{embedded.shape}"
        )
    return embedded


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


@contextmanager
def _reading_threads(n_jobs):
    # torch's number is the cores that are free for us: joblib lowers it in its worker processes
    n_threads = torch.get_num_threads() if n_jobs is None else joblib.effective_n_jobs(n_jobs)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="skclip-read")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool, function, items, batch_size):
    """Yield batches of (items, results) in order, computing at most two batches ahead."""
    items = iter(items)
    waiting = deque()
    while True:
        while len(waiting) < 3 and (batch := list(islice(items, batch_size))):
            waiting.append((batch, [pool.submit(function, item) for item in batch]))
        if not waiting:
            return
        batch, futures = waiting.popleft()
        yield batch, [future.result() for future in futures]
