"""Embedding around a store: what it has is not computed again, and what it lacks is kept."""

import time
from contextlib import closing
from itertools import compress

from skclip.encode.cache.keys import key_of, key_prefix

# few, so that processes that want the same items share the work
ITEMS_PER_CLAIM = 32
ITEMS_PER_LOOKUP = 1024
SECONDS_BETWEEN_LOOKUPS = 0.05


def stored_or_computed(store, encoder, kind, contents, compute, batch_size):
    """Yield the vectors of all items: those that a store has, then those that are computed.

    Parameters
    ----------
    store : EmbeddingStore or MemoryStore
    encoder : Encoder
    kind : tuple of str
        What else decides the vectors: whether they are of images or texts, and the features.
    contents : list of bytes or None
        What names each item; None for one that cannot be kept.
    compute : callable
        From an iterator of batches (lists of positions) to a generator of results (positions,
        vectors, causes), where causes are of the items that could not be computed.
    batch_size : int

    Yields
    ------
    positions : list of int
    vectors : ndarray of shape (n_positions, d) or None
    causes : dict of int to str

    Notes
    -----
    Whatever is missing is claimed shortly before it is computed, a few items at a time. What
    another process or thread has claimed is looked for again when everything else is done. So each
    item is computed once, and nobody waits for anybody who waits.
    """
    keys = _keys(encoder, kind, contents)
    with store.session() as session:
        waiting = range(len(keys))
        while waiting:
            missing = []
            for positions in _parts(waiting, ITEMS_PER_LOOKUP):
                known = [p for p in positions if keys[p] is not None]
                found, vectors = session.get([keys[p] for p in known])
                found = [known[i] for i in found]
                if found:
                    yield found, vectors, {}
                missing += sorted({*positions}.difference(found))
            claims = _Claims(session, keys, missing)
            with closing(compute(claims.batches(batch_size))) as results:
                for positions, vectors, causes in results:
                    _keep(session, keys, positions, vectors, causes)
                    yield positions, vectors, causes
            if len(claims.taken_by_others) == len(waiting):
                time.sleep(SECONDS_BETWEEN_LOOKUPS)
            waiting = claims.taken_by_others


class _Claims:
    """Claims items for this session, a few ahead of those that are computed.

    Parameters
    ----------
    session : session of a store
    keys : list of bytes or None
        An item without a key needs no claim.
    positions : list of int
        The items to be computed.

    Attributes
    ----------
    taken_by_others : list of int
        Items that were not granted, as far as claims have come.
    """

    def __init__(self, session, keys, positions):
        self.session = session
        self.keys = keys
        self.positions = positions
        self.taken_by_others = []

    def batches(self, size):
        """Yield lists of positions that are ours; each claim is made when it is needed."""
        batch = []
        for asked in _parts(self.positions, ITEMS_PER_CLAIM):
            for position in self._claimed(asked):
                batch.append(position)
                if len(batch) == size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _claimed(self, positions):
        keyed = [p for p in positions if self.keys[p] is not None]
        granted = self.session.claim([self.keys[p] for p in keyed]) if keyed else []
        lost = set(keyed).difference(compress(keyed, granted))
        self.taken_by_others += sorted(lost)
        return [p for p in positions if p not in lost]


def _keys(encoder, kind, contents):
    """Return the key of each item, None for one that cannot be kept."""
    prefix = key_prefix(encoder.fingerprint, encoder.variant, *kind)
    return [None if content is None else key_of(prefix, content) for content in contents]


def _keep(session, keys, positions, vectors, causes):
    """Store computed vectors, and release what could not be computed."""
    kept = [i for i, p in enumerate(positions) if keys[p] is not None]
    if kept:
        session.put([keys[positions[i]] for i in kept], vectors[kept])
    failed = [keys[p] for p in causes if keys[p] is not None]
    if failed:
        session.release(failed)


def _parts(positions, size):
    return (positions[start : start + size] for start in range(0, len(positions), size))
