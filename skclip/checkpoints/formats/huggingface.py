"""Hugging Face's layout: transformers' ``CLIPModel``."""

import os
import re

from skclip._messages import shown
from skclip.checkpoints.json_files import REQUIRED, read_fields, read_json, write_json
from skclip.exceptions import CheckpointError
from skclip.model import fields
from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig

CONFIG = "config.json"
CONFIGS = (CONFIG, "preprocessor_config.json", "processor_config.json")
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

_ACTIVATIONS = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
# Configurations written before transformers 4.32 say 2, which means the highest id of a text.
_LEGACY_END = 2

_RESAMPLE = {2: "bilinear", 3: "bicubic"}

# The fields that are read. The defaults are those of transformers, in
# models/clip/configuration_clip.py: files may list only what differs from them.
MODEL_FIELDS = {
    "projection_dim": (fields.WIDTH, 512),
    "text_config": (fields.OBJECT, None),
    "text_config_dict": (fields.OBJECT, None),
    "vision_config": (fields.OBJECT, None),
    "vision_config_dict": (fields.OBJECT, None),
}
_TOWER_FIELDS = {
    "num_hidden_layers": (fields.LAYERS, 12),
    "hidden_act": (fields.code(_ACTIVATIONS), "quick_gelu"),
    "layer_norm_eps": (fields.LAYER_NORM_EPS, 1e-5),
}
TEXT_FIELDS = {
    **_TOWER_FIELDS,
    "vocab_size": (fields.VOCAB_SIZE, 49408),
    "hidden_size": (fields.WIDTH, 512),
    "intermediate_size": (fields.MLP_WIDTH, 2048),
    "num_attention_heads": (fields.WIDTH, 8),
    "max_position_embeddings": (fields.CONTEXT_LENGTH, 77),
    "eos_token_id": (fields.optional(fields.TOKEN_ID_OR_LIST), 49407),
}
VISION_FIELDS = {
    **_TOWER_FIELDS,
    "hidden_size": (fields.WIDTH, 768),
    "intermediate_size": (fields.MLP_WIDTH, 3072),
    "num_attention_heads": (fields.WIDTH, 12),
    "num_channels": (fields.choice(3), 3),
    "image_size": (fields.SQUARE, 224),
    "patch_size": (fields.SQUARE, 32),
}
PREPROCESS_FIELDS = {
    "image_mean": (fields.MEAN, REQUIRED),
    "image_std": (fields.STD, REQUIRED),
    "resample": (fields.code(_RESAMPLE), REQUIRED),
    "size": (fields.SQUARE, REQUIRED),
    "crop_size": (fields.SQUARE, None),
    "do_center_crop": (fields.FLAG, True),
    "do_resize": (fields.choice(True), True),
    "do_rescale": (fields.choice(True), True),
    "do_normalize": (fields.choice(True), True),
    "rescale_factor": (fields.near(1 / 255, "1/255"), 1 / 255),
}
_PROCESSOR_FIELDS = {"image_processor": (fields.OBJECT, None)}

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
            # of another number of dimensions it stays as it is, and the model refuses its shape
            is_transposed = target in _PROJECTIONS and value.ndim == 2
            converted[target] = value.T if is_transposed else value
    for target, parts in fused.items():
        if len(parts) == len(_FUSED):
            converted[target] = _fuse([parts[part] for part in _FUSED], target)
    return converted


def _fuse(parts, target):
    """Concatenate the weights, or the biases, of queries, keys and values."""
    shapes, dtypes = {tuple(part.shape) for part in parts}, {part.dtype for part in parts}
    if len(shapes) > 1 or shapes == {()} or len(dtypes) > 1:
        found = ", ".join(f"{part.dtype} {tuple(part.shape)}" for part in parts)
        raise CheckpointError(
            f"q_proj, k_proj and v_proj of {target.removesuffix('.attn.in_proj_weight')} must have "
            f"one type and shape, got {found}".replace("torch.", "")
        )
    import torch  # here, because configurations are read without it

    return torch.cat(parts)


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
            f"{path} describes a model of type {shown(content.get('model_type'))}, not 'clip'; "
            "pass other models as an object with encode_images and encode_texts"
        )
    model = read_fields(content, MODEL_FIELDS, path)
    text = _tower(model, "text_config", TEXT_FIELDS, path)
    vision = _tower(model, "vision_config", VISION_FIELDS, path)
    end = text["eos_token_id"]
    try:
        config = CLIPConfig(
            embed_dim=model["projection_dim"],
            vision=VisionConfig(
                image_size=vision["image_size"],
                patch_size=vision["patch_size"],
                **_transformer(vision),
            ),
            text=TextConfig(
                vocab_size=text["vocab_size"],
                context_length=text["max_position_embeddings"],
                end_token_id=None if end == _LEGACY_END else end,
                **_transformer(text),
            ),
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    preprocess_config, preprocess_path = read_preprocess_config(directory, config.vision.image_size)
    return config, preprocess_config, [path, preprocess_path]


def read_activation(directory):
    """Return the image tower's activation in config.json; None without a CLIP configuration."""
    path = directory / CONFIG
    content = read_json(path) if os.path.lexists(path) else {}
    if content.get("model_type") != "clip":
        return None
    model = read_fields(content, MODEL_FIELDS, path)
    schema = {"hidden_act": VISION_FIELDS["hidden_act"]}
    return _tower(model, "vision_config", schema, path)["hidden_act"]


def read_preprocess_config(directory, image_size):
    """Read preprocessor_config.json, or the same part of transformers 5's processor_config.json.

    Returns
    -------
    preprocess_config : PreprocessConfig
    path : Path
        The file that was read.
    """
    path = directory / "preprocessor_config.json"
    # also a link that leads nowhere is there, so that the message names it
    if os.path.lexists(path):
        content = read_json(path)
    else:
        path = directory / "processor_config.json"
        processor = read_json(path) if os.path.lexists(path) else {}
        content = read_fields(processor, _PROCESSOR_FIELDS, path)["image_processor"]
    if not content:
        raise CheckpointError(
            f"{directory} does not say how images are prepared: it has no preprocessor_config.json "
            "and no processor_config.json with an image processor. Copy that file from the source "
            "of the model; there is no safe default"
        )
    if content.get("do_center_crop") is False:
        content = {**content, "crop_size": None}  # it is not used
    given = read_fields(content, PREPROCESS_FIELDS, path)
    size, crop, crops = given["size"], given["crop_size"], given["do_center_crop"]
    if crops and crop is None:
        raise CheckpointError(f"{path} lacks crop_size; there is no safe default")
    squashes = isinstance(content["size"], dict) and "shortest_edge" not in content["size"]
    if (crops and crop != size) or not (crops or squashes):
        raise CheckpointError(
            f"{path}: images are resized to {content['size']!r} and cropped to {crop!r}; skclip "
            "supports only a center crop of the same size"
        )
    if size != image_size:
        raise CheckpointError(
            f"{path} prepares images of {size} pixels, but the model takes {image_size}"
        )
    preprocess_config = PreprocessConfig(
        image_size=size,
        mean=given["image_mean"],
        std=given["image_std"],
        interpolation=given["resample"],
        resize_mode="squash" if squashes else "shortest",
    )
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


def _tower(model, name, schema, path):
    # as in transformers, the older `*_config_dict`, filled up with defaults, overrides `*_config`
    if model[f"{name}_dict"] is not None:
        name = f"{name}_dict"
    return read_fields(model[name] or {}, schema, f"{path}, {name}")


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
