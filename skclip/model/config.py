"""The architecture of a CLIP model and its preprocessing, as frozen dataclasses."""

import math
from dataclasses import dataclass, field

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_tanh")
HEAD_WIDTH = 64


@dataclass(frozen=True)
class VisionConfig:
    """An image tower: a ViT when `layers` is a number, a modified ResNet when it is four.

    Parameters
    ----------
    image_size : int, default=224
        Height and width of the input, in pixels.
    width : int, default=768
        Width of the transformer; for a ResNet the channels after the stem.
    layers : int or tuple of 4 int, default=12
        Transformer blocks, or bottleneck blocks in each of the ResNet's four stages.
    patch_size : int or None, default=32
        Height and width of a patch, in pixels; None for a ResNet.
    heads : int or None, default=None
        Attention heads; None means 64 channels a head.
    mlp_width : int or None, default=None
        Hidden width of the transformer's MLP; None means four times `width`.
    activation : {"quick_gelu", "gelu", "gelu_tanh"}, default="gelu"
        Activation of the transformer's MLP. A ResNet always uses ReLU.
    layer_norm_eps : float, default=1e-5
    """

    image_size: int = 224
    width: int = 768
    layers: int | tuple[int, int, int, int] = 12
    patch_size: int | None = 32
    heads: int | None = None
    mlp_width: int | None = None
    activation: str = "gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self):
        _check_activation(self)
        _check_counts(self, "image_size", "width", "patch_size", "heads", "mlp_width")
        if self.is_resnet:
            object.__setattr__(self, "layers", tuple(self.layers))
        for count in self.layers if self.is_resnet else [self.layers]:
            _check_count("layers", count)
        if self.is_resnet:
            if len(self.layers) != 4 or self.patch_size is not None:
                raise ValueError(
                    "a ResNet image tower has four stages and no patch size, "
                    f"got layers={self.layers!r}, patch_size={self.patch_size!r}"
                )
        elif self.patch_size is None or self.image_size < self.patch_size:
            raise ValueError(
                "a ViT image tower needs a patch_size of at most image_size, "
                f"got patch_size={self.patch_size!r}, image_size={self.image_size!r}"
            )
        channels = self.width * 32 if self.is_resnet else self.width
        _fill_defaults(self, channels)

    @property
    def is_resnet(self):
        """Whether the tower is a modified ResNet rather than a ViT."""
        return not isinstance(self.layers, int)


@dataclass(frozen=True)
class TextConfig:
    """A text tower.

    Parameters
    ----------
    vocab_size : int, default=49408
    context_length : int, default=77
        Most tokens of one text, start and end token included.
    width, layers : int, default=512, 12
    heads : int or None, default=None
        Attention heads; None means 64 channels a head.
    mlp_width : int or None, default=None
        None means four times `width`.
    activation : {"quick_gelu", "gelu", "gelu_tanh"}, default="gelu"
    layer_norm_eps : float, default=1e-5
    end_token_id : int or None, default=None
        The text is pooled where this id first stands; None means the highest id.
    """

    vocab_size: int = 49408
    context_length: int = 77
    width: int = 512
    layers: int = 12
    heads: int | None = None
    mlp_width: int | None = None
    activation: str = "gelu"
    layer_norm_eps: float = 1e-5
    end_token_id: int | None = None

    def __post_init__(self):
        _check_activation(self)
        _check_counts(self, "vocab_size", "context_length", "width", "layers", "heads", "mlp_width")
        _fill_defaults(self, self.width)
        if self.end_token_id is None:
            object.__setattr__(self, "end_token_id", self.vocab_size - 1)


@dataclass(frozen=True)
class PreprocessConfig:
    """How a picture becomes the image tower's input.

    Parameters
    ----------
    image_size : int, default=224
    mean, std : tuple of 3 float
        Statistics of the RGB channels, in units of [0, 1]; OpenAI's by default.
    interpolation : {"bicubic", "bilinear"}, default="bicubic"
    resize_mode : {"shortest", "squash"}, default="shortest"
        Resize the shortest side and crop the centre, or resize both sides.
    """

    image_size: int = 224
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"

    def __post_init__(self):
        _check_counts(self, "image_size")
        for name in ("mean", "std"):
            values = getattr(self, name)
            try:
                numbers = tuple(map(float, values))
            except (TypeError, ValueError):
                numbers = ()
            if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
                raise ValueError(f"{name} must be three finite numbers, got {values!r}")
            object.__setattr__(self, name, numbers)
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std!r}")
        if self.interpolation not in ("bicubic", "bilinear"):
            raise ValueError(
                f"interpolation must be 'bicubic' or 'bilinear', got {self.interpolation!r}"
            )
        if self.resize_mode not in ("shortest", "squash"):
            raise ValueError(
                f"resize_mode must be 'shortest' or 'squash', got {self.resize_mode!r}"
            )


@dataclass(frozen=True)
class CLIPConfig:
    """Two towers that meet in one embedding space of `embed_dim` dimensions."""

    embed_dim: int = 512
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)

    def __post_init__(self):
        _check_counts(self, "embed_dim")


def _check_counts(config, *names):
    for name in names:
        if getattr(config, name) is not None:
            _check_count(name, getattr(config, name))


def _check_count(name, value):
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1, got {value!r}")


def _check_activation(config):
    if config.activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, got {config.activation!r}")


def _fill_defaults(config, channels):
    if config.heads is None:
        object.__setattr__(config, "heads", max(1, channels // HEAD_WIDTH))
    if config.mlp_width is None:
        object.__setattr__(config, "mlp_width", 4 * config.width)
    if channels % config.heads:
        raise ValueError(f"heads must divide the width {channels}, got {config.heads}")
