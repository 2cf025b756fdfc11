import gzip
import json
from pathlib import Path

import open_clip
import pytest
import transformers
from open_clip.tokenizer import SimpleTokenizer

from skclip.checkpoints.tokenizer_files import OPENAI_MERGES, read_vocabulary, write_tokenizer
from skclip.exceptions import CheckpointError
from skclip.model.tokenizer import Tokenizer

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
