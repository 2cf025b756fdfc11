import gzip
import pickle

import open_clip.tokenizer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip.exceptions import TextTruncationWarning
from skclip.model.tokenizer import Tokenizer, train_tokenizer

# "A\n'll 11p..." and its ids are the known answer that circulates with OpenAI's vocabulary.
KNOWN_TEXT = "A\n'll 11p223RF☆ho!!to?'d'd''d of a cat"
KNOWN_IDS = [320, 1342, 272, 272, 335, 273, 273, 274, 16368, 13439, 2971, 748]
KNOWN_IDS += [531, 13610, 323, 1896, 8445, 323, 539, 320, 2368]

HARD = [
    "",
    "   \t\n ",
    "A photo of a CAT.",
    "it's they'll I'd we've I'm you're don't 'S 'LL 'ſ",
    "İstanbul ıI ẞß ﬃ Ω Å",
    "e\u0301 \u00e9 n\u0303",
    "½ Ⅷ ² ١٢٣ 漢字 123",
    "👩‍👩‍👧 🏳️‍🌈 👍🏽",
    "&amp;amp;lt;b&amp;amp;gt; &eacute; &#39; &nbsp;",
    "<start_of_text> <END_OF_TEXT> <end_of_text>x",
    "schÃ¶n â€œquotedâ€\x9d",
    "\x00\x01\x7f\u200b\ufeff\u2028",
    "______ --- ... ''' \"\"\" \\n",
    "a" * 300,
    "http://example.org/?q=1&b=2#frag",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 हिन्दी العربية עברית",
    KNOWN_TEXT,
]


@pytest.fixture(scope="module")
def reference():
    return open_clip.tokenizer.SimpleTokenizer()


@pytest.fixture(scope="module")
def tokenizer():
    with gzip.open(open_clip.tokenizer.default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in lines]
    # open_clip's own spelling of the special tokens
    return Tokenizer.from_merges(merges, start_token="<start_of_text>", end_token="<end_of_text>")


def test_sizes_and_special_ids(tokenizer):
    assert (len(tokenizer.vocab), tokenizer.start_id, tokenizer.end_id) == (49408, 49406, 49407)


def test_known_answer(tokenizer):
    assert tokenizer.encode(KNOWN_TEXT) == KNOWN_IDS


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_equal_open_clip(tokenizer, reference, text):
    assert tokenizer.encode(text) == reference.encode(text)


@settings(max_examples=1000)
@given(st.lists(st.text(max_size=40), min_size=100, max_size=100))
def test_any_unicode_equals_open_clip(tokenizer, reference, texts):
    for text in texts:
        assert tokenizer.encode(text) == reference.encode(text)


def test_padded_rows_equal_open_clip(tokenizer, reference):
    texts = ["a cat", "a much longer caption about two dogs", ""]
    ids = tokenizer(texts)
    expected = reference(texts)  # padded with 0 to the context length
    for row, expected_row in zip(ids.tolist(), expected.tolist(), strict=True):
        end = row.index(tokenizer.end_id) + 1
        assert row[:end] == expected_row[:end]
        assert set(row[end:]) <= {tokenizer.end_id}
        assert not any(expected_row[end:])


def test_long_text_keeps_its_end_token_and_warns_once(tokenizer, reference):
    texts = ["word " * 100, "short", "other " * 200]
    with pytest.warns(TextTruncationWarning, match="^2 of 3 texts") as record:
        ids = tokenizer(texts)
    assert len(record) == 1
    assert ids.shape == (3, 77)
    assert ids[0].tolist() == reference(texts)[0].tolist()
    assert ids[2, -1] == tokenizer.end_id


@given(st.lists(st.text(alphabet="abc def", max_size=20), max_size=20), st.integers(514, 530))
def test_trained_vocabulary_is_bounded_and_lossless(texts, vocab_size):
    tokenizer = train_tokenizer(texts, vocab_size, context_length=64)
    assert len(tokenizer.vocab) <= vocab_size
    assert sorted(tokenizer.vocab.values()) == list(range(len(tokenizer.vocab)))
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == " ".join(text.split())


def test_trainer_merges_the_most_frequent_pair_first():
    # Sennrich et al. 2016, algorithm 1, with its own toy corpus
    text = "low " * 5 + "lower " * 2 + "newest " * 6 + "widest " * 3
    merges = train_tokenizer([text], 514 + 4).merges
    assert merges[:3] == [("e", "s"), ("es", "t</w>"), ("l", "o")]


def test_trained_tokenizer_depends_on_the_texts_alone():
    texts = ["two red circles", "a blue square above a red circle"] * 5
    merges = train_tokenizer(texts, 560).merges
    assert train_tokenizer(texts[::-1], 560).merges == merges


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match="vocab_size must be at least 514, got 300"):
        train_tokenizer(["a"], 300)


def test_merges_that_are_cut_off_are_noticed(tokenizer):
    with pytest.raises(ValueError, match="no merge makes .* symbols of the vocabulary"):
        Tokenizer(
            tokenizer.vocab,
            tokenizer.merges[:-5],
            start_token=tokenizer.start_token,
            end_token=tokenizer.end_token,
        )


def test_pickle(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode(KNOWN_TEXT) == KNOWN_IDS
    assert copy.end_token == "<end_of_text>"
