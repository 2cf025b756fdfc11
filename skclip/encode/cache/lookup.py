"""Embedding with a store: stored vectors are looked up, the others are computed and stored."""

import time
from contextlib import closing
from itertools import compress

from skclip.encode.batches import parts_of
from skclip.encode.cache.keys import key_of

# few, so that processes that embed the same items share the work
ITEMS_PER_CLAIM = 32
ITEMS_PER_LOOKUP = 1024
SECONDS_BETWEEN_LOOKUPS = 0.05


def stored_or_computed(store, prefix, contents, compute, batch_size):
    """Yield the vectors of all items: those that are stored, and those that are computed.

    Parameters
    ----------
    store : EmbeddingStore or MemoryStore
    prefix : bytes
        What the keys have in common, as `skclip.encode.cache.resolve.store_for` returns it.
    contents : iterable of (positions, contents)
        What identifies the items at some positions: bytes, or None for one that is computed without
        being stored. The items of one part are looked up together, and computed before the next.
    compute : callable
        From an iterator of batches (lists of positions) to a generator of results, which have the
        form of what is yielded here.
    batch_size : int
        The length of these batches.

    Yields
    ------
    positions : list of int
        Each is yielded once, here or in `causes`.
    vectors : ndarray of shape (n_positions, d) or None
        None without positions.
    causes : dict of int to str
        For each item that could not be computed, why not.

    Notes
    -----
    Missing items are claimed a few at a time, when `compute` asks for the next batch. Items that
    another process or thread has claimed are looked up again after everything else is done. So each
    item is computed once, and no process waits while it holds claims that others wait for.
    """
    with store.session() as session:
        others = {}
        for part in contents:
            keys = {
                position: None if content is None else key_of(prefix, content)
                for position, content in zip(*part, strict=True)
            }
            others |= yield from _one_pass(session, keys, compute, batch_size)
        while others:
            n_before = len(others)
            others = yield from _one_pass(session, others, compute, batch_size)
            if len(others) == n_before:
                time.sleep(SECONDS_BETWEEN_LOOKUPS)


def _one_pass(session, keys, compute, batch_size):
    """Look items up and compute those that are missing and not claimed by others.

    Parameters
    ----------
    session : DiskSession or _MemorySession
    keys : dict of int to (bytes or None)
        The items by their positions.
    compute, batch_size
        As for `stored_or_computed`, which also says what is yielded.

    Returns
    -------
    others : dict of int to bytes
        Those of `keys` that another process or thread computes.
    """
    missing = []
    for positions in parts_of(list(keys), ITEMS_PER_LOOKUP):
        known = [p for p in positions if keys[p] is not None]
        found, vectors = session.get([keys[p] for p in known])
        found = [known[i] for i in found]
        if found:
            yield found, vectors, {}
        missing += sorted({*positions}.difference(found))
    claims = _Claims(session, keys, missing)
    with closing(compute(claims.batches(batch_size))) as results:
        for positions, vectors, causes in results:
            _store(session, keys, positions, vectors, causes)
            yield positions, vectors, causes
    return {p: keys[p] for p in claims.taken_by_others}


class _Claims:
    """Claims items for this session, a few at a time, as batches of them are asked for.

    Parameters
    ----------
    session : DiskSession or _MemorySession
    keys : dict of int to (bytes or None)
        An item without a key needs no claim.
    positions : list of int
        The items to be computed.

    Attributes
    ----------
    taken_by_others : list of int
        The items asked for so far that others have claimed, or stored in the meantime.
    """

    def __init__(self, session, keys, positions):
        self.session = session
        self.keys = keys
        self.positions = positions
        self.taken_by_others = []

    def batches(self, size):
        """Yield lists of `size` positions that this session has claimed; the last may be short."""
        batch = []
        for asked in parts_of(self.positions, ITEMS_PER_CLAIM):
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


def _store(session, keys, positions, vectors, causes):
    """Store computed vectors, and release the claims of items that could not be computed."""
    keyed = [i for i, p in enumerate(positions) if keys[p] is not None]
    if keyed:
        session.put([keys[positions[i]] for i in keyed], vectors[keyed])
    failed = [keys[p] for p in causes if keys[p] is not None]
    if failed:
        session.release(failed)
