"""Damage to each layout, as hypothesis draws it."""

import contextlib
import functools
from dataclasses import dataclass

from hypothesis import strategies as st

from checkpoint_fuzzing.archives import GZIP_KINDS, RECORD_KINDS, ZIP_FIELDS, Gzip, Record, ZipField
from checkpoint_fuzzing.files import FILE_KINDS, Exchange, Flip, Replace, Splice
from checkpoint_fuzzing.json_values import (
    ID_KINDS,
    KEY_ACTIONS,
    ODD_JSON,
    ODD_VALUES,
    SetJson,
    SetKey,
    TokenIds,
)
from checkpoint_fuzzing.layouts import GZIPPED, LAYOUTS
from checkpoint_fuzzing.pickles import OPCODES, PAYLOADS, Opcode, Payload, Rebuild
from checkpoint_fuzzing.tensors import TENSORS, TORCH_TENSORS, Tensor

_LARGE = 2 << 20  # bytes; each file of an undamaged checkpoint has less
# which JSON value, key, tensor, opcode: modulo what there is to choose from
_ITEMS = st.integers(0, 1000)
# bytes at the beginning and at the end of a file matter most
_BYTES = st.one_of(st.integers(0, 300), st.integers(-300, -1), st.integers(0, 1 << 21))
_NUMBERS = st.sampled_from([0, 1, -1, 2, 64, 530, *(1 << n for n in (25, 31, 40, 62, 63))])


@dataclass(frozen=True)
class Case:
    """Damage to a checkpoint, which is then loaded by its directory or by its weight file."""

    layout: str
    damage: tuple
    by: str = "directory"

    def apply(self, directory):
        """Damage a copy of the layout; what comes second may find nothing to damage."""
        first, *others = self.damage
        first.apply(directory)
        for other in others:
            with contextlib.suppress(Exception):
                if all(map(_is_harmless, directory.iterdir())):
                    other.apply(directory)


def _is_harmless(path):
    # to open a named pipe would wait, and what became large is a bomb, which would go off here
    return path.is_file() and path.stat().st_size < _LARGE


def ways_to_load(layout):
    """Return how an undamaged checkpoint can be loaded; one shard is no checkpoint."""
    return ["directory"] if "sharded" in layout else ["directory", "weights"]


def cases():
    """Return a strategy for cases."""
    return st.sampled_from(list(LAYOUTS)).flatmap(_cases_of)


@functools.cache
def _cases_of(layout):
    one = st.one_of(_damages(layout))
    damage = st.one_of(st.tuples(one), st.tuples(one), st.tuples(one, one))
    return st.builds(Case, st.just(layout), damage, st.sampled_from(ways_to_load(layout)))


def _damages(layout):
    """Return a strategy for each kind of damage that a layout can have."""
    files = LAYOUTS[layout]
    weights = [name for name in files if name.endswith((".safetensors", ".bin", ".pt"))]
    old = layout == "open_clip, torch before 1.6"
    safe = weights[0].endswith(".safetensors")
    headers = [f"{name}!header" for name in weights if safe]
    pickles = [] if safe else [f"{weights[0]}!{'pickle' if old else 'data.pkl'}"]
    documents = [name for name in files if name.endswith(".json")] + headers
    return [
        *_damages_of_bytes([*files, *headers, *pickles]),
        st.builds(Replace, st.sampled_from(files), st.sampled_from(FILE_KINDS)),
        st.builds(Exchange, st.sampled_from(files), st.sampled_from(files)),
        *(_damages_of_json(documents) if documents else []),
        *_damages_of_vocabulary(files),
        *(_damages_of_pickles(pickles[0]) if pickles else []),
        *(_damages_of_archives(weights[0], layout) if not (safe or old) else []),
        *(_damages_of_tensors(weights, safe) if not old and layout != "OpenAI" else []),
    ]


def _damages_of_bytes(parts):
    part, mask = st.sampled_from(parts), st.integers(1, 255)
    flips = st.lists(st.tuples(_BYTES, mask), min_size=1, max_size=20).map(tuple)
    return [
        st.builds(Flip, part, flips),
        st.builds(Splice, part, _BYTES, _BYTES, st.binary(max_size=8), st.sampled_from([1, 1000])),
        st.builds(Splice, part, _BYTES, st.just(-1)),
    ]


def _damages_of_json(documents):
    document, odd = st.sampled_from(documents), st.sampled_from([*ODD_VALUES, *ODD_JSON])
    # most often, because there is most to get wrong
    return [
        *[st.builds(SetJson, document, _ITEMS, odd)] * 4,
        st.builds(SetKey, document, _ITEMS, st.sampled_from(KEY_ACTIONS)),
    ]


def _damages_of_vocabulary(files):
    file = next(name for name in (GZIPPED, "vocab.json", "tokenizer.json") if name in files)
    if file == GZIPPED:
        return [st.builds(Gzip, st.just(file), st.sampled_from(GZIP_KINDS))]
    return [st.builds(TokenIds, st.just(file), st.sampled_from(list(ID_KINDS)))]


def _damages_of_pickles(part):
    actions = st.sampled_from(["remove", "double", *OPCODES, 0, -1, 2, 1 << 31, 1 << 62, 1 << 70])
    shapes = st.one_of(st.none(), st.lists(_NUMBERS, max_size=4).map(tuple))
    return [
        st.builds(Opcode, st.just(part), _ITEMS, actions),
        st.builds(Rebuild, st.just(part), _ITEMS, shapes, shapes, st.one_of(st.none(), _NUMBERS)),
        st.builds(Payload, st.just(part), st.sampled_from(list(PAYLOADS))),
    ]


def _damages_of_archives(file, layout):
    records = ["data.pkl", "data/0", "version", "byteorder"]
    records += ["constants.pkl"] * (layout == "OpenAI")
    kinds = st.sampled_from(RECORD_KINDS)
    return [
        st.builds(Record, st.just(file), st.sampled_from(records), kinds),
        st.builds(ZipField, st.just(file), _ITEMS, st.sampled_from(ZIP_FIELDS), _NUMBERS),
    ]


def _damages_of_tensors(weights, safe):
    kinds = [kind for kind in TENSORS if not (safe and kind in TORCH_TENSORS)]
    return [st.builds(Tensor, st.sampled_from(weights), _ITEMS, st.sampled_from(kinds))]
