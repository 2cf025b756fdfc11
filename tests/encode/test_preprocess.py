import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from skclip.encode import preprocess
from skclip.encode.preprocess import normalize, resize_and_crop
from skclip.inputs.images import read_image
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
        actual = resize_and_crop(read_image(image, row=0), config)
        np.testing.assert_array_equal(actual, np.asarray(expected))


@pytest.mark.parametrize("size", [(224, 224), (224, 300), (301, 224), (448, 448), (223, 500)])
def test_equals_torchvision_where_little_is_to_do(size):
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
    """transformers rounds the offset of the crop down, torchvision to even: 3 of 4 agree."""
    import transformers

    # its name since transformers 5; before, the processor without suffix was the one on Pillow
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
    """But for the order of the two passes, which newer Pillow releases choose by the shape."""
    monkeypatch.setattr(preprocess, "_MAX_RESIZED_PIXELS", 0)
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
def test_extreme_shapes_do_not_blow_up_memory(size):
    """Resized in full, the first would take 16 GB. Constant pixels stay what they are."""
    image = Image.new("RGB", size, (10, 200, 30))
    pixels = resize_and_crop(image, PreprocessConfig())
    assert pixels.shape == (224, 224, 3)
    assert (pixels == (10, 200, 30)).all()


def test_result_does_not_hold_on_to_the_whole_resized_picture():
    pixels = resize_and_crop(Image.new("RGB", (50, 500)), PreprocessConfig(image_size=8))
    assert pixels.base is None or pixels.base.size == pixels.size


@pytest.mark.parametrize("layout", ["channels last", "channels first"])
def test_normalize_equals_torchvision_bit_for_bit(layout):
    # every grey level in every channel
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
