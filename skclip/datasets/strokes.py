"""Handwriting: pen strokes for single characters, blended, bent and inked."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Every character has several ways of being written, and every way a few extreme shapes of the
# same strokes: a drawing is a random blend of the extremes of one way. A shape is a string of
# control points "x,y" on a grid of 100 (y downwards); ";" lifts the pen, "!" after a point makes
# it a corner, and all other points are passed on a smooth curve.
_DIGITS = {
    "0": [
        [
            "55,2 20,15 8,50 22,88 52,98 82,85 93,50 80,14 50,3",
            "50,2 34,16 27,50 34,86 50,98 66,85 73,50 66,14 49,3",
            "70,2 35,20 10,60 15,92 40,97 72,75 92,35 85,8 60,3",
            "42,8 15,25 8,55 22,88 50,98 82,85 92,50 84,18 66,6",
        ],
        [
            "72,14 55,0 20,12 8,50 22,90 52,98 84,84 93,48 78,14 45,6 25,16",
            "80,6 50,0 22,22 12,60 24,92 52,97 78,80 88,42 74,8 52,2 30,10",
        ],
    ],
    "1": [
        ["50,0 50,50 50,100", "65,0 50,50 35,100", "42,0 50,50 56,100", "55,0 46,55 52,100"],
        [
            "25,25 50,2! 50,50 50,100",
            "8,48 58,0! 56,50 54,100",
            "5,40 66,0! 55,50 44,100",
            "35,14 52,2! 50,50 50,100",
            "18,30 60,0! 50,50 42,100",
        ],
        [
            "22,25 52,0! 52,50 52,98 ; 20,98 82,98",
            "35,12 52,0! 50,50 50,98 ; 30,98 72,98",
            "12,42 58,0! 54,50 50,98 ; 25,98 80,98",
        ],
        ["28,22 44,16 54,0 52,50 50,100", "10,40 40,22 60,0 54,50 48,100"],
        [
            "12,62 40,34 66,0! 58,50 52,100",
            "22,52 46,28 62,0! 54,50 44,100",
            "24,36 48,22 58,2! 62,50 54,100",
        ],
        [
            "30,30 46,20 58,0! 50,48 54,96 ; 34,96 58,97 76,95",
            "16,46 42,26 58,0! 56,48 50,96 ; 24,97 50,97 68,98",
        ],
    ],
    "2": [
        [
            "12,22 28,5 58,2 82,20 75,45 45,72 10,97! 50,97 92,96",
            "18,30 25,6 55,0 76,18 70,42 45,70 12,92! 50,95 85,98",
            "8,12 30,2 62,6 78,26 68,48 42,72 14,98! 55,94 94,92",
            "15,28 32,4 62,2 85,24 70,50 40,74 16,96! 46,98 78,98",
        ],
        [
            "12,25 30,5 60,2 82,20 74,45 42,78 16,96 4,86 20,76 48,88 72,97 96,88",
            "18,25 34,4 60,2 78,22 68,50 44,80 22,97 10,90 24,80 48,90 70,98 92,92",
        ],
        [
            "14,24 30,5 58,2 80,20 74,44 46,72 18,92! 38,84 64,97 96,88",
            "10,16 32,2 62,4 80,22 70,46 44,70 20,90! 44,88 66,92 92,98",
        ],
        [
            "22,22 36,2 60,2 70,22 60,48 40,74 20,94! 54,92 92,88",
            "26,26 40,4 58,4 64,24 56,52 44,76 32,94! 60,96 96,97",
            "12,30 26,8 48,2 60,16 54,44 44,70 34,92! 62,90 90,84",
        ],
    ],
    "3": [
        [
            "12,14 40,1 75,10 78,32 42,47! 80,58 88,82 50,99 8,88",
            "15,8 42,0 72,8 72,28 48,44! 74,54 80,78 50,99 14,94",
            "8,18 34,0 68,6 74,28 36,50! 72,54 84,78 46,99 6,82",
        ],
        [
            "12,14 42,1 80,14 68,38 40,46 42,52 72,56 90,76 55,99 8,88",
            "10,8 44,1 74,14 66,36 46,44 46,50 70,54 82,76 50,99 10,94",
        ],
        [
            "10,4! 85,4! 45,42! 80,52 88,78 50,99 8,88",
            "14,8! 80,3! 48,44! 76,54 80,80 46,99 12,92",
        ],
        [
            "18,16 46,0 74,12 66,34 44,46 64,52 76,74 60,96 30,98 10,86",
            "24,8 52,0 80,10 70,32 36,48 66,50 74,70 56,92 26,99 4,94",
        ],
    ],
    "4": [
        [
            "25,3 18,28 10,56! 50,56 92,52 ; 66,22 63,60 60,100",
            "42,0 26,28 10,56! 50,58 90,58 ; 62,36 60,66 58,100",
            "15,8 12,30 14,52! 50,52 92,46 ; 76,5 68,50 58,100",
        ],
        [
            "66,100 68,50 68,0! 8,66! 50,66 95,66",
            "60,100 62,50 64,0! 6,70! 50,70 96,68",
            "62,100 60,50 58,0! 14,60! 50,60 92,58",
        ],
        [
            "20,2 14,28 22,50 50,50 78,40! ; 84,2 76,50 66,100",
            "12,6 16,36 36,52 62,46 78,30! ; 84,8 72,50 56,100",
        ],
        [
            "30,4 18,30 12,52! 46,50 80,44! ; 72,4 66,50 56,100",
        ],
    ],
    "5": [
        [
            "82,4! 25,4! 20,42! 50,36 85,58 75,90 40,99 8,86",
            "90,2! 36,6! 22,48! 54,38 80,58 70,88 36,99 6,90",
            "75,6! 28,3! 26,44! 56,44 78,64 66,90 40,98 14,94",
        ],
        [
            "25,5 22,22 18,45! 50,36 85,58 72,92 40,99 8,88 ; 24,5 56,5 90,3",
            "32,10 26,26 20,46! 52,42 78,60 66,90 38,99 10,92 ; 30,6 62,4 94,0",
        ],
        [
            "85,5 48,3 22,18 32,42 68,54 82,76 55,98 10,92",
            "92,4 52,4 28,20 36,44 64,54 72,76 46,97 8,94",
        ],
        [
            "80,3! 50,4 30,6! 26,24 22,44! 52,38 80,58 72,88 42,99 20,84 30,70",
            "90,2! 60,4 34,8! 28,28 20,50! 50,46 74,60 66,84 38,96 12,86 18,74",
        ],
        [
            "92,6 66,4 40,2! 32,20 24,38! 50,42 66,60 62,84 38,98 14,96",
            "84,12 60,6 30,4! 26,22 24,38! 56,46 74,66 64,88 38,98 16,92",
        ],
    ],
    "6": [
        [
            "70,2 36,18 12,55 18,90 50,99 84,86 82,62 50,52 18,68",
            "60,0 32,28 16,62 20,92 48,99 74,88 74,66 48,58 20,76",
            "86,2 46,10 14,45 14,88 50,99 90,84 84,52 48,44 16,64",
            "50,0 30,32 18,66 26,94 54,98 80,86 78,66 50,60 22,74",
        ],
        [
            "74,8 52,0 24,22 12,58 22,92 54,99 84,84 80,60 52,52 20,68",
            "82,14 60,0 28,18 10,56 20,92 54,99 88,80 78,54 50,50 14,72",
        ],
    ],
    "7": [
        [
            "8,6 48,5 88,5! 55,50 35,100",
            "12,10 50,5 84,3! 62,50 46,100",
            "14,4 50,6 90,6! 70,50 60,100",
        ],
        [
            "8,6 48,5 88,5! 58,50 38,100 ; 22,52 50,50 80,46",
            "14,12 50,5 84,3! 62,50 46,100 ; 30,50 58,50 88,48",
            "10,4 50,6 88,4! 66,50 54,100 ; 20,58 52,54 84,46",
        ],
        [
            "10,24! 12,5! 50,5 90,5! 60,50 40,100",
            "12,20! 16,8! 50,8 88,3! 64,50 50,100",
        ],
        [
            "8,16 25,4 54,12 88,3! 62,45 40,100 ; 28,54 54,50 82,48",
            "8,20 28,4 56,8 86,2! 64,45 50,100 ; 34,52 58,50 82,50",
        ],
        [
            "8,16 25,4 54,12 88,3! 62,45 40,100",
            "10,30 24,6 56,10 84,4! 70,45 50,100",
        ],
        ["18,22 30,2 56,6 76,6 78,20 58,56 42,100"],
        [
            "12,16 30,4 56,4 80,6 80,22 58,56 44,100 ; 26,54 52,50 82,46",
            "16,24 32,2 60,2 84,10 76,32 56,64 50,100 ; 22,62 54,52 88,50",
        ],
    ],
    "8": [
        [
            "80,12 50,0 18,15 28,38 50,48 80,65 82,88 50,99 18,88 20,66 50,48 72,34 80,10",
            "88,8 54,0 22,14 30,36 50,48 72,66 70,88 42,99 14,88 22,66 50,46 76,32 86,12",
            "70,8 48,1 28,14 34,36 50,48 68,64 70,88 50,99 30,88 32,64 50,48 64,36 68,14",
        ],
        [
            "50,46 22,36 20,12 50,1 80,12 78,36 50,46 15,62 12,88 50,99 88,88 85,62 50,46",
            "48,42 28,34 26,12 52,1 76,12 70,34 48,42 20,60 18,88 48,99 80,88 76,60 50,42",
        ],
        [
            "20,10 40,40 78,70 74,94 44,99 18,88 24,66 60,42 82,16 60,1 28,4 18,16",
            "30,14 40,36 66,64 70,90 46,99 24,88 32,66 60,40 70,14 54,1 36,4 30,18",
        ],
        [
            "86,10 58,2 28,10 28,32 56,50 74,70 66,94 42,98 26,84 40,62 66,40 88,14",
            "78,18 56,0 26,8 22,28 48,48 72,68 74,92 44,99 20,88 28,64 58,44 82,24",
        ],
        [
            "52,50 26,36 28,10 54,0 76,14 70,36 44,52 24,72 30,94 54,99 74,88 70,66 50,50",
            "46,46 22,32 34,8 62,0 84,14 68,36 40,54 12,74 16,94 40,99 64,90 66,66 44,46",
        ],
    ],
    "9": [
        [
            "80,20 50,2 15,18 18,45 50,52 80,32 84,10! 82,55 76,100",
            "74,16 50,1 24,14 24,38 48,46 70,32 76,8! 72,55 64,100",
            "84,14 52,2 12,20 14,48 46,56 76,40 86,8! 76,55 50,100",
        ],
        [
            "80,18 50,2 16,16 18,44 50,50 80,32 84,12 88,55 74,90 44,99 14,90",
            "74,14 48,1 20,16 22,42 50,48 76,30 80,14 82,55 66,88 38,99 14,94",
            "84,16 50,2 12,20 18,50 52,54 80,36 86,14 86,60 62,92 34,99 6,88",
        ],
        [
            "84,8 48,2 16,18 22,44 52,48 84,30 88,6! 84,55 70,92 40,98",
            "80,14 52,4 22,20 26,42 52,44 76,26 82,8! 80,52 60,86 24,98",
        ],
        [
            "78,14 54,1 26,18 22,42 46,50 70,32 80,8! 60,55 36,100",
            "86,16 60,1 34,14 22,38 40,50 66,36 84,12! 62,55 28,100",
            "72,12 50,1 30,16 28,38 46,46 64,30 72,10! 60,55 48,100",
        ],
        [
            "76,6 46,8 22,28 34,46 60,44 78,26! 84,12! 82,50 62,84 22,98",
            "70,4 40,6 24,26 38,42 60,36 74,22! 76,14! 82,50 66,86 18,94",
        ],
        [
            "70,30 76,12 52,1 24,14 24,36 48,44 72,34 80,54 70,84 44,99 16,92",
            "66,26 70,8 46,1 22,16 28,38 52,44 74,36 82,58 66,88 38,98 12,86",
        ],
    ],
}


class Way(NamedTuple):
    """One way of writing a character: its extreme shapes and how points become a curve."""

    shapes: np.ndarray  # (n_shapes, n_points, 2)
    curve: np.ndarray  # (n_curve_points, n_points): dense curve = curve @ points
    ends: np.ndarray  # (n_strokes, 2): index of a stroke's end point and of its neighbour


def _hermite_rows(n_points, start, stop, per_segment):
    """Rows that map control points start..stop (inclusive) to a Catmull-Rom curve through them."""
    rows = []
    for left in range(start, stop):
        tangents = np.zeros((2, n_points))
        for row, at in enumerate((left, left + 1)):
            before, after = max(at - 1, start), min(at + 1, stop)
            scale = 1 / (after - before)
            tangents[row, after] += scale
            tangents[row, before] -= scale
        t = np.linspace(0, 1, per_segment[left], endpoint=left == stop - 1)[:, None]
        values = np.zeros((len(t), n_points))
        values[:, [left]] += 2 * t**3 - 3 * t**2 + 1
        values[:, [left + 1]] += 3 * t**2 - 2 * t**3
        values += (t**3 - 2 * t**2 + t) * tangents[0] + (t**3 - t**2) * tangents[1]
        rows.append(values)
    return rows


def _parse_shape(shape):
    points, corners, strokes = [], set(), []
    for stroke in shape.split(";"):
        first = len(points)
        for word in stroke.split():
            if word.endswith("!"):
                corners.add(len(points))
            points.append([float(value) for value in word.rstrip("!").split(",")])
        strokes.append((first, len(points) - 1))
    return np.array(points) / 100, corners, strokes


@lru_cache
def ways_of(character):
    """All ways of writing a character; an empty tuple when none is known."""
    ways = []
    for shapes in _DIGITS.get(character, ()):
        parsed = [_parse_shape(shape) for shape in shapes]
        points, corners, strokes = parsed[0]
        n_points = len(points)
        extremes = np.stack([shape for shape, _, _ in parsed])
        # One curve point per 2 % of the box keeps even the thinnest pen's dots touching.
        lengths = np.linalg.norm(np.diff(extremes, axis=1), axis=2).max(0)
        per_segment = np.maximum(3, np.ceil(lengths * 55)).astype(int)
        rows, ends = [], []
        for first, last in strokes:
            cuts = [first, *sorted(c for c in corners if first < c < last), last]
            for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
                rows += _hermite_rows(n_points, start, stop, per_segment)
            ends += [(first, first + 1), (last, last - 1)]
        ways.append(Way(extremes, np.concatenate(rows), np.array(ends)))
    return tuple(ways)


def write(way, n_samples, rng, distortion=1.0):
    """Write one character ``n_samples`` times.

    Returns
    -------
    curves : ndarray of shape (n_samples, n_curve_points, 2)
        x and y of the pen, in units of the character's box.
    """
    shapes, curve, ends = way
    # A flat Dirichlet over the extremes, sharpened so that the extremes themselves appear too.
    weights = rng.exponential(size=(n_samples, len(shapes))) ** 1.5
    weights /= weights.sum(1, keepdims=True)
    points = np.einsum("nk,kpd->npd", weights, shapes)
    points += distortion * 0.025 * rng.standard_normal(points.shape)
    reach = distortion * rng.uniform(-0.25, 0.3, size=(n_samples, len(ends), 1))
    points[:, ends[:, 0]] += reach * (points[:, ends[:, 0]] - points[:, ends[:, 1]])
    return bend(curve @ points, rng, distortion)


def bend(points, rng, distortion=1.0):
    """Shift points (n, m, 2) of the unit box along two slow random waves per axis."""
    n_samples = len(points)
    moved = points.copy()
    for axis in (0, 1):
        for _ in range(2):
            wave = rng.uniform(-4.0, 4.0, size=(n_samples, 2, 1))
            phase = rng.uniform(0, 2 * np.pi, size=(n_samples, 1))
            amplitude = distortion * 0.03 * rng.uniform(size=(n_samples, 1))
            moved[:, :, axis] += amplitude * np.sin((points @ wave)[:, :, 0] + phase)
    return moved


@lru_cache(maxsize=256)
def _nib(width, height, canvas):
    """Flat offsets of the pixels under an elliptic nib, on a square canvas."""
    half = int(max(width, height))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    inside = (2 * x / width) ** 2 + (2 * y / height) ** 2 <= 1
    return (y[inside] * canvas + x[inside]).astype(np.int32)


def ink(points, pen, canvas):
    """Draw pen positions as one bitonal picture.

    Parameters
    ----------
    points : ndarray of shape (n_points, 2)
        Dense pen positions in pixels, at least the nib's size away from the border.
    pen : tuple of two int
        Width and height of the nib, in pixels.
    canvas : int
        Side of the picture, in pixels.

    Returns
    -------
    mask : ndarray of shape (canvas, canvas), dtype uint8
        255 under the pen, 0 elsewhere.
    """
    at = np.rint(points).astype(np.int32)
    mask = np.zeros(canvas * canvas, np.uint8)
    mask[((at[:, 1] * canvas + at[:, 0])[:, None] + _nib(*pen, canvas)).ravel()] = 255
    return mask.reshape(canvas, canvas)
