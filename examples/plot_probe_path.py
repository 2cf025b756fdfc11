"""
The path of a linear probe
==========================

How strong should the penalty of a linear probe be? The CLIP paper tries 96 values of ``C`` between
1e-6 and 1e6. ``LinearProbeCV`` fits all of them on five folds in seconds. Here we look at the whole
path: what happens at both ends, which value has the best score, and which one is within one
standard error of it.
"""

# %%
# Few labels and some noise
# -------------------------
# We embed scikit-learn's handwritten digits with ``skclip/tiny``, which is part of the package, and
# learn from 400 of them. One label in ten is wrong, as in data that people have labeled in a hurry.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from skclip import CLIPImageEmbedder, LinearProbe, LinearProbeCV

digits = load_digits()
images, y = digits.images / 16, digits.target
embeddings = CLIPImageEmbedder("skclip/tiny").fit_transform(images)

learn, judge = train_test_split(np.arange(len(y)), train_size=400, stratify=y, random_state=0)
rng = np.random.default_rng(0)
noisy = np.where(rng.random(len(y)) < 0.1, rng.integers(10, size=len(y)), y)

# %%
# All 96 values
# -------------

simple = LinearProbeCV(one_standard_error=True).fit(embeddings[learn], noisy[learn])
mean = simple.scores_.mean(axis=0)
error = simple.scores_.std(axis=0, ddof=1) / np.sqrt(len(simple.scores_))
best = LinearProbe(simple.Cs_[mean.argmax()]).fit(embeddings[learn], noisy[learn])
for name, probe, C in [("best mean", best, best.C), ("one standard error", simple, simple.C_)]:
    accuracy = probe.score(embeddings[judge], y[judge])
    print(f"{name:19}C = {C:.3f}   accuracy on {len(judge)} other digits: {accuracy:.1%}")

# %%
# The accuracy says little about the fits themselves. What they minimize is the sum of the rows'
# log-losses, times ``C``, plus half the squared length of the coefficients. For a few values of
# ``C`` we look at this objective, divided by ``C`` and the number of rows; at the mean log-loss
# that is part of it; and at the mean log-loss of the other rows.

some = np.logspace(-6, 6, 13)
objectives, learned, judged = [], [], []
for C in some:
    probe = LinearProbe(C).fit(embeddings[learn], noisy[learn])
    learned.append(log_loss(noisy[learn], probe.predict_proba(embeddings[learn])))
    judged.append(log_loss(y[judge], probe.predict_proba(embeddings[judge])))
    objectives.append(learned[-1] + np.sum(probe.coef_**2) / 2 / (C * len(learn)))

figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(8, 7), layout="constrained")
top.fill_between(simple.Cs_, mean - error, mean + error, alpha=0.25, label="one standard error")
top.plot(simple.Cs_, mean, label="mean of five folds")
for C, marker, label in [(best.C, "o", "best mean"), (simple.C_, "s", "one standard error below")]:
    score = mean[simple.Cs_ == C]
    top.plot(C, score, marker, color="black", markersize=8, label=f"{label}: C = {C:.2g}")
    for axes in (top, bottom):
        axes.axvline(C, color="gray", linewidth=0.8, linestyle=":")
top.set(ylabel="accuracy (noisy labels)", title="LinearProbeCV on 400 noisy digits")
top.legend(loc="lower right")
bottom.axhline(np.log(10), color="gray", linestyle="--", linewidth=0.8, label="guessing")
bottom.plot(some, objectives, "k-", label="objective of the fit, per row and C")
bottom.plot(some, learned, "o-", label="log-loss, rows learned from (noisy labels)")
bottom.plot(some, judged, "s-", label="log-loss, other rows (right labels)")
bottom.set(xscale="log", yscale="log", xlabel="C", ylabel="per row", ylim=(0.03, 4))
bottom.legend(loc="lower left")

# %%
# With a small ``C`` all classes are nearly equally probable: the probe guesses. With a large one it
# learns the wrong labels by heart. The accuracy has a long flat top, because only the largest
# probability counts for it; the log-loss on other rows has its bottom at a larger ``C``, where the
# probabilities are neither too timid nor too sure. If you need the probabilities, choose by
# ``scoring="neg_log_loss"``.
#
# What it means to be too sure
# ----------------------------
# These digits are those of which the probe with the largest ``C`` is surest, and wrong. The red
# bars are its probabilities of the ten classes; the outlines are those of the probe with the best
# score.

sure, calm = probe.predict_proba(embeddings[judge]), best.predict_proba(embeddings[judge])
wrong = np.flatnonzero(sure.argmax(axis=1) != y[judge])
shown = wrong[sure[wrong].max(axis=1).argsort()[::-1][:6]]

_, axes = plt.subplots(2, 6, figsize=(11, 4), layout="constrained", height_ratios=[1.2, 1])
for (picture, bars), row in zip(axes.T, shown, strict=True):
    picture.imshow(images[judge[row]], cmap="gray_r")
    picture.set_title(f"a {y[judge[row]]}")
    picture.axis("off")
    bars.bar(range(10), sure[row], color="tab:red", alpha=0.6, label="C = 1e6")
    bars.bar(range(10), calm[row], fill=False, edgecolor="black", label=f"C = {best.C:.2g}")
    bars.set(xticks=range(10), ylim=(0, 1.02), yticks=[0, 1])
axes[1, 0].set_ylabel("probability")
axes[1, -1].legend(loc="upper right", fontsize="small")
plt.show()
