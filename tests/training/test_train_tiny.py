import runpy
from pathlib import Path

import matplotlib
import torch

from skclip.checkpoints.load import load_checkpoint

SCRIPT = runpy.run_path(Path(__file__).parents[2] / "examples" / "train_tiny.py")
FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")


def train(directory):
    command = f"--fonts {FONTS} --out {directory} --drawings 60 --batch-size 16 --steps 3"
    SCRIPT["main"](command.split())
    return load_checkpoint(directory)


def test_the_command_trains_and_saves_the_same_model_again(tmp_path):
    first, again = train(tmp_path / "first"), train(tmp_path / "again")
    assert first.preprocess_config.image_size == first.model.config.vision.image_size
    weights, others = first.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert not list(tmp_path.glob("*/*.pt*"))


def test_held_out_pairs_and_fonts_are_never_drawn():
    training, held_out = SCRIPT["find_fonts"](FONTS)
    assert training
    assert not set(training) & set(held_out)
    _, captions = SCRIPT["draw_chunk"](400, training, seed=0)
    pairs = {f"{color} {shape}" for color, shape in SCRIPT["HELD_OUT_PAIRS"]}
    assert len(pairs) == 8
    assert not [caption for caption in captions if any(pair in caption for pair in pairs)]
    for which in (0, 1):
        assert len({pair[which] for pair in SCRIPT["HELD_OUT_PAIRS"]}) == 8
