"""OpenAI's own layout: like skclip's names, but without a prefix for the text tower."""

from skclip.exceptions import CheckpointError
from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig

# sha256 of the published archives: https://github.com/openai/CLIP, clip/clip.py
ARCHIVES = {
    "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762": "RN50",
    "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599": "RN101",
    "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd": "RN50x4",
    "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa": "RN50x16",
    "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c": "RN50x64",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B/32",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B/16",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L/14",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "ViT-L/14@336px",
}

_TEXT = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")


def matches(names):
    """Whether tensors of these names are in OpenAI's layout, also the default of open_clip."""
    return "token_embedding.weight" in names


def convert(state):
    """Rename tensors from OpenAI's layout to the names of `skclip.model.clip.CLIP`."""
    return {"text." + key if key.startswith(_TEXT) else key: state[key] for key in state}


def revert(state):
    """Undo `convert`."""
    return {key.removeprefix("text."): value for key, value in state.items()}


def infer_config(state):
    """Infer the configuration of one of OpenAI's models from the shapes of its tensors.

    Parameters
    ----------
    state : dict of str to Tensor
        With skclip's names. Only the shapes are used.

    Returns
    -------
    config : CLIPConfig
    preprocess_config : PreprocessConfig

    Raises
    ------
    CheckpointError
        If a tensor is missing, or has another number of dimensions.

    Notes
    -----
    clip/model.py of https://github.com/openai/CLIP, ``build_model``. Every model was trained with
    quick-GELU and 64 channels per head.
    """
    stem = _shape(state, "visual.conv1.weight", 4)
    if "visual.proj" in state:
        grid = _grid(state, "visual.positional_embedding")
        vision = VisionConfig(
            image_size=grid * stem[-1],
            patch_size=stem[-1],
            width=stem[0],
            layers=count_parts(state, "visual.transformer.resblocks."),
            activation="quick_gelu",
        )
    else:
        vision = VisionConfig(
            image_size=32 * _grid(state, "visual.attnpool.positional_embedding"),
            patch_size=None,
            width=_shape(state, "visual.conv3.weight", 4)[0],
            layers=tuple(count_parts(state, f"visual.layer{i}.") for i in (1, 2, 3, 4)),
        )
    vocab_size, width = _shape(state, "text.token_embedding.weight", 2)
    text = TextConfig(
        vocab_size=vocab_size,
        context_length=_shape(state, "text.positional_embedding", 2)[0],
        width=width,
        layers=count_parts(state, "text.transformer.resblocks."),
        activation="quick_gelu",
    )
    config = CLIPConfig(_shape(state, "text.text_projection", 2)[1], vision, text)
    return config, PreprocessConfig(image_size=vision.image_size)


def _shape(state, key, ndim):
    if key not in state:
        raise CheckpointError(f"the model lacks the tensor {key}")
    shape = tuple(state[key].shape)
    if len(shape) != ndim:
        raise CheckpointError(f"{key} must have {ndim} dimensions, got the shape {shape}")
    return shape


def _grid(state, key):
    return round(max(_shape(state, key, 2)[0] - 1, 0) ** 0.5)


def count_parts(state, prefix):
    """Count the modules whose names begin with a prefix that ends where their numbers begin."""
    return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})
