"""
Prompts are hyperparameters
===========================

A zero-shot classifier has no labels to learn from, but its wording matters. Where there are some
labels, ``GridSearchCV`` chooses the words as it chooses any parameter.
"""

# %%
# Pictures and candidates
# -----------------------
# We classify scikit-learn's handwritten digits with the bundled model. A template holds one ``{}``
# for the name; a list of templates is an ensemble, whose embeddings are averaged.
#
# The names are a matter of choice, too: words or figures.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skclip import CLIPImageEmbedder, ZeroShotClassifier

digits = load_digits()
templates = {
    "name alone": None,
    "a photo of a {}.": "a photo of a {}.",
    "the digit {}": "the digit {}",
    "a handwritten {}": "a handwritten {}",
    "a blurry picture of a {}": "a blurry picture of a {}",
    "a pixelated {}": "a pixelated {}",
    "ensemble of three": [
        "the handwritten digit {}",
        "a pixelated {}",
        "a low-resolution scan of the number {}",
    ],
}
names = {
    "words": dict(enumerate("zero one two three four five six seven eight nine".split())),
    "figures": dict(enumerate("0123456789")),
}

# %%
# The search
# ----------
# The classifier takes embeddings in place of images. Since no candidate changes them, we embed
# once. Fitting looks at no picture either, so all that a fold decides is on which pictures the
# candidates are compared. The last 900 pictures take no part in the choice.

embeddings = CLIPImageEmbedder("skclip/tiny").fit_transform(digits.images / 16)
choose, judge = slice(0, 897), slice(897, None)
search = GridSearchCV(
    ZeroShotClassifier(model="skclip/tiny"),
    {"templates": list(templates.values()), "classes": list(names.values())},
    cv=5,
)
search.fit(embeddings[choose], digits.target[choose])
print("chosen:", search.best_params_["templates"])
print(
    f"accuracy on the other pictures: {search.score(embeddings[judge], digits.target[judge]):.1%}"
)

# %%
# The result
# ----------
# The bars show the spread over the folds. With few labels, differences below it say nothing.

results = search.cv_results_
rows = np.arange(len(templates))
_, ax = plt.subplots(figsize=(8, 5), layout="constrained")
for shift, (label, classes) in zip((-0.2, 0.2), names.items(), strict=True):
    mine = [params["classes"] == classes for params in results["params"]]
    mean, spread = results["mean_test_score"][mine], results["std_test_score"][mine]
    ax.barh(rows + shift, mean, height=0.4, xerr=spread, label=label)
ax.set_yticks(rows, templates)
ax.invert_yaxis()
ax.set_xlabel("accuracy")
ax.legend(title="names")
plt.show()
