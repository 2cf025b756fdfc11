"""Random changes of images that leave their captions true."""

import math

import torch
from torch.nn import functional as F


class Augmentation:
    """Move images, and change their contrast and brightness, and add noise, all at random.

    An instance is called with the pixels of a batch and a random generator, and returns changed
    pixels. Each image is changed by its own random amounts.

    Parameters
    ----------
    rotation : float, default=10
        Largest rotation in either direction, in degrees.
    scale : float, default=0.15
        Largest relative change of the width and, independently, of the height.
    translation : float, default=0.06
        Largest horizontal and vertical shift, as a fraction of the image's side.
    contrast : float, default=0.3
        Largest relative decrease or increase of the contrast around the image's mean.
    brightness : float, default=0.15
        Largest value that is added to or subtracted from all pixels, which lie in [0, 1].
    noise : float, default=0.04
        Largest standard deviation of the added Gaussian noise, which is the same in all channels.
    fraction : float, default=0.5
        Probability, for each image, of each of the changes.

    Examples
    --------
    >>> import torch
    >>> from skclip.training import Augmentation
    >>> augment = Augmentation(rotation=20)
    >>> augment(torch.rand(2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        *,
        rotation=10,
        scale=0.15,
        translation=0.06,
        contrast=0.3,
        brightness=0.15,
        noise=0.04,
        fraction=0.5,
    ):
        self.rotation = rotation
        self.scale = scale
        self.translation = translation
        self.contrast = contrast
        self.brightness = brightness
        self.noise = noise
        self.fraction = fraction

    def __call__(self, pixels, generator):
        """Change a batch of images.

        Parameters
        ----------
        pixels : tensor of shape (batch, 3, height, width)
            Values in [0, 1].
        generator : torch.Generator
            A generator on the CPU, the only source of randomness.

        Returns
        -------
        tensor of shape (batch, 3, height, width)
            Values in [0, 1].
        """

        def draw(*shape):
            amounts = 2 * torch.rand(len(pixels), *shape, generator=generator) - 1
            return amounts * (torch.rand(len(pixels), generator=generator) < self.fraction).view(
                -1, *[1] * len(shape)
            )

        pixels = move(
            pixels,
            angle=math.radians(self.rotation) * draw(1)[:, 0],
            scale=1 + self.scale * draw(2),
            shift=2 * self.translation * draw(2),
        )
        gain = (1 + self.contrast * draw(1, 1, 1)).to(pixels.device)
        offset = (self.brightness * draw(1, 1, 1)).to(pixels.device)
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        sigma = self.noise * draw(1, 1, 1).abs()
        noise = sigma * torch.randn(len(pixels), 1, *pixels.shape[2:], generator=generator)
        return ((pixels - mean) * gain + mean + offset + noise.to(pixels.device)).clamp(0, 1)


def move(pixels, angle, scale, shift):
    """Rotate, scale and shift images around their center, and repeat their edges outside.

    Parameters
    ----------
    pixels : tensor of shape (batch, channels, height, width)
    angle : tensor of shape (batch,)
        In radians, clockwise.
    scale, shift : tensor of shape (batch, 2)
        Horizontal and vertical; a shift of 1 is half the side.

    Returns
    -------
    tensor of the shape of `pixels`
        Images that do not move are returned unchanged.
    """
    moved = ((angle != 0) | (scale != 1).any(1) | (shift != 0).any(1)).nonzero()[:, 0]
    if not len(moved):
        return pixels
    angle, scale, shift = angle[moved], scale[moved], shift[moved]
    cos, sin = angle.cos(), angle.sin()
    # maps a place in the result to its source: undo the shift, the rotation and the scale
    turn = torch.stack([cos, sin, -sin, cos], dim=1).view(-1, 2, 2) / scale[:, :, None]
    theta = torch.cat([turn, -turn @ shift[:, :, None]], dim=2).to(pixels)
    moved = moved.to(pixels.device)
    grid = F.affine_grid(theta, [len(moved), *pixels.shape[1:]], align_corners=False)
    result = pixels.clone()
    result[moved] = F.grid_sample(
        pixels[moved], grid, padding_mode="border", align_corners=False, mode="bilinear"
    )
    return result
