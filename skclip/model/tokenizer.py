"""Byte-level byte-pair encoding (BPE) as OpenAI's CLIP defines it, and its training."""

import html
from collections import Counter, defaultdict
from functools import lru_cache

import ftfy
import regex
import torch

from skclip._warnings import warn
from skclip.exceptions import TextTruncationWarning
from skclip.model.vocabulary import (
    BYTE_SYMBOLS,
    END_OF_WORD,
    END_TOKEN,
    START_TOKEN,
    Vocabulary,
)

_SYMBOL_BYTES = {symbol: byte for byte, symbol in BYTE_SYMBOLS.items()}

_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clean_text(text):
    """Repair mojibake, unescape HTML entities twice, collapse white space, make lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


class Tokenizer:
    """CLIP's tokenizer: byte-level byte-pair encoding (BPE) of cleaned, lower-case text.

    `train_tokenizer` makes one from texts, and `load_model` returns the one of a model.

    Parameters
    ----------
    vocab : dict of str to int
        The symbols and their ids, including the start and end token.
    merges : list of tuple (str, str)
        Pairs of symbols to merge, in the order in which they were learned.
    context_length : int, default=77
        Largest number of tokens of one text, including the start and end token.
    start_token : str
        The start token as it is spelled in the vocabulary, by default ``"<|startoftext|>"``.
    end_token : str
        The end token as it is spelled in the vocabulary, by default ``"<|endoftext|>"``.

    Raises
    ------
    ValueError
        If the vocabulary lacks a symbol or holds one that no merge produces, or its ids are not
        distinct integers from 0 on without gaps.

    Attributes
    ----------
    vocab : dict of str to int
        The symbols and their ids.
    merges : list of tuple (str, str)
        Pairs of symbols to merge.
    context_length : int
        Largest number of tokens of one text.
    start_id : int
        Id of the start token.
    end_id : int
        Id of the end token.

    Notes
    -----
    Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", for BPE;
    Radford et al. 2021, section 2.4, for lower-case byte-level BPE between a start and an end
    token.

    Examples
    --------
    >>> from skclip.training import train_tokenizer
    >>> tokenizer = train_tokenizer(["a cat and a hat"] * 3, vocab_size=520, context_length=16)
    >>> tokenizer.decode(tokenizer.encode("A  Cat"))
    'a cat'
    >>> tokenizer(["a cat", "a hat and a cat"]).shape
    torch.Size([2, 7])
    """

    def __init__(
        self, vocab, merges, *, context_length=77, start_token=START_TOKEN, end_token=END_TOKEN
    ):
        vocabulary = Vocabulary(vocab, merges, start_token, end_token)
        self.vocab, self.merges = vocabulary.vocab, vocabulary.merges
        self.context_length = context_length
        self.start_token, self.end_token = start_token, end_token
        self.start_id, self.end_id = vocabulary.start_id, vocabulary.end_id
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._special = {start_token: [self.start_id], end_token: [self.end_id]}
        special = "|".join(map(regex.escape, self._special))
        self._pattern = regex.compile(f"{special}|{_WORD}", regex.IGNORECASE)
        self._word_ids = lru_cache(maxsize=65536)(self._encode_word)

    @classmethod
    def from_merges(cls, merges, *, start_token=START_TOKEN, end_token=END_TOKEN, **kwargs):
        """Make a tokenizer from merges, with ids in the order that OpenAI uses.

        Parameters
        ----------
        merges : list of tuple (str, str)
            Pairs of symbols to merge, in the order in which they were learned.
        start_token : str
            Spelling of the start token, by default ``"<|startoftext|>"``.
        end_token : str
            Spelling of the end token, which gets the highest id, by default ``"<|endoftext|>"``.
        **kwargs : dict
            Other parameters of `Tokenizer`, such as ``context_length``.

        Returns
        -------
        Tokenizer
        """
        special = {"start_token": start_token, "end_token": end_token}
        vocabulary = Vocabulary.from_merges(merges, **special)
        return cls(vocabulary.vocab, vocabulary.merges, **special, **kwargs)

    def __reduce__(self):
        settings = {
            "context_length": self.context_length,
            "start_token": self.start_token,
            "end_token": self.end_token,
        }
        return _rebuild, (self.vocab, self.merges, settings)

    def encode(self, text):
        """Return the token ids of one text, without start and end token.

        Parameters
        ----------
        text : str
            A text of any length.

        Returns
        -------
        list of int
        """
        ids = []
        for word in self._pattern.findall(clean_text(text)):
            ids += self._special.get(word) or self._word_ids(word)
        return ids

    def encode_batch(self, texts):
        """Return the token ids of texts, with start and end token, cut to the context length.

        Parameters
        ----------
        texts : iterable of str
            The texts to encode.

        Returns
        -------
        list of list of int
            The ids of each text, at most ``context_length``.

        Warns
        -----
        TextTruncationWarning
            Once, with the number of texts that were cut. The end token is always kept.
        """
        max_tokens = self.context_length - 2  # without start and end token
        texts = list(texts)
        ids = {text: self.encode(text) for text in dict.fromkeys(texts)}
        n_cut = sum(len(ids[text]) > max_tokens for text in texts)
        rows = [[self.start_id, *ids[text][:max_tokens], self.end_id] for text in texts]
        if n_cut:
            warn(
                f"{n_cut} of {len(rows)} texts are longer than the model's context length of "
                f"{self.context_length} tokens and were cut",
                TextTruncationWarning,
            )
        return rows

    def __call__(self, texts):
        """Return the token ids of texts as one tensor, the input of `CLIP.encode_text`.

        Parameters
        ----------
        texts : iterable of str
            The texts to encode, at least one.

        Returns
        -------
        tensor of shape (n_texts, length), int64
            Ids with start and end token, padded with the end token to the longest text.

        Warns
        -----
        TextTruncationWarning
            If texts were cut to the context length.
        """
        return pad(self.encode_batch(texts), self.end_id)

    def decode(self, ids):
        """Return the text of token ids, without start and end token.

        Parameters
        ----------
        ids : iterable of int
            Token ids of one text.

        Returns
        -------
        str
        """
        symbols = {i: symbol for symbol, i in self.vocab.items()}
        raw = bytearray()
        for i in ids:
            if i not in (self.start_id, self.end_id):
                symbol = symbols[i].removesuffix(END_OF_WORD)
                raw += bytes(_SYMBOL_BYTES[c] for c in symbol)
                raw += b" " * (symbol != symbols[i])
        return raw.decode("utf-8", errors="replace").strip()

    def _encode_word(self, word):
        symbols = [BYTE_SYMBOLS[byte] for byte in word.encode("utf-8")]
        symbols[-1] += END_OF_WORD
        while len(symbols) > 1:
            pairs = set(zip(symbols, symbols[1:], strict=False))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, float("inf")))
            if best not in self._ranks:
                break
            symbols = merge_pair(symbols, best)
        return [self.vocab[symbol] for symbol in symbols]


def pad(rows, pad_id):
    """Stack lists of ids into an int64 tensor (n_rows, longest), filled up with `pad_id`."""
    longest = max(map(len, rows))
    return torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows])


def merge_pair(symbols, pair):
    """Replace each occurrence of two adjacent symbols by their concatenation."""
    merged, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


def train_tokenizer(texts, vocab_size=1024, *, context_length=77):
    """Make a tokenizer by learning byte-pair merges from texts.

    Parameters
    ----------
    texts : iterable of str
        The texts to learn from, such as the captions of a training set.
    vocab_size : int, default=1024
        Largest size of the vocabulary, at least 514: 512 byte symbols, two special tokens, and one
        symbol per merge. The vocabulary is smaller if no more pairs occur twice in the texts.
    context_length : int, default=77
        Largest number of tokens of one text, including the start and end token.

    Returns
    -------
    Tokenizer

    Raises
    ------
    ValueError
        If `vocab_size` is below 514.

    Notes
    -----
    Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units",
    algorithm 1. Among equally frequent pairs the alphabetically first one is merged, so that the
    result depends on the texts alone.

    Examples
    --------
    >>> from skclip.training import train_tokenizer
    >>> tokenizer = train_tokenizer(["a cat and a hat"] * 3, vocab_size=520)
    >>> tokenizer.encode("a cat") == tokenizer.encode("A CAT")
    True
    """
    n_merges = vocab_size - 2 * len(BYTE_SYMBOLS) - 2
    if n_merges < 0:
        raise ValueError(f"vocab_size must be at least 514, got {vocab_size}")
    counts = Counter(
        word for text in texts for word in regex.findall(_WORD, clean_text(text), regex.IGNORECASE)
    )
    words = []
    for word, count in counts.items():
        symbols = [BYTE_SYMBOLS[byte] for byte in word.encode("utf-8")]
        symbols[-1] += END_OF_WORD
        words.append((symbols, count))
    # the words that contain each pair are kept up to date, so that a merge visits only those
    pair_counts, words_with = Counter(), defaultdict(set)
    for i, (symbols, count) in enumerate(words):
        for pair in zip(symbols, symbols[1:], strict=False):
            pair_counts[pair] += count
            words_with[pair].add(i)
    merges = []
    while len(merges) < n_merges and pair_counts:
        best = min(pair_counts, key=lambda pair: (-pair_counts[pair], pair))
        if pair_counts[best] < 2:
            break
        merges.append(best)
        for i in words_with.pop(best):
            symbols, count = words[i]
            merged = merge_pair(symbols, best)
            for pair in zip(symbols, symbols[1:], strict=False):
                pair_counts[pair] -= count
                if not pair_counts[pair]:
                    del pair_counts[pair]
            for pair in zip(merged, merged[1:], strict=False):
                pair_counts[pair] += count
                words_with[pair].add(i)
            words[i] = (merged, count)
    return Tokenizer.from_merges(merges, context_length=context_length)


def _rebuild(vocab, merges, settings):
    return Tokenizer(vocab, merges, **settings)
