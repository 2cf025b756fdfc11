"""Typeset drawings: text in a font, rotated, slanted and bent."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageFont

from skclip.datasets.drawing.warps import bend, random_linear_maps

_HEIGHT = 72
_NODES = 4


def load_font(path=None):
    """Load a font at the size that `typeset` uses; without a path, Pillow's default font."""
    if path is None:
        return ImageFont.load_default(_HEIGHT)
    try:
        # Raqm, the other engine, is missing in some builds of Pillow and places glyphs differently
        return ImageFont.truetype(path, _HEIGHT, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise ValueError(
            f"The 'fonts' contain {str(path)!r}, which cannot be read: {error}"
        ) from error


def _bitmap(font, text):
    mask = font.getmask(text, mode="L")
    return mask.size, bytes(mask)


def has_glyphs(font, text):
    """Whether a font can draw every character of a text."""
    # Pillow gives no access to a font's character map, but a missing character is drawn as U+FFFF
    # is, which no font has
    missing = _bitmap(font, "\uffff")
    for character in set(text) - {" "}:
        size, pixels = _bitmap(font, character)
        if not any(pixels) or (size, pixels) == missing:
            return False
    return True


def typeset(font, text):
    """Return a text as a picture of mode "L", 255 where there is ink, cropped to the ink."""
    mask = font.getmask(text, mode="L")
    picture = Image.frombytes("L", mask.size, bytes(mask))
    return picture.crop(picture.getbbox())


@lru_cache
def _mesh_boxes(canvas):
    edges = [round(canvas * k / (_NODES - 1)) for k in range(_NODES)]
    return [
        (left, top, right, bottom)
        for top, bottom in zip(edges[:-1], edges[1:], strict=True)
        for left, right in zip(edges[:-1], edges[1:], strict=True)
    ]


def draw_typeset(pictures, canvas, rng, distortion):
    """Rotate, slant and bend typeset pictures.

    Parameters
    ----------
    pictures : list of PIL.Image
        Returned by `typeset`.
    canvas : int
        Side of a drawing, in pixels.
    rng : RandomState
    distortion : float
        Strength of slant, rotation and bending.

    Returns
    -------
    masks : ndarray of shape (n_pictures, canvas, canvas), dtype uint8
        Ink, 0 to 255.
    """
    n_samples = len(pictures)
    lattice = np.linspace(-0.5, 0.5, _NODES)
    nodes = np.stack(np.meshgrid(lattice, lattice), axis=-1).reshape(1, -1, 2)
    nodes = bend(np.repeat(nodes, n_samples, axis=0), rng, distortion)
    inverse_maps = np.linalg.inv(random_linear_maps(n_samples, rng, distortion))
    sizes = np.array([picture.size for picture in pictures])[:, None]
    # 1.5 times the size of the text leaves a margin for what the distortions push outwards
    nodes = 1.5 * sizes.max(2, keepdims=True) * nodes
    nodes = nodes @ np.swapaxes(inverse_maps, 1, 2) + sizes / 2
    nodes = nodes.reshape(n_samples, _NODES, _NODES, 2)
    # Pillow takes the corners of a quadrilateral counterclockwise from the upper left
    quads = [nodes[:, :-1, :-1], nodes[:, 1:, :-1], nodes[:, 1:, 1:], nodes[:, :-1, 1:]]
    quads = np.concatenate(quads, axis=-1).reshape(n_samples, -1, 8).tolist()
    masks = np.empty((n_samples, canvas, canvas), np.uint8)
    for row, picture in enumerate(pictures):
        mesh = list(zip(_mesh_boxes(canvas), quads[row], strict=True))
        masks[row] = picture.transform(
            (canvas, canvas), Image.Transform.MESH, mesh, resample=Image.Resampling.BILINEAR
        )
    return masks
