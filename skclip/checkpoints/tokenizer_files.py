"""Tokenizer files: vocab.json with merges.txt, tokenizer.json, or OpenAI's merges."""

import gzip
import zlib

from skclip.checkpoints.files import names_in, regular_file
from skclip.checkpoints.json_files import LARGEST, read_fields, read_json, write_json
from skclip.exceptions import CheckpointError
from skclip.model.fields import TEXT, Kind
from skclip.model.vocabulary import END_OF_WORD, END_TOKEN, START_TOKEN, Vocabulary

OPENAI_MERGES = "bpe_simple_vocab_16e6.txt.gz"
OPENAI_VOCAB_SIZE = 49408
VOCABULARY = ("vocab.json", "merges.txt")
NAMES = (*VOCABULARY, "tokenizer.json", "tokenizer_config.json", OPENAI_MERGES)


def _content(token):
    return token.get("content") if isinstance(token, dict) else token


_TOKEN = Kind(
    "a str that is not empty, or an object with one as content",
    lambda token: TEXT.accepts(_content(token)) and _content(token) != "",
    _content,
)
# the fields of tokenizer_config.json that are read
CONFIG_FIELDS = {"bos_token": (_TOKEN, None), "eos_token": (_TOKEN, None)}

_N_BYTE_SYMBOLS = 512
_N_SPECIAL = 2
_TOO_LARGE = f"more than the {LARGEST:,} that a tokenizer can have"


def has_tokenizer(names):
    """Whether files with these names hold a tokenizer."""
    return set(VOCABULARY) <= set(names) or bool({"tokenizer.json", OPENAI_MERGES} & set(names))


def read_vocabulary(directory, *, vocab_size, names=NAMES):
    """Read the vocabulary of a directory.

    Parameters
    ----------
    directory : Path
    vocab_size : int
        Size of the model's vocabulary.
    names : collection of str, default=NAMES
        The files that may be read.

    Returns
    -------
    Vocabulary or None
        None if the directory has no tokenizer.

    Raises
    ------
    CheckpointError
        If the tokenizer is of another kind, damaged or incomplete, or does not fit the model.
    """
    # also a link that leads nowhere is there, so that the message names it
    names = set(names) & names_in(directory)
    if not has_tokenizer(names):
        for name, other in (VOCABULARY, VOCABULARY[::-1]):
            if name in names:
                raise CheckpointError(
                    f"{directory} has {name}, but no {other}: put its vocab.json and merges.txt "
                    "there"
                )
        return None
    try:
        path, vocab, merges = _read_vocabulary(directory, names, vocab_size)
        vocabulary = Vocabulary(vocab, merges, *_special_tokens(directory, names))
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"the tokenizer in {directory} is damaged, or not of CLIP's kind: {error}"
        ) from error
    highest = max(vocabulary.vocab.values())
    if highest >= vocab_size:
        raise CheckpointError(
            f"{path} has token ids up to {highest}, but the model's vocabulary ends at "
            f"{vocab_size - 1}: the tokenizer belongs to another model"
        )
    return vocabulary


def write_tokenizer(directory, tokenizer):
    """Write vocab.json, merges.txt and tokenizer_config.json, as transformers reads them."""
    write_json(directory / "vocab.json", tokenizer.vocab)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in tokenizer.merges), ""]
    (directory / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": tokenizer.context_length,
            "bos_token": tokenizer.start_token,
            "eos_token": tokenizer.end_token,
            "pad_token": tokenizer.end_token,
            "unk_token": tokenizer.end_token,
            "do_lower_case": True,
        },
    )


def _read_vocabulary(directory, names, vocab_size):
    if names.issuperset(VOCABULARY):
        path, merges_path = directory / "vocab.json", directory / "merges.txt"
        merges = _parse_merges(_read_lines(merges_path), merges_path, vocab_size)
        return path, read_json(path), merges
    path = directory / "tokenizer.json"
    if path.name in names:
        return path, *_parse_tokenizer_json(read_json(path), path)
    path = directory / OPENAI_MERGES
    merges = read_openai_merges(path, vocab_size)
    return path, Vocabulary.from_merges(merges).vocab, merges


def read_openai_merges(path, vocab_size):
    """Read the merges of OpenAI's own file that a vocabulary of this size needs."""
    n_merges = vocab_size - _N_BYTE_SYMBOLS - _N_SPECIAL
    # the file starts with a header and has more merges than the vocabulary
    merges = _parse_merges(_read_lines(path)[1 : max(n_merges, 0) + 1], path, vocab_size)
    if len(merges) != n_merges:
        raise CheckpointError(
            f"{path} has {len(merges)} merges, but the model's vocabulary of {vocab_size} tokens "
            f"needs {n_merges}: it is cut off, or belongs to another model"
        )
    return merges


def _read_lines(path):
    if (size := regular_file(path)) > LARGEST:
        raise CheckpointError(f"{path} has {size:,} bytes, {_TOO_LARGE}")
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise CheckpointError(f"{path} unpacks to {_TOO_LARGE}")
        return content.decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _special_tokens(directory, names):
    path = directory / "tokenizer_config.json"
    config = read_fields(read_json(path) if path.name in names else {}, CONFIG_FIELDS, path)
    return config["bos_token"] or START_TOKEN, config["eos_token"] or END_TOKEN


def _parse_merges(lines, path, vocab_size):
    merges = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#version"):
            continue
        pair = tuple(line.split())
        if len(pair) != 2:
            raise CheckpointError(
                f"{path}, line {number}: a merge has two symbols, got {line[:80]!r}"
            )
        merges.append(pair)
        if len(merges) > vocab_size:
            raise CheckpointError(
                f"{path} has more merges than the model's {vocab_size} tokens: the tokenizer "
                "belongs to another model"
            )
    return merges


def _parse_tokenizer_json(content, path):
    model = _field(content, "model", dict, path)
    kind = model.get("type")
    if kind != "BPE" or model.get("end_of_word_suffix") != END_OF_WORD:
        if kind == "BPE":
            kind = "BPE without CLIP's end-of-word suffix </w>, as of GPT-2 or RoBERTa"
        raise CheckpointError(
            f"{path} is a tokenizer of another kind ({str(kind)[:80]}); skclip reads only CLIP's "
            "byte-level BPE. Pass the model as an object with encode_images and encode_texts "
            "instead"
        )
    vocab = dict(_field(model, "vocab", dict, path))
    for token in content.get("added_tokens") or []:
        symbol = _field(token, "content", str, path)
        i = vocab.setdefault(symbol, token.get("id"))
        if i != token.get("id"):
            raise CheckpointError(f"{path} gives two ids to {symbol[:80]!r}")
    pairs = _field(model, "merges", list, path)
    # older files spell a merge as one string
    return vocab, [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in pairs]


def _field(content, name, kind, path):
    value = content.get(name) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise CheckpointError(
            f"{path}: {name} must be a {kind.__name__}, got a {type(value).__name__}"
        )
    return value
