"""open_clip's layout: open_clip_config.json, and ``text.`` before a separate text tower."""

from skclip.checkpoints.formats import huggingface
from skclip.checkpoints.tokenizer_files import has_tokenizer, read_json, write_json
from skclip.exceptions import CheckpointError
from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig

CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
)

# open_clip/model.py, CLIPVisionCfg and CLIPTextCfg: the options that skclip reads, with the
# defaults given there
_VISION = {
    "layers": 12,
    "width": 768,
    "head_width": 64,
    "mlp_ratio": 4.0,
    "patch_size": 16,
    "image_size": 224,
    "act_kwargs": None,
    "norm_kwargs": None,
}
_TEXT = {
    "context_length": 77,
    "vocab_size": 49408,
    "width": 512,
    "heads": 8,
    "layers": 12,
    "mlp_ratio": 4.0,
    "pool_type": "argmax",
    "eos_id": 2,
    "act_kwargs": None,
    "norm_kwargs": None,
    "hf_tokenizer_name": None,
    "tokenizer_kwargs": None,
}
# Options that concern training or the form of outputs, or a part that another option turns off.
_WITHOUT_EFFECT = {
    "patch_dropout",
    "output_tokens",
    "pad_id",
    "attn_pooler_queries",
    "attn_pooler_heads",
    "n_queries",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
    "timm_drop",
    "timm_drop_path",
    "hf_model_pretrained",
    "hf_proj_type",
    "hf_pooler_type",
    "final_ln_after_pool",
}
# Values of unknown options that change nothing.
_NEUTRAL = (None, False, "learnable", "tok", "linear", "default")
_ADAPTER = "load it with open_clip and pass it as an object (skclip.OpenCLIPEncoder)"


def matches(names):
    """Whether tensors of these names include a separate text tower (CustomTextCLIP)."""
    return "text.token_embedding.weight" in names


def convert(state):
    """Return the tensors unchanged: skclip uses the same names."""
    return dict(state)


def read_config(directory):
    """Read open_clip_config.json.

    Parameters
    ----------
    directory : Path

    Returns
    -------
    config : CLIPConfig
    preprocess_config : PreprocessConfig
    paths : list of Path
        The file that was read. A config.json beside it is only checked for agreement.
    """
    path = directory / CONFIG
    content = read_json(path)
    model = content.get("model_cfg")
    parts = ("vision_cfg", "text_cfg")
    if not isinstance(model, dict) or not {"embed_dim", *parts} <= model.keys():
        raise CheckpointError(f"{path} lacks model_cfg with embed_dim, vision_cfg and text_cfg")
    for part in parts:
        if not isinstance(model[part], dict):
            raise CheckpointError(f"{path}: {part} must be an object, got {model[part]!r}")
    if model.get("multimodal_cfg"):
        raise CheckpointError(f"{path} describes a CoCa model, which has a decoder; {_ADAPTER}")
    if model.get("init_logit_bias") is not None:
        raise CheckpointError(f"{path} describes a SigLIP model (it has a logit bias); {_ADAPTER}")
    vision = _tower(model["vision_cfg"], _VISION, "vision_cfg", path)
    text = _tower(model["text_cfg"], _TEXT, "text_cfg", path)
    _check_tokenizer(text, directory, path)
    activation = _activation(model, directory, path)
    try:
        config = CLIPConfig(
            embed_dim=model["embed_dim"],
            vision=_vision_config(vision, activation, path),
            text=TextConfig(
                vocab_size=text["vocab_size"],
                context_length=text["context_length"],
                width=text["width"],
                layers=text["layers"],
                heads=text["heads"],
                mlp_width=int(text["width"] * text["mlp_ratio"]),
                end_token_id=_end_token_id(text, path),
                **_variant(text, activation, path),
            ),
        )
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    preprocess_config = _preprocess_config(
        content.get("preprocess_cfg"), config.vision.image_size, path
    )
    return config, preprocess_config, [path]


def write_config(directory, config, preprocess_config, *, end_token_id):
    """Write open_clip_config.json for a model with a ResNet image tower."""
    vision, text = config.vision, config.text
    model = {
        "embed_dim": config.embed_dim,
        "quick_gelu": text.activation == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "layers": vision.layers,
            "width": vision.width,
            "head_width": vision.width * 32 // vision.heads,
            "patch_size": None,
        },
        "text_cfg": {
            "context_length": text.context_length,
            "vocab_size": text.vocab_size,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
            "mlp_ratio": text.mlp_width / text.width,
            # with any name here, open_clip reads the tokenizer beside this file
            "hf_tokenizer_name": "local",
        },
    }
    if end_token_id != text.vocab_size - 1:
        model["text_cfg"] |= {"pool_type": "eos", "eos_id": end_token_id}
    if text.activation == "gelu_tanh":
        model["text_cfg"]["act_kwargs"] = {"approximate": "tanh"}
    if text.layer_norm_eps != 1e-5:
        model["text_cfg"]["norm_kwargs"] = {"eps": text.layer_norm_eps}
    preprocess_cfg = {
        "mean": preprocess_config.mean,
        "std": preprocess_config.std,
        "interpolation": preprocess_config.interpolation,
        "resize_mode": preprocess_config.resize_mode,
    }
    write_json(directory / CONFIG, {"model_cfg": model, "preprocess_cfg": preprocess_cfg})


def _tower(given, known, name, path):
    for key, what in (("timm_model_name", "an image tower"), ("hf_model_name", "a text tower")):
        if given.get(key):
            raise CheckpointError(f"{path}: {what} of another library, {given[key]!r}; {_ADAPTER}")
    for key, value in given.items():
        if key not in known and key not in _WITHOUT_EFFECT and value not in _NEUTRAL:
            raise CheckpointError(
                f"{path}: {name} has {key}={value!r}, which skclip does not know; {_ADAPTER}"
            )
    return {**known, **{key: given[key] for key in known if key in given}}


def _vision_config(vision, activation, path):
    is_resnet = not isinstance(vision["layers"], int)
    channels = vision["width"] * 32 if is_resnet else vision["width"]
    shared = {
        "image_size": huggingface.square_side(vision["image_size"], "image_size", path),
        "width": vision["width"],
        "heads": channels // vision["head_width"],
        "mlp_width": int(vision["width"] * vision["mlp_ratio"]),
    }
    if is_resnet:
        return VisionConfig(layers=tuple(vision["layers"]), patch_size=None, **shared)
    patch_size = huggingface.square_side(vision["patch_size"], "patch_size", path)
    variant = _variant(vision, activation, path)
    return VisionConfig(layers=vision["layers"], patch_size=patch_size, **shared, **variant)


def _variant(tower, activation, path):
    act, norm = tower["act_kwargs"] or {}, tower["norm_kwargs"] or {}
    if act == {"approximate": "tanh"} and activation == "gelu":
        activation = "gelu_tanh"
    elif act:
        raise CheckpointError(f"{path}: act_kwargs={act!r} is not known; {_ADAPTER}")
    if norm.keys() - {"eps"}:
        raise CheckpointError(f"{path}: norm_kwargs={norm!r} is not known; {_ADAPTER}")
    return {"activation": activation, "layer_norm_eps": norm.get("eps", 1e-5)}


def _activation(model, directory, path):
    """Return the activation; two configurations in one directory must agree on it."""
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    other = huggingface.read_activation(directory)
    vit = isinstance(model["vision_cfg"].get("layers", 12), int)
    if vit and other is not None and (other == "quick_gelu") != (activation == "quick_gelu"):
        raise CheckpointError(
            f"{path} says {activation}, {directory / huggingface.CONFIG} says {other}: which "
            "activation the weights were trained with is ambiguous. Remove the wrong file"
        )
    return activation


def _end_token_id(text, path):
    if text["pool_type"] == "argmax":
        return None
    if text["pool_type"] == "eos":
        return text["eos_id"]
    raise CheckpointError(
        f"{path}: text is pooled by {text['pool_type']!r}, not at its end token; {_ADAPTER}"
    )


def _check_tokenizer(text, directory, path):
    cleaning = {key: value for key, value in (text["tokenizer_kwargs"] or {}).items() if value}
    if cleaning not in ({}, {"clean": "lower"}):
        raise CheckpointError(f"{path}: tokenizer_kwargs={cleaning!r} is not known; {_ADAPTER}")
    name = text["hf_tokenizer_name"] or ""
    names = {entry.name for entry in directory.iterdir()}
    if name and not name.startswith("openai/clip-") and not has_tokenizer(names):
        raise CheckpointError(
            f"{path} names the tokenizer {name!r}; put its vocab.json and merges.txt beside it"
        )


def _preprocess_config(given, image_size, path):
    given = given or {}
    missing = [key for key in ("mean", "std") if given.get(key) is None]
    if missing:
        raise CheckpointError(
            f"{path}: preprocess_cfg lacks {' and '.join(missing)}; there is no safe default"
        )
    size = given.get("size")
    if size is not None and huggingface.square_side(size, "size", path) != image_size:
        raise CheckpointError(f"{path}: images of {size!r} pixels for a model of {image_size}")
    try:
        # open_clip/transform.py, PreprocessCfg: the defaults are bicubic and shortest
        return PreprocessConfig(
            image_size=image_size,
            mean=given["mean"],
            std=given["std"],
            interpolation=given.get("interpolation") or "bicubic",
            resize_mode=given.get("resize_mode") or "shortest",
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
