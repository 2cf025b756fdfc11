"""Data sets that need no network, in scikit-learn's manner."""
