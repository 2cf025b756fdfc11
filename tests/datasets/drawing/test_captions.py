"""The grammar: articles, names, and captions that are true."""

import re
from random import Random

import pytest

from skclip.datasets.drawing.captions import (
    NUMBER_WORDS,
    character_name,
    glyph_caption,
    nouns_of,
    with_article,
)
from skclip.datasets.drawing.palette import COLORS


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("eight", "an eight"),
        ("one", "a one"),
        ("8", "an 8"),
        ("18", "an 18"),
        ("1", "a 1"),
        ("orange star", "an orange star"),
        ("euro sign", "a euro sign"),
        ("upper-case b", "an upper-case b"),
        ("red circle", "a red circle"),
    ],
)
def test_articles(phrase, expected):
    assert with_article(phrase) == expected


def test_characters_are_called_by_their_unicode_names():
    assert character_name("3") == "digit three"
    assert character_name("a") == "latin small letter a"
    assert "greek capital letter omega" in {noun for _, noun in nouns_of("Ω")}
    assert "question mark" in {noun for _, noun in nouns_of("?")}


@pytest.mark.parametrize("digit", range(10))
def test_nouns_of_a_digit_name_that_digit_alone(digit):
    words = {word for _, noun in nouns_of(str(digit)) for word in noun.split()}
    words -= {"digit", "number", "numeral", "figure"}
    assert words == {str(digit), NUMBER_WORDS[digit]}


def test_nouns_of_letters_include_the_case():
    small = " ".join(noun for _, noun in nouns_of("b"))
    capital = " ".join(noun for _, noun in nouns_of("B"))
    assert 'letter "b" in lower case' in small
    assert not re.search("upper|capital", small)
    assert 'letter "b" in upper case' in capital
    assert not re.search("lower|small", capital)


def test_words_and_numbers():
    assert 'word "cat"' in {noun for _, noun in nouns_of("cat")}
    assert {noun for _, noun in nouns_of("42")} == {"42", "number 42"}
    assert "number twelve" in {noun for _, noun in nouns_of("12")}
    assert "007" in {noun for _, noun in nouns_of("007")}


def _captions(n=400, **facts):
    facts = {"handwritten": False, "look": (), "stroke": (), "colors": None} | facts
    random = Random(0)
    return [glyph_caption(nouns_of("3"), facts, random) for _ in range(n)]


def test_captions_say_nothing_untrue():
    plain = " ".join(_captions())
    assert not re.search(r"hand|pen\b|blur|pixel|thick|bold", plain)
    assert not set(COLORS) & set(plain.split())
    written = " ".join(_captions(handwritten=True))
    assert not re.search("print|type|font", written)


def test_captions_mention_what_is_true():
    captions = _captions(
        handwritten=True, look=("blurry",), stroke=("bold",), colors=("red", "black")
    )
    for word, share in (("hand", 0.2), ("blurry", 0.15), ("bold", 0.1), ("red", 0.1)):
        assert sum(word in caption for caption in captions) > share * len(captions)
    assert sum("on black" in c or "on a black background" in c for c in captions) > 40
    assert "black 3" not in "\n".join(captions)


def test_captions_are_varied():
    captions = _captions(1000, handwritten=True, colors=("white", "black"))
    assert len(set(captions)) > 300
    assert {"the digit three", "a handwritten 3", "a photo of the number three"} <= set(
        _captions(6000, handwritten=True)
    )
