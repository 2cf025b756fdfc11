"""
A table with pictures in it
===========================

Embeddings are columns. So a table can contain pictures beside numbers, and ``ColumnTransformer``,
an imputer, a regressor and ``GridSearchCV`` handle them like any other column.
"""

# %%
# The table
# ---------
# The rows are lots in an auction of buttons. The columns are a picture of the button, a picture of
# the tag with a handwritten grade, the number of buttons in the lot, and their age. The pictures
# are drawn and the prices are made up: a price depends on the color and shape of the button, on the
# grade, on the two numbers, and a little on chance. A tenth of the pictures is missing.

import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skclip import CLIPImageEmbedder, MissingImageWarning
from skclip.datasets import make_glyphs, make_scenes

n_lots = 300
rng = np.random.RandomState(0)
scenes = make_scenes(n_lots, n_objects=(1, 1), random_state=0)
buttons = pd.DataFrame([scene[0] for scene in scenes.objects])
tags = make_glyphs(n_lots, style="handwritten", pixelate=0, random_state=0)
grades = tags.target.astype(int)

folder = tempfile.TemporaryDirectory()


def save(images, name):
    paths = [str(Path(folder.name) / f"{name}{row}.png") for row in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


table = pd.DataFrame(
    {
        "button": save(scenes.images, "button"),
        "tag": save(tags.images, "tag"),
        "count": rng.randint(1, 50, n_lots),
        "age": rng.gamma(2.0, 20.0, n_lots).round(),
    }
)
price = (
    30 * buttons["shape"].isin(["star", "heart", "crescent"])
    + 20 * buttons["color"].isin(["red", "purple", "blue"])
    + 4 * grades
    + 0.5 * table["count"]
    + 0.2 * table["age"]
    + rng.normal(0, 3, n_lots)
)
for column in ("button", "tag"):
    table.loc[rng.uniform(size=n_lots) < 0.1, column] = None
table.head()

# %%
# The model
# ---------
# With ``on_error="nan"`` a missing picture becomes a row of NaN, and the imputer replaces it with
# the mean embedding. Which features of the image tower to use is a hyperparameter.
#
# A warning says how many pictures are missing. We know about them, so we turn it off.

warnings.simplefilter("ignore", MissingImageWarning)


def pictures():
    embed = CLIPImageEmbedder("skclip/tiny", on_error="nan")
    return Pipeline([("embed", embed), ("impute", SimpleImputer()), ("scale", StandardScaler())])


columns = ColumnTransformer(
    [
        ("button", pictures(), ["button"]),
        ("tag", pictures(), ["tag"]),
        ("numbers", StandardScaler(), ["count", "age"]),
    ]
)
model = Pipeline([("columns", columns), ("ridge", RidgeCV(np.logspace(0, 4, 9)))])
features = ["projected", "pooled"]
search = GridSearchCV(
    model,
    {"columns__button__embed__features": features, "columns__tag__embed__features": features},
    cv=3,
)
X_train, X_test, y_train, y_test = train_test_split(table, price, random_state=0)
search.fit(X_train, y_train)
print(search.best_params_)

# %%
# What the pictures add
# ---------------------
# For comparison, we also fit a regression on the numbers alone.

numbers = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 4, 9)))
numbers.fit(X_train[["count", "age"]], y_train)
predictions = {
    "numbers": numbers.predict(X_test[["count", "age"]]),
    "numbers and pictures": search.predict(X_test),
}
complete = X_test[["button", "tag"]].notna().all(axis=1)
folder.cleanup()

_, axes = plt.subplots(1, 2, figsize=(10, 4.5), sharex=True, sharey=True, layout="constrained")
for ax, (name, predicted) in zip(axes, predictions.items(), strict=True):
    score = 1 - ((y_test - predicted) ** 2).mean() / y_test.var(ddof=0)
    ax.axline((60, 60), slope=1, color="lightgray")
    ax.scatter(y_test[complete], predicted[complete], label="both pictures present")
    ax.scatter(y_test[~complete], predicted[~complete], marker="x", label="a picture missing")
    ax.set(title=f"{name}: R² = {score:.2f}", xlabel="price", ylabel="predicted price")
axes[0].legend()
plt.show()
