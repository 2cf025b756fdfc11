"""Damage to JSON: other values, other keys, other ids of a vocabulary."""

import json
from dataclasses import dataclass

from checkpoint_fuzzing.parts import read_part, write_part

# JSON texts that Python's own writer does not write, and large ones with a short name
ODD_JSON = {
    "1e400": "1e400",
    "NaN": "NaN",
    "-Infinity": "-Infinity",
    "a number of 10,000 digits": "9" * 10_000,
    "a text of 1,000,000 characters": '"' + "x" * 1_000_000 + '"',
    "a list of 100,000 numbers": "[" + "1," * 99_999 + "1]",
    "lists nested 10,000 deep": "[" * 10_000 + "]" * 10_000,
    "objects nested 10,000 deep": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "brackets that never close": "[" * 100_000,
    "a surrogate": '"\\ud800"',
    "no JSON": "nil",
}
ODD_VALUES = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 48, 64, 529, 530, 531, 49407, 49408),
    *(2**31, 2**63, 10**6, 10**9, 10**30, 0.5, -0.5, 32.0, 1e-30, 1e30, 1e308),
    *("", "x", "clip", "gelu", "eos", "../../etc/passwd", [], [[]], [1], [1, 2, 3, 4], ["x"] * 3),
    *([10**9] * 4, [0.0] * 3, {}, {"x": 1}, {"shortest_edge": 32}, {"height": 10**9, "width": 1}),
)


ID_KINDS = {
    "equal": lambda ids: [3] * len(ids),
    "negative": lambda ids: [-index for index in ids],
    "floats": lambda ids: [float(index) for index in ids],
    "texts": lambda ids: [str(index) for index in ids],
    "booleans": lambda ids: [bool(index) for index in ids],
    "lists": lambda ids: [[index] for index in ids],
    "from 1": lambda ids: [index + 1 for index in ids],
    "backwards": lambda ids: ids[::-1],
    "large": lambda ids: [index << 40 for index in ids],
}


@dataclass(frozen=True)
class SetJson:
    """One value of a JSON file becomes another, or the JSON text of that name in `ODD_JSON`."""

    file: str
    place: int | str
    value: object

    def apply(self, directory):
        _edit_json(directory, self.file, self.place, self._change)

    def _change(self, holder, key):
        holder[key] = "placeholder to be replaced"
        if isinstance(self.value, str) and self.value in ODD_JSON:
            return ODD_JSON[self.value]
        return json.dumps(self.value)


KEY_ACTIONS = ("remove", "rename", "add", "double")


@dataclass(frozen=True)
class SetKey:
    """One key of a JSON file is removed, renamed or doubled, or another one is added."""

    file: str
    place: int | str
    action: str

    def apply(self, directory):
        _edit_json(directory, self.file, self.place, self._change)

    def _change(self, holder, key):
        value = holder.pop(key)
        if isinstance(holder, list):
            return None
        if self.action == "rename":
            holder["x" * 300] = value
        elif self.action == "add":
            holder.update({key: value, "unknown": {"x": [1, "y"]}})
        elif self.action == "double":
            holder["placeholder"] = "placeholder to be replaced"
            text = json.dumps(value)
            # the value "placeholder to be replaced" is left for a second key of the same name
            return f"{text}, {json.dumps(key)}: null, {json.dumps(key)}: {text}"
        return None


@dataclass(frozen=True)
class TokenIds:
    """All ids of a vocabulary change."""

    file: str
    kind: str

    def apply(self, directory):
        content = json.loads(read_part(directory, self.file))
        vocab = content["model"]["vocab"] if "model" in content else content
        vocab.update(zip(vocab, ID_KINDS[self.kind](list(vocab.values())), strict=True))
        write_part(directory, self.file, json.dumps(content).encode())


def _edit_json(directory, name, place, change):
    """Change one place of a JSON file, by a function of what holds the value, and its key.

    The place is a number, modulo how many there are, or the first key of a name.
    The function returns the text that stands for the value "placeholder to be replaced".
    """
    content = {"": json.loads(read_part(directory, name))}
    places = list(_places(content))
    if isinstance(place, str):
        holder, key = next(found for found in places if found[1] == place)
    else:
        holder, key = places[place % len(places)]
    text = change(holder, key)
    new = json.dumps(content[""], ensure_ascii=False) if "" in content else ""
    if text is not None:
        new = new.replace('"placeholder to be replaced"', text)
        new = new.replace('"placeholder"', json.dumps(key))
    write_part(directory, name, new.encode("utf-8", "surrogatepass"))


def _places(holder):
    """Yield each list or object with each of its keys, those inside of others too."""
    keys = range(len(holder)) if isinstance(holder, list) else list(holder)
    for key in keys:
        yield holder, key
        if isinstance(holder[key], (list, dict)):
            yield from _places(holder[key])
