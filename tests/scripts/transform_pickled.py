"""Load embedders and what they are to embed, and save their vectors.

python transform_pickled.py PICKLE OUT
"""

import sys

import joblib
import numpy as np

embedders, inputs = joblib.load(sys.argv[1])
vectors = [embedder.transform(X) for embedder, X in zip(embedders, inputs, strict=True)]
np.savez(sys.argv[2], *vectors)
