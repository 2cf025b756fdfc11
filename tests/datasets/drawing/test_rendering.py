"""Resampling, pixelation, blur and color, against naive loops, Pillow and scipy."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from skclip.datasets.drawing.rendering import (
    area_weights,
    blur_weights,
    colorize,
    cubic_weights,
    ink_boxes,
    nearest_weights,
    pixelate,
    place_in_boxes,
    random_boxes,
    resample,
    resize_and_degrade,
)


def test_area_weights_average_what_they_cover():
    signal = np.random.RandomState(0).uniform(size=20)
    # naive reference: the mean of many samples of each cell; 0 outside
    starts, stops = np.array([2.0, -3.5]), np.array([14.0, 25.3])
    weights = area_weights(starts, stops, 4, 20)
    for row, start, stop in zip(weights, starts, stops, strict=True):
        for k in range(4):
            size = (stop - start) / 4
            at = start + k * size + size * (np.arange(20000) + 0.5) / 20000
            inside = (at >= 0) & (at < 20)
            expected = np.where(inside, signal[np.floor(at).astype(int).clip(0, 19)], 0).mean()
            assert row[k] @ signal == pytest.approx(expected, abs=5e-3)


def test_enlarging_agrees_with_pillow():
    picture = np.random.RandomState(0).randint(64, 192, (8, 8)).astype(np.float32)
    for weights, method in (
        (cubic_weights(64, 8), Image.Resampling.BICUBIC),
        (nearest_weights(64, 8), Image.Resampling.NEAREST),
    ):
        ours = np.rint(resample(weights, picture[None], weights)[0])
        theirs = Image.fromarray(picture.astype(np.uint8)).resize((64, 64), method)
        assert np.abs(ours - np.asarray(theirs)).max() <= 1


def test_blur_agrees_with_scipy():
    signal = np.random.RandomState(0).uniform(0, 255, 64)
    ours = blur_weights(64, 2.0) @ signal
    theirs = gaussian_filter1d(signal, 2.0, truncate=6)
    np.testing.assert_allclose(ours[12:-12], theirs[12:-12], atol=1.0)


def test_pictures_do_not_depend_on_the_order_of_sums():
    rng = np.random.RandomState(0)
    masks = (255 * rng.randint(0, 2, (3, 128, 128))).astype(np.float32)
    down = area_weights(rng.uniform(0, 9, 3), rng.uniform(90, 120, 3), 64, 128)
    single = resample(down, masks, down)
    double = resample(down.astype(float), masks.astype(float), down.astype(float))
    np.testing.assert_array_equal(single, double)


def test_the_ink_is_placed_in_its_box():
    masks = np.zeros((2, 40, 40), np.uint8)
    masks[0, 5:25, 10:20] = 255
    masks[1, 30:39, 1:39] = 255
    boxes = np.array([[4, 2, 8, 12], [0, 0, 16, 16]])
    pictures = place_in_boxes(masks, 16, boxes)
    for picture, (x, y, width, height) in zip(pictures, boxes, strict=True):
        expected = np.zeros((16, 16))
        expected[y : y + height, x : x + width] = 255
        np.testing.assert_allclose(picture, expected, atol=2)


def test_pixelate_counts_ink_in_4_by_4_blocks():
    # UCI's description of its digits: 32 x 32 bitmaps, black pixels counted in 4 x 4 blocks
    bitmap = np.random.RandomState(0).randint(0, 2, (32, 32)).astype(np.uint8)
    bitmap[0] = bitmap[-1] = bitmap[:, 0] = bitmap[:, -1] = 1
    expected = np.zeros((8, 8))
    for y in range(32):
        for x in range(32):
            expected[y // 4, x // 4] += bitmap[y, x]
    whole = np.array([[0.0, 0.0, 1.0, 1.0]])
    for bitonal in (True, False):
        counts = pixelate(255 * bitmap[None], whole, 8, np.array([bitonal]))
        np.testing.assert_array_equal(counts[0], expected)


def test_boxes_stay_in_the_image():
    aspect = np.exp(np.random.RandomState(0).uniform(-2.5, 1.5, 500))
    filled = np.arange(500) % 2 == 0
    x, y, width, height = random_boxes(aspect, filled, np.random.RandomState(0)).T
    for low, size in ((x, width), (y, height)):
        assert (low > -1e-9).all()
        assert (low + size < 1 + 1e-9).all()
    np.testing.assert_allclose(np.maximum(width, height)[filled], 1)
    assert np.maximum(width, height)[~filled].max() < 0.951


def test_looks_describe_the_images():
    masks = np.zeros((400, 128, 128), np.uint8)
    masks[:, 20:108, 40:88] = 255
    coarse = np.arange(400) < 200
    pictures, looks = resize_and_degrade(
        masks, np.ones(400, int), 64, coarse, np.random.RandomState(0)
    )
    assert (looks[coarse] == "pixelated").all()
    assert set(looks[~coarse]) == {"sharp", "blurry"}
    soft = ((pictures > 20) & (pictures < 235)).mean((1, 2)) / (pictures > 20).mean((1, 2))
    assert soft[looks == "sharp"].mean() < 0.5 * soft[looks == "blurry"].mean()


def test_ink_boxes():
    masks = np.zeros((1, 10, 12), np.uint8)
    masks[0, 2:5, 7:11] = 1
    assert [int(edge[0]) for edge in ink_boxes(masks)] == [7, 2, 11, 5]


def test_colorize_blends_two_colors():
    ink = np.array([[[0.0, 255.0], [127.5, 300.0]]])
    colors = np.array([[200.0, 0.0, 100.0]]), np.array([[0.0, 50.0, 100.0]])
    image = colorize(ink, *colors, np.zeros(1), np.random.RandomState(0))
    assert image.dtype == np.uint8
    expected = [[[0, 50, 100], [200, 0, 100]], [[100, 25, 100], [200, 0, 100]]]
    np.testing.assert_array_equal(image[0], expected)


def test_noise_has_the_given_strength():
    gray = np.full((1, 3), 128.0)
    image = colorize(np.zeros((1, 64, 64)), gray, gray, np.array([10.0]), np.random.RandomState(0))
    assert image.std() == pytest.approx(10, rel=0.05)
    assert np.ptp(image, axis=-1).max() == 0
