"""From pixels to the normalized tensor that the image tower takes."""


def normalize(pixels, config):
    """Scale pixels to [0, 1], subtract the mean and divide by the standard deviation.

    Parameters
    ----------
    pixels : Tensor of shape (batch, size, size, 3) or (batch, 3, size, size), uint8
        On any device.
    config : PreprocessConfig

    Returns
    -------
    pixels : Tensor of shape (batch, 3, size, size), float32
        On the same device.

    Notes
    -----
    The operations and their order are those of torchvision's ``ToTensor`` and ``Normalize``, so the
    result is the same bit for bit.

    Examples
    --------
    >>> import torch
    >>> from skclip.encode.preprocess import normalize
    >>> from skclip.model.config import PreprocessConfig
    >>> pixels = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    >>> normalize(pixels, PreprocessConfig(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))[0, 0]
    tensor([[1., 1.],
            [1., 1.]])
    """
    if pixels.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    pixels = pixels.contiguous().float()
    # by a tensor: some devices divide by a Python number as a product with its reciprocal
    pixels = pixels.div_(pixels.new_tensor(255))
    mean = pixels.new_tensor(config.mean).view(3, 1, 1)
    std = pixels.new_tensor(config.std).view(3, 1, 1)
    return pixels.sub_(mean).div_(std)
