import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_files import stored_by_orientation
from PIL import Image
from reading_one import read_image
from torchvision import transforms

from skclip.encode import resize
from skclip.encode.preprocess import normalize
from skclip.encode.resize import (
    can_resize_fast,
    resize_and_crop,
    resize_and_crop_fast,
)
from skclip.model.config import PreprocessConfig

MODES = {
    "bicubic": transforms.InterpolationMode.BICUBIC,
    "bilinear": transforms.InterpolationMode.BILINEAR,
}


def noise(rng, height, width, *channels):
    return Image.fromarray(rng.integers(0, 256, (height, width, *channels), dtype=np.uint8))


def recipe(config):
    """OpenAI's `_transform` (clip/clip.py), without its last steps."""
    size = config.image_size
    interpolation = MODES[config.interpolation]
    if config.resize_mode == "squash":
        return transforms.Resize((size, size), interpolation)
    return transforms.Compose([transforms.Resize(size, interpolation), transforms.CenterCrop(size)])


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["L", "RGB"])
@pytest.mark.parametrize("image_size", [63, 224])
def test_equals_torchvision_bit_for_bit(image_size, channels, interpolation):
    """200 random sizes in all."""
    rng = np.random.default_rng(image_size)
    config = PreprocessConfig(image_size=image_size, interpolation=interpolation)
    for _ in range(25):
        image = noise(rng, *rng.integers(8, 500, 2), *channels)
        expected = recipe(config)(image).convert("RGB")
        actual = resize_and_crop(read_image(image), config)
        np.testing.assert_array_equal(actual, np.asarray(expected))


@pytest.mark.parametrize("size", [(224, 224), (224, 300), (301, 224), (448, 448), (223, 500)])
def test_equals_torchvision_for_sizes_near_that_of_the_crop(size):
    image = noise(np.random.default_rng(0), *size, 3)
    config = PreprocessConfig()
    expected = np.asarray(recipe(config)(image))
    np.testing.assert_array_equal(resize_and_crop(image, config), expected)


@pytest.mark.parametrize("size", [(100, 30), (30, 100), (300, 301), (1, 5000)])
def test_squash_equals_torchvision(size):
    image = noise(np.random.default_rng(0), *size, 3)
    config = PreprocessConfig(image_size=50, interpolation="bilinear", resize_mode="squash")
    expected = np.asarray(recipe(config)(image))
    np.testing.assert_array_equal(resize_and_crop(image, config), expected)


def test_equals_transformers_where_the_references_agree():
    """transformers rounds the crop's offset down, torchvision to even; 3 of 4 sizes agree."""
    import transformers

    # since transformers 5 the processor that uses Pillow has this suffix
    processor = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)()
    config = PreprocessConfig()
    rng = np.random.default_rng(0)
    agreed = 0
    for _ in range(200):
        height, width = rng.integers(8, 500, 2)
        beyond = int(224 * max(height, width) / min(height, width)) - 224
        if beyond // 2 != round(beyond / 2):
            continue
        agreed += 1
        image = noise(rng, height, width, 3)
        pixels = resize_and_crop(image, config)
        raw = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")
        np.testing.assert_array_equal(pixels, raw["pixel_values"][0].transpose(1, 2, 0))
        expected = processor(image, return_tensors="np")["pixel_values"]
        actual = normalize(torch.from_numpy(pixels[None]), config)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    assert agreed == 142


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    "size", [(1, 500), (500, 1), (3, 1000), (1000, 3), (3, 1001), (7, 501), (401, 30), (30, 401)]
)
def test_the_part_that_the_crop_keeps_equals_torchvision(size, interpolation, monkeypatch):
    """Except for the order of the two passes, which newer versions of Pillow choose by the size."""
    monkeypatch.setattr(resize, "_MAX_RESIZED_PIXELS", 0)
    image = noise(np.random.default_rng(0), *size, 3)
    config = PreprocessConfig(image_size=32, interpolation=interpolation)
    actual = resize_and_crop(image, config).astype(int)

    height, width = size
    scale = 32 / min(size)
    new_height, new_width = (max(32, int(scale * side)) for side in size)
    mode = MODES[interpolation]
    crop = transforms.CenterCrop(32)
    differences = []
    for between in ((height, new_width), (new_height, width)):
        once = transforms.Resize(between, mode)(image)
        twice = transforms.Resize((new_height, new_width), mode)(once)
        differences.append(np.abs(actual - np.asarray(crop(twice))))
    difference = min(differences, key=np.sum)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 2e-3
    if 1 in size:
        assert difference.max() == 0


@pytest.mark.parametrize("size", [(80_000, 1), (1, 80_000), (3, 100_000)])
def test_very_long_pictures_need_little_memory(size):
    """Resized in full, the first would take 16 GB. Constant pixels keep their value."""
    image = Image.new("RGB", size, (10, 200, 30))
    pixels = resize_and_crop(image, PreprocessConfig())
    assert pixels.shape == (224, 224, 3)
    assert (pixels == (10, 200, 30)).all()


def test_the_result_does_not_keep_the_whole_resized_picture_in_memory():
    pixels = resize_and_crop(Image.new("RGB", (50, 500)), PreprocessConfig(image_size=8))
    assert pixels.base is None or pixels.base.size == pixels.size


needs_fast_resizing = pytest.mark.skipif(
    not can_resize_fast((640, 480), PreprocessConfig()), reason="this processor has no AVX2"
)


def picture(kind, height, width, seed):
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "black and white":
        return rng.integers(0, 2, (height, width, 3), dtype=np.uint8) * np.uint8(255)
    if kind == "stripes":
        row = rng.integers(0, 256, (1, width, 3), dtype=np.uint8)
        return np.broadcast_to(row, (height, width, 3))
    few = noise(rng, height // 20 + 2, width // 20 + 2, 3)
    smooth = np.asarray(few.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return (smooth + rng.integers(-2, 3, smooth.shape)).clip(0, 255).astype(np.uint8)


@needs_fast_resizing
@settings(max_examples=150)
@given(
    kind=st.sampled_from(["noise", "black and white", "stripes", "blurred"]),
    height=st.integers(1, 500),
    width=st.integers(1, 500),
    image_size=st.sampled_from([8, 63, 224]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    resize_mode=st.sampled_from(["shortest", "squash"]),
    orientation=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_fast_resizing_is_within_one_level(
    kind, height, width, image_size, interpolation, resize_mode, orientation, seed
):
    config = PreprocessConfig(
        image_size=image_size, interpolation=interpolation, resize_mode=resize_mode
    )
    if not can_resize_fast((width, height), config):
        return
    upright = picture(kind, height, width, seed)
    expected = resize_and_crop(Image.fromarray(upright), config)
    stored = stored_by_orientation(upright)[orientation - 1]
    actual = resize_and_crop_fast(stored, config, orientation=orientation)
    assert np.abs(expected.astype(int) - actual).max() <= 1


@needs_fast_resizing
@pytest.mark.parametrize("scale", [0.3, 0.9, 1.1, 1.5, 1.9])
def test_fast_resizing_of_drawn_gradients_is_within_one_level(scale):
    """They are the worst case: neighboring sums are close to the same half."""
    config = PreprocessConfig(image_size=100)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: int(100 * scale), : int(130 * scale)]
    for _ in range(20):
        periods = rng.uniform(0.5, 60, (2, 3))
        waves = [127 + 120 * np.sin(x / a + y / b) for a, b in periods.T]
        pixels = np.stack(waves, axis=-1).astype(np.uint8)
        expected = resize_and_crop(Image.fromarray(pixels), config)
        difference = np.abs(expected.astype(int) - resize_and_crop_fast(pixels, config))
        assert difference.max() <= 1


@needs_fast_resizing
@pytest.mark.parametrize("size", [(80, 160), (60, 239), (40, 61), (40, 60), (239, 60), (30, 100)])
def test_fast_resizing_follows_the_order_of_the_installed_pillow(size):
    """Below and above the size at which newer versions of Pillow exchange the passes."""
    config = PreprocessConfig(image_size=20)
    pixels = picture("noise", *size[::-1], seed=0)
    expected = resize_and_crop(Image.fromarray(pixels), config)
    actual = resize_and_crop_fast(pixels, config)
    assert np.abs(expected.astype(int) - actual).max() <= 1


@needs_fast_resizing
@pytest.mark.parametrize("size", [(224, 224), (300, 224), (224, 301), (448, 448), (500, 223)])
def test_fast_resizing_for_sizes_near_that_of_the_crop(size):
    pixels = picture("noise", *size[::-1], seed=0)
    pixels.flags.writeable = False
    expected = resize_and_crop(Image.fromarray(pixels), PreprocessConfig())
    actual = resize_and_crop_fast(pixels, PreprocessConfig())
    assert np.abs(expected.astype(int) - actual).max() <= 1
    assert not np.shares_memory(actual, pixels)


@needs_fast_resizing
def test_the_fast_result_is_contiguous_and_not_a_view():
    for orientation in range(1, 9):
        pixels = picture("noise", 300, 400, seed=0)
        actual = resize_and_crop_fast(pixels, PreprocessConfig(), orientation=orientation)
        assert actual.flags.c_contiguous
        assert actual.flags.owndata


def test_very_long_pictures_and_processors_without_avx_are_left_to_pillow(monkeypatch):
    assert not can_resize_fast((1, 80_000), PreprocessConfig())
    assert not can_resize_fast((80_000, 1), PreprocessConfig())
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert not can_resize_fast((640, 480), PreprocessConfig())


def test_an_unknown_order_of_passes_is_left_to_pillow(monkeypatch):
    monkeypatch.setattr(resize, "_rule_of_pillow", lambda: None)
    assert not can_resize_fast((640, 480), PreprocessConfig())


def test_the_order_of_passes_of_the_installed_pillow_is_known():
    """If it were unknown, all resizing would be done by Pillow, and be slow."""
    assert resize._rule_of_pillow() is not None


@pytest.mark.parametrize("rule", [resize._never, resize._where_height_shrinks_most])
def test_the_order_of_passes_is_found_out(rule, monkeypatch):
    original = Image.Image.resize

    def in_two_passes(self, size, resample):
        vertical = rule(self.size, size)
        between = (self.width, size[1]) if vertical else (size[0], self.height)
        return original(original(self, between, resample), size, resample)

    monkeypatch.setattr(Image.Image, "resize", in_two_passes)
    assert resize._rule_of_pillow.__wrapped__() is rule
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, _: Image.new("RGB", size))
    assert resize._rule_of_pillow.__wrapped__() is None


@pytest.mark.parametrize("layout", ["channels last", "channels first"])
def test_normalize_equals_torchvision_bit_for_bit(layout):
    # every gray level in every channel
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    config = PreprocessConfig()
    expected = transforms.Normalize(config.mean, config.std)(transforms.ToTensor()(pixels[0]))
    tensor = torch.from_numpy(pixels)
    if layout == "channels first":
        tensor = tensor.permute(0, 3, 1, 2)
    before = tensor.clone()
    actual = normalize(tensor, config)
    assert actual.dtype == torch.float32
    assert actual.is_contiguous()
    assert torch.equal(actual[0], expected)
    assert torch.equal(tensor, before)


@pytest.mark.gpu
def test_normalize_is_the_same_on_the_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, 3)
    config = PreprocessConfig()
    actual = normalize(pixels.cuda(), config).cpu()
    assert torch.equal(actual, normalize(pixels, config))
