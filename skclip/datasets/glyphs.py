"""Drawn characters, words and numbers with captions."""

from functools import cache
from numbers import Integral, Real
from random import Random

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skclip._sklearn_compat import Interval, StrOptions, validate_params
from skclip.datasets.drawing.captions import glyph_caption, nouns_of
from skclip.datasets.drawing.fonts import draw_typeset, has_glyphs, load_font, typeset
from skclip.datasets.drawing.palette import COLORS, brightness
from skclip.datasets.drawing.rendering import colorize, resize_and_degrade
from skclip.datasets.drawing.strokes import allographs_of, draw_handwritten

# drawings are made in blocks, large enough for numpy, small enough for memory and CPU caches
_BLOCK = 256


_LOOKS = {
    "sharp": (),
    "pixelated": ("pixelated", "pixelated", "low-resolution", "low-res", "coarse"),
    "blurry": ("blurry", "blurred", "out-of-focus"),
}


def _stroke_words(pen):
    """Return adjectives for a pen width, a fraction of the height; NaN for typeset text."""
    if pen > 0.16:
        return ("bold", "thick")
    return ("thin",) if pen < 0.08 else ()


def _choose_colors(n_samples, colored, rng):
    """Choose foreground and background colors, each (n_samples, 3), and their names."""
    kinds = rng.uniform(size=n_samples)
    shades = rng.uniform(size=(n_samples, 2))
    choices = rng.randint(len(COLORS), size=(n_samples, 2))
    palette = list(COLORS)
    foregrounds, backgrounds, names = [], [], []
    for kind, (shade, other_shade), (first, second) in zip(kinds, shades, choices, strict=True):
        light, dark = (255 - 70 * shade**2,) * 3, (70 * other_shade**2,) * 3
        if kind >= colored:
            pair = {"white": light, "black": dark}
            swapped = kind > 0.75 + 0.25 * colored
        else:
            one, two = palette[first], palette[second]
            pair = {one: COLORS[one], two: COLORS[two]}
            if shade < 0.6 or abs(brightness(pair[one]) - brightness(pair[two])) < 70:
                pair = {one: COLORS[one]}
                pair |= {"black": dark} if brightness(pair[one]) > 110 else {"white": light}
            swapped = other_shade < 0.3
        (name, color), (other_name, other_color) = list(pair.items())[:: -1 if swapped else 1]
        foregrounds.append(color)
        backgrounds.append(other_color)
        names.append((name, other_name))
    return np.array(foregrounds, float), np.array(backgrounds, float), names


def _find_sources(texts, style, fonts):
    """Return whether each text can be handwritten, and the loaded fonts that can draw it."""
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"The 'characters' must be strings. Got {text!r} among them.")
        if not text.strip() or not text.isprintable():
            raise ValueError(
                f"The 'characters' contain {text!r}, which would be invisible; leave it out."
            )
    if not texts:
        raise ValueError("The 'characters' are empty; pass at least one to draw.")
    handwritable = [style != "typeset" and all(map(allographs_of, text)) for text in texts]
    loaded = [] if style == "handwritten" else [load_font(path) for path in fonts or [None]]
    fonts_of = [[font for font in loaded if has_glyphs(font, text)] for text in texts]
    missing = [t for t, h, f in zip(texts, handwritable, fonts_of, strict=True) if not (h or f)]
    if missing:
        raise ValueError(
            f"The 'characters' {missing} cannot be drawn with style={style!r}: only digits "
            "and ASCII letters can be handwritten, and no font given has the others. Leave them "
            "out, or pass 'fonts' that have them."
        )
    return np.array(handwritable), fonts_of


def _draw(texts, by_hand, typeset_text, canvas, rng, distortion):
    """Draw some texts by hand and the others in a font.

    Parameters
    ----------
    texts : list of str
    by_hand : ndarray of shape (n_texts,), dtype bool
    typeset_text : callable
        Called with a text and a number in [0, 1) that selects one of its fonts; returns a picture.
    canvas : int
        Side of a drawing, in pixels.
    rng : RandomState
    distortion : float

    Returns
    -------
    masks : ndarray of shape (n_texts, canvas, canvas), dtype uint8
        Ink, 0 to 255.
    pens : ndarray of shape (n_texts,)
        Pen widths, as fractions of the height of the writing; NaN for typeset texts.
    """
    masks = np.empty((len(texts), canvas, canvas), np.uint8)
    pens = np.full(len(texts), np.nan)
    if by_hand.any():
        written = [texts[k] for k in np.flatnonzero(by_hand)]
        masks[by_hand], pens[by_hand] = draw_handwritten(written, canvas, rng, distortion)
    in_font = np.flatnonzero(~by_hand)
    if len(in_font):
        shares = rng.uniform(size=len(in_font))
        pictures = [typeset_text(texts[k], s) for k, s in zip(in_font, shares, strict=True)]
        masks[in_font] = draw_typeset(pictures, canvas, rng, distortion)
    return masks, pens


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "characters": [str, list, tuple],
        "style": [StrOptions({"both", "typeset", "handwritten"})],
        "fonts": [list, tuple, None],
        "image_size": [Interval(Integral, 32, 512, closed="both")],
        "pixelate": [Interval(Real, 0, 1, closed="both")],
        "distortion": [Interval(Real, 0, 2, closed="both")],
        "colored": [Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_glyphs(
    n_samples=100,
    *,
    characters="0123456789",
    style="both",
    fonts=None,
    image_size=64,
    pixelate=0.5,
    distortion=1.0,
    colored=0.3,
    random_state=None,
):
    """Draw characters, words and numbers, each with a caption.

    Parameters
    ----------
    n_samples : int, default=100
        Number of images.
    characters : str or list of str, default="0123456789"
        What to draw: the characters of a str, or the strings of a list. Strings of several
        characters are drawn as words or numbers.
    style : {"both", "typeset", "handwritten"}, default="both"
        Typeset in a font, drawn with a pen, or either with equal probability. Only digits and ASCII
        letters can be handwritten; with "both", everything else is typeset.
    fonts : list of str, default=None
        Paths of TrueType or OpenType fonts; a character is drawn only with those that have a glyph
        for it. None means the font that comes with Pillow.
    image_size : int, default=64
        Height and width of an image, in pixels.
    pixelate : float, default=0.5
        Fraction of the images that are reduced to a coarse grid with 17 gray levels, and enlarged
        again: 8 to 16 cells a side for one character, 16 for two, 32 for more.
    distortion : float, default=1.0
        Strength of slant, rotation, bending and of the jitter of handwriting; 0 for none.
    colored : float, default=0.3
        Fraction of the images in color; the others are light on dark or dark on light.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same images and captions in every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        images : ndarray of shape (n_samples, image_size, image_size, 3), dtype uint8
            RGB images.
        captions : list of str
            One caption per image.
        target : ndarray of shape (n_samples,)
            The drawn text, a str.
        styles : ndarray of shape (n_samples,)
            "typeset" or "handwritten".

    Raises
    ------
    ValueError
        If a character can be neither handwritten nor typeset in one of the fonts, or a font cannot
        be read.
    TypeError
        If ``characters`` contains anything but str.

    Notes
    -----
    A handwritten character is a smooth curve (a Catmull-Rom spline [1]_) through control points,
    drawn with a pen that is thin or thick. The control points are those of one of its allographs
    (the ways of writing a character): a blend of that allograph's extreme shapes, bent and slanted.

    Pixelated images are made in the way of the 8 x 8 digits of the UCI repository [2]_: the ink is
    counted in the cells of a grid.

    References
    ----------
    .. [1] E. Catmull and R. Rom. A class of local interpolating splines. In Computer Aided
       Geometric Design, 1974.
    .. [2] E. Alpaydin and C. Kaynak. `Optical recognition of handwritten digits
       <https://doi.org/10.24432/C50P49>`_. UCI Machine Learning Repository, 1998.

    Examples
    --------
    >>> from skclip.datasets import make_glyphs
    >>> data = make_glyphs(4, characters="37", random_state=0)
    >>> data.images.shape
    (4, 64, 64, 3)
    >>> data.target.tolist()
    ['3', '7', '7', '3']
    >>> data.captions[0]
    'a typeset figure 3 on a white background'
    """
    rng = check_random_state(random_state)
    texts = list(characters)
    handwritable, fonts_of = _find_sources(texts, style, fonts)
    typesettable = np.array([bool(loaded) for loaded in fonts_of])
    lengths = np.array([len(text) for text in texts])
    nouns = [nouns_of(text) for text in texts]
    fonts_of = dict(zip(texts, fonts_of, strict=True))
    typeset_once = cache(typeset)

    def typeset_text(text, share):
        candidates = fonts_of[text]
        return typeset_once(candidates[int(share * len(candidates))], text)

    chosen = rng.randint(len(texts), size=n_samples)
    by_hand = handwritable[chosen] & (~typesettable[chosen] | (rng.uniform(size=n_samples) < 0.5))
    images = np.empty((n_samples, image_size, image_size, 3), np.uint8)
    captions = []
    for start in range(0, n_samples, _BLOCK):
        indices, hand = chosen[start : start + _BLOCK], by_hand[start : start + _BLOCK]
        size = len(indices)
        drawn = [texts[i] for i in indices]
        masks, pens = _draw(drawn, hand, typeset_text, 2 * image_size, rng, distortion)
        coarse = rng.uniform(size=size) < pixelate
        pictures, looks = resize_and_degrade(masks, lengths[indices], image_size, coarse, rng)
        foregrounds, backgrounds, color_names = _choose_colors(size, colored, rng)
        noise = np.where(rng.uniform(size=size) < 0.2, rng.uniform(2, 20, size), 0)
        images[start : start + size] = colorize(pictures, foregrounds, backgrounds, noise, rng)
        random = Random(int(rng.randint(2**31 - 1)))
        for k, i in enumerate(indices):
            facts = {
                "handwritten": hand[k],
                "look": _LOOKS[looks[k]],
                "stroke": _stroke_words(pens[k]),
                "colors": color_names[k],
            }
            captions.append(glyph_caption(nouns[i], facts, random))
    return Bunch(
        images=images,
        captions=captions,
        target=np.array(texts)[chosen],
        styles=np.where(by_hand, "handwritten", "typeset"),
    )
