import math

import torch

from skclip.training import Augmentation
from skclip.training.augment import move


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_changes_stay_in_range_and_follow_the_generator():
    pixels = torch.rand(64, 3, 16, 16, generator=generator(1))
    augment = Augmentation()
    first, again = augment(pixels, generator()), augment(pixels, generator())
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(pixels, generator(2)))
    assert first.shape == pixels.shape
    assert first.min() >= 0
    assert first.max() <= 1


def test_nothing_changes_without_amounts():
    pixels = torch.rand(4, 3, 8, 8, generator=generator(1))
    torch.testing.assert_close(Augmentation(fraction=0)(pixels, generator()), pixels)


def test_moves_as_named():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 3, 5] = 1
    still = {"angle": torch.zeros(1), "scale": torch.ones(1, 2), "shift": torch.zeros(1, 2)}
    # two of eight pixels to the right and one down; a whole side is 2
    shifted = move(image, **still | {"shift": torch.tensor([[0.5, 0.25]])})
    torch.testing.assert_close(shifted, image.roll((1, 2), dims=(2, 3)))
    turned = move(image, **still | {"angle": torch.full((1,), math.pi / 2)})
    torch.testing.assert_close(turned, image.rot90(-1, dims=(2, 3)), atol=1e-5, rtol=0)
    block = torch.zeros(1, 1, 8, 8)
    block[..., 3:5, 3:5] = 1
    wider = move(block, **still | {"scale": torch.tensor([[2.0, 1.0]])})
    torch.testing.assert_close(wider.sum(), torch.tensor(8.0))
    assert wider[0, 0, 3, 2] > 0.5 > wider[0, 0, 2, 3]
