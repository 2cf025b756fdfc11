"""Names of colours, shapes and characters, and the grammar that makes captions of them."""

import unicodedata

COLORS = {
    "red": (220, 30, 30),
    "orange": (250, 140, 20),
    "yellow": (245, 225, 40),
    "green": (40, 160, 50),
    "cyan": (50, 210, 220),
    "blue": (40, 70, 220),
    "purple": (130, 40, 160),
    "pink": (250, 140, 190),
    "brown": (120, 70, 30),
    "gray": (128, 128, 128),
}
"""Colour names of the drawn scenes, with their RGB values (0 to 255)."""

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()


def pick(random, options):
    """One of the options, from a ``random.Random``."""
    return options[int(random.random() * len(options))]


def with_article(phrase):
    """Put "a" or "an" in front."""
    first = phrase.split()[0]
    vowel = first[0] in "aeiou" or first in ("8", "11", "18") or first[:2] == "80"
    return f"{'an' if vowel else 'a'} {phrase}"


def character_name(character):
    """The Unicode name in lower case, such as "digit three" or "latin small letter a"."""
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
    """What a drawn text may be called, as pairs (kind, noun phrase); kind "" for none named."""
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
    """One caption for a drawn text.

    Parameters
    ----------
    nouns : list of (str, str)
        From :func:`nouns_of`.
    facts : dict
        What is true of the picture: "handwritten" (bool), "look" (adjectives for the picture),
        "stroke" (adjectives for the text), "colors" (foreground and background name, or None).
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
        ink, ground = facts["colors"]
        if random.random() < 0.5:
            before.append(ink)
            if random.random() < 0.6:
                after += f" on {ground}"
        elif random.random() < 0.5:
            after += f", {ink} on {ground}"
        else:
            after += f" on {with_article(ground)} background"
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
        of = f"{look} {medium}".strip()
        phrase = f"{with_article(of)} of {phrase}"
    return phrase
