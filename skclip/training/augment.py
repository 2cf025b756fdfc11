"""Random changes of pictures that leave their captions true."""

import math

import torch
from torch.nn import functional as F


class Augmentation:
    """Move, blur, fade and roughen a batch of pictures, each by its own random amount.

    Called with pixels (batch, 3, height, width) in [0, 1] and a `torch.Generator`, it returns
    pixels of the same shape.

    Parameters
    ----------
    rotation : float, default=10
        Largest rotation to either side, in degrees.
    scale : float, default=0.15
        Largest relative change of the width and, independently, of the height.
    translation : float, default=0.06
        Largest shift, as a fraction of the side.
    contrast : float, default=0.3
        Largest relative loss or gain of contrast about the mean grey.
    brightness : float, default=0.15
        Largest shift of all pixels.
    noise : float, default=0.04
        Largest standard deviation of the added noise.
    fraction : float, default=0.5
        Fraction of the pictures that each of the changes touches.

    Examples
    --------
    >>> import torch
    >>> from skclip.training.augment import Augmentation
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
        """Return changed pixels; all randomness comes from the generator, on the CPU."""

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
    """Rotate, scale and shift pictures about their centre, with edges continued outwards.

    Parameters
    ----------
    pixels : tensor of shape (batch, channels, height, width)
    angle : tensor of shape (batch,)
        In radians, clockwise.
    scale, shift : tensor of shape (batch, 2)
        Across and down; a shift of 1 is half the side.

    Returns
    -------
    tensor of the shape of `pixels`
        Pictures that do not move come back as they are.
    """
    moved = ((angle != 0) | (scale != 1).any(1) | (shift != 0).any(1)).nonzero()[:, 0]
    if not len(moved):
        return pixels
    angle, scale, shift = angle[moved], scale[moved], shift[moved]
    cos, sin = angle.cos(), angle.sin()
    # from a place in the result back to its source: undo the shift, the rotation, the scale
    turn = torch.stack([cos, sin, -sin, cos], dim=1).view(-1, 2, 2) / scale[:, :, None]
    theta = torch.cat([turn, -turn @ shift[:, :, None]], dim=2).to(pixels)
    moved = moved.to(pixels.device)
    grid = F.affine_grid(theta, [len(moved), *pixels.shape[1:]], align_corners=False)
    result = pixels.clone()
    result[moved] = F.grid_sample(
        pixels[moved], grid, padding_mode="border", align_corners=False, mode="bilinear"
    )
    return result
