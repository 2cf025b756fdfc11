"""Drawn scenes of colored shapes with captions."""

import math
from itertools import product
from numbers import Integral
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw
from sklearn.utils import Bunch, check_random_state

from skclip._sklearn_compat import Interval, validate_params
from skclip.datasets.drawing.captions import pick, scene_caption
from skclip.datasets.drawing.palette import COLORS, SIZES, TEXTURES, brightness

_SUPERSAMPLING = 3


def _regular_polygon(n_corners, phase=0.0, inner=None):
    """Return the corners of a regular polygon of radius 1, or of a star with an inner radius."""
    points = []
    n_points = n_corners if inner is None else 2 * n_corners
    for k in range(n_points):
        angle = 2 * math.pi * k / n_points - math.pi / 2 + phase
        radius = inner if inner is not None and k % 2 else 1.0
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    return points


def _ellipse(width, height, n_points=40):
    steps = [2 * math.pi * k / n_points for k in range(n_points)]
    return [(width * math.cos(t), height * math.sin(t)) for t in steps]


def _heart(n_points=40):
    steps = [2 * math.pi * k / n_points for k in range(n_points)]
    return [
        (
            math.sin(t) ** 3,
            -0.07
            * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
        )
        for t in steps
    ]


def _crescent(n_points=20):
    # two arcs between the same two tips: the outer one on the unit circle, the inner one on a
    # circle shifted to the right
    tip, shift = 0.9, 0.45
    inner = math.hypot(math.cos(tip) - shift, math.sin(tip))
    start = math.atan2(math.sin(tip), math.cos(tip) - shift)
    steps = [k / n_points for k in range(n_points + 1)]
    outer_arc = [tip + (2 * math.pi - 2 * tip) * s for s in steps]
    inner_arc = [2 * math.pi - start - (2 * math.pi - 2 * start) * s for s in steps]
    return [(math.cos(t), math.sin(t)) for t in outer_arc] + [
        (shift + inner * math.cos(t), inner * math.sin(t)) for t in inner_arc
    ]


_CORNERS = {
    "circle": _ellipse(0.95, 0.95),
    "oval": _ellipse(1.0, 0.55),
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "rectangle": [(-1.0, -0.5), (1.0, -0.5), (1.0, 0.5), (-1.0, 0.5)],
    "triangle": [(0.0, -0.95), (0.98, 0.8), (-0.98, 0.8)],
    "diamond": [(0.0, -1.0), (0.7, 0.0), (0.0, 1.0), (-0.7, 0.0)],
    "hexagon": _regular_polygon(6, phase=math.pi / 6),
    "star": _regular_polygon(5, inner=0.42),
    "cross": [
        (sx * x, sy * y)
        for sx, sy, corner in (
            (-1, -1, ((1.0, 0.3), (0.3, 0.3), (0.3, 1.0))),
            (1, -1, ((0.3, 1.0), (0.3, 0.3), (1.0, 0.3))),
            (1, 1, ((1.0, 0.3), (0.3, 0.3), (0.3, 1.0))),
            (-1, 1, ((0.3, 1.0), (0.3, 0.3), (1.0, 0.3))),
        )
        for x, y in corner
    ],
    "heart": _heart(),
    "crescent": _crescent(),
    "arrow": [
        (-1.0, -0.28),
        (0.15, -0.28),
        (0.15, -0.8),
        (1.0, 0.0),
        (0.15, 0.8),
        (0.15, 0.28),
        (-1.0, 0.28),
    ],
}

SHAPES = tuple(_CORNERS)
"""Shape names of the drawn scenes."""


def _transform(corners, center, radius, cos, sin):
    cx, cy = center
    return [
        (cx + radius * (cos * x - sin * y), cy + radius * (sin * x + cos * y)) for x, y in corners
    ]


def _draw_stripes(draw, step, offset, side, random):
    slope = pick(random, (0.0, 0.0, side))
    upright = random.random() < 0.5
    count = int(side / step) + 2
    for k in range(-count, count):
        at = offset + k * step
        line = [(at, 0), (at + slope, side)]
        if upright:
            line = [(y, x) for x, y in line]
        draw.line(line, fill=255, width=round(step * 0.55))


def _draw_dots(draw, step, offset, side):
    dot = 0.33 * step
    for row, column in product(range(-1, int(side / step) + 2), repeat=2):
        x, y = offset + column * step + step / 2 * (row % 2), offset + row * step
        draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=255)


def _draw_checks(draw, step, offset, side):
    for row, column in product(range(-1, int(side / step) + 2), repeat=2):
        x, y = offset + column * step, offset + row * step
        if (row + column) % 2:
            draw.rectangle((x, y, x + step - 1, y + step - 1), fill=255)


def _draw_pattern(texture, radius, side, random):
    """Return a square filled with stripes, dots or checks, in mode "L"."""
    pattern = Image.new("L", (side, side))
    draw = ImageDraw.Draw(pattern)
    step = max(radius * (0.36 + 0.16 * random.random()), 2.6 * _SUPERSAMPLING)
    offset = random.random() * step
    if texture == "striped":
        _draw_stripes(draw, step, offset, side, random)
    elif texture == "dotted":
        _draw_dots(draw, step, offset, side)
    else:
        _draw_checks(draw, step, offset, side)
    return pattern


def _draw_object(canvas, item, random):
    """Draw one object on the enlarged canvas."""
    radius = item["radius"] * _SUPERSAMPLING
    half = math.ceil(radius * 1.1) + 1
    turn = (random.random() - 0.5) * 0.4
    outline = _transform(
        _CORNERS[item["shape"]], (half, half), radius, math.cos(turn), math.sin(turn)
    )
    closed = [*outline, *outline[:2]]
    mask = Image.new("L", (2 * half, 2 * half))
    if item["texture"] == "outlined":
        width = max(round(radius * (0.14 + 0.08 * random.random())), _SUPERSAMPLING)
        ImageDraw.Draw(mask).line(closed, fill=255, width=width, joint="curve")
    else:
        ImageDraw.Draw(mask).polygon(outline, fill=255)
    if item["texture"] in ("striped", "dotted", "checkered"):
        pattern = _draw_pattern(item["texture"], radius, 2 * half, random)
        mask = ImageChops.multiply(mask, pattern)
        # an outline keeps the shape recognizable under its texture
        width = max(round(0.08 * radius), _SUPERSAMPLING)
        ImageDraw.Draw(mask).line(closed, fill=255, width=width)
    corner = [round(item[axis] * _SUPERSAMPLING) - half for axis in "xy"]
    canvas.paste(item["rgb"], tuple(corner), mask)


def _jitter(rgb, amount, random):
    return tuple(
        min(255, max(0, round(value + amount * (2 * random.random() - 1)))) for value in rgb
    )


def _choose_background(colors, random):
    """Return name and RGB of a neutral or faintly tinted color that contrasts with all objects."""
    for _ in range(20):
        kind = random.random()
        if kind < 0.4:
            name, rgb = "white", _jitter((247,) * 3, 8, random)
        elif kind < 0.75:
            name, rgb = "black", _jitter((10,) * 3, 10, random)
        else:
            name, rgb = None, _jitter((30 + 195 * random.random(),) * 3, 30, random)
        nearest = min(math.dist(rgb, color) for color in colors)
        if nearest > 100:
            return name, rgb
    return ("white", (255, 255, 255)) if brightness(colors[0]) < 128 else ("black", (0, 0, 0))


_RADII = {"small": (0.09, 0.125), "medium": (0.15, 0.2), "large": (0.23, 0.3)}


def _lay_out(count, image_size, random):
    """Choose sizes and positions of objects that do not overlap, as (size name, radius, x, y)."""
    while True:
        placed = []
        for _ in range(count):
            size = pick(random, SIZES if count < 3 else SIZES[:2])
            if count == 1 and random.random() < 0.5:
                size = "large"
            low, high = _RADII[size]
            radius = image_size * (low + (high - low) * random.random())
            if count == 1 and size == "large":
                radius *= 1 + 0.5 * random.random()
            for _ in range(30):
                x = radius + (image_size - 2 * radius) * random.random()
                y = radius + (image_size - 2 * radius) * random.random()
                if all(math.dist((x, y), other[2:]) > radius + other[1] + 1 for other in placed):
                    placed.append((size, radius, x, y))
                    break
            else:
                break
        if len(placed) == count:
            return placed


def _choose_texture(random):
    return pick(random, TEXTURES) if random.random() < 0.45 else "plain"


def _choose_objects(n_objects, pairs, image_size, random):
    """Choose the objects of one scene: several equal ones, or different ones."""
    low, high = n_objects
    # the smaller of two draws makes few objects more frequent than many
    share = min(random.random(), random.random())
    count = low + int(share * (high - low + 1))
    alike = count > 1 and random.random() < 0.4
    items = []
    used = set()
    color, shape = pick(random, pairs)
    texture = _choose_texture(random)
    for size, radius, x, y in _lay_out(count, image_size, random):
        if not alike and items:
            for _ in range(20):
                color, shape = pick(random, pairs)
                if (color, shape) not in used:
                    break
            texture = _choose_texture(random)
        used.add((color, shape))
        items.append(
            {
                "color": color,
                "shape": shape,
                "texture": texture,
                "size": size,
                "x": x,
                "y": y,
                "radius": radius,
            }
        )
    return items


def _check_pairs(exclude_pairs):
    """Return the pairs of color and shape that may be drawn."""
    pairs = [(color, shape) for color in COLORS for shape in SHAPES]
    if exclude_pairs is None:
        return pairs
    excluded = set()
    for pair in exclude_pairs if np.iterable(exclude_pairs) else [exclude_pairs]:
        ordered = isinstance(pair, (tuple, list, np.ndarray)) and np.iterable(pair)
        names = tuple(pair) if ordered else ()
        if not all(isinstance(name, str) for name in names) or names not in pairs:
            raise ValueError(
                "The 'exclude_pairs' must be pairs (color, shape) of names in COLORS and SHAPES. "
                f"Got {pair!r}."
            )
        excluded.add(names)
    pairs = [pair for pair in pairs if pair not in excluded]
    if not pairs:
        raise ValueError("The 'exclude_pairs' leave no pair of color and shape to draw.")
    return pairs


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_objects": [tuple, list],
        "exclude_pairs": ["array-like", set, None],
        "image_size": [Interval(Integral, 16, 512, closed="both")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_scenes(
    n_samples=100,
    *,
    n_objects=(1, 4),
    exclude_pairs=None,
    image_size=64,
    random_state=None,
):
    """Draw scenes of colored shapes, each with a caption.

    Parameters
    ----------
    n_samples : int, default=100
        Number of images.
    n_objects : tuple of two int, default=(1, 4)
        Smallest and largest number of objects in an image; at most 6.
    exclude_pairs : array-like of shape (n_pairs, 2) or set of (str, str), default=None
        Pairs of a color (of ``COLORS``) and a shape (of ``SHAPES``) that are never drawn, so that
        a model can be tested on pairs that it has never seen.
    image_size : int, default=64
        Height and width of an image, in pixels.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same images and captions in every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        images : ndarray of shape (n_samples, image_size, image_size, 3), dtype uint8
            RGB images.
        captions : list of str
            One caption per image.
        objects : list of list of dict
            What was drawn: color, shape, texture and size (names), x and y of the center and radius
            (pixels).

    Raises
    ------
    ValueError
        If ``n_objects`` is not a pair of integers between 1 and 6 in ascending order, or
        ``exclude_pairs`` contains an unknown name or leaves no pair to draw.

    Examples
    --------
    >>> from skclip.datasets import make_scenes
    >>> data = make_scenes(4, exclude_pairs=[("red", "circle")], random_state=0)
    >>> data.images.shape
    (4, 64, 64, 3)
    >>> data.captions[0]
    'a picture of a little gray circle, a red heart and an outlined pink rectangle'
    >>> [(item["color"], item["shape"]) for item in data.objects[0]]
    [('gray', 'circle'), ('red', 'heart'), ('pink', 'rectangle')]
    """
    low, high = n_objects if len(n_objects) == 2 else (0, 0)
    if not (isinstance(low, Integral) and isinstance(high, Integral) and 1 <= low <= high <= 6):
        raise ValueError(
            "The 'n_objects' must be two integers, smallest and largest, with "
            f"1 <= smallest <= largest <= 6. Got {n_objects!r}."
        )
    rng = check_random_state(random_state)
    pairs = _check_pairs(exclude_pairs)
    random = Random(int(rng.randint(2**31 - 1)))
    images = np.empty((n_samples, image_size, image_size, 3), np.uint8)
    captions, scenes = [], []
    for k in range(n_samples):
        items = _choose_objects((low, high), pairs, image_size, random)
        colors = {item["color"]: _jitter(COLORS[item["color"]], 14, random) for item in items}
        background_name, background = _choose_background(list(colors.values()), random)
        canvas = Image.new("RGB", (image_size * _SUPERSAMPLING,) * 2, background)
        for item in items:
            _draw_object(canvas, item | {"rgb": colors[item["color"]]}, random)
        images[k] = canvas.reduce(_SUPERSAMPLING)
        captions.append(scene_caption(items, background_name, image_size, random))
        scenes.append(items)
    noisy = np.flatnonzero(rng.uniform(size=n_samples) < 0.2)
    for k in noisy:
        noise = rng.uniform(2, 14) * rng.standard_normal((image_size, image_size, 1))
        images[k] = np.clip(np.rint(images[k] + noise), 0, 255)
    return Bunch(images=images, captions=captions, objects=scenes)
