"""A model with its tokenizer and its preprocessing -> a directory that the peers read."""

import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from skclip.checkpoints.formats import huggingface, open_clip, openai
from skclip.checkpoints.resolve import COMPANIONS, TEMPLATES
from skclip.checkpoints.tokenizer_files import write_json, write_tokenizer

_DTYPES = {"float32": torch.float32, "float16": torch.float16}


def save_checkpoint(directory, model, tokenizer, preprocess, *, templates=(), dtype="float32"):
    """Save a model with all that is needed to use it.

    A model with a ViT image tower is written in Hugging Face's layout, which transformers reads;
    one with a ResNet in open_clip's, which open_clip reads. Each file is written beside its place
    and then moved there.

    Parameters
    ----------
    directory : str or Path
        Made if it is not there.
    model : CLIP
    tokenizer : Tokenizer
    preprocess : PreprocessConfig
    templates : sequence of str, default=()
        Prompt templates the model was trained for, each with one ``{}``.
    dtype : {"float32", "float16"}, default="float32"
        In which the weights are stored. They are loaded as float32 again.

    Notes
    -----
    The towers of a ViT model may have different activations in Hugging Face's layout; in
    open_clip's the text tower's alone matters, because a ResNet uses ReLU.

    Examples
    --------
    >>> import tempfile
    >>> from skclip.checkpoints.load import load_checkpoint
    >>> from skclip.checkpoints.save import save_checkpoint
    >>> tiny = load_checkpoint("skclip/tiny")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_checkpoint(directory, tiny.model, tiny.tokenizer, tiny.preprocess)
    ...     again = load_checkpoint(directory)
    >>> again.preprocess == tiny.preprocess
    True
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {list(_DTYPES)}, got {dtype!r}")
    config = model.config
    if preprocess.image_size != config.vision.image_size:
        raise ValueError(
            f"preprocess has image_size={preprocess.image_size}, but the model takes "
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
            open_clip.write_config(scratch, config, preprocess, end_token_id=tokenizer.end_id)
        else:
            name, state = huggingface.WEIGHTS[0], huggingface.revert(state)
            huggingface.write_config(
                scratch,
                config,
                preprocess,
                start_token_id=tokenizer.start_id,
                end_token_id=tokenizer.end_id,
                dtype=dtype,
            )
        state = {key: value.contiguous() for key, value in state.items()}
        save_file(state, scratch / name, metadata={"format": "pt"})
        write_tokenizer(scratch, tokenizer)
        # safetensors writes for the owner alone; this gives what the umask does
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
