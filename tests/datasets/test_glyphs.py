"""make_glyphs: its output, that it is the same everywhere, and its errors."""

import zlib

import numpy as np
import pytest

from skclip.datasets import make_glyphs
from skclip.datasets.drawing.captions import NUMBER_WORDS

PINNED_MEANS = [
    38.1,
    101.0,
    45.0,
    217.8,
    202.9,
    22.0,
    39.1,
    141.4,
    240.5,
    60.0,
    58.4,
    34.6,
    73.9,
    96.2,
    45.9,
    224.8,
    18.3,
    44.9,
    182.8,
    36.1,
]


@pytest.fixture(scope="module")
def data():
    return make_glyphs(300, random_state=0)


def test_shapes_and_types(data):
    assert data.images.shape == (300, 64, 64, 3)
    assert data.images.dtype == np.uint8
    assert len(data.captions) == len(data.target) == len(data.styles) == 300
    assert all(type(caption) is str for caption in data.captions)
    assert data.target.dtype.kind == "U"
    assert set(data.target) == set("0123456789")
    assert set(data.styles) == {"typeset", "handwritten"}


def test_nothing_is_blank(data):
    assert (data.images.max((1, 2, 3)).astype(int) - data.images.min((1, 2, 3)) > 40).all()


def test_captions_name_what_is_drawn(data):
    for caption, target, style in zip(data.captions, data.target, data.styles, strict=True):
        words = caption.replace(",", "").split()
        named = {str(NUMBER_WORDS.index(w)) if w in NUMBER_WORDS else w for w in words}
        assert named & set("0123456789") == {target}
        if "hand" in caption:
            assert style == "handwritten"


def test_same_seed_same_data(data):
    again = make_glyphs(300, random_state=0)
    np.testing.assert_array_equal(again.images, data.images)
    assert again.captions == data.captions
    other = make_glyphs(300, random_state=1)
    assert other.captions != data.captions


def test_seed_is_pinned(data):
    # neither captions nor targets depend on how a font is drawn
    assert "".join(data.target[:20]) == "50337935247688167781"
    assert zlib.crc32("\n".join(data.captions).encode()) == 234072703


def test_handwritten_images_are_pinned():
    data = make_glyphs(20, style="handwritten", image_size=32, random_state=0)
    # tolerance for a few pixels that another math library rounds differently
    means = data.images.mean((1, 2, 3))
    np.testing.assert_allclose(means, PINNED_MEANS, atol=0.3)


def test_global_random_state_is_not_changed():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_glyphs(3, random_state=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_styles():
    assert set(make_glyphs(20, style="typeset", random_state=0).styles) == {"typeset"}
    assert set(make_glyphs(20, style="handwritten", random_state=0).styles) == {"handwritten"}
    mixed = make_glyphs(60, characters="?7", random_state=0)
    assert set(mixed.styles[mixed.target == "?"]) == {"typeset"}
    assert set(mixed.styles[mixed.target == "7"]) == {"typeset", "handwritten"}


def test_words_and_numbers():
    data = make_glyphs(40, characters=["cat", "42", "Q"], image_size=48, random_state=0)
    assert data.images.shape == (40, 48, 48, 3)
    assert set(data.target) == {"cat", "42", "Q"}
    assert any('the word "cat"' in caption for caption in data.captions)
    assert any("number 42" in caption for caption in data.captions)


def test_colored():
    gray = make_glyphs(40, colored=0, random_state=0).images
    assert np.ptp(gray, axis=-1).max() == 0
    colored = make_glyphs(40, colored=1, random_state=0).images
    assert (np.ptp(colored, axis=-1).max((1, 2)) > 30).mean() > 0.8


def test_pixelate():
    def words(fraction):
        return " ".join(make_glyphs(200, pixelate=fraction, random_state=0).captions)

    assert "pixelated" not in words(0)
    assert "blurry" not in words(1)
    assert "pixelated" in words(1)


def test_undistorted_digits_are_symmetric():
    # without distortion a typeset character is only scaled and placed, so it keeps its left-right
    # mirror symmetry
    options = {"style": "typeset", "pixelate": 0, "colored": 0, "random_state": 0}

    def asymmetry(distortion):
        images = make_glyphs(60, characters="8", distortion=distortion, **options).images[..., 0]
        images = np.abs(images.astype(float) - images[:, :1, :1])
        shares = []
        for image in images:
            inked = image > 0.5 * image.max()
            columns = inked.any(0).nonzero()[0]
            crop = inked[:, columns[0] : columns[-1] + 1]
            shares.append((crop != crop[:, ::-1]).mean())
        return np.mean(shares)

    assert asymmetry(0) < 0.5 * asymmetry(1)


def test_a_given_font(tmp_path):
    from PIL import ImageFont

    path = tmp_path / "own.ttf"
    path.write_bytes(ImageFont.load_default(20).font_bytes)
    given = make_glyphs(10, style="typeset", fonts=[path], random_state=0)
    assert given.images.shape == (10, 64, 64, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "The 'n_samples' parameter of make_glyphs must be an int"),
        ({"style": "cursive"}, "The 'style' parameter of make_glyphs must be a str among"),
        ({"image_size": 8}, "The 'image_size' parameter of make_glyphs must be an int"),
        ({"pixelate": 1.5}, "The 'pixelate' parameter of make_glyphs must be a float"),
        ({"distortion": -1}, "The 'distortion' parameter of make_glyphs must be a float"),
        ({"colored": 2}, "The 'colored' parameter of make_glyphs must be a float"),
        ({"fonts": "arial.ttf"}, "The 'fonts' parameter of make_glyphs must be"),
        ({"characters": ""}, "The 'characters' are empty"),
        ({"characters": ["a", " "]}, "which would be invisible"),
        (
            {"characters": "3?", "style": "handwritten"},
            r"\['\?'\] cannot be drawn with style='hand",
        ),
        ({"characters": "一"}, "no font given has the others"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        make_glyphs(**options)


def test_characters_must_be_strings():
    with pytest.raises(TypeError, match=r"must be strings\. Got 3 among them"):
        make_glyphs(characters=[3])


def test_captions_name_the_colors():
    data = make_glyphs(400, colored=0.5, pixelate=0, random_state=0)
    seen = 0
    for image, caption in zip(data.images, data.captions, strict=True):
        ground = np.median(image.reshape(-1, 3), axis=0)
        for name, low, high in (("white", 180, 255), ("black", 0, 75)):
            if f"on {name}" in caption or f"on a {name} background" in caption:
                seen += 1
                assert low <= ground.min() <= ground.max() <= high, caption
    assert seen > 60
