"""Hugging Face's layout: transformers' ``CLIPModel``."""

import re

from skclip.checkpoints.tokenizer_files import read_json, write_json
from skclip.exceptions import CheckpointError
from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig

CONFIG = "config.json"
CONFIGS = (CONFIG, "preprocessor_config.json", "processor_config.json")
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

# transformers, models/clip/configuration_clip.py; files may list only what differs from these
_TEXT_DEFAULTS = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
_VISION_DEFAULTS = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_ACTIVATIONS = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
# Configurations written before transformers 4.32 say 2, which means the highest id of a text.
_LEGACY_END = 2

_RESAMPLE = {2: "bilinear", 3: "bicubic"}

_NAMES = {
    "logit_scale": "logit_scale",
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text.text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
}
_NORMS = {
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.final_layer_norm": "text.ln_final",
}
_TOWERS = {"vision_model": "visual", "text_model": "text"}
_FUSED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_PROJECTIONS = ("visual.proj", "text.text_projection")
_BLOCK = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_OWN_BLOCK = re.compile(r"(visual|text)\.transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def matches(names):
    """Whether tensors of these names are in the layout of transformers' ``CLIPModel``."""
    return "text_model.embeddings.token_embedding.weight" in names


def convert(state):
    """Rename tensors from Hugging Face's layout to the names of `skclip.model.clip.CLIP`."""
    import torch  # here, because configurations are read without it

    converted, fused = {}, {}
    for key, value in state.items():
        block = _BLOCK.fullmatch(key)
        stem, _, kind = key.rpartition(".")
        if key.endswith("embeddings.position_ids"):
            continue
        layer = f"{_TOWERS[block[1]]}.transformer.resblocks.{block[2]}." if block else ""
        if block and block[3] in _FUSED:
            target = f"{layer}attn.in_proj_{block[4]}"
            fused.setdefault(target, {})[block[3]] = value
        elif block and block[3] in _PARTS:
            converted[f"{layer}{_PARTS[block[3]]}.{block[4]}"] = value
        elif stem in _NORMS:
            converted[f"{_NORMS[stem]}.{kind}"] = value
        else:
            target = _NAMES.get(key, key)
            converted[target] = value.T if target in _PROJECTIONS else value
    for target, parts in fused.items():
        if len(parts) == len(_FUSED):
            converted[target] = torch.cat([parts[part] for part in _FUSED])
    return converted


def revert(state):
    """Undo `convert`."""
    names = {own: key for key, own in _NAMES.items()}
    norms = {own: key for key, own in _NORMS.items()}
    towers = {own: key for key, own in _TOWERS.items()}
    parts = {own: key for key, own in _PARTS.items()}
    reverted = {}
    for key, value in state.items():
        block = _OWN_BLOCK.fullmatch(key)
        stem, _, kind = key.rpartition(".")
        if block:
            layer = f"{towers[block[1]]}.encoder.layers.{block[2]}"
            if block[3] == "attn.in_proj":
                for part, chunk in zip(_FUSED, value.chunk(len(_FUSED)), strict=True):
                    reverted[f"{layer}.{part}.{block[4]}"] = chunk
            else:
                reverted[f"{layer}.{parts[block[3]]}.{block[4]}"] = value
        elif stem in norms:
            reverted[f"{norms[stem]}.{kind}"] = value
        else:
            reverted[names[key]] = value.T if key in _PROJECTIONS else value
    return reverted


def read_config(directory):
    """Read config.json and the preprocessing configuration beside it.

    Parameters
    ----------
    directory : Path

    Returns
    -------
    config : CLIPConfig
    preprocess_config : PreprocessConfig
    paths : list of Path
        The files that were read.
    """
    path = directory / CONFIG
    content = read_json(path)
    if content.get("model_type") != "clip":
        raise CheckpointError(
            f"{path} describes a model of type {content.get('model_type')!r}, not 'clip'; pass "
            "other models as an object with encode_images and encode_texts"
        )
    text = _tower(content, "text_config", _TEXT_DEFAULTS, path)
    vision = _tower(content, "vision_config", _VISION_DEFAULTS, path)
    if vision["num_channels"] != 3:
        raise CheckpointError(f"{path}: num_channels must be 3, got {vision['num_channels']!r}")
    end = text["eos_token_id"]
    try:
        config = CLIPConfig(
            embed_dim=content.get("projection_dim", 512),
            vision=VisionConfig(
                image_size=square_side(vision["image_size"], "image_size", path),
                patch_size=square_side(vision["patch_size"], "patch_size", path),
                **_transformer(vision),
            ),
            text=TextConfig(
                vocab_size=text["vocab_size"],
                context_length=text["max_position_embeddings"],
                end_token_id=None if end == _LEGACY_END else end,
                **_transformer(text),
            ),
        )
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    preprocess_config, preprocess_path = read_preprocess_config(directory, config.vision.image_size)
    return config, preprocess_config, [path, preprocess_path]


def read_activation(directory):
    """Return the image tower's activation in config.json; None without a CLIP configuration."""
    path = directory / CONFIG
    content = read_json(path) if path.is_file() else {}
    if content.get("model_type") != "clip":
        return None
    return _tower(content, "vision_config", _VISION_DEFAULTS, path)["hidden_act"]


def read_preprocess_config(directory, image_size):
    """Read preprocessor_config.json, or the same part of transformers 5's processor_config.json.

    Returns
    -------
    preprocess_config : PreprocessConfig
    path : Path
        The file that was read.
    """
    path = directory / "preprocessor_config.json"
    if path.is_file():
        content = read_json(path)
    else:
        path = directory / "processor_config.json"
        content = read_json(path).get("image_processor") if path.is_file() else None
    if not content:
        raise CheckpointError(
            f"{directory} does not say how images are prepared: it has no preprocessor_config.json "
            "and no processor_config.json with an image processor. Copy that file from the source "
            "of the model; there is no safe default"
        )
    wanted = ["image_mean", "image_std", "resample", "size"]
    crops = content.get("do_center_crop", True)
    missing = [key for key in [*wanted, *(["crop_size"] * crops)] if content.get(key) is None]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; there is no safe default")
    for key in ("do_resize", "do_rescale", "do_normalize"):
        if not content.get(key, True):
            raise CheckpointError(f"{path}: {key} must be true, got false")
    if abs(content.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise CheckpointError(
            f"{path}: rescale_factor must be 1/255, got {content['rescale_factor']!r}"
        )
    if content["resample"] not in _RESAMPLE:
        raise CheckpointError(
            f"{path}: resample must be 2 (bilinear) or 3 (bicubic), got {content['resample']!r}"
        )
    size, mode = _resize(content["size"], path)
    final = square_side(content["crop_size"], "crop_size", path) if crops else size
    if final != size or (mode == "shortest" and not crops):
        raise CheckpointError(
            f"{path}: images are resized to {content['size']!r} and cropped to "
            f"{content.get('crop_size')!r}; skclip supports only a center crop of the same size"
        )
    if final != image_size:
        raise CheckpointError(
            f"{path} prepares images of {final} pixels, but the model takes {image_size}"
        )
    try:
        preprocess_config = PreprocessConfig(
            image_size=final,
            mean=content["image_mean"],
            std=content["image_std"],
            interpolation=_RESAMPLE[content["resample"]],
            resize_mode=mode,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return preprocess_config, path


def write_config(directory, config, preprocess_config, *, start_token_id, end_token_id, dtype):
    """Write config.json and preprocessor_config.json."""
    if end_token_id == _LEGACY_END:
        raise ValueError(
            f"the tokenizer's end token has id {_LEGACY_END}, which transformers reads as the "
            "highest id of a text; give the token another id"
        )
    text, vision = config.text, config.vision
    write_json(
        directory / CONFIG,
        {
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "torch_dtype": dtype,
            "projection_dim": config.embed_dim,
            "logit_scale_init_value": 2.6592,
            "text_config": {
                "model_type": "clip_text_model",
                "vocab_size": text.vocab_size,
                "max_position_embeddings": text.context_length,
                "projection_dim": config.embed_dim,
                "bos_token_id": start_token_id,
                "eos_token_id": end_token_id,
                "pad_token_id": end_token_id,
                **_transformer_content(text),
            },
            "vision_config": {
                "model_type": "clip_vision_model",
                "image_size": vision.image_size,
                "patch_size": vision.patch_size,
                "num_channels": 3,
                "projection_dim": config.embed_dim,
                **_transformer_content(vision),
            },
        },
    )
    size = preprocess_config.image_size
    square = {"height": size, "width": size}
    shortest = preprocess_config.resize_mode == "shortest"
    resample = {name: code for code, name in _RESAMPLE.items()}
    write_json(
        directory / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": size} if shortest else square,
            "resample": resample[preprocess_config.interpolation],
            "do_center_crop": True,
            "crop_size": square,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": preprocess_config.mean,
            "image_std": preprocess_config.std,
        },
    )


def _tower(content, key, defaults, path):
    # as in transformers, the older `*_config_dict`, filled up with defaults, overrides `*_config`
    older = content.get(f"{key}_dict")
    given = content.get(key) or {} if older is None else older
    tower = {name: given.get(name, default) for name, default in defaults.items()}
    if isinstance(tower.get("eos_token_id"), list) and len(tower["eos_token_id"]) == 1:
        tower["eos_token_id"] = tower["eos_token_id"][0]
    if tower["hidden_act"] not in _ACTIVATIONS:
        raise CheckpointError(
            f"{path}: hidden_act of {key} must be one of {list(_ACTIVATIONS)}, "
            f"got {tower['hidden_act']!r}"
        )
    return {**tower, "hidden_act": _ACTIVATIONS[tower["hidden_act"]]}


def _transformer(tower):
    return {
        "width": tower["hidden_size"],
        "layers": tower["num_hidden_layers"],
        "heads": tower["num_attention_heads"],
        "mlp_width": tower["intermediate_size"],
        "activation": tower["hidden_act"],
        "layer_norm_eps": tower["layer_norm_eps"],
    }


def _transformer_content(tower):
    return {
        "hidden_size": tower.width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "intermediate_size": tower.mlp_width,
        "hidden_act": "gelu_pytorch_tanh" if tower.activation == "gelu_tanh" else tower.activation,
        "layer_norm_eps": tower.layer_norm_eps,
    }


def square_side(value, name, path):
    """Return the side of a square that is given as a number, a pair or a dictionary."""
    if isinstance(value, dict):
        sides = (
            set(value.values()) if value.keys() in ({"height", "width"}, {"shortest_edge"}) else ()
        )
    else:
        sides = set(value) if isinstance(value, list) else {value}
    if len(sides) != 1 or not isinstance(side := next(iter(sides)), int):
        raise CheckpointError(f"{path}: {name} must be one side of a square, got {value!r}")
    return side


def _resize(size, path):
    mode = "squash" if isinstance(size, dict) and "shortest_edge" not in size else "shortest"
    return square_side(size, "size", path), mode
