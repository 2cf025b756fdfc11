"""make_scenes: captions against attributes, attributes against pixels, excluded pairs."""

import math
import re
import zlib

import numpy as np
import pytest

from skclip.datasets import COLORS, SHAPES, make_scenes

NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
SYNONYMS = {"ellipse": "oval", "plus sign": "cross", "crosses": "cross"}
TEXTURES = {
    "plain": "plain solid filled",
    "striped": "striped stripy",
    "dotted": "dotted spotted",
    "checkered": "checkered chequered",
    "outlined": "outlined hollow empty",
}
SIZES = {"small": "small little tiny", "large": "large big"}
OBJECT = re.compile(
    rf"(?:(?P<number>{'|'.join(NUMBERS)}) )?"
    rf"(?:(?P<size>{'|'.join(' '.join(SIZES.values()).split())}) )?"
    rf"(?:(?P<texture>{'|'.join(' '.join(TEXTURES.values()).split())}) )?"
    rf"(?P<color>{'|'.join(COLORS)}) "
    rf"(?P<shape>ellipse|plus sign|cross|{'|'.join(SHAPES)})(?:es|s)?\b"
)


@pytest.fixture(scope="module")
def data():
    return make_scenes(600, random_state=0)


def _name_of(table, word):
    return next((name for name, words in table.items() if word in words.split()), None)


def _described(match, item):
    return (
        item["color"] == match["color"]
        and item["shape"] == SYNONYMS.get(match["shape"], match["shape"])
        and (match["texture"] is None or item["texture"] == _name_of(TEXTURES, match["texture"]))
        and (match["size"] is None or item["size"] == _name_of(SIZES, match["size"]))
    )


def test_shapes_and_types(data):
    assert len(COLORS) >= 8
    assert len(SHAPES) >= 8
    assert data.images.shape == (600, 64, 64, 3)
    assert data.images.dtype == np.uint8
    assert len(data.captions) == len(data.objects) == 600
    assert {len(items) for items in data.objects} == {1, 2, 3, 4}


def test_captions_are_true(data):
    for caption, items in zip(data.captions, data.objects, strict=True):
        matches = list(OBJECT.finditer(caption))
        total = 0
        for match in matches:
            fitting = [item for item in items if _described(match, item)]
            number = NUMBERS.get(match["number"], 1)
            assert len(fitting) >= number, caption
            total += number
        assert total == len(items), caption


def test_relations_are_true(data):
    seen = set()
    for caption, items in zip(data.captions, data.objects, strict=True):
        relation = re.search(r" (left of|right of|above|over|below|under) an? ", caption)
        if not relation:
            continue
        first = OBJECT.search(caption[: relation.start()])
        a, b = items if _described(first, items[0]) else items[::-1]
        if _described(first, b):
            continue
        seen.add(relation[1])
        dx, dy = b["x"] - a["x"], b["y"] - a["y"]
        expected = {"left of": dx, "right of": -dx, "above": dy, "over": dy}
        expected |= {"below": -dy, "under": -dy}
        assert expected[relation[1]] > 0
        assert abs(expected[relation[1]]) >= max(abs(dx), abs(dy)) - 1e-9
    assert len(seen) == 6


def test_positions_are_true(data):
    count = 0
    for caption, items in zip(data.captions, data.objects, strict=True):
        place = re.search(
            r"(?:in the (top|bottom) (left|right) corner|(?:on|at) the (\w+))$", caption
        )
        if not place:
            continue
        count += 1
        for item in items:
            x, y = item["x"] / 64, item["y"] / 64
            truth = {"left": x < 0.4, "right": x > 0.6, "top": y < 0.4, "bottom": y > 0.6}
            assert all(truth[word] for word in place.groups() if word)
    assert count > 20


def test_objects_have_their_colors_and_positions(data):
    for image, items in zip(data.images, data.objects, strict=True):
        for item in items:
            if item["texture"] == "plain" and item["shape"] != "crescent":
                pixel = image[round(item["y"]) - 1, round(item["x"]) - 1].astype(int)
                # jitter of 14 and noise of up to 14 gray levels (four standard deviations)
                assert np.abs(pixel - COLORS[item["color"]]).max() <= 14 + 4 * 14


def test_objects_do_not_overlap_and_stay_inside(data):
    for items in data.objects:
        for k, item in enumerate(items):
            assert item["radius"] <= min(item["x"], item["y"]) + 1e-9
            assert max(item["x"], item["y"]) <= 64 - item["radius"] + 1e-9
            for other in items[:k]:
                distance = math.dist((item["x"], item["y"]), (other["x"], other["y"]))
                assert distance > item["radius"] + other["radius"]


@pytest.mark.parametrize("kind", [list, set, np.array, lambda pairs: [list(p) for p in pairs]])
def test_excluded_pairs_come_in_any_kind_of_list(kind):
    pairs = [("red", "circle"), ("blue", "star")]
    scenes = [
        make_scenes(30, exclude_pairs=given, image_size=32, random_state=0).captions
        for given in (tuple(pairs), kind(pairs))
    ]
    assert scenes[0] == scenes[1]
    assert make_scenes(2, exclude_pairs=np.empty((0, 2), str), random_state=0).captions


def test_excluded_pairs_are_never_drawn():
    excluded = [("red", "circle"), ("blue", "star")]
    scenes = make_scenes(1000, exclude_pairs=excluded, image_size=32, random_state=0)
    drawn = {(item["color"], item["shape"]) for items in scenes.objects for item in items}
    assert len(drawn) == len(COLORS) * len(SHAPES) - 2
    assert not drawn & set(excluded)
    for caption in scenes.captions:
        for match in OBJECT.finditer(caption):
            assert (match["color"], match["shape"]) not in excluded


def test_a_single_pair():
    pairs = [(c, s) for c in COLORS for s in SHAPES if (c, s) != ("pink", "heart")]
    scenes = make_scenes(30, n_objects=(1, 1), exclude_pairs=pairs, random_state=0)
    assert all(len(items) == 1 for items in scenes.objects)
    assert sum("a pink heart" in caption for caption in scenes.captions) > 8


def test_same_seed_same_data(data):
    again = make_scenes(600, random_state=0)
    np.testing.assert_array_equal(again.images, data.images)
    assert again.captions == data.captions
    assert again.objects == data.objects
    assert make_scenes(600, random_state=1).captions != data.captions


def test_seed_is_pinned(data):
    assert zlib.crc32("\n".join(data.captions).encode()) == 4092881772


def test_image_size():
    assert make_scenes(2, image_size=96, random_state=0).images.shape == (2, 96, 96, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "The 'n_samples' parameter of make_scenes must be an int"),
        ({"n_objects": 3}, "The 'n_objects' parameter of make_scenes must be an instance"),
        ({"n_objects": (2, 1)}, r"smallest <= largest <= 6\. Got \(2, 1\)"),
        ({"n_objects": (1, 9)}, r"smallest <= largest <= 6\. Got \(1, 9\)"),
        ({"n_objects": (1.5, 2)}, r"two integers.*Got \(1\.5, 2\)"),
        ({"n_objects": (1,)}, r"two integers.*Got \(1,\)"),
        ({"image_size": 4}, "The 'image_size' parameter of make_scenes must be an int"),
        (
            {"exclude_pairs": [("red", "blob")]},
            r"names in COLORS and SHAPES\. Got \('red', 'blob'\)",
        ),
        ({"exclude_pairs": ["red"]}, "must be pairs.*Got 'red'"),
        ({"exclude_pairs": [3]}, "must be pairs.*Got 3"),
        ({"exclude_pairs": [("red", "circle", "large")]}, "must be pairs.*'large'"),
        ({"exclude_pairs": [(["red"], "circle")]}, "must be pairs.*'circle'"),
        ({"exclude_pairs": np.array(["red", "circle"])}, "must be pairs.*red"),
        ({"exclude_pairs": np.array([[["red", "circle"]] * 2])}, "must be pairs"),
        ({"exclude_pairs": np.array(3)}, "must be pairs.*3"),
        (
            {"exclude_pairs": [(c, s) for c in COLORS for s in SHAPES]},
            "leave no pair of color and shape",
        ),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        make_scenes(**options)
