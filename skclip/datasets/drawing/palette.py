"""Names of the colors, textures and sizes of drawn objects."""

COLORS = {
    "red": (220, 30, 30),
    "orange": (250, 140, 20),
    "yellow": (245, 225, 40),
    "green": (40, 160, 50),
    "cyan": (50, 210, 220),
    "blue": (40, 70, 220),
    "purple": (130, 40, 160),
    "pink": (250, 140, 190),
    "brown": (120, 70, 30),
    "gray": (128, 128, 128),
}
"""Color names of the drawn scenes, with their RGB values (0 to 255)."""

TEXTURES = ("plain", "striped", "dotted", "checkered", "outlined")
SIZES = ("small", "medium", "large")


def brightness(rgb):
    """Perceived brightness of a color, 0 to 255."""
    return 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]
