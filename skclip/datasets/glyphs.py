"""Drawn characters, words and numbers with captions."""

from numbers import Integral, Real
from random import Random

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skclip._sklearn_compat import Interval, StrOptions, validate_params
from skclip.datasets.captions import COLORS, glyph_caption, nouns_of
from skclip.datasets.fonts import has_glyphs, load_font, typeset, warp
from skclip.datasets.rendering import (
    blur_weights,
    cubic_weights,
    frame,
    ink_boxes,
    nearest_weights,
    paint,
    resample,
)
from skclip.datasets.strokes import bend, ink, ways_of, write

_CHUNK = 256
_NODES = 4


def _turn(n_samples, rng, distortion):
    """Random matrices (n, 2, 2): aspect, slant, then a small rotation."""
    slant = distortion * (0.05 + 0.16 * rng.standard_normal(n_samples))
    angle = distortion * 0.1 * rng.standard_normal(n_samples)
    stretch = np.exp(distortion * 0.15 * rng.standard_normal(n_samples))
    cos, sin = np.cos(angle), np.sin(angle)
    shear = np.zeros((n_samples, 2, 2))
    shear[:, 0, 0], shear[:, 1, 1] = stretch, 1 / stretch
    # y points down: a slant to the right moves the upper half, where y < 0, to the right.
    shear[:, 0, 1] = -slant
    rotation = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    return rotation @ shear


def _draw_handwritten(texts, canvas, rng, distortion):
    """Masks (n, canvas, canvas) of single handwritten characters, and their pen widths."""
    n_samples = len(texts)
    masks = np.empty((n_samples, canvas, canvas), np.uint8)
    chosen = rng.uniform(size=n_samples)
    pens = rng.uniform(0.05, 0.25, size=n_samples)
    flatness = rng.uniform(0.7, 1.0, size=n_samples)
    turn = _turn(n_samples, rng, distortion)
    groups = {}
    for row, text in enumerate(texts):
        n_ways = len(ways_of(text))
        groups.setdefault((text, int(chosen[row] * n_ways)), []).append(row)
    for (text, which), rows in sorted(groups.items()):
        way = ways_of(text)[which]
        # Characters are about two thirds as wide as they are high.
        points = (write(way, len(rows), rng, distortion) - 0.5) * (0.66, 1.0)
        points = points @ np.swapaxes(turn[rows], 1, 2)
        low, high = points.min(1), points.max(1)
        extent = (high - low).max(1)
        pen = np.maximum(np.rint(pens[rows] * 0.72 * canvas), 3).astype(int)
        flat = np.maximum(np.rint(pen * flatness[rows]), 3).astype(int)
        scale = (canvas - pen - 3) / extent
        points = (points - (low + high)[:, None] / 2) * scale[:, None, None] + canvas / 2
        for k, row in enumerate(rows):
            masks[row] = ink(points[k], (int(pen[k]), int(flat[k])), canvas)
    return masks, pens


def _draw_typeset(pictures, canvas, rng, distortion):
    """Masks (n, canvas, canvas) of typeset pictures, turned and bent."""
    n_samples = len(pictures)
    turn = np.linalg.inv(_turn(n_samples, rng, distortion))
    lattice = np.linspace(-0.5, 0.5, _NODES)
    nodes = np.stack(np.meshgrid(lattice, lattice), axis=-1).reshape(1, -1, 2)
    nodes = bend(np.repeat(nodes, n_samples, axis=0), rng, distortion)
    sizes = np.array([picture.size for picture in pictures])[:, None]
    # Leave a margin for what slant and rotation push outwards.
    nodes = (nodes * (sizes.max(2, keepdims=True) * 1.5)) @ np.swapaxes(turn, 1, 2) + sizes / 2
    nodes = nodes.reshape(n_samples, _NODES, _NODES, 2)
    return np.stack([warp(*pair, canvas) for pair in zip(pictures, nodes, strict=True)])


def _boxes(masks_box, grid, fill, rng):
    """Boxes (n, 4) of the ink in a grid: nearly filled, or anywhere."""
    left, top, right, bottom = masks_box
    n_samples = len(left)
    aspect = (right - left) / (bottom - top)
    wanted = np.exp(rng.normal(np.log(0.62), 0.12, n_samples))
    share = np.where(fill, 0.9, 0.5) * rng.uniform(0, 1, n_samples)
    squeezed = np.where(aspect < 1.1, aspect ** (1 - share) * wanted**share, aspect)
    height = np.where(fill, 1.0, rng.uniform(0.45, 0.95, n_samples))
    width = np.minimum(height * squeezed, np.where(fill, 1.0, 0.95))
    height = width / squeezed
    x = (1 - width) * np.where(fill, 0.5, rng.uniform(0, 1, n_samples))
    y = (1 - height) * np.where(fill, 0.5, rng.uniform(0, 1, n_samples))
    return grid * np.stack([x, y, width, height], axis=1)


def _develop(masks, size, coarse, rng):
    """Bring drawings to pictures of ink (n, size, size); returns them and the names of looks."""
    n_samples = len(masks)
    boxes = ink_boxes(masks)
    fill = rng.uniform(size=n_samples) < np.where(coarse, 0.75, 0.3)
    blurred = ~coarse & (rng.uniform(size=n_samples) < 0.3)
    grids = np.where(coarse, rng.choice([8, 8, 8, 8, 10, 12, 16], size=n_samples), size)
    bitonal = coarse & (rng.uniform(size=n_samples) < 0.6)
    smooth = rng.uniform(size=n_samples) < 0.85
    sigma = rng.randint(1, 5, size=n_samples) * size / 64
    out = np.empty((n_samples, size, size), np.float32)
    looks = np.zeros(n_samples, dtype=int)
    box = _boxes(boxes, 1.0, fill, rng)
    for grid in np.unique(grids):
        rows = np.flatnonzero(grids == grid)
        if grid == size:
            pictures = frame(masks[rows], size, box[rows] * size)
            for value in np.unique(sigma[blurred]):
                some = blurred[rows] & (sigma[rows] == value)
                kernel = blur_weights(size, value)
                pictures[some] = resample(kernel, np.rint(pictures[some]), kernel)
            out[rows] = pictures
            continue
        # Four bits per pixel: the count of ink among the 4 x 4 pixels of a bitonal scan.
        fine = frame(masks[rows], 4 * grid, box[rows] * 4 * grid)
        two = bitonal[rows]
        fine[two] = 255.0 * (fine[two] > 127)
        counts = np.rint(fine.reshape(-1, grid, 4, grid, 4).mean((2, 4)) * (16 / 255))
        for weights, some in (
            (cubic_weights(size, grid), smooth[rows]),
            (nearest_weights(size, grid), ~smooth[rows]),
        ):
            out[rows[some]] = resample(weights, counts[some] * 16, weights)
    looks[coarse] = 1
    looks[blurred & (sigma >= 2 * size / 64)] = 2
    return out, looks


_LOOKS = (
    (),
    ("pixelated", "low-resolution", "coarse", "tiny", "low-res", "small"),
    ("blurry", "blurred", "out-of-focus"),
)


def _choose_colors(n_samples, colored, rng):
    """Foregrounds, backgrounds (n, 3) and their names."""
    ink = np.empty((n_samples, 3))
    ground = np.empty((n_samples, 3))
    names = []
    kinds = rng.uniform(size=n_samples)
    levels = rng.uniform(size=(n_samples, 2))
    tints = rng.randint(len(COLORS), size=(n_samples, 2))
    grays = {"white": (255,) * 3, "black": (0,) * 3}
    palette = list(COLORS)
    for k in range(n_samples):
        if kinds[k] >= colored:
            high, low = 255 - 70 * levels[k, 0] ** 2, 70 * levels[k, 1] ** 2
            pair = ("white", "black")
            ink[k], ground[k] = high, low
            if kinds[k] > 0.75 + 0.25 * colored:
                ink[k], ground[k], pair = low, high, pair[::-1]
            names.append(pair)
            continue
        first = palette[tints[k, 0]]
        second = palette[tints[k, 1]]
        if (
            levels[k, 0] < 0.6
            or abs(np.dot(np.subtract(COLORS[first], COLORS[second]), (0.3, 0.6, 0.1))) < 70
        ):
            bright = np.dot(COLORS[first], (0.3, 0.6, 0.1))
            second = "black" if bright > 110 else "white"
        if levels[k, 1] < 0.3:
            first, second = second, first
        ink[k] = COLORS.get(first) or grays[first]
        ground[k] = COLORS.get(second) or grays[second]
        names.append((first, second))
    return ink, ground, names


def _drawable(texts, style, fonts):
    by_hand = [len(text) == 1 and bool(ways_of(text)) for text in texts]
    if style == "handwritten":
        missing = [text for text, known in zip(texts, by_hand, strict=True) if not known]
        if missing:
            raise ValueError(
                f"The 'characters' {missing} cannot be drawn with style='handwritten'; use "
                "style='both' or 'typeset' for them."
            )
        return by_hand, None
    faces = [load_font(path) for path in (fonts or [None])]
    covering = [[face for face in faces if has_glyphs(face, text)] for text in texts]
    missing = [text for text, found in zip(texts, covering, strict=True) if not found]
    if missing and style == "typeset":
        raise ValueError(
            f"None of the 'fonts' has glyphs for the 'characters' {missing}; pass 'fonts' that do."
        )
    return by_hand, covering


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "characters": [str, list, tuple],
        "style": [StrOptions({"both", "typeset", "handwritten"})],
        "fonts": [list, tuple, None],
        "image_size": [Interval(Integral, 16, 512, closed="both")],
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
        Number of pictures.
    characters : str or list of str, default="0123456789"
        What to draw: every character of a str, or every string of a list; strings of several
        characters are drawn as words or numbers.
    style : {"both", "typeset", "handwritten"}, default="both"
        Typeset in a font, drawn with a pen, or either with equal chance. Digits and ASCII letters
        are known by hand; with "both", everything else is typeset.
    fonts : list of str, default=None
        Paths of TrueType or OpenType fonts; those without a glyph for a character are left out
        for it. None draws with the font that comes with Pillow.
    image_size : int, default=64
        Height and width of a picture, in pixels.
    pixelate : float, default=0.5
        Fraction of the pictures that pass through a grid of 8 to 16 pixels with 17 grey levels.
    distortion : float, default=1.0
        Strength of slant, rotation, bending and the hand's jitter; 0 for none.
    colored : float, default=0.3
        Fraction of the pictures in colour; the others are light on dark or dark on light.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same pictures and captions in every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        images : ndarray of shape (n_samples, image_size, image_size, 3), dtype uint8
            RGB pictures.
        captions : list of str
            One caption per picture.
        target : ndarray of shape (n_samples,)
            The text drawn, as str.
        styles : ndarray of shape (n_samples,)
            "typeset" or "handwritten".

    Examples
    --------
    >>> from skclip.datasets import make_glyphs
    >>> data = make_glyphs(4, characters="37", random_state=0)
    >>> data.images.shape
    (4, 64, 64, 3)
    """
    rng = check_random_state(random_state)
    texts = list(characters)
    by_hand, covering = _drawable(texts, style, fonts)
    nouns = [nouns_of(text) for text in texts]
    masters = {}
    images = np.empty((n_samples, image_size, image_size, 3), np.uint8)
    captions, handwritten = [], np.zeros(n_samples, bool)
    chosen = rng.randint(len(texts), size=n_samples)
    for start in range(0, n_samples, _CHUNK):
        which = chosen[start : start + _CHUNK]
        size = len(which)
        can = np.array([by_hand[w] for w in which])
        if style == "both":
            must = np.array([not covering[w] for w in which])
            hand = can & ((rng.uniform(size=size) < 0.5) | must)
        else:
            hand = np.full(size, style == "handwritten")
        canvas = 2 * image_size
        masks = np.empty((size, canvas, canvas), np.uint8)
        stroke = np.full(size, np.nan)
        if hand.any():
            rows = np.flatnonzero(hand)
            masks[rows], stroke[rows] = _draw_handwritten(
                [texts[w] for w in which[rows]], canvas, rng, distortion
            )
        if not hand.all():
            rows = np.flatnonzero(~hand)
            pictures = []
            for w, u in zip(which[rows], rng.uniform(size=len(rows)), strict=True):
                face = int(u * len(covering[w]))
                if (w, face) not in masters:
                    masters[w, face] = typeset(covering[w][face], texts[w])
                pictures.append(masters[w, face])
            masks[rows] = _draw_typeset(pictures, canvas, rng, distortion)
        coarse = rng.uniform(size=size) < pixelate
        pictures, looks = _develop(masks, image_size, coarse, rng)
        foreground, background, names = _choose_colors(size, colored, rng)
        noise = np.where(rng.uniform(size=size) < 0.2, rng.uniform(2, 20, size), 0)
        images[start : start + size] = paint(pictures, foreground, background, noise, rng)
        handwritten[start : start + size] = hand
        random = Random(int(rng.randint(2**31 - 1)))
        for k, w in enumerate(which):
            facts = {
                "handwritten": hand[k],
                "look": _LOOKS[looks[k]],
                "stroke": ("bold", "thick")
                if stroke[k] > 0.15
                else ("thin",)
                if stroke[k] < 0.075
                else (),
                "colors": names[k],
            }
            captions.append(glyph_caption(nouns[w], facts, random))
    return Bunch(
        images=images,
        captions=captions,
        target=np.array(texts)[chosen],
        styles=np.where(handwritten, "handwritten", "typeset"),
    )
