"""Image files for the benchmarks. Nothing here imports skclip or torch."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

BUNDLED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg")
BUNDLED += ("motorcycle_left.png", "ihc.png", "retina.jpg")
SHAPES = ("circle", "square", "triangle", "cross")


def save_photographs(folder, n_files, size=(640, 480)):
    """Save varied crops of scikit-image's photographs as JPEG, with some noise as of a camera."""
    import skimage

    data = Path(skimage.__file__).parent / "data"
    sources = [Image.open(data / name).convert("RGB") for name in BUNDLED]
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3, (size[1] + 64, size[0] + 64, 1)).astype(np.float32)
    paths = []
    for i in range(n_files):
        source = sources[i % len(sources)]
        height = rng.uniform(0.5, 1) * min(source.height, source.width * size[1] / size[0])
        width = height * size[0] / size[1]
        left = rng.uniform(0, source.width - width)
        top = rng.uniform(0, source.height - height)
        crop = source.resize(
            size, Image.Resampling.BICUBIC, (left, top, left + width, top + height)
        )
        if rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = np.asarray(crop, dtype=np.float32) * rng.uniform(0.6, 1.2, 3).astype(np.float32)
        y, x = rng.integers(0, 64, 2)
        pixels += noise[y : y + size[1], x : x + size[0]]
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        paths.append(str(folder / f"{i:05}.jpg"))
        image.save(paths[-1], quality=90)
    return paths


def save_color_fields(folder, n_files, size=(640, 480), noise=0):
    """Save smooth random colors as JPEG.

    Parameters
    ----------
    folder : Path
    n_files : int
    size : tuple (width, height) of int, default=(640, 480)
    noise : int, default=0
        The most that noise adds to a pixel or subtracts from it. With about 8, the files are as
        large as those of photographs, and take as long to decode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (n_files, 6, 8, 3), dtype=np.uint8)
    grain = rng.integers(-noise, noise + 1, (size[1], size[0], 1))
    paths = []
    for i, colors in enumerate(small):
        image = Image.fromarray(colors).resize(size, Image.Resampling.BICUBIC)
        if noise:
            image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
        paths.append(str(folder / f"{i:05}.jpg"))
        image.save(paths[-1], quality=90)
    return paths


def save_drawings(folder, n_files, size=(640, 480), suffixes=(".jpg",)):
    """Save colored shapes on textured ground; the shape is the class.

    Parameters
    ----------
    folder : Path
    n_files : int
    size : tuple (width, height) of int, default=(640, 480)
    suffixes : tuple of str, default=(".jpg",)
        The kinds of files, used in turns.

    Returns
    -------
    paths, labels : list of str
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    scale = size[1] / 480
    paths, labels = [], []
    for i in range(n_files):
        ground = Image.fromarray(rng.integers(60, 196, (12, 16, 3), dtype=np.uint8))
        image = ground.resize(size, Image.Resampling.BICUBIC)
        shape = SHAPES[i % len(SHAPES)]
        radius = int(rng.integers(100, 180) * scale)
        x = int(rng.integers(radius, size[0] - radius))
        y = int(rng.integers(radius, size[1] - radius))
        draw_shape(ImageDraw.Draw(image), shape, x, y, radius, tuple(rng.integers(0, 256, 3)))
        paths.append(str(folder / f"{i:05}{suffixes[i % len(suffixes)]}"))
        labels.append(shape)
        image.save(paths[-1], quality=90)
    return paths, labels


def draw_shape(draw, shape, x, y, radius, color):
    color = tuple(map(int, color))
    left, top, right, bottom = x - radius, y - radius, x + radius, y + radius
    if shape == "circle":
        draw.ellipse((left, top, right, bottom), fill=color)
    elif shape == "square":
        draw.rectangle((left, top, right, bottom), fill=color)
    elif shape == "triangle":
        draw.polygon([(x, top), (left, bottom), (right, bottom)], fill=color)
    else:
        third = radius // 3
        draw.rectangle((left, y - third, right, y + third), fill=color)
        draw.rectangle((x - third, top, x + third, bottom), fill=color)
