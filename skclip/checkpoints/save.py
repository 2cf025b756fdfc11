"""Save a model as a directory that transformers or open_clip reads."""

import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from skclip.checkpoints.formats import huggingface, open_clip, openai
from skclip.checkpoints.json_files import write_json
from skclip.checkpoints.resolve import COMPANIONS, TEMPLATES
from skclip.checkpoints.tokenizer_files import write_tokenizer

_DTYPES = {"float32": torch.float32, "float16": torch.float16}


def save_model(directory, model, tokenizer, preprocess_config, *, templates=(), dtype="float32"):
    """Save a model with everything that is needed to use it.

    A model with a ViT image tower is written in Hugging Face's layout, which transformers reads;
    one with a ResNet in open_clip's layout, which open_clip reads. Each file is written to a
    temporary directory and then moved into place.

    Parameters
    ----------
    directory : str or Path
        Created if it does not exist. It may hold an earlier version of the same model, which is
        replaced.
    model : CLIP
        The model, on any device.
    tokenizer : Tokenizer
        The tokenizer that the model was trained with.
    preprocess_config : PreprocessConfig
        How images became the model's input in training, such as ``trainer.preprocess_config``.
    templates : sequence of str, default=()
        Prompt templates that the model was trained for, each with one ``{}``. They become the
        model's own, which ``templates="auto"`` of `skclip.ZeroShotClassifier` uses.
    dtype : {"float32", "float16"}, default="float32"
        Number format of the stored weights. They are loaded as float32 either way.

    Raises
    ------
    ValueError
        If the tokenizer or the preprocessing configuration does not fit the model, `dtype` is
        unknown, or the directory holds files of another checkpoint.

    See Also
    --------
    load_model : Load the model again.

    Notes
    -----
    Hugging Face's layout stores one activation for each tower of a ViT model. open_clip's stores
    one for both, which here means the text tower's, because a ResNet always uses ReLU.

    Examples
    --------
    >>> import tempfile
    >>> from skclip.training import load_model, save_model
    >>> model, tokenizer, preprocess_config = load_model("skclip/tiny")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_model(directory, model, tokenizer, preprocess_config)
    ...     again, _, _ = load_model(directory)
    >>> again.config == model.config
    True
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {list(_DTYPES)}, got {dtype!r}")
    config = model.config
    if preprocess_config.image_size != config.vision.image_size:
        raise ValueError(
            f"preprocess_config has image_size={preprocess_config.image_size}, but the model takes "
            f"{config.vision.image_size}"
        )
    if tokenizer.end_id != config.text.end_token_id:
        raise ValueError(
            f"the tokenizer's end token is {tokenizer.end_id}, but the model pools text at "
            f"{config.text.end_token_id}"
        )
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    state = {key: _stored(value, _DTYPES[dtype]) for key, value in model.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=directory, prefix=".saving-") as scratch:
        scratch = Path(scratch)
        if config.vision.is_resnet:
            name, state = open_clip.WEIGHTS[0], openai.revert(state)
            open_clip.write_config(
                scratch, config, preprocess_config, end_token_id=tokenizer.end_id
            )
        else:
            name, state = huggingface.WEIGHTS[0], huggingface.revert(state)
            huggingface.write_config(
                scratch,
                config,
                preprocess_config,
                start_token_id=tokenizer.start_id,
                end_token_id=tokenizer.end_id,
                dtype=dtype,
            )
        state = {key: value.contiguous() for key, value in state.items()}
        save_file(state, scratch / name, metadata={"format": "pt"})
        write_tokenizer(scratch, tokenizer)
        # safetensors gives access to the owner alone; use the permissions that the umask gave
        shutil.copymode(scratch / "vocab.json", scratch / name)
        if templates:
            write_json(scratch / TEMPLATES, {"templates": list(templates)})
        written = {path.name for path in scratch.iterdir()}
        _check_leftovers(directory, written)
        for path in scratch.iterdir():
            shutil.move(path, directory / path.name)


def _check_leftovers(directory, written):
    known = {*open_clip.WEIGHTS, *huggingface.WEIGHTS, *COMPANIONS}
    leftovers = sorted(name for name in known - written if (directory / name).exists())
    if leftovers:
        raise ValueError(
            f"{directory} holds files of another checkpoint ({', '.join(leftovers)}), which would "
            "mix with this one; remove them or save to another directory"
        )


def _stored(value, dtype):
    value = value.detach().cpu()
    return value.to(dtype) if value.is_floating_point() else value
