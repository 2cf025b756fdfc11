"""open_clip's layout: open_clip_config.json, and ``text.`` before a separate text tower."""

from skclip._messages import shown
from skclip.checkpoints.files import names_in
from skclip.checkpoints.formats import huggingface
from skclip.checkpoints.json_files import REQUIRED, read_fields, read_json, write_json
from skclip.checkpoints.tokenizer_files import has_tokenizer
from skclip.exceptions import CheckpointError
from skclip.model import fields
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

# The fields that are read. Defaults are those of open_clip/model.py, CLIPVisionCfg and CLIPTextCfg.
FILE_FIELDS = {"model_cfg": (fields.OBJECT, REQUIRED), "preprocess_cfg": (fields.OBJECT, None)}
MODEL_FIELDS = {
    "embed_dim": (fields.WIDTH, REQUIRED),
    "vision_cfg": (fields.OBJECT, REQUIRED),
    "text_cfg": (fields.OBJECT, REQUIRED),
    "quick_gelu": (fields.FLAG, False),
    "multimodal_cfg": (fields.OBJECT, None),
    "init_logit_bias": (fields.number(-1e6, 1e6), None),
}
_TOWER_FIELDS = {
    "mlp_ratio": (fields.number(1 / (1 << 16), 1 << 20), 4.0),
    "act_kwargs": (fields.OBJECT, None),
    "norm_kwargs": (fields.OBJECT, None),
}
VISION_FIELDS = {
    **_TOWER_FIELDS,
    "layers": (fields.LAYERS_OR_STAGES, 12),
    "width": (fields.WIDTH, 768),
    "head_width": (fields.WIDTH, 64),
    "patch_size": (fields.optional(fields.SQUARE), 16),
    "image_size": (fields.SQUARE, 224),
    "timm_model_name": (fields.TEXT, None),
}
TEXT_FIELDS = {
    **_TOWER_FIELDS,
    "layers": (fields.LAYERS, 12),
    "width": (fields.WIDTH, 512),
    "heads": (fields.WIDTH, 8),
    "context_length": (fields.CONTEXT_LENGTH, 77),
    "vocab_size": (fields.VOCAB_SIZE, 49408),
    "pool_type": (fields.TEXT, "argmax"),
    "eos_id": (fields.TOKEN_ID, 2),
    "hf_tokenizer_name": (fields.TEXT, None),
    "tokenizer_kwargs": (fields.OBJECT, None),
    "hf_model_name": (fields.TEXT, None),
}
NORM_FIELDS = {"eps": (fields.LAYER_NORM_EPS, 1e-5)}
# open_clip/transform.py, PreprocessCfg: the defaults, also for null, are bicubic and shortest
PREPROCESS_FIELDS = {
    "mean": (fields.MEAN, REQUIRED),
    "std": (fields.STD, REQUIRED),
    "size": (fields.SQUARE, None),
    "interpolation": (fields.choice("bicubic", "bilinear"), None),
    "resize_mode": (fields.choice("shortest", "squash"), None),
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
    content = read_fields(read_json(path), FILE_FIELDS, path)
    model = read_fields(content["model_cfg"], MODEL_FIELDS, f"{path}, model_cfg")
    if model["multimodal_cfg"]:
        raise CheckpointError(f"{path} describes a CoCa model, which has a decoder; {_ADAPTER}")
    if model["init_logit_bias"] is not None:
        raise CheckpointError(f"{path} describes a SigLIP model (it has a logit bias); {_ADAPTER}")
    vision = _tower(model["vision_cfg"], VISION_FIELDS, f"{path}, vision_cfg")
    text = _tower(model["text_cfg"], TEXT_FIELDS, f"{path}, text_cfg")
    _check_tokenizer(text, directory, path)
    activation = _activation(model["quick_gelu"], vision, directory, path)
    vision = _vision_arguments(vision, activation, f"{path}, vision_cfg")
    text = _text_arguments(text, activation, f"{path}, text_cfg")
    try:
        config = CLIPConfig(model["embed_dim"], VisionConfig(**vision), TextConfig(**text))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    preprocess_config = _preprocess_config(
        content["preprocess_cfg"] or {}, config.vision.image_size, f"{path}, preprocess_cfg"
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


def _tower(given, schema, where):
    tower = read_fields(given, schema, where)
    for key, what in (("timm_model_name", "an image tower"), ("hf_model_name", "a text tower")):
        if tower.get(key):
            raise CheckpointError(
                f"{where}: {what} of another library, {shown(tower[key])}; {_ADAPTER}"
            )
    for key, value in given.items():
        if key not in schema and key not in _WITHOUT_EFFECT and value not in _NEUTRAL:
            raise CheckpointError(
                f"{where} has {key[:80]}={shown(value)}, which skclip does not know; {_ADAPTER}"
            )
    return tower


def _vision_arguments(vision, activation, where):
    is_resnet = not isinstance(vision["layers"], int)
    channels = vision["width"] * (32 if is_resnet else 1)
    if vision["head_width"] > channels:
        raise CheckpointError(
            f"{where}: head_width must be at most the width {channels}, got {vision['head_width']}"
        )
    variant = {} if is_resnet else _variant(vision, activation, where)
    return {
        "image_size": vision["image_size"],
        "patch_size": None if is_resnet else vision["patch_size"],
        "heads": channels // vision["head_width"],
        **_transformer(vision),
        **variant,
    }


def _text_arguments(text, activation, where):
    if text["pool_type"] not in ("argmax", "eos"):
        raise CheckpointError(
            f"{where}: text is pooled by {shown(text['pool_type'])}, not at its end token; "
            f"{_ADAPTER}"
        )
    return {
        "vocab_size": text["vocab_size"],
        "context_length": text["context_length"],
        "heads": text["heads"],
        "end_token_id": text["eos_id"] if text["pool_type"] == "eos" else None,
        **_transformer(text),
        **_variant(text, activation, where),
    }


def _transformer(tower):
    mlp_width = int(tower["width"] * tower["mlp_ratio"])
    return {"width": tower["width"], "layers": tower["layers"], "mlp_width": mlp_width}


def _variant(tower, activation, where):
    act, norm = tower["act_kwargs"] or {}, tower["norm_kwargs"] or {}
    if act == {"approximate": "tanh"} and activation == "gelu":
        activation = "gelu_tanh"
    elif act:
        raise CheckpointError(f"{where}: act_kwargs={shown(act)} is not known; {_ADAPTER}")
    if norm.keys() - NORM_FIELDS:
        raise CheckpointError(f"{where}: norm_kwargs={shown(norm)} is not known; {_ADAPTER}")
    eps = read_fields(norm, NORM_FIELDS, f"{where}, norm_kwargs")["eps"]
    return {"activation": activation, "layer_norm_eps": eps}


def _activation(quick_gelu, vision, directory, path):
    """Return the activation; two configurations in one directory must agree on it."""
    activation = "quick_gelu" if quick_gelu else "gelu"
    other = huggingface.read_activation(directory)
    vit = isinstance(vision["layers"], int)
    if vit and other is not None and (other == "quick_gelu") != (activation == "quick_gelu"):
        raise CheckpointError(
            f"{path} says {activation}, {directory / huggingface.CONFIG} says {other}: which "
            "activation the weights were trained with is ambiguous. Remove the wrong file"
        )
    return activation


def _check_tokenizer(text, directory, path):
    cleaning = {key: value for key, value in (text["tokenizer_kwargs"] or {}).items() if value}
    if cleaning not in ({}, {"clean": "lower"}):
        raise CheckpointError(
            f"{path}: tokenizer_kwargs={shown(cleaning)} is not known; {_ADAPTER}"
        )
    name = text["hf_tokenizer_name"] or ""
    names = names_in(directory)
    if name and not name.startswith("openai/clip-") and not has_tokenizer(names):
        raise CheckpointError(
            f"{path} names the tokenizer {shown(name)}; put its vocab.json and merges.txt beside it"
        )


def _preprocess_config(given, image_size, where):
    given = read_fields(given, PREPROCESS_FIELDS, where)
    if given["size"] not in (None, image_size):
        raise CheckpointError(
            f"{where}: images of {given['size']} pixels for a model of {image_size}"
        )
    return PreprocessConfig(
        image_size=image_size,
        mean=given["mean"],
        std=given["std"],
        interpolation=given["interpolation"] or "bicubic",
        resize_mode=given["resize_mode"] or "shortest",
    )
