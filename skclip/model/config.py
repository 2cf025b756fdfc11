"""The architecture of a CLIP model and its preprocessing, as frozen dataclasses."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from skclip._messages import shown
from skclip.model import fields

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

HEAD_WIDTH = 64
# by how much a ResNet's convolutions shrink an image and widen its channels
RESNET_STRIDE = 32

_TRANSFORMER = {
    "width": fields.WIDTH,
    "heads": fields.optional(fields.WIDTH),
    "mlp_width": fields.optional(fields.MLP_WIDTH),
    "activation": fields.choice("quick_gelu", "gelu", "gelu_tanh"),
    "layer_norm_eps": fields.LAYER_NORM_EPS,
}
_VISION = {
    **_TRANSFORMER,
    "image_size": fields.SIDE,
    "layers": fields.LAYERS_OR_STAGES,
    "patch_size": fields.optional(fields.SIDE),
}
_TEXT = {
    **_TRANSFORMER,
    "vocab_size": fields.VOCAB_SIZE,
    "context_length": fields.CONTEXT_LENGTH,
    "layers": fields.LAYERS,
}
_PREPROCESS = {
    "image_size": fields.SIDE,
    "mean": fields.MEAN,
    "std": fields.STD,
    "interpolation": fields.choice("bicubic", "bilinear"),
    "resize_mode": fields.choice("shortest", "squash"),
}


@dataclass(frozen=True)
class VisionConfig:
    """Configuration of an image tower, a ViT or a modified ResNet.

    The tower is a ViT if `layers` is one number, and a ResNet if it is four.

    Parameters
    ----------
    image_size : int, default=224
        Height and width of the input, in pixels.
    width : int, default=768
        Width of the transformer, or number of channels after the stem of a ResNet.
    layers : int or tuple of 4 int, default=12
        Number of transformer blocks, or of bottleneck blocks in each of a ResNet's four stages.
    patch_size : int or None, default=32
        Height and width of a patch, in pixels. Must be None for a ResNet.
    heads : int or None, default=None
        Number of attention heads. None means one head per 64 channels.
    mlp_width : int or None, default=None
        Hidden width of the transformer's MLP. None means four times `width`.
    activation : {"quick_gelu", "gelu", "gelu_tanh"}, default="gelu"
        Activation of the transformer's MLP. A ResNet always uses ReLU.
    layer_norm_eps : float, default=1e-5
        Value that layer normalization adds to the variance.

    Raises
    ------
    ValueError
        If a value is of the wrong type or out of range, or the values do not fit each other.

    Examples
    --------
    >>> from skclip.training import VisionConfig
    >>> VisionConfig(image_size=64, patch_size=16, width=128, layers=4).heads
    2
    >>> VisionConfig(image_size=64, patch_size=None, width=16, layers=(1, 1, 1, 1)).is_resnet
    True
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
        _check_fields(self, _VISION)
        if self.is_resnet:
            object.__setattr__(self, "layers", tuple(self.layers))
            if self.patch_size is not None:
                raise ValueError(
                    "a ResNet image tower has no patches: patch_size must be None, "
                    f"got {self.patch_size!r}"
                )
            # the stem halves the width
            if self.image_size < RESNET_STRIDE or self.width < 2:
                raise ValueError(
                    f"a ResNet image tower needs an image_size of at least {RESNET_STRIDE} and a "
                    f"width of at least 2, got image_size={self.image_size!r}, width={self.width!r}"
                )
        elif self.patch_size is None or self.image_size < self.patch_size:
            raise ValueError(
                "a ViT image tower needs a patch_size of at most image_size, "
                f"got patch_size={self.patch_size!r}, image_size={self.image_size!r}"
            )
        _fill_defaults(self, self.width * RESNET_STRIDE if self.is_resnet else self.width)

    @property
    def is_resnet(self):
        """Whether the tower is a modified ResNet rather than a ViT."""
        return not isinstance(self.layers, int)


@dataclass(frozen=True)
class TextConfig:
    """Configuration of a text tower, a transformer.

    Parameters
    ----------
    vocab_size : int, default=49408
        Number of token ids; at least the size of the tokenizer's vocabulary.
    context_length : int, default=77
        Largest number of tokens of one text, including the start and end token.
    width : int, default=512
        Width of the transformer.
    layers : int, default=12
        Number of transformer blocks.
    heads : int or None, default=None
        Number of attention heads. None means one head per 64 channels.
    mlp_width : int or None, default=None
        Hidden width of the transformer's MLP. None means four times `width`.
    activation : {"quick_gelu", "gelu", "gelu_tanh"}, default="gelu"
        Activation of the transformer's MLP.
    layer_norm_eps : float, default=1e-5
        Value that layer normalization adds to the variance.
    end_token_id : int or None, default=None
        Id of the end token. A text is represented by the output at the first such token. None means
        the highest id, ``vocab_size - 1``.

    Raises
    ------
    ValueError
        If a value is of the wrong type or out of range, or the values do not fit each other.

    Examples
    --------
    >>> from skclip.training import TextConfig
    >>> TextConfig(vocab_size=600, context_length=16, width=128, layers=2).end_token_id
    599
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
        _check_fields(self, _TEXT)
        _fill_defaults(self, self.width)
        if self.end_token_id is None:
            object.__setattr__(self, "end_token_id", self.vocab_size - 1)
        _check_fields(self, {"end_token_id": fields.integer(0, self.vocab_size - 1)})


@dataclass(frozen=True)
class PreprocessConfig:
    """How images become the image tower's input.

    Images are resized to a square, then each channel is normalized with a mean and a standard
    deviation.

    Parameters
    ----------
    image_size : int, default=224
        Height and width of the result, in pixels.
    mean : tuple of 3 float, default=(0.48145466, 0.4578275, 0.40821073)
        Mean of the red, green and blue channel, for pixels from 0 to 1. The default is OpenAI's.
    std : tuple of 3 float, default=(0.26862954, 0.26130258, 0.27577711)
        Standard deviation of the red, green and blue channel, for pixels from 0 to 1. The default
        is OpenAI's.
    interpolation : {"bicubic", "bilinear"}, default="bicubic"
        Filter used for resizing.
    resize_mode : {"shortest", "squash"}, default="shortest"
        "shortest" resizes the shortest side to `image_size` and crops the center; "squash" resizes
        both sides to `image_size`, which changes the aspect ratio.

    Raises
    ------
    ValueError
        If a value is of the wrong type or out of range.

    Examples
    --------
    >>> from skclip.training import PreprocessConfig
    >>> PreprocessConfig(image_size=32, mean=(0.5, 0.5, 0.5)).mean
    (0.5, 0.5, 0.5)
    """

    image_size: int = 224
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"

    def __post_init__(self):
        for name in ("mean", "std"):
            values = getattr(self, name)
            if isinstance(values, Iterable) and not isinstance(values, (str, bytes)):
                object.__setattr__(self, name, tuple(values))  # an array, for example
        _check_fields(self, _PREPROCESS)
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))


@dataclass(frozen=True)
class CLIPConfig:
    """Configuration of a CLIP model.

    Parameters
    ----------
    embed_dim : int, default=512
        Number of dimensions of the embeddings.
    vision : VisionConfig, default=VisionConfig()
        The image tower.
    text : TextConfig, default=TextConfig()
        The text tower.

    Raises
    ------
    ValueError
        If `embed_dim` is not a positive int, or is out of range.
    TypeError
        If a tower's configuration is of another class.

    Examples
    --------
    >>> from skclip.training import CLIPConfig, TextConfig, VisionConfig
    >>> config = CLIPConfig(
    ...     embed_dim=64,
    ...     vision=VisionConfig(image_size=32, patch_size=8, width=64, layers=2),
    ...     text=TextConfig(vocab_size=600, context_length=16, width=64, layers=2),
    ... )
    >>> config.vision.image_size
    32
    """

    embed_dim: int = 512
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)

    def __post_init__(self):
        _check_fields(self, {"embed_dim": fields.WIDTH})
        for name, type_ in (("vision", VisionConfig), ("text", TextConfig)):
            if not isinstance(value := getattr(self, name), type_):
                raise TypeError(f"{name} must be a {type_.__name__}, got a {type(value).__name__}")


def _check_fields(config, kinds):
    for name, kind in kinds.items():
        if not kind.accepts(value := getattr(config, name)):
            raise ValueError(f"{name} must be {kind.words}, got {shown(value)}")


def _fill_defaults(config, channels):
    if config.heads is None:
        object.__setattr__(config, "heads", max(1, channels // HEAD_WIDTH))
    if config.mlp_width is None:
        object.__setattr__(config, "mlp_width", 4 * config.width)
    if channels % config.heads:
        raise ValueError(f"heads must divide the width {channels}, got {config.heads}")
