"""Tokenizer files: vocab.json with merges.txt, tokenizer.json, or OpenAI's merges."""

import gzip

from skclip.checkpoints.json_files import read_fields, read_json, write_json
from skclip.exceptions import CheckpointError
from skclip.model.fields import TEXT, Kind
from skclip.model.tokenizer import END_OF_WORD, END_TOKEN, START_TOKEN, Tokenizer

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


def has_tokenizer(names):
    """Whether files with these names hold a tokenizer."""
    return set(VOCABULARY) <= set(names) or bool({"tokenizer.json", OPENAI_MERGES} & set(names))


def read_tokenizer(directory, *, vocab_size, context_length, names=NAMES):
    """Read the tokenizer of a directory.

    Parameters
    ----------
    directory : Path
    vocab_size : int
        Size of the model's vocabulary.
    context_length : int
    names : collection of str, default=NAMES
        The files that may be read.

    Returns
    -------
    Tokenizer

    Raises
    ------
    CheckpointError
        If the tokenizer is of another kind, damaged, or does not fit the model.
    """
    names = {name for name in names if (directory / name).is_file()}
    settings = {"context_length": context_length, **_special_tokens(directory, names)}
    try:
        path, vocab, merges = _read_vocabulary(directory, names, vocab_size)
        tokenizer = Tokenizer(vocab, merges, **settings)
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, EOFError, gzip.BadGzipFile) as error:
        raise CheckpointError(
            f"the tokenizer in {directory} is damaged, or not of CLIP's kind: {error}"
        ) from error
    unknown = [pair for pair in merges if "".join(pair) not in tokenizer.vocab]
    if unknown:
        raise CheckpointError(f"{path} lacks the symbol of the merge {' '.join(unknown[0])!r}")
    largest = max(tokenizer.vocab.values())
    if largest >= vocab_size:
        raise CheckpointError(
            f"{path} has token ids up to {largest}, but the model's vocabulary ends at "
            f"{vocab_size - 1}: the tokenizer belongs to another model"
        )
    return tokenizer


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
    path = directory / "vocab.json"
    if names.issuperset(VOCABULARY):
        lines = (directory / "merges.txt").read_text(encoding="utf-8").split("\n")
        return path, read_json(path), _parse_merges(lines, directory / "merges.txt")
    path = directory / "tokenizer.json"
    if path.name in names:
        return path, *_parse_tokenizer_json(read_json(path), path)
    path = directory / OPENAI_MERGES
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    # the file starts with a header and has more merges than the vocabulary
    merges = _parse_merges(lines[1 : vocab_size - _N_BYTE_SYMBOLS - _N_SPECIAL + 1], path)
    return path, Tokenizer.from_merges(merges).vocab, merges


def _special_tokens(directory, names):
    path = directory / "tokenizer_config.json"
    config = read_fields(read_json(path) if path.name in names else {}, CONFIG_FIELDS, path)
    return {
        "start_token": config["bos_token"] or START_TOKEN,
        "end_token": config["eos_token"] or END_TOKEN,
    }


def _parse_merges(lines, path):
    merges = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#version"):
            continue
        pair = tuple(line.split())
        if len(pair) != 2:
            raise CheckpointError(f"{path}, line {number}: a merge has two symbols, got {line!r}")
        merges.append(pair)
    return merges


def _parse_tokenizer_json(content, path):
    model = content.get("model") or {}
    kind = model.get("type")
    if kind != "BPE" or model.get("end_of_word_suffix") != END_OF_WORD:
        if kind == "BPE":
            kind = "BPE without CLIP's end-of-word suffix </w>, as of GPT-2 or RoBERTa"
        raise CheckpointError(
            f"{path} is a tokenizer of another kind ({kind}); skclip reads only CLIP's byte-level "
            "BPE. Pass the model as an object with encode_images and encode_texts instead"
        )
    vocab = dict(model["vocab"])
    for token in content.get("added_tokens") or []:
        vocab.setdefault(token["content"], token["id"])
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return vocab, [tuple(pair) for pair in pairs]
