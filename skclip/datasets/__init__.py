"""Data sets that need no network, in scikit-learn's manner."""

from skclip.datasets.drawing.palette import COLORS
from skclip.datasets.glyphs import make_glyphs
from skclip.datasets.scenes import SHAPES, make_scenes

__all__ = ["COLORS", "SHAPES", "make_glyphs", "make_scenes"]
