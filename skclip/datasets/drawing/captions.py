"""Captions of drawn images: the words for what was drawn, and the grammar."""

import unicodedata

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()


def pick(random, options):
    """Return one of the options, chosen by a ``random.Random``."""
    return options[int(random.random() * len(options))]


def with_article(phrase):
    """Return a phrase with "a" or "an" in front."""
    first = phrase.split()[0]
    vowel = first[0] in "aeiou8" or first in ("11", "18")
    # these begin with the sound of a consonant
    vowel = vowel and not first.startswith(("one", "eu", "uni"))
    return f"{'an' if vowel else 'a'} {phrase}"


def character_name(character):
    """Return the Unicode name, such as "digit three" or "latin small letter a"."""
    return unicodedata.name(character).lower()


def _digit_nouns(text):
    word = NUMBER_WORDS[int(text)]
    return [
        (kind, f"{kind} {name}".strip())
        for name in (text, word, word)
        for kind in ("", "", "digit", "digit", "number", "numeral", "figure")
    ]


def _letter_nouns(text):
    name = character_name(text)
    lower = text.lower()
    if text == lower:
        kinds = ["lower-case", "small", "lowercase"]
        tails = ["in lower case", "as a small letter"]
    else:
        kinds = ["upper-case", "capital", "uppercase"]
        tails = ["in upper case", "as a capital"]
    nouns = [("letter", f"letter {lower}"), ("letter", f'letter "{lower}"'), ("letter", name)]
    nouns += [("letter", f'letter "{lower}" {tail}') for tail in tails]
    nouns += [("", f"{kind} {lower}") for kind in kinds]
    nouns += [("letter", f"{kind} letter {lower}") for kind in kinds]
    return nouns


def nouns_of(text):
    """Return the noun phrases for a drawn text.

    Returns
    -------
    nouns : list of (str, str)
        Pairs (kind, noun phrase); the kind is what the text is called ("digit", "letter", "word"),
        or "" if the phrase does not say. Phrases that occur twice are chosen twice as often.
    """
    if text in tuple("0123456789"):
        return _digit_nouns(text)
    if text.isdecimal():
        nouns = [("number", f"number {text}"), ("number", f"number {text}"), ("", text)]
        if text == str(int(text)) and int(text) < len(NUMBER_WORDS):
            word = NUMBER_WORDS[int(text)]
            nouns += [("number", f"number {word}"), ("", word)]
        return nouns
    if len(text) == 1:
        if text.isascii() and text.isalpha():
            return _letter_nouns(text)
        name = character_name(text)
        return [("sign", name), ("sign", f"character {name}"), ("sign", f'sign "{text}"')]
    return [("word", f'word "{text}"'), ("word", f"word {text}"), ("text", f'text "{text}"')]


_MEDIA = ("photo", "picture", "image", "drawing", "scan", "photograph", "close-up", "crop")


def glyph_caption(nouns, facts, random):
    """Return one caption for a drawn text.

    Parameters
    ----------
    nouns : list of (str, str)
        Returned by `nouns_of`.
    facts : dict
        What is true of the image: "handwritten" (bool), "look" (adjectives for the image),
        "stroke" (adjectives for the text), "colors" (names of foreground and background, or None).
    random : random.Random

    Returns
    -------
    caption : str
    """
    kind, noun = pick(random, nouns)
    before, after, look = [], "", ""
    if facts["look"] and random.random() < 0.35:
        look = pick(random, facts["look"])
    if facts["stroke"] and random.random() < 0.2:
        before.append(pick(random, facts["stroke"]))
    if random.random() < 0.45:
        if facts["handwritten"]:
            if random.random() < 0.8:
                before.append(pick(random, ("handwritten", "handwritten", "hand-drawn")))
            else:
                after = pick(random, (" written by hand", " written with a pen", " in handwriting"))
        elif random.random() < 0.8:
            before.append(pick(random, ("printed", "typeset", "typed")))
        else:
            after = pick(random, (" in print", " in a font", " set in type"))
    if facts["colors"] is not None and random.random() < 0.35:
        foreground, background = facts["colors"]
        if random.random() < 0.5:
            before.append(foreground)
            if random.random() < 0.6:
                after += f" on {background}"
        elif random.random() < 0.5:
            after += f", {foreground} on {background}"
        else:
            after += f" on {with_article(background)} background"
    medium = pick(random, _MEDIA) if random.random() < 0.4 else ""
    if look and not medium:
        if random.random() < 0.5:
            medium = "image"
        else:
            before.insert(0, look)
    phrase = " ".join([*before, noun]) + after
    if kind and (not before or random.random() < 0.5):
        phrase = f"the {phrase}"
    elif before or kind or random.random() < 0.7:
        phrase = with_article(phrase)
    if medium:
        medium = f"{look} {medium}".strip()
        phrase = f"{with_article(medium)} of {phrase}"
    return phrase


_TEXTURE_WORDS = {
    "plain": ("plain", "solid", "filled"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered", "chequered"),
    "outlined": ("outlined", "hollow", "empty"),
}
_SIZE_WORDS = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium-sized",),
    "large": ("large", "big"),
}
_SHAPE_WORDS = {"oval": ("oval", "oval", "ellipse"), "cross": ("cross", "cross", "plus sign")}
_PLURALS = {"cross": "crosses", "box": "boxes"}


def _describe(item, random, *, size_probability=0.3, texture_probability=0.5, plural=False):
    """Return color and shape of one object, with or without its size and texture."""
    words = []
    if random.random() < size_probability and item["size"] != "medium":
        words.append(pick(random, _SIZE_WORDS[item["size"]]))
    if random.random() < (texture_probability if item["texture"] != "plain" else 0.1):
        words.append(pick(random, _TEXTURE_WORDS[item["texture"]]))
    words.append(item["color"])
    noun = pick(random, _SHAPE_WORDS.get(item["shape"], (item["shape"],)))
    if plural:
        noun = _PLURALS.get(noun, noun + "s")
    words.append(noun)
    return " ".join(words)


def _position_of(item, image_size):
    """Return where in the image an object is, such as "on the left", or "" if that is unclear."""
    x, y = item["x"] / image_size, item["y"] / image_size
    across = "left" if x < 0.38 else "right" if x > 0.62 else ""
    down = "top" if y < 0.38 else "bottom" if y > 0.62 else ""
    if across and down:
        return f"in the {down} {across} corner"
    if across:
        return f"on the {across}"
    if down:
        return f"at the {down}"
    return "in the middle" if abs(x - 0.5) < 0.08 and abs(y - 0.5) < 0.08 else ""


def _relation(first, second, image_size, random):
    """Return where the first object is, relative to the second, on the axis of larger distance."""
    dx, dy = second["x"] - first["x"], second["y"] - first["y"]
    if abs(dx) > abs(dy):
        if abs(dx) < 0.15 * image_size:
            return "next to"
        return pick(
            random, ("to the left of", "left of") if dx > 0 else ("to the right of", "right of")
        )
    if abs(dy) < 0.15 * image_size:
        return "next to"
    return pick(random, ("above", "over") if dy > 0 else ("below", "under"))


def scene_caption(items, background, image_size, random):
    """Return one caption for a drawn scene.

    Parameters
    ----------
    items : list of dict
        The objects, with "color", "shape", "texture", "size", "x" and "y".
    background : str or None
        Name of the background's color, if it has one.
    image_size : int
        Side of the image, in pixels.
    random : random.Random

    Returns
    -------
    caption : str
    """
    count = len(items)
    after = ""
    if background and random.random() < 0.2:
        after = f" on {pick(random, ('a ' + background + ' background', background))}"
    if count == 1:
        item = items[0]
        if random.random() < 0.4:
            phrase = f"{item['color']} {item['shape']}"
        else:
            phrase = _describe(item, random)
            if not after and random.random() < 0.35:
                after = f" {_position_of(item, image_size)}".rstrip()
        if random.random() < 0.08:
            return phrase + after
        phrase = with_article(phrase)
    elif len({(item["color"], item["shape"], item["texture"]) for item in items}) == 1:
        shared = dict(items[0])
        if len({item["size"] for item in items}) > 1:
            shared["size"] = "medium"
        phrase = f"{NUMBER_WORDS[count]} {_describe(shared, random, plural=True)}"
        positions = {_position_of(item, image_size) for item in items}
        if not after and len(positions) == 1 and random.random() < 0.5:
            after = f" {positions.pop()}".rstrip()
    elif count == 2:
        first, second = items if random.random() < 0.5 else items[::-1]
        names = [with_article(_describe(item, random)) for item in (first, second)]
        if random.random() < 0.7:
            phrase = f"{names[0]} {_relation(first, second, image_size, random)} {names[1]}"
        else:
            phrase = f"{names[0]} and {names[1]}"
    else:
        groups = {}
        for item in items:
            groups.setdefault((item["color"], item["shape"]), []).append(item)
        names = []
        for group in groups.values():
            is_single = len(group) == 1
            name = _describe(
                group[0],
                random,
                size_probability=0.1 * is_single,
                texture_probability=0.3 * is_single,
                plural=not is_single,
            )
            names.append(with_article(name) if is_single else f"{NUMBER_WORDS[len(group)]} {name}")
        phrase = f"{', '.join(names[:-1])} and {names[-1]}"
    if random.random() < 0.3:
        medium = pick(random, ("photo", "picture", "drawing", "image"))
        phrase = f"{with_article(medium)} of {phrase}"
    return phrase + after
