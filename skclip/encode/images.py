"""A column of images -> a matrix of vectors, with any encoder.

The steps, in this order: duplicates are found; vectors that a store has are looked up; the other
images are read in threads, a few batches ahead of the model; each vector is copied to its rows.
"""

from contextlib import closing
from functools import partial
from numbers import Integral

import numpy as np
from tqdm.auto import tqdm

from skclip._messages import shown
from skclip._warnings import warn
from skclip.encode.batches import parts_of, plan_batches
from skclip.encode.cache.lookup import stored_or_computed
from skclip.encode.cache.resolve import store_for
from skclip.encode.protocol import as_encoder
from skclip.encode.reading import read_item
from skclip.encode.threads import map_in_threads, one_ahead, read_and_compute
from skclip.encode.vectors import as_vectors, normalize_rows
from skclip.exceptions import ImageReadError, MissingImageWarning
from skclip.inputs.images import as_images
from skclip.inputs.items import contents_of, distinct_items

# those that are looked up together; what identifies the next ones is read meanwhile
_ITEMS_PER_LOOKUP = 4096
_CONTENTS_PER_TASK = 32


def embed_images(
    encoder,
    images,
    *,
    features="projected",
    normalize=True,
    batch_size="auto",
    n_jobs=None,
    cache=None,
    on_error="raise",
    verbose=0,
):
    """Embed a collection of images with any encoder; duplicates are embedded once.

    Parameters
    ----------
    encoder : Encoder
        What `load_encoder` returns, or any object with ``encode_images`` and ``encode_texts``.
    images : images
        Paths, ``bytes``, PIL images, arrays, tensors or dicts, in a list, tuple, object array,
        Series or one-column frame; or one array (n, height, width[, channels]). As for
        `CLIPImageEmbedder`.
    features : {"projected", "pooled"}, default="projected"
        "pooled" is the output of the image tower before the projection.
    normalize : bool, default=True
        Whether to scale each row to unit length.
    batch_size : int or "auto", default="auto"
        How many images the model embeds at once. "auto" uses the encoder's own batch size.
    n_jobs : int or None, default=None
        How many threads read and resize images while the model runs, as joblib counts. None means
        one for each free core.
    cache : None, "memory", path or EmbeddingStore, default=None
        Where embeddings are looked up and stored. None stores nothing.
    on_error : {"raise", "nan"}, default="raise"
        What a missing or unreadable image becomes: an error, or a row of NaN and a warning.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Returns
    -------
    vectors : ndarray of shape (n_images, n_features), float32

    Raises
    ------
    ImageReadError
        For the first unreadable row, with ``on_error="raise"``.

    Warns
    -----
    MissingImageWarning
        Once, with the number of rows that became NaN, with ``on_error="nan"``.

    See Also
    --------
    CLIPImageEmbedder : The same as a transformer.
    embed_texts : The same for texts.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skclip import embed_images, load_encoder
    >>> encoder = load_encoder("skclip/tiny")
    >>> vectors = embed_images(encoder, load_digits().images[:4] / 16)
    >>> vectors.shape == (4, encoder.embed_dim)
    True
    """
    if on_error not in ("raise", "nan"):
        raise ValueError(f"on_error must be 'raise' or 'nan', got {shown(on_error)}")
    images = as_images(images)
    with tqdm(total=len(images), unit="image", disable=not verbose) as progress:
        vectors, causes = embed_readable_images(
            encoder,
            images,
            features=features,
            batch_size=batch_size,
            n_jobs=n_jobs,
            cache=cache,
            stop_at_error=on_error == "raise",
            advance=progress.update,
        )
    if causes:
        first = min(causes)
        warn(
            f"{len(causes)} of {len(vectors)} images could not be read and became rows of NaN; the "
            f"first: {ImageReadError(first, causes[first])}",
            MissingImageWarning,
        )
    return normalize_rows(vectors) if normalize else vectors


def embed_readable_images(
    encoder,
    images,
    *,
    features="projected",
    batch_size="auto",
    n_jobs=None,
    cache=None,
    stop_at_error=False,
    advance=lambda n_rows: None,
):
    """Embed the images that can be read, and return why the others cannot.

    Parameters
    ----------
    encoder, features, batch_size, n_jobs, cache
        As for `embed_images`.
    images : sequence
        What `skclip.inputs.images.as_images` returns.
    stop_at_error : bool, default=False
        Whether to raise an `ImageReadError` for the first row that cannot be read.
    advance : callable, default=does nothing
        Called now and then with the number of rows completed since the last call.

    Returns
    -------
    vectors : ndarray of shape (n_images, n_features), float32
        Not normalized; NaN where the image could not be read.
    causes : dict of int to str
        For each row that could not be read, why not.

    Raises
    ------
    ImageReadError
        For the first unreadable row that is met, with `stop_at_error`.
    """
    matrix, causes = None, {}
    batches = embed_in_batches(
        encoder,
        images,
        features=features,
        batch_size=batch_size,
        n_jobs=n_jobs,
        cache=cache,
        stop_at_error=stop_at_error,
    )
    with closing(batches):
        for rows, vectors, failed in batches:
            causes |= failed
            if len(rows):
                if matrix is None:
                    matrix = np.full((len(images), vectors.shape[1]), np.nan, np.float32)
                matrix[rows] = vectors
            advance(len(rows) + len(failed))
    if matrix is None:
        matrix = np.full((len(images), embedding_width(encoder, features)), np.nan, np.float32)
    return matrix, causes


def embed_in_batches(
    encoder,
    images,
    *,
    features="projected",
    batch_size="auto",
    n_jobs=None,
    cache=None,
    stop_at_error=False,
):
    """Yield the vectors of a column of images as they are completed.

    Parameters
    ----------
    encoder, images, features, batch_size, n_jobs, cache, stop_at_error
        As for `embed_readable_images`.

    Yields
    ------
    rows : ndarray of shape (n_rows,), int
        Rows that could be read, those of duplicates included. Each row of `images` is in one batch.
    vectors : ndarray of shape (n_rows, n_features), float32, or None
        Not normalized. None without rows.
    causes : dict of int to str
        For each row of the batch that could not be read, why not.

    Raises
    ------
    ImageReadError
        For the first unreadable row that is met, with `stop_at_error`.
    """
    check_batch_size(batch_size)
    encoder = as_encoder(encoder)
    _check_features(encoder, features)
    store, prefix = store_for(encoder, cache, "image", features)
    items, first_rows, item_of = distinct_items(images)
    batch_size, n_threads = plan_batches(
        len(items), batch_size, encoder.images_per_batch, encoder.n_threads
    )
    # From here on, an item is identified by its position in `items`. A batch of positions becomes
    # vectors in two steps, each in threads of its own: read(position), and then
    # compute(positions, images that were read).
    read = partial(read_item, items, encoder.prepare_image)
    compute = partial(_encode_batch, encoder, features, first_rows, stop_at_error)
    embed_batches = partial(
        read_and_compute, read=read, compute=compute, n_jobs=n_jobs, n_threads=n_threads
    )
    if store is None:
        results = embed_batches(parts_of(range(len(items)), batch_size))
    else:
        results = _with_store(store, prefix, items, n_jobs, embed_batches, batch_size)

    # `results` is a generator: nothing is read before this loop, and closing it ends its threads
    rows_by_item = np.argsort(item_of, kind="stable")
    n_rows = np.bincount(item_of)
    ends = np.cumsum(n_rows)
    with closing(results):
        for positions, vectors, failed in results:
            if failed and stop_at_error:
                first = min(failed)
                raise ImageReadError(int(first_rows[first]), failed[first])
            causes = {
                row: cause
                for p, cause in failed.items()
                for row in rows_by_item[ends[p] - n_rows[p] : ends[p]].tolist()
            }
            if positions:
                rows = [rows_by_item[ends[p] - n_rows[p] : ends[p]] for p in positions]
                yield np.concatenate(rows), np.repeat(vectors, n_rows[positions], axis=0), causes
            else:
                yield np.array([], np.intp), None, causes


def embedding_width(encoder, features="projected"):
    """Return the number of columns of an encoder's embeddings.

    Parameters
    ----------
    encoder : Encoder
        If it does not have `embed_dim`, a short text is embedded to find out.
    features : {"projected", "pooled"}, default="projected"

    Returns
    -------
    width : int
    """
    encoder = as_encoder(encoder)
    _check_features(encoder, features)
    if features == "pooled":
        return encoder.pooled_dim
    return encoder.embed_dim or np.shape(encoder.encode_texts(["a"]))[1]


def check_batch_size(batch_size):
    """Raise ValueError unless the argument is "auto" or an int of at least 1."""
    if batch_size != "auto" and not (isinstance(batch_size, Integral) and batch_size >= 1):
        raise ValueError(
            f"batch_size must be 'auto' or an int of at least 1, got {shown(batch_size)}"
        )


def _check_features(encoder, features):
    if features not in ("projected", "pooled"):
        raise ValueError(f"features must be 'projected' or 'pooled', got {shown(features)}")
    if features == "pooled" and encoder.pooled_dim is None:
        raise ValueError(
            "features='pooled' needs a model loaded by skclip; this one offers only 'projected'"
        )


def _encode_batch(encoder, features, first_rows, stop_at_error, positions, images):
    """Embed the items of one batch that could be read.

    Parameters
    ----------
    encoder : Encoder
    features : str
    first_rows : ndarray of shape (n_items,), int
        The row of each item, for messages.
    stop_at_error : bool
        Whether a batch with an unreadable image is not worth embedding.
    positions : sequence of int
        The items of the batch.
    images : list of ReadImage
        One for each position.

    Returns
    -------
    positions : list of int
        Of the items that could be read.
    vectors : ndarray of shape (n_positions, d), float32, or None
        None without positions.
    causes : dict of int to str
        For the position of each other item, why it could not be read.
    """
    causes = {p: image.cause for p, image in zip(positions, images, strict=True) if image.cause}
    positions = [p for p in positions if p not in causes]
    if not positions or (causes and stop_at_error):
        return [], None, causes
    prepared = [image.prepared for image in images if not image.cause]
    vectors = encoder.encode_prepared_images(prepared, features)
    rows = first_rows[positions].tolist()
    return positions, as_vectors(vectors, "image in row", rows), causes


def _with_store(store, prefix, items, n_jobs, embed_batches, batch_size):
    """Yield the results of `stored_or_computed`; read ahead what identifies the items."""
    # a store that somebody else wrote may lack the attribute
    hash_files = getattr(store, "hash_files", False)
    read_contents = partial(_contents_of, items, hash_files, n_jobs)
    parts = parts_of(range(len(items)), _ITEMS_PER_LOOKUP)
    with closing(one_ahead(read_contents, parts)) as contents:
        yield from stored_or_computed(store, prefix, contents, embed_batches, batch_size)


def _contents_of(items, hash_files, n_jobs, positions):
    """Return positions and what identifies the items there, which is read in threads."""
    parts = parts_of(positions, _CONTENTS_PER_TASK)
    contents = map_in_threads(partial(contents_of, items, hash_files), parts, n_jobs)
    return positions, [content for part in contents for content in part]
