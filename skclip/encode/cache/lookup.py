"""Embedding item by item around a store: what it has is not computed again."""

import time
from contextlib import contextmanager
from itertools import compress

from skclip.encode.cache.keys import key_of, key_prefix
from skclip.encode.cache.resolve import resolve_cache

# few, so that processes that want the same items share the work
ROWS_PER_CLAIM = 32
ROWS_PER_LOOKUP = 1024
SECONDS_BETWEEN_LOOKS = 0.05


@contextmanager
def cached_rows(cache, encoder, parts, content):
    """Yield an object that says which rows to compute and takes what was computed.

    Parameters
    ----------
    cache : whatever `skclip.encode.cache.resolve.resolve_cache` takes
    encoder : Encoder
    parts : tuple of str
        What else decides the vectors: the features, and whether images or texts.
    content : callable
        Row and store to bytes, or None for a row that cannot be kept.
    """
    store = resolve_cache(cache)
    if store is None:
        yield _NoCache()
        return
    fingerprint = getattr(encoder, "fingerprint", None)
    if not isinstance(fingerprint, str):
        raise ValueError(
            f"cache={cache!r} needs a model with a fingerprint (a str), which {encoder!r} has not; "
            "leave cache=None, or give the encoder one that changes whenever its vectors would"
        )
    prefix = key_prefix(fingerprint, getattr(encoder, "variant", ""), *parts)
    with store.session() as session:
        yield _Cached(session, lambda row: _key(prefix, content(row, store)))


class _NoCache:
    def passes(self, rows, take, mapper=map):
        yield rows

    def put(self, rows, vectors):
        pass

    def release(self, rows):
        pass


class _Cached:
    def __init__(self, session, key_of_row):
        self._session = session
        self._key_of_row = key_of_row
        self._keys = {}

    def passes(self, rows, take, mapper=map):
        """Yield iterables of rows to compute, until every row is computed or found.

        Rows that are found go to ``take(rows, vectors)``. Those that somebody else computes at the
        moment are looked for again in the next pass, which begins when this one's are done, so that
        nobody waits for anybody who waits. What identifies the rows is read through `mapper`.
        """
        while rows:
            others = []
            yield self._ours(rows, take, mapper, others)
            if len(others) == len(rows):
                time.sleep(SECONDS_BETWEEN_LOOKS)
            rows = others

    def _ours(self, rows, take, mapper, others):
        for some in _parts(rows, ROWS_PER_LOOKUP):
            keys = {}
            for part in mapper(self._keys_of_rows, _parts(some, ROWS_PER_CLAIM)):
                keys |= part
            known = [row for row in some if keys[row] is not None]
            found, vectors = self._session.get([keys[row] for row in known])
            if len(found):
                take([known[i] for i in found], vectors)
            found = {known[i] for i in found}
            for part in _parts([row for row in some if row not in found], ROWS_PER_CLAIM):
                yield from (row for row in part if keys[row] is None)
                wanted = [row for row in part if keys[row] is not None]
                granted = self._session.claim([keys[row] for row in wanted])
                others += [row for row, ours in zip(wanted, granted, strict=True) if not ours]
                for row in compress(wanted, granted):
                    self._keys[row] = keys[row]
                    yield row

    def _keys_of_rows(self, rows):
        return {row: self._key_of_row(row) for row in rows}

    def put(self, rows, vectors):
        """Keep the vectors of computed rows."""
        kept = [i for i, row in enumerate(rows) if row in self._keys]
        if kept:
            self._session.put([self._keys.pop(rows[i]) for i in kept], vectors[kept])

    def release(self, rows):
        """Give up rows that could not be computed."""
        keys = [self._keys.pop(row) for row in rows if row in self._keys]
        if keys:
            self._session.release(keys)


def _key(prefix, content):
    return None if content is None else key_of(prefix, content)


def _parts(rows, size):
    return (rows[start : start + size] for start in range(0, len(rows), size))
