"""Read images from the standard input, in every way; write whether all ways agree.

Each image is its length (4 bytes, little-endian) and its content; each answer a line of JSON with
`readable` and `problem`. The process may use one gigabyte more than at its start.
"""

import faulthandler
import json
import resource
import struct
import sys
import time
import warnings
from functools import partial

import numpy as np
from PIL import Image

from skclip import ImageReadError, MissingImageWarning, embed_images
from skclip.encode.protocol import Encoder
from skclip.encode.reading import read_pixels
from skclip.model.config import PreprocessConfig

SECONDS = 5
CONFIG = PreprocessConfig(image_size=24)


class Pixels(Encoder):
    """Embeds an image as its pixels, so that equal vectors mean equal pixels."""

    embed_dim = 3 * 24 * 24

    def __init__(self, exact=False):
        self.prepare_image = partial(read_pixels, config=CONFIG, exact=exact)

    def encode_prepared_images(self, prepared, features):
        return np.stack(prepared).reshape(len(prepared), -1).astype(np.float32)

    def encode_images(self, images):
        raise NotImplementedError

    encode_texts = encode_images


FAST, EXACT = Pixels(), Pixels(exact=True)
NEIGHBORS = [np.full((30, 40, 3), 50, np.uint8), np.eye(30)]


def embed(images, on_error, action, encoder=FAST):
    """Return vectors, or the cause of an ImageReadError, with all warnings as errors or none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        warnings.simplefilter("ignore", MissingImageWarning)
        try:
            vectors = embed_images(encoder, images, on_error=on_error, normalize=False, n_jobs=1)
        except ImageReadError as error:
            return error.cause
    assert not caught, f"a warning: {caught[0].message!r}"
    return vectors


def problem_with(content):
    """Return whether a content is readable, after checks that everything else is as it should."""
    expected = embed([content], "raise", "always")
    readable = not isinstance(expected, str)
    if not readable:
        assert "MemoryError" not in expected, expected
    assert isinstance(embed([content], "raise", "error"), str) != readable, "depends on the filter"
    assert isinstance(embed([content], "raise", "always", EXACT), str) != readable, "exact differs"
    for action in ("always", "error"):
        vectors = embed([NEIGHBORS[0], content, NEIGHBORS[1]], "nan", action)
        assert np.array_equal(vectors[[0, 2]], embed(NEIGHBORS, "raise", action)), "a neighbor"
        if readable:
            assert np.array_equal(vectors[1], expected[0]), "differs in a batch"
        else:
            assert np.isnan(vectors[1]).all(), "readable in a batch only"
    return readable


def main():
    # honest pixels take time and memory too, and are not what is looked for
    Image.MAX_IMAGE_PIXELS = 2_000_000
    Image.init()
    embed(NEIGHBORS, "raise", "always", EXACT)
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**30,) * 2)
    while header := sys.stdin.buffer.read(4):
        content = sys.stdin.buffer.read(struct.unpack("<I", header)[0])
        answer = {"readable": False, "problem": None}
        # far more than the limit, because the machine may be busy; it ends this process
        faulthandler.dump_traceback_later(20 * SECONDS, exit=True)
        start = time.process_time()
        try:
            answer["readable"] = problem_with(content)
        except Exception as error:
            answer["problem"] = f"{type(error).__name__}: {error}"
        if time.process_time() - start > SECONDS:
            answer["problem"] = f"took {time.process_time() - start:.1f} seconds"
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(answer), flush=True)


main()
