"""An image that cannot be read leaves a row and a cause behind, and nothing of its pixels."""

import gc
import io
import pickle

import numpy as np
import pytest
from PIL import Image
from test_embed_images import MeanColor

from skclip import embed_images, load_encoder
from skclip.exceptions import ImageReadError, MissingImageWarning

FORMATS = {
    "JPEG": {},
    "progressive JPEG": {"format": "JPEG", "progressive": True},
    "PNG": {},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
    "LZW TIFF": {"format": "TIFF", "compression": "tiff_lzw"},
    "WEBP": {},
    "JPEG2000": {},
}


def truncated(name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, **{"format": name, **FORMATS[name]})
    content = stream.getvalue()
    # JPEG 2000 files are readable after half of their pixels
    return content[: len(content) * 7 // 10] if name != "JPEG2000" else content[:90]


@pytest.fixture
def without_collection():
    """Disable the garbage collector, so that only what nothing refers to is released."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def n_pictures():
    # not isinstance, which asks lazy modules for their class
    return sum(issubclass(type(thing), Image.Image) for thing in gc.get_objects())


@pytest.mark.parametrize("encoder", [MeanColor(), "skclip/tiny"], ids=["pictures", "pixels"])
@pytest.mark.usefixtures("without_collection")
def test_no_picture_is_kept(encoder):
    encoder = load_encoder(encoder)
    errors = []

    def embed_in_vain(content):
        with pytest.raises(ImageReadError) as caught:
            embed_images(encoder, [content], n_jobs=1)
        errors.append(caught.value)

    for name in FORMATS:
        content = truncated(name)
        embed_in_vain(content)  # imports and caches
        n_before = n_pictures()
        for _ in range(3):
            embed_in_vain(content)
            with pytest.warns(MissingImageWarning):
                embed_images(encoder, [content, content + b" "], on_error="nan", n_jobs=1)
        assert n_pictures() == n_before, name
    for error in errors:
        assert error.__cause__ is error.__context__ is None
        assert len(pickle.dumps(error)) < 10_000
