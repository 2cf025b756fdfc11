import gzip
import json
import os
import tracemalloc
from pathlib import Path

import open_clip
import pytest
import transformers
from open_clip.tokenizer import SimpleTokenizer

from skclip.checkpoints.tokenizer_files import OPENAI_MERGES, read_vocabulary, write_tokenizer
from skclip.exceptions import CheckpointError
from skclip.model.tokenizer import Tokenizer
from skclip.model.vocabulary import Vocabulary

PUBLISHED = Path(open_clip.__file__).parent / OPENAI_MERGES
TEXT = "A photo of a caf\u00e9, isn't it? \U0001f600 10,000"


def read(directory, tokenizer):
    return read_vocabulary(directory, vocab_size=len(tokenizer.vocab))


def test_merges_as_openai_published_them(tmp_path):
    (tmp_path / OPENAI_MERGES).write_bytes(PUBLISHED.read_bytes())
    vocabulary = read_vocabulary(tmp_path, vocab_size=49408)
    tokenizer = Tokenizer(vocabulary.vocab, vocabulary.merges)
    reference = SimpleTokenizer()
    # open_clip spells the two special tokens in its own way
    assert list(tokenizer.vocab.items())[:-2] == list(reference.encoder.items())[:-2]
    assert (tokenizer.start_id, tokenizer.end_id) == (49406, 49407)
    assert tokenizer.encode(TEXT) == reference.encode(TEXT)


def test_files_of_the_saver(tmp_path, tokenizer):
    write_tokenizer(tmp_path, tokenizer)
    again = read(tmp_path, tokenizer)
    assert (again.vocab, again.merges) == (tokenizer.vocab, tokenizer.merges)


def test_tokenizer_json_of_transformers(tmp_path, tokenizer):
    write_tokenizer(tmp_path, tokenizer)
    peer = transformers.CLIPTokenizerFast.from_pretrained(tmp_path)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).unlink()
    peer.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").unlink(missing_ok=True)
    again = read(tmp_path, tokenizer)
    assert (again.vocab, again.merges) == (tokenizer.vocab, tokenizer.merges)
    # older files spell a merge as one string, and list special tokens apart from the vocabulary
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    for token in content["added_tokens"]:
        del content["model"]["vocab"][token["content"]]
    path.write_text(json.dumps(content))
    again = read(tmp_path, tokenizer)
    assert (again.vocab, again.merges) == (tokenizer.vocab, tokenizer.merges)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"type": "Unigram", "vocab": []}, "Unigram"),
        ({"type": "WordPiece", "vocab": {}}, "WordPiece"),
        ({"type": "BPE", "vocab": {}, "merges": []}, "GPT-2 or RoBERTa"),
    ],
)
def test_tokenizers_of_another_kind_are_refused_by_name(tmp_path, tokenizer, model, message):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, tokenizer)


def test_special_tokens_of_another_spelling(tmp_path, tokenizer):
    vocab = {k.replace("<|", "<<"): v for k, v in tokenizer.vocab.items()}
    config = {"bos_token": {"content": "<<startoftext|>"}, "eos_token": "<<endoftext|>"}
    write_tokenizer(tmp_path, tokenizer)
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    with pytest.raises(CheckpointError, match="startoftext"):
        read(tmp_path, tokenizer)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read(tmp_path, tokenizer).end_id == tokenizer.end_id


def test_a_tokenizer_that_is_too_large_for_the_model(tmp_path, tokenizer):
    write_tokenizer(tmp_path, tokenizer)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        read_vocabulary(tmp_path, vocab_size=520)


def test_damaged_files(tmp_path, tokenizer):
    write_tokenizer(tmp_path, tokenizer)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\na\n")
    with pytest.raises(CheckpointError, match="line 3"):
        read(tmp_path, tokenizer)
    write_tokenizer(tmp_path, tokenizer)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(CheckpointError, match="vocabulary lacks"):
        read(tmp_path, tokenizer)
    without_a_merge = {k: v for k, v in tokenizer.vocab.items() if k != "cat</w>"}
    (tmp_path / "vocab.json").write_text(json.dumps(without_a_merge))
    with pytest.raises(CheckpointError, match="lacks the symbol of the merge"):
        read(tmp_path, tokenizer)
    (tmp_path / "vocab.json").unlink()
    (tmp_path / OPENAI_MERGES).write_bytes(gzip.compress(b"header\na b\n")[:-3])
    with pytest.raises(CheckpointError, match="damaged"):
        read(tmp_path, tokenizer)


def change_ids(directory, change):
    path = directory / "vocab.json"
    vocab = json.loads(path.read_text())
    path.write_text(json.dumps({symbol: change(symbol, i) for symbol, i in vocab.items()}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda symbol, i: 529, "'!' and '\"' have the same id, 529"),
        (lambda symbol, i: 4 if symbol == "cat</w>" else i, "have the same id, 4"),
        (lambda symbol, i: -1 if symbol == "cat</w>" else i, "got -1 for 'cat</w>'"),
        (lambda symbol, i: float(i), "integers from 0 to 529, got 0.0 for '!'"),
        (lambda symbol, i: i == 1 if i < 2 else i, "got False for '!'"),
        (lambda symbol, i: str(i), "got '0' for '!'"),
        (lambda symbol, i: None, "got None for '!'"),
        (lambda symbol, i: i + 1, "got 530 for '<|endoftext|>'"),
        (lambda symbol, i: 10**30 if i == 3 else i, "got 1000000"),
    ],
)
def test_ids_are_the_distinct_numbers_from_0_on(tmp_path, tokenizer, change, message):
    write_tokenizer(tmp_path, tokenizer)
    change_ids(tmp_path, change)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, tokenizer)


def test_a_vocabulary_that_is_cut_off_together_with_its_merges(tmp_path, tokenizer):
    write_tokenizer(tmp_path, tokenizer)
    *merges, last = tokenizer.merges
    (tmp_path / "merges.txt").write_text("\n".join(" ".join(pair) for pair in merges))
    vocab = {symbol: i for symbol, i in tokenizer.vocab.items() if symbol != "".join(last)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    with pytest.raises(CheckpointError, match="529 symbols must be integers from 0 to 528"):
        read(tmp_path, tokenizer)


def test_merges_of_one_symbol_leave_an_id_unused():
    # as `train_tokenizer` makes them
    vocabulary = Vocabulary.from_merges([("a", "b"), ("ab", "c"), ("b", "c"), ("a", "bc")])
    assert (len(vocabulary.vocab), vocabulary.end_id) == (512 + 3 + 2, 512 + 4 + 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 merges.* of 49408 tokens needs 48894"),
        (gzip.decompress(PUBLISHED.read_bytes())[:200_000], "cut off, or belongs to another"),
    ],
)
def test_published_merges_that_are_cut_off_or_something_else(tmp_path, content, message):
    (tmp_path / OPENAI_MERGES).write_bytes(gzip.compress(content, 1))
    with pytest.raises(CheckpointError, match=f"{OPENAI_MERGES} .*{message}"):
        read_vocabulary(tmp_path, vocab_size=49408)


def test_no_more_is_unpacked_than_a_vocabulary_can_have(tmp_path):
    (tmp_path / OPENAI_MERGES).write_bytes(gzip.compress(b"\n" * 100_000_000, 1))
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="unpacks to more than the 16,000,000"):
            read_vocabulary(tmp_path, vocab_size=49408)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_damaged_gzip_data(tmp_path):
    content = bytearray(PUBLISHED.read_bytes())
    content[1000:1004] = bytes(4)
    (tmp_path / OPENAI_MERGES).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{OPENAI_MERGES} is damaged"):
        read_vocabulary(tmp_path, vocab_size=49408)


def test_files_that_are_too_large_are_not_read(tmp_path, tokenizer):
    write_tokenizer(tmp_path, tokenizer)
    path = tmp_path / "merges.txt"
    os.truncate(path, 16_000_001)
    with pytest.raises(CheckpointError, match=r"merges.txt has 16,000,001 bytes, more than"):
        read(tmp_path, tokenizer)
    path.write_text("a b\n" * 531)
    with pytest.raises(CheckpointError, match="more merges than the model's 530 tokens"):
        read(tmp_path, tokenizer)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "tokenizer_config.json"])
def test_what_is_no_file_is_named(tmp_path, tokenizer, name):
    write_tokenizer(tmp_path, tokenizer)
    path = tmp_path / name
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=f"{name} is a link to .*gone, which"):
        read(tmp_path, tokenizer)
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match=f"{name} must be a file"):
        read(tmp_path, tokenizer)


def test_half_a_tokenizer_is_not_replaced_by_openais(tmp_path, tokenizer):
    write_tokenizer(tmp_path, tokenizer)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match="has vocab.json, but no merges.txt"):
        read_vocabulary(tmp_path, vocab_size=49408)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"eos_token": 5}, "eos_token must be a str .* got 5"),
        ({"eos_token": ["a"]}, "eos_token must be a str .* got .'a'."),
        ({"bos_token": {"content": 5}}, "bos_token must be a str .* got {'content': 5}"),
        ({"bos_token": "<|endoftext|>"}, "start token and the end token are the same"),
        ([], "must hold a JSON object"),
    ],
)
def test_special_tokens_of_the_wrong_type(tmp_path, tokenizer, config, message):
    write_tokenizer(tmp_path, tokenizer)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, tokenizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"added_tokens": [{"content": "<new>", "id": 5}]}, "have the same id, 5"),
        ({"added_tokens": [{"content": "cat</w>", "id": 5}]}, "two ids to 'cat</w>'"),
        ({"added_tokens": [{"content": "<new>", "id": "530"}]}, "got '530' for '<new>'"),
        ({"added_tokens": [{"content": "<new>"}]}, "got None for '<new>'"),
        ({"added_tokens": [{"content": 5, "id": 5}]}, "content must be a str, got a int"),
        ({"added_tokens": ["<new>"]}, "content must be a str"),
        ({"added_tokens": 7}, "damaged"),
        ({"model": None}, "model must be a dict, got a NoneType"),
        ({"merges": [1, 2]}, "damaged"),
        ({"merges": ["abc"]}, r"a merge has two symbols, got \('abc',\)"),
        ({"merges": [["a", 1]]}, r"a merge has two symbols, got \('a', 1\)"),
        ({"merges": {"a": "b"}}, "merges must be a list, got a dict"),
        ({"vocab": ["a"]}, "vocab must be a dict, got a list"),
    ],
)
def test_damaged_tokenizer_json(tmp_path, tokenizer, change, message):
    model = {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": tokenizer.vocab}
    model["merges"] = tokenizer.merges
    content = {"model": model, "added_tokens": []}
    for name, value in change.items():
        (content if name in content else model)[name] = value
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, tokenizer)
