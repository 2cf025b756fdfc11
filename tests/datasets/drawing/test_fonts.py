"""Fonts: which characters they have, and drawings made from them."""

import numpy as np
import pytest

from skclip.datasets.drawing.fonts import draw_typeset, has_glyphs, load_font, typeset


@pytest.fixture(scope="module")
def font():
    return load_font()


def test_missing_glyphs_are_noticed(font):
    assert has_glyphs(font, "0123456789")
    assert has_glyphs(font, "two words")
    assert not has_glyphs(font, "3一")
    assert not has_glyphs(font, "\U0010fffd")


def test_unreadable_font_is_named(tmp_path):
    path = tmp_path / "no.ttf"
    path.write_bytes(b"not a font")
    with pytest.raises(ValueError, match=r"The 'fonts' contain .*no\.ttf', which cannot be read"):
        load_font(path)


def test_typeset_is_cropped_to_the_ink(font):
    ink = np.asarray(typeset(font, "j"))
    for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]):
        assert edge.any()


def test_undistorted_drawing_is_the_glyph_in_the_middle(font):
    glyph = typeset(font, "R")
    (mask,) = draw_typeset([glyph], 96, np.random.RandomState(0), 0.0)
    side = (
        round(96 / 1.5 * glyph.width / max(glyph.size)),
        round(96 / 1.5 * glyph.height / max(glyph.size)),
    )
    expected = np.zeros((96, 96))
    top, left = round(48 - side[1] / 2), round(48 - side[0] / 2)
    expected[top : top + side[1], left : left + side[0]] = glyph.resize(side)
    assert np.corrcoef(expected.ravel(), mask.ravel())[0, 1] > 0.97


def test_distorted_drawings_differ_and_stay_inside(font):
    masks = draw_typeset([typeset(font, "M")] * 60, 96, np.random.RandomState(0), 1.0)
    assert len(np.unique(masks.reshape(60, -1), axis=0)) == 60
    border = np.concatenate(
        [masks[:, [0, -1]].reshape(60, -1), masks[:, :, [0, -1]].reshape(60, -1)], 1
    )
    assert (border.max(1) < 40).mean() > 0.9
