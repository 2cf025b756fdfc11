import pytest
from PIL import Image

from skclip.datasets.drawing.palette import COLORS, brightness


@pytest.mark.parametrize("rgb", COLORS.values())
def test_brightness_is_that_of_a_gray_picture(rgb):
    # Pillow converts by ITU-R 601-2, whose weights have a third digit
    gray = Image.new("RGB", (1, 1), rgb).convert("L").getpixel((0, 0))
    assert brightness(rgb) == pytest.approx(gray, abs=2)
