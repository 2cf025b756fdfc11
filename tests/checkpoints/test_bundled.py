"""What the bundled model promises; its model card has the figures."""

import runpy
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from skclip import CLIPImageEmbedder, ZeroShotClassifier
from skclip.datasets import COLORS, SHAPES, make_scenes

SCRIPT = runpy.run_path(Path(__file__).parents[2] / "examples" / "train_tiny.py")


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_names_handwritten_digits(digits):
    # templates and augmentation were chosen on the first 897, the last 900 were kept for this
    names = dict(enumerate("zero one two three four five six seven eight nine".split()))
    classifier = ZeroShotClassifier(names, model="skclip/tiny").fit()
    assert classifier.score(digits.images[897:] / 16, digits.target[897:]) > 0.93


def test_linear_probe_is_above_pixels(digits):
    embeddings = CLIPImageEmbedder("skclip/tiny").fit_transform(digits.images / 16)

    def best_score(X, Cs):
        models = [LogisticRegression(C=C, max_iter=2000) for C in Cs]
        return max(cross_val_score(model, X, digits.target, cv=5).mean() for model in models)

    # the best C for each, of 0.01, 0.1, 1, 10, 100 and 1000, and its neighbors
    assert best_score(embeddings, [10, 100]) > best_score(digits.data / 16, [1, 10, 100])


def test_names_pairs_of_color_and_shape_it_has_never_seen():
    pairs = [(color, shape) for color in COLORS for shape in SHAPES]
    held_out = SCRIPT["HELD_OUT_PAIRS"]
    seen = [pair for pair in pairs if pair not in held_out]
    scenes = make_scenes(300, n_objects=(1, 1), exclude_pairs=seen, random_state=0)
    truth = [f"{item['color']} {item['shape']}" for (item,) in scenes.objects]
    assert len(set(truth)) == len(held_out)
    names = [" ".join(pair) for pair in pairs]
    classifier = ZeroShotClassifier(names, model="skclip/tiny").fit()
    assert np.mean(classifier.predict(scenes.images) == truth) >= 0.90


def test_is_small_and_has_a_card():
    directory = files("skclip.checkpoints.bundled") / "tiny"
    sizes = {path.name: path.stat().st_size for path in directory.iterdir()}
    assert sum(sizes.values()) < 12e6
    assert "README.md" in sizes
