"""A column of texts -> a matrix of vectors, with any encoder.

The steps, in this order: duplicates are found; vectors that a store has are looked up; the other
texts are sorted, so that a batch has texts of similar length, or with the same beginning.
"""

from contextlib import closing
from functools import partial

import numpy as np
from tqdm.auto import tqdm

from skclip.encode.batches import even_batch_size, parts_of
from skclip.encode.cache.keys import text_content
from skclip.encode.cache.lookup import stored_or_computed
from skclip.encode.cache.resolve import store_for
from skclip.encode.images import check_batch_size
from skclip.encode.protocol import as_encoder
from skclip.encode.threads import compute_in_order, resolve_n_threads
from skclip.encode.vectors import as_vectors, normalize_rows
from skclip.inputs.texts import as_texts, warn_of_image_files

# lengths are rounded up to a multiple of this many tokens before texts are sorted by length: in a
# batch, attention pads the shorter texts
LENGTH_STEP = 8


def embed_texts(encoder, texts, *, normalize=True, batch_size="auto", cache=None, verbose=0):
    """Embed a collection of texts with any encoder; duplicates are embedded once.

    Parameters
    ----------
    encoder : Encoder
        What `load_encoder` returns, or any object with ``encode_images`` and ``encode_texts``.
    texts : list, tuple, array, Series or one-column frame of str
    normalize : bool, default=True
        Whether to scale each row to unit length.
    batch_size : int or "auto", default="auto"
        How many texts the model embeds at once. "auto" uses the encoder's own batch size.
    cache : None, "memory", path or EmbeddingStore, default=None
        Where embeddings are looked up and stored. None stores nothing.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Returns
    -------
    vectors : ndarray of shape (n_texts, embed_dim), float32

    Warns
    -----
    UserWarning
        If each text is the name of an image file.

    See Also
    --------
    CLIPTextEmbedder : The same as a transformer, with prompt templates.
    embed_images : The same for images.

    Examples
    --------
    >>> from skclip import embed_texts, load_encoder
    >>> encoder = load_encoder("skclip/tiny")
    >>> embed_texts(encoder, ["a red circle", "a blue star"]).shape == (2, encoder.embed_dim)
    True
    """
    texts = as_texts(texts)
    warn_of_image_files(texts)
    texts, text_of = _distinct(texts)
    matrix = None
    with closing(_embedded(encoder, texts, batch_size, cache, verbose)) as results:
        for positions, vectors in results:
            if matrix is None:
                matrix = np.empty((len(texts), vectors.shape[1]), np.float32)
            matrix[positions] = vectors
    vectors = matrix[text_of]
    return normalize_rows(vectors) if normalize else vectors


def embed_text_means(encoder, groups, *, batch_size="auto", cache=None, verbose=0):
    """Embed groups of texts, each as the mean of its normalized embeddings, normalized again.

    Parameters
    ----------
    encoder : Encoder
    groups : list of list of str
    batch_size, cache, verbose
        As for `embed_texts`.

    Returns
    -------
    ndarray of shape (n_groups, embed_dim), float32
        Rows of unit length.

    Notes
    -----
    Each embedding is added to the means of its groups as soon as it is computed, so that the
    embeddings of all texts are never in memory at once.
    """
    texts, text_of = _distinct([text for group in groups for text in group])
    group_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    # where each text occurs in the concatenated groups: first all places of text 0, then of text 1
    places = np.argsort(text_of, kind="stable")
    starts = np.searchsorted(text_of[places], np.arange(len(texts) + 1))
    means = None
    with closing(_embedded(encoder, texts, batch_size, cache, verbose)) as results:
        for positions, vectors in results:
            if means is None:
                means = np.zeros((len(groups), vectors.shape[1]), np.float32)
            counts = [starts[p + 1] - starts[p] for p in positions]
            where = np.concatenate([places[starts[p] : starts[p + 1]] for p in positions])
            vectors = normalize_rows(np.array(vectors))
            np.add.at(means, group_of[where], np.repeat(vectors, counts, axis=0))
    means /= np.bincount(group_of)[:, None]
    return normalize_rows(means)


def _distinct(texts):
    """Return the list of distinct texts, and the position in it of each text, (n_texts,)."""
    position_of = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return list(position_of), np.array([position_of[text] for text in texts])


def _embedded(encoder, texts, batch_size, cache, verbose):
    """Yield (positions, vectors) of distinct texts, in any order, each position once."""
    check_batch_size(batch_size)
    encoder = as_encoder(encoder)
    store, prefix = store_for(encoder, cache, "text")
    compute = partial(_computed, encoder, texts, batch_size)
    if store is None:
        results = compute([range(len(texts))])
    else:
        # one part and one batch: texts are divided into batches once all missing ones are known
        contents = [(range(len(texts)), [text_content(text) for text in texts])]
        results = stored_or_computed(store, prefix, contents, compute, batch_size=len(texts))
    with (
        tqdm(total=len(texts), unit="text", disable=not verbose) as progress,
        closing(results),
    ):
        for positions, vectors, _ in results:
            yield positions, vectors
            progress.update(len(positions))


def _computed(encoder, texts, batch_size, batches):
    """Embed texts, for `stored_or_computed`; `batches` are joined and divided differently."""
    positions = [position for batch in batches for position in batch]
    if not positions:
        return
    prepared = encoder.prepare_texts([texts[position] for position in positions])
    prepared_of = dict(zip(positions, prepared, strict=True))
    if encoder.tokens_per_batch is None:
        size = encoder.texts_per_batch if batch_size == "auto" else batch_size
        batches = [*parts_of(sorted(positions, key=lambda p: len(texts[p])), size)]
        n_threads = min(resolve_n_threads(encoder.n_threads), len(batches))
    else:
        batches, n_threads = _batches_by_prefix(prepared_of, batch_size, encoder)
    encode = partial(_encode_batch, encoder, texts, prepared_of)
    yield from compute_in_order(encode, [(batch,) for batch in batches], n_threads)


def _encode_batch(encoder, texts, prepared_of, positions):
    vectors = encoder.encode_prepared_texts([prepared_of[position] for position in positions])
    return positions, as_vectors(vectors, "text", [texts[p] for p in positions]), {}


def _batches_by_prefix(tokens_of, batch_size, encoder):
    """Divide texts into batches with about equally many tokens.

    Tokens at the start of a text that are those of the text before it count once.

    Parameters
    ----------
    tokens_of : dict of int to tuple of int
        The tokens of the text at each position.
    batch_size : int or "auto"
        The largest number of texts in a batch.
    encoder : Encoder

    Returns
    -------
    batches : list of list of int
        Positions.
    n_threads : int
        How many threads run the model.
    """

    def by_length_and_prefix(position):
        tokens = tokens_of[position]
        return -(-len(tokens) // LENGTH_STEP), tokens

    positions = sorted(tokens_of, key=by_length_and_prefix)
    costs, previous = [], ()
    for position in positions:
        tokens = tokens_of[position]
        shared = next(
            (i for i, (a, b) in enumerate(zip(tokens, previous, strict=False)) if a != b),
            min(len(tokens), len(previous)),
        )
        costs.append(len(tokens) - shared)
        previous = tokens
    n_threads = resolve_n_threads(encoder.n_threads)
    most_tokens = even_batch_size(sum(costs), encoder.tokens_per_batch, n_threads)
    most_texts = len(positions) if batch_size == "auto" else batch_size
    batches, n_tokens = [[]], 0
    for position, cost in zip(positions, costs, strict=True):
        if batches[-1] and (n_tokens + cost > most_tokens or len(batches[-1]) == most_texts):
            batches.append([])
            # the first text of a batch shares no tokens with the batch before
            n_tokens, cost = 0, len(tokens_of[position])
        batches[-1].append(position)
        n_tokens += cost
    return batches, min(n_threads, len(batches))
