"""The vocabulary of a byte-level BPE: its symbols, their ids, and the merges that make them."""

from dataclasses import dataclass

from skclip._messages import shown

START_TOKEN = "<|startoftext|>"
END_TOKEN = "<|endoftext|>"
END_OF_WORD = "</w>"


def _byte_symbols():
    # printable bytes are their own symbols; the others get the code points from 256 on, in order
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable}
    symbols.update({byte: chr(256 + i) for i, byte in enumerate(others)})
    return symbols


BYTE_SYMBOLS = _byte_symbols()


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer knows, checked. It needs neither torch nor the libraries that clean text.

    Parameters
    ----------
    vocab : dict of str to int
        The symbols and their ids, including the start and end token.
    merges : list of tuple (str, str)
        Pairs of symbols to merge, in the order in which they were learned.
    start_token, end_token : str
        As they are spelled in the vocabulary.

    Raises
    ------
    ValueError
        If the vocabulary lacks a symbol or holds one that no merge produces, or its ids are not
        distinct integers from 0 on without gaps.
    """

    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    start_token: str = START_TOKEN
    end_token: str = END_TOKEN

    def __post_init__(self):
        object.__setattr__(self, "vocab", dict(self.vocab))
        object.__setattr__(self, "merges", [tuple(pair) for pair in self.merges])
        _check_symbols(self.vocab, self.merges, self.start_token, self.end_token)
        _check_ids(self.vocab, self.merges)

    @classmethod
    def from_merges(cls, merges, *, start_token=START_TOKEN, end_token=END_TOKEN):
        """Make a vocabulary from merges, with ids in the order that OpenAI uses.

        Parameters
        ----------
        merges : list of tuple (str, str)
        start_token, end_token : str

        Returns
        -------
        Vocabulary
        """
        symbols = list(BYTE_SYMBOLS.values())
        symbols += [symbol + END_OF_WORD for symbol in symbols]
        symbols += [first + second for first, second in merges]
        vocab = {symbol: i for i, symbol in enumerate([*symbols, start_token, end_token])}
        return cls(vocab, merges, start_token, end_token)

    @property
    def start_id(self):
        """Id of the start token."""
        return self.vocab[self.start_token]

    @property
    def end_id(self):
        """Id of the end token."""
        return self.vocab[self.end_token]


def _check_symbols(vocab, merges, start_token, end_token):
    for pair in merges:
        if len(pair) != 2 or not all(isinstance(symbol, str) for symbol in pair):
            raise ValueError(f"a merge has two symbols, got {shown(pair)}")
    if len(set(merges)) < len(merges):
        raise ValueError("a merge occurs twice")
    for token in (start_token, end_token):
        if not isinstance(token, str):
            raise ValueError(f"the start and end token must be str, got {shown(token)}")
    if start_token == end_token:
        raise ValueError(f"the start token and the end token are the same, {shown(end_token)}")
    missing = [t for t in (start_token, end_token, *BYTE_SYMBOLS.values()) if t not in vocab]
    if missing:
        raise ValueError(f"the vocabulary lacks {len(missing)} symbols, {shown(missing[0])} first")
    merged = {first + second for first, second in merges}
    unreachable = [
        symbol
        for symbol in vocab
        if len(symbol.removesuffix(END_OF_WORD)) > 1
        and symbol not in merged
        and not (symbol.startswith("<") and symbol.endswith(">"))  # special tokens
    ]
    if unreachable:
        raise ValueError(
            f"no merge makes {len(unreachable)} symbols of the vocabulary, "
            f"{shown(unreachable[0])} first; "
            "the list of merges is incomplete, or belongs to another vocabulary"
        )
    if absent := next((pair for pair in merges if "".join(pair) not in vocab), None):
        raise ValueError(f"the vocabulary lacks the symbol of the merge {shown(' '.join(absent))}")


def _check_ids(vocab, merges):
    # of merges that make the same symbol only the last one's id is used
    n_unused = len(merges) - len({first + second for first, second in merges})
    highest = len(vocab) + n_unused - 1
    symbol_of = {}
    for symbol, i in vocab.items():
        # a bool is an int too
        if type(i) is not int or not 0 <= i <= highest:
            raise ValueError(
                f"the ids of the {len(vocab)} symbols must be integers from 0 to {highest}, got "
                f"{shown(i)} for {shown(symbol)}"
            )
        if symbol_of.setdefault(i, symbol) != symbol:
            raise ValueError(f"{shown(symbol_of[i])} and {shown(symbol)} have the same id, {i}")
