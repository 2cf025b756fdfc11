"""Load classifiers and save the probabilities that they give for images.

python predict_pickled.py FOLDER PATH...

FOLDER holds 0.joblib, 1.joblib and 2.joblib, and gets proba.npz.
"""

import sys

import joblib
import numpy as np

folder, *paths = sys.argv[1:]
estimators = [joblib.load(f"{folder}/{i}.joblib") for i in range(3)]
np.savez(f"{folder}/proba.npz", *[estimator.predict_proba(paths) for estimator in estimators])
