"""Whole collections of texts through any encoder.

An encoder here is any object with ``encode_texts(texts) -> (n, d)``. Our own takes token ids
(``tokenizer.encode_batch``, ``encode_tokens``) and computes a prefix that several texts share once,
so its texts come sorted.
"""

import numpy as np
from tqdm.auto import tqdm

from skclip.encode.cache.keys import text_content
from skclip.encode.cache.lookup import cached_rows
from skclip.encode.images import DEFAULT_BATCH_SIZE, check_batch_size
from skclip.encode.threads import computing_threads, even_batch_size, in_order
from skclip.encode.vectors import Rows, as_vectors, normalize_rows
from skclip.inputs.texts import as_texts

# texts of about the same length go together: shorter ones are padded in the attention
LENGTH_STEP = 8


def embed_texts(encoder, texts, *, batch_size="auto", cache=None, verbose=0):
    """Embed a collection of texts; equal ones are embedded once.

    Parameters
    ----------
    encoder : Encoder
    texts : list, Series or column of str
    batch_size : int or "auto", default="auto"
    cache : None, "memory", path or EmbeddingStore, default=None
        Where vectors are looked up and kept.
    verbose : int, default=0

    Returns
    -------
    ndarray of shape (n_texts, embed_dim), float32
    """
    unique, row_of = _unique(as_texts(texts))
    collected = Rows(len(unique))
    for rows, vectors in _embedded(encoder, unique, batch_size, cache, verbose):
        collected[rows] = vectors
    return collected.to_numpy(None)[row_of]


def embed_text_means(encoder, groups, *, batch_size="auto", cache=None, verbose=0):
    """Embed groups of texts, each as the mean of its normalised embeddings, normalised again.

    Parameters
    ----------
    encoder : Encoder
    groups : list of list of str
    batch_size : int or "auto", default="auto"
    cache : None, "memory", path or EmbeddingStore, default=None
    verbose : int, default=0

    Returns
    -------
    ndarray of shape (n_groups, embed_dim), float32
        Rows of unit length.

    Notes
    -----
    The embeddings of single texts are added up as they come, and never stand in memory together.
    """
    unique, row_of = _unique([text for group in groups for text in group])
    group_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    # for each of the unique texts the groups it stands in, one behind the other
    order = np.argsort(row_of, kind="stable")
    starts = np.searchsorted(row_of[order], np.arange(len(unique) + 1))
    means = None
    for rows, vectors in _embedded(encoder, unique, batch_size, cache, verbose):
        if means is None:
            means = np.zeros((len(groups), vectors.shape[1]), np.float32)
        counts = [starts[row + 1] - starts[row] for row in rows]
        places = np.concatenate([order[starts[row] : starts[row + 1]] for row in rows])
        vectors = normalize_rows(np.array(vectors))
        np.add.at(means, group_of[places], np.repeat(vectors, counts, axis=0))
    means /= np.bincount(group_of)[:, None]
    return normalize_rows(means)


def _unique(texts):
    position = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return list(position), np.array([position[text] for text in texts])


def _embedded(encoder, texts, batch_size, cache, verbose):
    """Yield rows of distinct texts and their vectors, in any order, until each has come."""
    check_batch_size(batch_size)
    found = []

    def take(rows, vectors):
        found.append((rows, vectors))
        progress.update(len(rows))

    def content(row, store):
        return text_content(texts[row])

    with (
        tqdm(total=len(texts), unit="text", disable=not verbose) as progress,
        cached_rows(cache, encoder, ("text",), content) as cached,
    ):
        for wanted in cached.passes(range(len(texts)), take):
            for rows, vectors in _computed(encoder, texts, list(wanted), batch_size):
                cached.put(rows, vectors)
                take(rows, vectors)
                yield from found
                found.clear()
            yield from found
            found.clear()


def _computed(encoder, texts, rows, batch_size):
    if not rows:
        return
    n_threads = getattr(encoder, "n_threads", 1)
    if hasattr(encoder, "encode_tokens"):
        encode = encoder.encode_tokens
        tokens = encoder.tokenizer.encode_batch([texts[row] for row in rows])
        item_of = dict(zip(rows, map(tuple, tokens), strict=True))
        batches = _by_prefix(item_of, batch_size, encoder.tokens_per_batch, n_threads)
    else:
        encode, item_of = encoder.encode_texts, {row: texts[row] for row in rows}
        rows = sorted(rows, key=lambda row: len(texts[row]))
        size = DEFAULT_BATCH_SIZE if batch_size == "auto" else batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]

    def compute(batch):
        vectors = encode([item_of[row] for row in batch])
        return as_vectors(vectors, "text", [texts[row] for row in batch])

    n_threads = min(n_threads, len(batches))
    with computing_threads(n_threads) as computers:
        for batch, future in in_order(computers, compute, batches, n_ahead=n_threads):
            yield batch, future.result()


def _by_prefix(item_of, batch_size, tokens_per_batch, n_threads):
    """Divide rows into batches of about as many tokens, each prefix counted once."""
    rows = sorted(item_of, key=lambda row: (-(-len(item_of[row]) // LENGTH_STEP), item_of[row]))
    costs, before = [], ()
    for row in rows:
        tokens = item_of[row]
        shared = next(
            (i for i, (a, b) in enumerate(zip(tokens, before, strict=False)) if a != b),
            min(len(tokens), len(before)),
        )
        costs.append(len(tokens) - shared)
        before = tokens
    most_tokens = even_batch_size(sum(costs), tokens_per_batch, n_threads)
    most_rows = len(rows) if batch_size == "auto" else batch_size
    batches, n_tokens = [[]], 0
    for row, cost in zip(rows, costs, strict=True):
        if batches[-1] and (n_tokens + cost > most_tokens or len(batches[-1]) == most_rows):
            batches.append([])
            # nothing is shared with another batch
            n_tokens, cost = 0, len(item_of[row])
        batches[-1].append(row)
        n_tokens += cost
    return batches
