"""Generators of data sets, in the style of scikit-learn's ``make_*`` functions."""

from skclip.datasets.drawing.palette import COLORS
from skclip.datasets.glyphs import make_glyphs
from skclip.datasets.scenes import SHAPES, make_scenes

__all__ = ["COLORS", "SHAPES", "make_glyphs", "make_scenes"]
