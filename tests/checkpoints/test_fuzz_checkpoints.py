"""Whatever is damaged in a checkpoint, it loads or is refused: quickly, in little memory, clearly.

`tests/scripts/fuzz_checkpoints.py` does the same for as long as one likes. What it found stands
here as examples.
"""

import sys
import time

import pytest
from checkpoint_fuzzing.archives import Gzip, Record
from checkpoint_fuzzing.cases import Case, cases
from checkpoint_fuzzing.files import Flip, Replace, Splice
from checkpoint_fuzzing.fuzzer import Fuzzer
from checkpoint_fuzzing.json_values import SetJson, TokenIds
from checkpoint_fuzzing.layouts import GZIPPED
from checkpoint_fuzzing.pickles import Opcode, Payload, Rebuild
from checkpoint_fuzzing.tensors import Tensor
from hypothesis import HealthCheck, Phase, given, settings

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="memory is limited and measured as on Linux"
)

# A machine that is busy tries fewer of the random examples. After a fault this also ends the
# search for a smaller one.
SECONDS = 12
EXAMPLES = 200

FOUND = [
    # files that are none
    Case("Hugging Face", (Replace("model.safetensors", "directory"),)),
    Case("Hugging Face", (Replace("model.safetensors", "named pipe"),)),
    Case("Hugging Face", (Replace("model.safetensors", "link to /dev/zero"),)),
    Case("Hugging Face", (Replace("model.safetensors", "dangling link"),), "weights"),
    Case("Hugging Face", (Replace("model.safetensors", "link to itself"),), "weights"),
    Case("Hugging Face", (Replace("config.json", "named pipe"),)),
    Case("Hugging Face", (Replace("vocab.json", "directory"),)),
    Case("Hugging Face", (Replace("vocab.json", "dangling link"),)),
    # configurations
    Case("Hugging Face", (SetJson("config.json", 0, "lists nested 10,000 deep"),)),
    Case("Hugging Face", (SetJson("config.json", "num_hidden_layers", 1_000_000),)),
    Case("Hugging Face", (SetJson("config.json", "text_config", "x"),)),
    Case("Hugging Face", (SetJson("config.json", "projection_dim", None),)),
    Case("Hugging Face", (SetJson("config.json", "hidden_act", []),)),
    Case("Hugging Face", (SetJson("config.json", "layer_norm_eps", "x"),)),
    Case("Hugging Face", (SetJson("preprocessor_config.json", "rescale_factor", "x"),)),
    Case("open_clip", (SetJson("open_clip_config.json", "vocab_size", None),)),
    Case("open_clip", (SetJson("open_clip_config.json", "layers", 1_000_000),)),
    Case("open_clip", (SetJson("open_clip_config.json", "size", {"x": 1}),)),
    Case("open_clip, ResNet", (SetJson("open_clip_config.json", "layers", [10**9] * 4),)),
    # vocabularies
    Case("Hugging Face", (SetJson("vocab.json", 1, None),)),
    Case("Hugging Face", (SetJson("vocab.json", 1, True),)),
    Case("Hugging Face", (TokenIds("vocab.json", "equal"),)),
    Case("Hugging Face", (TokenIds("vocab.json", "floats"),)),
    Case("Hugging Face", (TokenIds("vocab.json", "texts"),)),
    Case("Hugging Face, sharded", (TokenIds("tokenizer.json", "negative"),)),
    Case("OpenAI", (Gzip(GZIPPED, "3 GB of newlines"),)),
    Case("OpenAI", (Gzip(GZIPPED, "3 GB in one line"),)),
    Case("OpenAI", (Gzip(GZIPPED, "10 lines"),)),
    Case("OpenAI", (Flip(GZIPPED, ((-83, 3),)),)),
    # weights
    Case("Hugging Face, sharded", (Tensor("model-00002-of-00002.safetensors", 0, "64 axes"),)),
    Case("skclip", (Tensor("model.safetensors", 309, "one number"),)),
    Case("skclip", (Tensor("model.safetensors", 0, "huge"),)),  # the logit scale
    Case("Hugging Face, torch", (Tensor("pytorch_model.bin", 3, "complex"),)),
    Case("Hugging Face, torch", (Tensor("pytorch_model.bin", 3, "sparse"),)),
    Case("Hugging Face, torch", (Tensor("pytorch_model.bin", 3, "meta"),)),
    Case("Hugging Face, torch", (Tensor("pytorch_model.bin", 12, "stride 0, 2**50"),)),
    Case("Hugging Face, torch", (Rebuild("pytorch_model.bin!data.pkl", 685, (530,), (1 << 63,)),)),
    Case(
        "open_clip, torch before 1.6",
        (Rebuild("open_clip_pytorch_model.bin!pickle", 0, offset=1 << 31),),
    ),
    Case("open_clip, torch before 1.6", (Flip("open_clip_pytorch_model.bin", ((1, 7),)),)),
    Case("open_clip, training", (Record("epoch_3.pt", "data.pkl", "bomb of 2 GB"),)),
    Case("open_clip, training", (Splice("epoch_3.pt", 440, 287, b"\xe1\xc5", 0),)),
    Case("OpenAI", (Record("model.pt", "data.pkl", "bomb of 8 GB"),)),
    Case("OpenAI", (Rebuild("model.pt!data.pkl", 0, (1 << 25, 1 << 25), (0, 0)),)),
    Case("OpenAI", (Rebuild("model.pt!data.pkl", 0, (), ()),)),
    Case("OpenAI", (Opcode("model.pt!data.pkl", 100, "memo of 2**31 entries"),)),
    Case("OpenAI", (Payload("model.pt!data.pkl", "eval"),)),
]


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    with Fuzzer(tmp_path_factory.mktemp("fuzz")) as fuzzer:
        yield fuzzer


@pytest.fixture(scope="module")
def until(fuzzer):
    return time.monotonic() + SECONDS


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found(fuzzer, case):
    find = fuzzer.find(case)
    assert find is None, f"{find}\n{case!r}"


@given(case=cases())
@settings(
    derandomize=True,
    max_examples=EXAMPLES,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
    report_multiple_bugs=False,
)
def test_random_damage(fuzzer, until, case):
    if fuzzer.knows(case) or time.monotonic() < until:
        find = fuzzer.find(case)
        assert find is None, f"{find}\n{case!r}"
