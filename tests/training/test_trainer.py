import signal

import numpy as np
import pytest
import torch

from skclip.exceptions import CheckpointError
from skclip.model.clip import MAX_LOGIT_SCALE
from skclip.training import (
    CLIP,
    Augmentation,
    CLIPConfig,
    InfoNCE,
    PreprocessConfig,
    TextConfig,
    Trainer,
    VisionConfig,
    load_model,
    train_tokenizer,
)
from skclip.training.trainer import make_optimizer, resolve_precision

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "gray": (99, 99, 99)}
NAMES = list(COLORS) * 5
CAPTIONS = [f"a {name} square" for name in NAMES]
IMAGES = np.zeros((len(NAMES), 32, 32, 3), np.uint8)
for image, name in zip(IMAGES, NAMES, strict=True):
    image[4:28, 4:28] = COLORS[name]
TOKENIZER = train_tokenizer(CAPTIONS, vocab_size=530, context_length=12)


def make_model(**vision):
    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": None, "width": 8, "layers": (1, 1, 1, 1)} | vision
    text = TextConfig(len(TOKENIZER.vocab), context_length=12, width=64, layers=1)
    return CLIP(CLIPConfig(embed_dim=16, vision=VisionConfig(**vision), text=text))


def make_trainer(model=None, **settings):
    settings = {"n_steps": 9, "batch_size": 8, "device": "cpu", "precision": "float32"} | settings
    model = make_model() if model is None else model
    return Trainer(model, TOKENIZER, augment=Augmentation(), **settings)


def weights(trainer):
    return torch.cat([value.flatten().float() for value in trainer.model.state_dict().values()])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_learns_to_name_colors(precision):
    model = make_model(patch_size=8, width=64, layers=2)
    trainer = make_trainer(model, n_steps=30, batch_size=16, precision=precision)
    trainer.fit((IMAGES, CAPTIONS))
    assert trainer.losses_.shape == (30,)
    assert not model.training
    config = PreprocessConfig()
    pixels = torch.from_numpy(IMAGES[:4]).permute(0, 3, 1, 2) / 255
    pixels = (pixels - torch.tensor(config.mean)[:, None, None]) / torch.tensor(config.std)[
        :, None, None
    ]
    with torch.inference_mode():
        images, texts, _ = model(pixels, TOKENIZER(CAPTIONS[:4]))
    assert (images @ texts.T).argmax(1).tolist() == [0, 1, 2, 3]


def test_a_seed_makes_it_reproducible():
    first, again = (weights(make_trainer().fit((IMAGES, CAPTIONS))) for _ in range(2))
    assert torch.equal(first, again)
    other = weights(make_trainer(random_state=1).fit((IMAGES, CAPTIONS)))
    assert not torch.equal(first, other)


class InterruptedLoss(InfoNCE):
    """Presses Ctrl-C in the middle of a step."""

    def __init__(self, step):
        self.steps_left = step

    def __call__(self, *args):
        if self.steps_left == 0:
            signal.raise_signal(signal.SIGINT)
        self.steps_left -= 1
        return super().__call__(*args)


def drawings(epoch):
    """Return different images in every epoch."""
    return np.roll(IMAGES, epoch, axis=1), CAPTIONS


@pytest.fixture
def ctrl_c():
    """Let Ctrl-C through, which a test run in the background ignores."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_an_ignored_ctrl_c_stays_ignored(tmp_path):
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        trainer = make_trainer(n_steps=3, loss=InterruptedLoss(1))
        trainer.fit((IMAGES, CAPTIONS), state_file=tmp_path / "run.pt")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)
    assert len(trainer.losses_) == 3


# two steps an epoch: interrupted within and at the end of one
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("step", [4, 5])
@pytest.mark.parametrize("data", [(IMAGES, CAPTIONS), drawings], ids=["arrays", "callable"])
def test_resumes_to_the_same_result(tmp_path, step, data):
    expected = make_trainer().fit(data)
    state_file = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        make_trainer(loss=InterruptedLoss(step)).fit(data, state_file=state_file)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(torch.load(state_file, weights_only=True)["losses"]) == step + 1
    resumed = make_trainer(loss=InterruptedLoss(-1))
    resumed.fit(data, state_file=state_file)
    assert torch.equal(weights(resumed), weights(expected))
    np.testing.assert_array_equal(resumed.losses_, expected.losses_)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_refuses_to_continue_another_run(tmp_path):
    make_trainer(n_steps=1).fit((IMAGES, CAPTIONS), state_file=tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="n_steps=1, this one has n_steps=9"):
        make_trainer().fit((IMAGES, CAPTIONS), state_file=tmp_path / "run.pt")


def test_logit_scale_is_held():
    model = make_model()
    torch.nn.init.constant_(model.logit_scale, 9.0)
    make_trainer(model, n_steps=1).fit((IMAGES, CAPTIONS))
    assert model.logit_scale.item() == pytest.approx(MAX_LOGIT_SCALE)


def test_gains_biases_and_logit_scale_are_not_decayed():
    model = make_model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, others = make_optimizer(model, 1e-3, 0.1).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0)
    others = [names[id(parameter)] for parameter in others["params"]]
    assert "logit_scale" in others
    assert "visual.bn1.weight" in others
    assert all(".bn" in n or ".ln_" in n or "bias" in n or "downsample.1" in n for n in others[1:])
    assert "visual.conv1.weight" in {names[id(parameter)] for parameter in decayed["params"]}


def test_a_diverging_run_stops():
    model = make_model()
    torch.nn.init.constant_(model.visual.conv1.weight, float("nan"))
    with pytest.raises(FloatingPointError, match="after 9 steps; lower lr"):
        make_trainer(model).fit((IMAGES, CAPTIONS))


def test_refuses_what_does_not_fit_the_model():
    with pytest.raises(ValueError, match=r"must be 32 by 32 pixels for this model, got \(16, 32\)"):
        make_trainer().fit((IMAGES[:, :16], CAPTIONS))
    trainer = make_trainer()
    trainer.tokenizer = train_tokenizer(CAPTIONS, vocab_size=530, context_length=13)
    with pytest.raises(ValueError, match="a context length of 13, but the model takes at most"):
        trainer.fit((IMAGES, CAPTIONS))


def test_precision_names():
    cpu = torch.device("cpu")
    assert resolve_precision("bfloat16", cpu) is torch.bfloat16
    assert resolve_precision("auto", cpu) in (torch.bfloat16, torch.float32)
    with pytest.raises(ValueError, match="precision must be .* got 'float16'"):
        resolve_precision("float16", cpu)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_steps": 0}, "n_steps must be an int of at least 1, got 0"),
        ({"batch_size": -1}, "batch_size must be an int of at least 1, got -1"),
        ({"batch_size": 2.5}, "batch_size must be an int of at least 1, got 2.5"),
        ({"warmup": -0.5}, "warmup must be a fraction between 0 and 1, got -0.5"),
        ({"lr": -1.0}, "lr must not be negative, got -1.0"),
        ({"preprocess_config": PreprocessConfig(64)}, "preprocess_config has image_size=64, but"),
    ],
)
def test_refuses_numbers_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(**settings).fit((IMAGES, CAPTIONS))


def test_preprocessing_is_made_for_the_model():
    assert make_trainer().preprocess_config == PreprocessConfig(image_size=32)


@pytest.mark.parametrize("change", ["tokenizer", "precision"])
def test_refuses_to_continue_with_another(tmp_path, change):
    state_file = tmp_path / "run.pt"
    make_trainer(n_steps=2).fit((IMAGES, CAPTIONS), state_file=state_file)
    other = make_trainer(n_steps=2)
    if change == "tokenizer":
        words = ["quite other words than those before"] * 9
        other.tokenizer = train_tokenizer(words, len(TOKENIZER.vocab), context_length=12)
        assert len(other.tokenizer.vocab) == len(TOKENIZER.vocab)
    else:
        other.precision = "bfloat16"
    with pytest.raises(CheckpointError, match=f"was written by a run with {change}="):
        other.fit((IMAGES, CAPTIONS), state_file=state_file)


def test_trains_a_loaded_model_further():
    model, tokenizer, preprocess_config = load_model("skclip/tiny")
    assert not model.training
    before = torch.cat([value.flatten().float() for value in model.state_dict().values()])
    settings = {"n_steps": 2, "batch_size": 8, "device": "cpu", "precision": "float32"}
    trainer = Trainer(model, tokenizer, preprocess_config=preprocess_config, **settings)
    trainer.fit((IMAGES, CAPTIONS))
    assert trainer.model is model
    assert not torch.equal(weights(trainer), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_resumes_on_a_gpu(tmp_path):
    state_file = tmp_path / "run.pt"
    settings = {"device": "cuda", "n_steps": 25}
    make_trainer(n_steps=25, device="cuda").fit((IMAGES, CAPTIONS), state_file=state_file)
    again = make_trainer(**settings).fit((IMAGES, CAPTIONS), state_file=state_file)
    assert again.losses_.shape == (25,)
