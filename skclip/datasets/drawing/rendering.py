"""From ink masks to images: size, resolution, blur, color and noise."""

import numpy as np

from skclip._sklearn_compat import _threadpool_controller_decorator

# weights are integer multiples of this, so that every product and sum below is exact in float32
# and an image does not depend on the order in which the machine's BLAS adds
_UNIT = 1 / 1024


def _quantize(weights):
    return (np.rint(weights / _UNIT) * _UNIT).astype(np.float32)


def area_weights(start, stop, n_out, n_in):
    """Return a matrix that averages the input pixels [start, stop) in ``n_out`` equal cells.

    Parameters
    ----------
    start, stop : ndarray of shape (n,)
        The interval to average, in input pixels; outside the picture pixels count as 0.
    n_out, n_in : int
        Number of cells and of input pixels.

    Returns
    -------
    weights : ndarray of shape (n, n_out, n_in), dtype float32
    """
    size = ((stop - start) / n_out)[:, None, None]
    left = start[:, None, None] + size * np.arange(n_out)[:, None]
    pixel = np.arange(n_in)
    overlap = np.minimum(left + size, pixel + 1) - np.maximum(left, pixel)
    return _quantize(np.maximum(overlap, 0) / size)


def cubic_weights(n_out, n_in):
    """Return a matrix that enlarges ``n_in`` pixels to ``n_out`` by Keys' cubic (a = -0.5)."""
    at = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
    distance = np.abs(at[:, None] - np.arange(n_in))
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return _quantize(weights / weights.sum(1, keepdims=True))


def nearest_weights(n_out, n_in):
    """Return a matrix that enlarges ``n_in`` pixels to ``n_out`` by repeating them."""
    return np.eye(n_in, dtype=np.float32)[np.arange(n_out) * n_in // n_out]


def blur_weights(size, sigma):
    """Return the matrix of a Gaussian blur with standard deviation ``sigma``, in pixels."""
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    return _quantize(weights / weights.sum(1, keepdims=True))


def resample(vertical, pictures, horizontal):
    """Resample height and width by a matrix each: (h, H), (n, H, W), (w, W) -> (n, h, w)."""
    half = vertical @ pictures
    # rounded to few bits, so that the second product is exact as well
    half = np.rint(half * 16) / 16
    return half @ np.swapaxes(horizontal, -1, -2)


def ink_boxes(masks):
    """Return the bounding boxes of the ink: left, top, right, bottom (exclusive), each (n,)."""
    columns, rows = masks.any(1), masks.any(2)
    left, top = columns.argmax(1), rows.argmax(1)
    right = masks.shape[2] - columns[:, ::-1].argmax(1)
    bottom = masks.shape[1] - rows[:, ::-1].argmax(1)
    return left, top, right, bottom


def place_in_boxes(masks, grid, box):
    """Resize the ink of each drawing to a box in a square grid.

    Parameters
    ----------
    masks : ndarray of shape (n, height, width), dtype uint8
        Ink, 0 to 255.
    grid : int
        Side of the grid, in cells.
    box : ndarray of shape (n, 4)
        Left, top, width and height of the box, in cells.

    Returns
    -------
    pictures : ndarray of shape (n, grid, grid), dtype float32
        Ink, 0 to 255.
    """
    left, top, right, bottom = ink_boxes(masks)
    x, y, width, height = box.T
    step_x, step_y = (right - left) / width, (bottom - top) / height
    start_x, start_y = left - x * step_x, top - y * step_y
    return resample(
        area_weights(start_y, start_y + grid * step_y, grid, masks.shape[1]),
        masks.astype(np.float32),
        area_weights(start_x, start_x + grid * step_x, grid, masks.shape[2]),
    )


def random_boxes(aspect, filled, rng):
    """Choose a box for the ink of each drawing, in an image of side 1.

    Parameters
    ----------
    aspect : ndarray of shape (n,)
        Width of the ink over its height.
    filled : ndarray of shape (n,), dtype bool
        Whether the box fills the height or the width of the image, or is smaller and placed at
        random.
    rng : RandomState

    Returns
    -------
    boxes : ndarray of shape (n, 4)
        Left, top, width and height.
    """
    n_samples = len(aspect)
    # size normalization gives characters similar aspects: NIST's form-based system, the source of
    # the digits in many data sets, uses 20 by 32 pixels
    usual = np.exp(rng.normal(np.log(0.62), 0.12, n_samples))
    share = np.where(filled, 0.9, 0.5) * rng.uniform(0, 1, n_samples)
    aspect = np.where(aspect < 1.1, aspect ** (1 - share) * usual**share, aspect)
    height = np.where(filled, 1.0, rng.uniform(0.45, 0.95, n_samples))
    width = np.minimum(height * aspect, np.where(filled, 1.0, 0.95))
    height = width / aspect
    x, y = np.where(filled, 0.5, rng.uniform(0, 1, (2, n_samples)))
    return np.stack([x * (1 - width), y * (1 - height), width, height], axis=1)


def pixelate(masks, boxes, grid, bitonal):
    """Count the ink in each cell of a coarse grid, in 17 levels.

    Parameters
    ----------
    masks : ndarray of shape (n, height, width), dtype uint8
        Ink, 0 to 255.
    boxes : ndarray of shape (n, 4)
        Where to place the ink, in an image of side 1: left, top, width and height.
    grid : int
        Side of the grid, in cells.
    bitonal : ndarray of shape (n,), dtype bool
        Whether the 4 x 4 pixels of a cell are rounded to black or white, as in a 1-bit scan,
        before they are counted.

    Returns
    -------
    counts : ndarray of shape (n, grid, grid), dtype float32
        0 to 16.
    """
    fine = place_in_boxes(masks, 4 * grid, 4 * grid * boxes)
    fine[bitonal] = 255.0 * (fine[bitonal] > 127)
    return np.rint(fine.reshape(-1, grid, 4, grid, 4).mean((2, 4)) * np.float32(16 / 255))


# the matrices are so small that several BLAS threads would mostly wait for each other
@_threadpool_controller_decorator(limits=1, user_api="blas")
def resize_and_degrade(masks, lengths, size, coarse, rng):
    """Resize drawings to the size of the images, and pixelate or blur some of them.

    Parameters
    ----------
    masks : ndarray of shape (n, height, width), dtype uint8
        Ink, 0 to 255.
    lengths : ndarray of shape (n,)
        Number of characters in each drawing; more characters need a finer grid to stay legible.
    size : int
        Side of the images, in pixels.
    coarse : ndarray of shape (n,), dtype bool
        Which drawings are pixelated.
    rng : RandomState

    Returns
    -------
    pictures : ndarray of shape (n, size, size), dtype float32
        Ink, 0 to 255; bicubic enlargement may exceed this range a little.
    looks : ndarray of shape (n,)
        "sharp", "pixelated" or "blurry".
    """
    n_samples = len(masks)
    left, top, right, bottom = ink_boxes(masks)
    filled = rng.uniform(size=n_samples) < np.where(coarse, 0.75, 0.3)
    boxes = random_boxes((right - left) / (bottom - top), filled, rng)
    grids = rng.choice([8, 8, 8, 8, 10, 12, 16], size=n_samples)
    grids = np.where(lengths == 1, grids, np.where(lengths == 2, 16, 32))
    bitonal = rng.uniform(size=n_samples) < 0.6
    smooth = rng.uniform(size=n_samples) < 0.85
    blurred = ~coarse & (rng.uniform(size=n_samples) < 0.3)
    sigmas = rng.randint(1, 5, size=n_samples)

    pictures = np.empty((n_samples, size, size), np.float32)
    sharp = np.flatnonzero(~coarse)
    if len(sharp):
        pictures[sharp] = np.rint(place_in_boxes(masks[sharp], size, size * boxes[sharp]))
    for sigma in np.unique(sigmas[blurred]):
        rows = np.flatnonzero(blurred & (sigmas == sigma))
        kernel = blur_weights(size, sigma * size / 64)
        pictures[rows] = resample(kernel, pictures[rows], kernel)
    for grid in np.unique(grids[coarse]):
        for enlarge, wanted in ((cubic_weights, smooth), (nearest_weights, ~smooth)):
            rows = np.flatnonzero(coarse & (grids == grid) & wanted)
            if len(rows):
                counts = pixelate(masks[rows], boxes[rows], grid, bitonal[rows])
                weights = enlarge(size, grid)
                pictures[rows] = resample(weights, counts * 16, weights)
    looks = np.where(coarse, "pixelated", np.where(blurred & (sigmas > 1), "blurry", "sharp"))
    return pictures, looks


def colorize(ink, foreground, background, noise, rng):
    """Blend two colors by the ink and add noise.

    Parameters
    ----------
    ink : ndarray of shape (n, size, size)
        0 to 255; values outside are clipped.
    foreground, background : ndarray of shape (n, 3)
        RGB, 0 to 255.
    noise : ndarray of shape (n,)
        Standard deviation of the noise in gray levels; 0 for none.
    rng : RandomState

    Returns
    -------
    images : ndarray of shape (n, size, size, 3), dtype uint8
    """
    ink = np.clip(ink, 0, 255)[..., None] * np.float32(1 / 255)
    images = background[:, None, None].astype(np.float32)
    images = images + ink * (foreground - background)[:, None, None].astype(np.float32)
    noisy = np.flatnonzero(noise)
    if len(noisy):
        grain = rng.standard_normal((len(noisy), *images.shape[1:3], 1)).astype(np.float32)
        images[noisy] += grain * noise[noisy, None, None, None].astype(np.float32)
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)
