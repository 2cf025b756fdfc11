"""
Prompts are hyperparameters
===========================

A zero-shot classifier does not learn from labels, but the wording of its prompts matters. If you
have some labels, ``GridSearchCV`` can choose the words like any other parameter.
"""

# %%
# Images and candidates
# ---------------------
# How many shapes are in an image? "Three" alone can mean three things, or the written number, which
# the bundled model has seen often. A sentence makes clear which one is meant (Radford et al. 2021,
# section 3.1.4, on names with several meanings).
#
# A template contains one ``{}`` for the name. A list of templates is an ensemble: their embeddings
# are averaged. We also compare two ways to write the names, as words and as figures.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV

from skclip import CLIPImageEmbedder, ZeroShotClassifier
from skclip.datasets import make_scenes

counts = (1, 2, 3, 4)
scenes = [make_scenes(150, n_objects=(n, n), random_state=n) for n in counts]
images = np.concatenate([scene.images for scene in scenes])
y = np.repeat(counts, 150)

templates = {
    "{}": None,
    "the number {}": "the number {}",
    "{} shapes": "{} shapes",
    "{} things": "{} things",
    "a picture of {} objects": "a picture of {} objects",
    "the last three together": ["{} shapes", "{} things", "a picture of {} objects"],
}
names = {
    "words": {1: "one", 2: "two", 3: "three", 4: "four"},
    "figures": {1: "1", 2: "2", 3: "3", 4: "4"},
}

# %%
# The search
# ----------
# The classifier accepts embeddings instead of images. No candidate changes them, so we embed the
# images once. Fitting uses no images either, so the folds only determine on which images the
# candidates are compared.

embeddings = CLIPImageEmbedder("skclip/tiny").fit_transform(images)
search = GridSearchCV(
    ZeroShotClassifier(model="skclip/tiny"),
    {"templates": list(templates.values()), "classes": list(names.values())},
    cv=5,
)
search.fit(embeddings, y)
print("chosen:", search.best_params_["templates"])

# %%
# The result
# ----------
# The error bars show the standard deviation over the folds. Differences that are much smaller are
# not meaningful. Guessing is right in a quarter of the cases.

results = search.cv_results_
rows = np.arange(len(templates))
_, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
for shift, (label, classes) in zip((-0.2, 0.2), names.items(), strict=True):
    mine = [params["classes"] == classes for params in results["params"]]
    mean, spread = results["mean_test_score"][mine], results["std_test_score"][mine]
    ax.barh(rows + shift, mean, height=0.4, xerr=spread, label=label)
ax.axvline(0.25, color="black", linestyle="--", label="guessing")
ax.set_yticks(rows, templates)
ax.invert_yaxis()
ax.set(xlabel="accuracy", ylabel="template")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
