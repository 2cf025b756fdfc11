"""
Handwritten digits from their names
===================================

scikit-learn's handwritten digits are 1,797 images of 8 x 8 pixels. We classify them in three ways:
from the names of the digits alone, with a linear probe on embeddings, and with logistic regression
on the pixels.

The model is ``skclip/tiny``, which is part of the package. It was trained on computer drawings of
characters, words and shapes, and has seen none of these images.
"""

# %%
# The images
# ----------
# Float pixels must lie in [0, 1]; these lie between 0 and 16. We train on the first half and test
# on the second.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit

from skclip import CLIPImageEmbedder, LinearProbeCV, ZeroShotClassifier

digits = load_digits()
images, pixels, y = digits.images / 16, digits.data / 16, digits.target
learn, judge = slice(0, 897), slice(897, None)

# %%
# No labels: zero-shot
# --------------------
# The classifier needs a name for each label. ``fit`` turns the names into weights; it uses no
# images.

names = dict(enumerate("zero one two three four five six seven eight nine".split()))
zero_shot = ZeroShotClassifier(names, model="skclip/tiny").fit()
accuracy = zero_shot.score(images[judge], y[judge])
print(f"zero-shot, no labels:                      {accuracy:.1%}")

# %%
# All labels: a linear probe
# --------------------------
# ``CLIPImageEmbedder`` is a transformer. It learns nothing from the images, so we can embed all of
# them once for everything that follows. ``LinearProbeCV`` is logistic regression that chooses its
# penalty by cross-validation.

embeddings = CLIPImageEmbedder("skclip/tiny").fit_transform(images)
Cs = np.logspace(-2, 4, 7)
probe = LinearProbeCV(Cs).fit(embeddings[learn], y[learn])
on_pixels = GridSearchCV(LogisticRegression(max_iter=5000), {"C": Cs}).fit(pixels[learn], y[learn])
print(f"linear probe, 897 labels:                  {probe.score(embeddings[judge], y[judge]):.1%}")
print(f"logistic regression on pixels, 897 labels: {on_pixels.score(pixels[judge], y[judge]):.1%}")

# %%
# A few labels
# ------------
# How many labels does it take to match the zero-shot classifier? We train the two other classifiers
# on 2 to 64 images of each digit.

n_labels = np.array([2, 4, 8, 16, 32, 64])
accuracies = {"linear probe": [], "logistic regression on pixels": []}
for n in n_labels:
    split = StratifiedShuffleSplit(1, train_size=10 * n, random_state=0)
    rows, _ = next(split.split(y[learn], y[learn]))
    probe = LinearProbeCV(Cs).fit(embeddings[rows], y[rows])
    on_pixels = GridSearchCV(LogisticRegression(max_iter=5000), {"C": Cs}, cv=min(n, 5))
    on_pixels.fit(pixels[rows], y[rows])
    accuracies["linear probe"].append(probe.score(embeddings[judge], y[judge]))
    accuracies["logistic regression on pixels"].append(on_pixels.score(pixels[judge], y[judge]))

# %%
# The confusion matrix on the right shows which digits the zero-shot classifier confuses.

_, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
left.axhline(accuracy, color="black", linestyle="--", label="zero-shot")
for (label, values), marker in zip(accuracies.items(), "os", strict=True):
    left.plot(n_labels, values, marker=marker, label=label)
left.set(xscale="log", xticks=n_labels, xlabel="labels of each digit", ylabel="accuracy")
left.set_xticklabels(n_labels)
left.minorticks_off()
left.legend()
ConfusionMatrixDisplay.from_predictions(
    y[judge], zero_shot.predict(embeddings[judge]), ax=right, colorbar=False, cmap="Blues"
)
plt.show()
