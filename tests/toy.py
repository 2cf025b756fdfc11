"""An encoder whose vectors can be computed by hand: it knows four colors and their names."""

import numpy as np

COLORS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}


class ColorEncoder:
    """Embeds an image as its mean color, a text as the colors it names and its length."""

    logit_scale = 10.0
    embed_dim = 4

    def encode_images(self, images):
        colors = np.stack([np.asarray(image).mean(axis=(0, 1)) / 255 for image in images])
        return np.column_stack([colors, np.full(len(images), 0.1)])

    def encode_texts(self, texts):
        rows = []
        for text in texts:
            named = [rgb for name, rgb in COLORS.items() if name in text.lower()]
            rows.append([*np.sum(named or [(0, 0, 0)], axis=0), len(text) / 100])
        return np.asarray(rows)


def solid(*names):
    """Return one small picture for each color name."""
    return [np.full((4, 6, 3), COLORS[name], dtype=np.uint8) * np.uint8(255) for name in names]
