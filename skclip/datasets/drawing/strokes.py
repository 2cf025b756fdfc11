"""Handwriting: pen strokes, blended from the shapes of an allograph, bent and drawn with a pen."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from skclip.datasets.drawing.alphabet import ALLOGRAPHS
from skclip.datasets.drawing.warps import bend, random_linear_maps


class Allograph(NamedTuple):
    """One of several ways of writing a character."""

    shapes: np.ndarray  # (n_shapes, n_points, 2): control points of the extreme shapes
    curve: np.ndarray  # (n_curve_points, n_points): dense curve = curve @ points
    ends: np.ndarray  # (n_ends, 2): index of a stroke's end point and of the point next to it


def parse_shape(shape):
    """Parse one shape of `ALLOGRAPHS`.

    Returns
    -------
    points : ndarray of shape (n, 2)
        Control points, in units of the height.
    corners : set of int
        Indices of the points that are corners.
    strokes : list of (int, int)
        Indices of the first and the last point of each stroke.
    """
    points, corners, strokes = [], set(), []
    for stroke in shape.split(";"):
        first = len(points)
        for word in stroke.split():
            if word.endswith("!"):
                corners.add(len(points))
            points.append([float(value) for value in word.rstrip("!").split(",")])
        strokes.append((first, len(points) - 1))
    return np.array(points) / 100, corners, strokes


def _spline_rows(n_points, start, stop, per_segment):
    """Return matrix rows that map control points start..stop (inclusive) to a Catmull-Rom curve."""
    rows = []
    for left in range(start, stop):
        tangents = np.zeros((2, n_points))
        for row, at in enumerate((left, left + 1)):
            before, after = max(at - 1, start), min(at + 1, stop)
            tangents[row, after] += 1 / (after - before)
            tangents[row, before] -= 1 / (after - before)
        t = np.linspace(0, 1, per_segment[left], endpoint=left == stop - 1)[:, None]
        values = (t**3 - 2 * t**2 + t) * tangents[0] + (t**3 - t**2) * tangents[1]
        values[:, [left]] += 2 * t**3 - 3 * t**2 + 1
        values[:, [left + 1]] += 3 * t**2 - 2 * t**3
        rows.append(values)
    return rows


@lru_cache
def allographs_of(character):
    """Return the allographs of a character; an empty tuple if it is not in the alphabet."""
    allographs = []
    for shapes in ALLOGRAPHS.get(character, ()):
        extremes = np.stack([parse_shape(shape)[0] for shape in shapes])
        _, corners, strokes = parse_shape(shapes[0])
        # at most 2 % of the height between curve points, so that the dots of the thinnest pen touch
        lengths = np.linalg.norm(np.diff(extremes, axis=1), axis=2).max(0)
        per_segment = np.maximum(3, np.ceil(lengths * 55)).astype(int)
        rows, ends = [], []
        for first, last in strokes:
            cuts = [first, *sorted(c for c in corners if first < c < last), last]
            for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
                rows += _spline_rows(extremes.shape[1], start, stop, per_segment)
            ends += [(first, first + 1), (last, last - 1)]
        allographs.append(Allograph(extremes, np.concatenate(rows), np.array(ends)))
    return tuple(allographs)


def write_character(allograph, n_samples, rng, distortion):
    """Write one character ``n_samples`` times.

    Returns
    -------
    curves : ndarray of shape (n_samples, n_curve_points, 2)
        x and y of the pen; a digit is about 0.66 wide and 1 high.
    """
    shapes, curve, ends = allograph
    # normalized exponential draws are uniform on the simplex; the power favors one extreme shape
    weights = rng.exponential(size=(n_samples, len(shapes))) ** 1.5
    weights /= weights.sum(1, keepdims=True)
    points = np.einsum("nk,kpd->npd", weights, shapes)
    points += distortion * 0.025 * rng.standard_normal(points.shape)
    # strokes go beyond their end points or stop before them
    reach = distortion * rng.uniform(-0.25, 0.3, size=(n_samples, len(ends), 1))
    points[:, ends[:, 0]] += reach * (points[:, ends[:, 0]] - points[:, ends[:, 1]])
    return bend(curve @ points, rng, distortion) * (0.66, 1.0)


def _write_texts(texts, rng, distortion):
    """Return the points (n_points, 2) of all texts, and the index of the first point of each."""
    letters = [letter for text in texts for letter in text]
    chosen = rng.uniform(size=len(letters))
    groups = {}
    for place, letter in enumerate(letters):
        index = int(chosen[place] * len(allographs_of(letter)))
        groups.setdefault((letter, index), []).append(place)
    curves = [None] * len(letters)
    for (letter, index), places in groups.items():
        written = write_character(allographs_of(letter)[index], len(places), rng, distortion)
        for place, curve in zip(places, written, strict=True):
            curves[place] = curve
    spaces = rng.uniform(0.12, 0.25, size=len(texts))
    starts, n_points, place = [], 0, 0
    for row, text in enumerate(texts):
        starts.append(n_points)
        right = None
        for curve in curves[place : place + len(text)]:
            if right is not None:
                curve[:, 0] += right + spaces[row] - curve[:, 0].min()
            if len(text) > 1:
                right = curve[:, 0].max()
            n_points += len(curve)
        place += len(text)
    return np.concatenate(curves), np.array(starts)


@lru_cache(maxsize=512)
def _nib(width, height, canvas):
    """Return the flat offsets of the pixels under an elliptical nib, on a square canvas."""
    half = int(max(width, height)) // 2 + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    inside = (2 * x / width) ** 2 + (2 * y / height) ** 2 <= 1
    return (y[inside] * canvas + x[inside]).astype(np.int32)


def draw_curve(points, nib, canvas):
    """Draw a curve as a black-and-white picture.

    Parameters
    ----------
    points : ndarray of shape (n_points, 2)
        Densely spaced pen positions, in pixels, more than half a nib away from the border.
    nib : tuple of two int
        Width and height of the nib, in pixels.
    canvas : int
        Side of the picture, in pixels.

    Returns
    -------
    mask : ndarray of shape (canvas, canvas), dtype uint8
        255 under the pen, 0 elsewhere.
    """
    centers = np.rint(points).astype(np.int32)
    mask = np.zeros(canvas * canvas, np.uint8)
    mask[((centers[:, 1] * canvas + centers[:, 0])[:, None] + _nib(*nib, canvas)).ravel()] = 255
    return mask.reshape(canvas, canvas)


def draw_handwritten(texts, canvas, rng, distortion):
    """Write texts by hand.

    Parameters
    ----------
    texts : list of str
        All of their characters must be in the alphabet.
    canvas : int
        Side of a drawing, in pixels.
    rng : RandomState
    distortion : float
        Strength of slant, bending and jitter.

    Returns
    -------
    masks : ndarray of shape (n_texts, canvas, canvas), dtype uint8
        Ink, 0 or 255; every text fills the width or the height of its canvas.
    pens : ndarray of shape (n_texts,)
        Pen widths, as fractions of the height of the writing.
    """
    n_samples = len(texts)
    points, starts = _write_texts(texts, rng, distortion)
    counts = np.diff(np.append(starts, len(points)))
    linear_maps = random_linear_maps(n_samples, rng, distortion)
    points = np.einsum("pij,pj->pi", np.repeat(linear_maps, counts, axis=0), points)
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    extent = high - low
    pens = rng.uniform(0.045, 0.23, size=n_samples)
    width = pens * np.minimum(extent[:, 1], 1.0)
    scale = (canvas - 4) / (extent.max(1) + width)
    nibs = np.maximum(np.rint(width * scale), 3).astype(int)
    flat = np.maximum(np.rint(nibs * rng.uniform(0.7, 1.0, size=n_samples)), 3).astype(int)
    points -= np.repeat((low + high) / 2, counts, axis=0)
    points = points * np.repeat(scale, counts)[:, None] + canvas / 2
    masks = np.empty((n_samples, canvas, canvas), np.uint8)
    for row, strokes in enumerate(np.split(points, starts[1:])):
        masks[row] = draw_curve(strokes, (int(nibs[row]), int(flat[row])), canvas)
    return masks, pens
