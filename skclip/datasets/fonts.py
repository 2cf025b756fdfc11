"""Typeset drawings: text in a font, bent and turned."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageFont

_HEIGHT = 72


def load_font(path=None):
    """A font at the size drawings are made from; Pillow's own without a path."""
    if path is None:
        return ImageFont.load_default(_HEIGHT)
    return ImageFont.truetype(path, _HEIGHT, layout_engine=ImageFont.Layout.BASIC)


def _bits(font, text):
    mask = font.getmask(text, mode="L")
    return mask.size, bytes(mask)


def has_glyphs(font, text):
    """Whether a font can draw every character of a text."""
    # Pillow does not show the font's character map: a missing character is drawn like U+FFFF,
    # which no font has.
    missing = _bits(font, "\uffff")
    for character in set(text) - {" "}:
        size, bits = _bits(font, character)
        if not any(bits) or (size, bits) == missing:
            return False
    return True


def typeset(font, text):
    """Text as ink.

    Returns
    -------
    picture : PIL.Image of mode "L"
        255 under ink, cropped to the ink.
    """
    mask = font.getmask(text, mode="L")
    picture = Image.frombytes("L", mask.size, bytes(mask))
    return picture.crop(picture.getbbox())


@lru_cache
def _mesh_boxes(canvas, n_cells):
    edges = [round(canvas * k / n_cells) for k in range(n_cells + 1)]
    return [
        (left, top, right, bottom)
        for top, bottom in zip(edges[:-1], edges[1:], strict=True)
        for left, right in zip(edges[:-1], edges[1:], strict=True)
    ]


def warp(picture, nodes, canvas):
    """Draw a picture on a square canvas through a bent mesh.

    Parameters
    ----------
    picture : PIL.Image of mode "L"
    nodes : ndarray of shape (k, k, 2)
        Where in ``picture``, in pixels, the nodes of a regular k by k mesh over the canvas lie.
    canvas : int
        Side of the canvas, in pixels.

    Returns
    -------
    mask : ndarray of shape (canvas, canvas), dtype uint8
    """
    n_cells = len(nodes) - 1
    # Pillow wants the corners of a source quadrilateral from the upper left counter-clockwise.
    quads = np.concatenate(
        [nodes[:-1, :-1], nodes[1:, :-1], nodes[1:, 1:], nodes[:-1, 1:]], axis=-1
    ).reshape(-1, 8)
    data = list(zip(_mesh_boxes(canvas, n_cells), quads.tolist(), strict=True))
    bent = picture.transform(
        (canvas, canvas), Image.Transform.MESH, data, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(bent)
