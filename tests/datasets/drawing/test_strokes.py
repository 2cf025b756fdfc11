"""Handwriting: the alphabet's data, its splines and its pens."""

import string
import zlib

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from skclip.datasets.drawing.alphabet import ALLOGRAPHS
from skclip.datasets.drawing.rendering import ink_boxes
from skclip.datasets.drawing.strokes import (
    allographs_of,
    draw_curve,
    draw_handwritten,
    parse_shape,
    write_character,
)


def test_the_alphabet_has_digits_and_ascii_letters():
    assert set(ALLOGRAPHS) == set(string.digits + string.ascii_letters)
    assert allographs_of("ω") == ()


@pytest.mark.parametrize("character", sorted(ALLOGRAPHS))
def test_shapes_of_an_allograph_have_the_same_points_corners_and_strokes(character):
    for shapes in ALLOGRAPHS[character]:
        first, *others = [parse_shape(shape) for shape in shapes]
        for points, corners, strokes in others:
            assert points.shape == first[0].shape
            assert (corners, strokes) == first[1:]


def test_every_digit_has_several_allographs_and_shapes():
    for digit in string.digits:
        assert sum(len(shapes) for shapes in ALLOGRAPHS[digit]) >= 6


def test_curve_is_the_catmull_rom_spline():
    # Reference: scipy's cubic Hermite spline with the tangents of Catmull and Rom (1974).
    allograph = allographs_of("3")[0]
    points = allograph.shapes[0]
    tangents = np.gradient(points, axis=0)
    _, corners, _ = parse_shape(ALLOGRAPHS["3"][0][0])
    (corner,) = corners
    tangents[corner] = points[corner] - points[corner - 1]
    until = CubicHermiteSpline(np.arange(corner + 1), points[: corner + 1], tangents[: corner + 1])
    curve = allograph.curve @ points
    on_point = np.flatnonzero((allograph.curve == 1).sum(1) == 1)
    np.testing.assert_array_equal(
        np.unique(allograph.curve[on_point].argmax(1)), np.arange(len(points))
    )
    last = on_point[allograph.curve[on_point].argmax(1) == corner][0]
    gaps = np.diff(on_point[on_point <= last])
    at = np.concatenate([k + np.arange(gap) / gap for k, gap in enumerate(gaps[: corner - 1])])
    np.testing.assert_allclose(curve[: len(at)], until(at), atol=1e-12)
    np.testing.assert_allclose(allograph.curve.sum(1), 1, atol=1e-12)


def test_corner_is_sharp_and_other_points_are_smooth():
    (allograph,) = allographs_of("v")
    curve = allograph.curve @ allograph.shapes[0]
    low = curve[:, 1].argmax()
    before, after = curve[low] - curve[low - 1], curve[low + 2] - curve[low + 1]
    assert before[1] > 0 > after[1]
    (circle, *_) = allographs_of("0")
    steps = np.diff(circle.curve @ circle.shapes[0], axis=0)
    steps = steps[np.linalg.norm(steps, axis=1) > 1e-9]
    turns = np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    assert np.abs(turns).max() < 0.3


def test_draw_curve_inks_the_pixels_under_the_nib():
    rng = np.random.RandomState(0)
    points = rng.uniform(8, 24, size=(12, 2))
    expected = np.zeros((32, 32), bool)
    for y in range(32):
        for x in range(32):
            for px, py in np.rint(points):
                expected[y, x] |= (2 * (x - px) / 7) ** 2 + (2 * (y - py) / 5) ** 2 <= 1
    mask = draw_curve(points, (7, 5), 32)
    np.testing.assert_array_equal(mask, 255 * expected)
    assert mask.dtype == np.uint8


def test_handwriting_is_pinned():
    # only control points and curves, which do not depend on a rasterizer
    sums = []
    for character in "0fW":
        curves = write_character(allographs_of(character)[0], 3, np.random.RandomState(0), 1.0)
        sums.append(zlib.crc32(np.rint(curves * 1000).astype("<i4").tobytes()))
    assert sums == [3768485273, 1029456987, 729910906]


def test_without_distortion_only_the_blend_varies():
    (allograph,) = allographs_of("v")
    assert len(allograph.shapes) == 1
    first, second = write_character(allograph, 2, np.random.RandomState(0), 0.0)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("text", ["1", "8", "W", "abc", "2026"])
def test_drawings_fill_their_canvas_and_stay_inside(text):
    masks, pens = draw_handwritten([text] * 20, 64, np.random.RandomState(1), 1.0)
    rows, columns = masks.any(2), masks.any(1)
    left, top, right, bottom = ink_boxes(masks)
    # The flattest nib is 0.7 as high as it is wide, and leaves that much of the height blank.
    assert np.maximum(right - left, bottom - top).min() >= 54
    assert not (rows[:, [0, -1]].any())
    assert not (columns[:, [0, -1]].any())
    assert pens.min() > 0.04
    assert pens.max() < 0.24


def test_letters_of_a_word_stand_beside_each_other():
    masks, _ = draw_handwritten(["ll", "lll"], 96, np.random.RandomState(3), 0.0)
    for mask, count in zip(masks, (2, 3), strict=True):
        middle = mask[48].astype(bool)
        assert (np.diff(middle.astype(int)) == 1).sum() == count


def test_thicker_pen_more_ink():
    masks, pens = draw_handwritten(["0"] * 60, 64, np.random.RandomState(0), 0.5)
    assert np.corrcoef(pens, (masks > 0).mean((1, 2)))[0, 1] > 0.8
