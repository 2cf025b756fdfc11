"""Data sets that need no network, in scikit-learn's manner."""

from skclip.datasets.captions import COLORS
from skclip.datasets.glyphs import make_glyphs

__all__ = ["COLORS", "make_glyphs"]
