"""Load a model with its tokenizer and its preprocessing configuration."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from skclip._messages import some
from skclip.checkpoints import hub
from skclip.checkpoints.formats import huggingface, open_clip, openai
from skclip.checkpoints.json_files import REQUIRED, read_fields, read_json
from skclip.checkpoints.resolve import DEFAULT_MODEL, TEMPLATES, fingerprint, resolve, sha256
from skclip.checkpoints.tensors import COUNT_DTYPES, WEIGHT_DTYPES, read_tensors
from skclip.checkpoints.tokenizer_files import (
    OPENAI_VOCAB_SIZE,
    VOCABULARY,
    has_tokenizer,
    read_tokenizer,
)
from skclip.checkpoints.torch_files import is_torchscript
from skclip.exceptions import CheckpointError
from skclip.model.clip import CLIP
from skclip.model.config import PreprocessConfig
from skclip.model.fields import TEXT, Kind
from skclip.model.tokenizer import Tokenizer

KEY_LAYOUTS = (huggingface, open_clip, openai)
CONFIG_LAYOUTS = (open_clip, huggingface)
# the field of prompt_templates.json
TEMPLATE_FIELDS = {
    "templates": (
        Kind(
            "a list of str, each with one '{}' for the name",
            lambda value: (
                isinstance(value, list)
                and all(TEXT.accepts(item) and item.count("{}") == 1 for item in value)
            ),
        ),
        REQUIRED,
    )
}


@dataclass(frozen=True)
class Checkpoint:
    """A model with everything that is needed to use it.

    Attributes
    ----------
    model : CLIP
        In float32, on the CPU, ready for inference.
    tokenizer : Tokenizer
    preprocess_config : PreprocessConfig
    source : str
        The name or absolute path it was loaded from.
    fingerprint : str
        The sha256 of the weights, the configuration files and the tokenizer. Files that were not
        read do not change it.
    directory : Path
        Directory of the files.
    templates : tuple of str
        Prompt templates that the model was trained for; empty if the files name none.
    """

    model: CLIP
    tokenizer: Tokenizer
    preprocess_config: PreprocessConfig
    source: str
    fingerprint: str
    directory: Path
    templates: tuple[str, ...] = ()


def load_checkpoint(source=DEFAULT_MODEL, *, local_files_only=False):
    """Load a checkpoint.

    Parameters
    ----------
    source : str or Path, default="openai/clip-vit-base-patch32"
        A bundled name, a directory, a weight file with its configuration beside it, one of OpenAI's
        archives, a name of `list_models`, or a hub id "org/name[@revision]".
    local_files_only : bool, default=False
        Use the hub's local cache only.

    Returns
    -------
    Checkpoint

    Raises
    ------
    ModelNotAvailableError
        If the model is not on this machine and cannot be downloaded.
    CheckpointError
        If the model's files are damaged, ambiguous or of an unknown kind.

    Examples
    --------
    >>> from skclip.checkpoints.load import load_checkpoint
    >>> checkpoint = load_checkpoint("skclip/tiny")
    >>> checkpoint.model.config.embed_dim == checkpoint.model.text.text_projection.shape[1]
    True
    """
    files = resolve(source, local_files_only=local_files_only)
    state = _read_state(files.weights)
    archive = _openai_archive(files)
    if archive:
        (config, preprocess_config), config_files = openai.infer_config(state), []
    else:
        config, preprocess_config, config_files = _read_config(files)
    tokenizer = _find_tokenizer(files, config.text, local_files_only)
    config = replace(config, text=_pool_at_end_token(config.text, tokenizer, files))
    templates, template_files = read_templates(files.directory)
    return Checkpoint(
        model=_build_model(config, state, files.weights, complete=not archive),
        tokenizer=tokenizer,
        preprocess_config=preprocess_config,
        source=files.source,
        fingerprint=fingerprint([*files.weights, *config_files, *template_files], tokenizer),
        directory=files.directory,
        templates=templates,
    )


def checkpoint_fingerprint(source=DEFAULT_MODEL, *, local_files_only=False):
    """Return the fingerprint of a checkpoint, without building its model.

    Parameters
    ----------
    source, local_files_only
        As for `load_checkpoint`.

    Returns
    -------
    fingerprint : str
        As `Checkpoint` has it.
    """
    files = resolve(source, local_files_only=local_files_only)
    if _openai_archive(files):
        return load_checkpoint(source, local_files_only=local_files_only).fingerprint
    config, _, config_files = _read_config(files)
    tokenizer = _find_tokenizer(files, config.text, local_files_only)
    template_files = read_templates(files.directory)[1]
    return fingerprint([*files.weights, *config_files, *template_files], tokenizer)


def load_model(model=DEFAULT_MODEL, *, local_files_only=False):
    """Load a model to train further or to use in torch.

    For embeddings and estimators use `skclip.load_encoder`, which prepares the model for inference.

    Parameters
    ----------
    model : str or Path, default="openai/clip-vit-base-patch32"
        A bundled name ("skclip/tiny"), a hub id ("org/name" or "org/name@revision"), a short name
        of `skclip.list_models`, a directory, or a file.
    local_files_only : bool, default=False
        Do not ask the hub; use its local cache only.

    Returns
    -------
    model : CLIP
        A torch module on the CPU, with float32 parameters that require gradients. It is in
        evaluation mode; `Trainer` changes the mode itself, a training loop of your own calls
        ``model.train()`` first.
    tokenizer : Tokenizer
        Turns texts into the token ids that the model takes.
    preprocess_config : PreprocessConfig
        How images become the model's input.

    Raises
    ------
    ModelNotAvailableError
        If the model is not on this machine and cannot be downloaded.
    CheckpointError
        If the model's files are damaged, ambiguous or of an unknown kind.
    TypeError
        If `model` is neither a name nor a path.

    See Also
    --------
    save_model : Save a model so that `load_model` and other libraries read it.

    Examples
    --------
    >>> from skclip.training import load_model
    >>> model, tokenizer, preprocess_config = load_model("skclip/tiny")
    >>> token_ids = tokenizer(["a red circle", "the digit three"])
    >>> model.encode_text(token_ids).shape == (2, model.config.embed_dim)
    True
    >>> preprocess_config.image_size
    32
    """
    if not isinstance(model, (str, Path)):
        raise TypeError(f"model must be a name or a path, got a {type(model).__name__}")
    checkpoint = load_checkpoint(model, local_files_only=local_files_only)
    return checkpoint.model, checkpoint.tokenizer, checkpoint.preprocess_config


def _read_state(paths):
    state = {}
    for path in paths:
        tensors = read_tensors(path)
        if twice := tensors.keys() & state.keys():
            raise CheckpointError(f"{path} holds tensors of another shard again: {some(twice)}")
        state |= tensors
    for layout in KEY_LAYOUTS:
        if layout.matches(state):
            try:
                return layout.convert(state)
            except CheckpointError as error:
                raise CheckpointError(f"{_names(paths)}: {error}") from error
    raise CheckpointError(
        f"{_names(paths)} holds no CLIP with a text tower that skclip knows: its tensors are "
        f"{some(state)}. Load a model with towers of another library with that library, and pass "
        "it as an object (skclip.OpenCLIPEncoder shows how)"
    )


def _openai_archive(files):
    """Return the name of OpenAI's archive, by its sha256; None for any other file."""
    if len(files.weights) != 1 or not is_torchscript(files.weights[0]):
        return None
    return openai.ARCHIVES.get(sha256(files.weights[0]))


def _read_config(files):
    for layout in CONFIG_LAYOUTS:
        # also a link that leads nowhere is there, so that the message names it
        if os.path.lexists(files.directory / layout.CONFIG):
            return layout.read_config(files.directory)
    raise CheckpointError(
        f"{_names(files.weights)} does not say which activation and which preprocessing it was "
        "trained with, and a guess would silently give wrong embeddings. Put an "
        f"{open_clip.CONFIG} (model_cfg with quick_gelu, preprocess_cfg with mean and std) or a "
        f"{huggingface.CONFIG} with preprocessor_config.json beside it"
    )


def _find_tokenizer(files, text, local_files_only):
    settings = {"vocab_size": text.vocab_size, "context_length": text.context_length}
    directory = files.directory
    if not has_tokenizer({entry.name for entry in directory.iterdir()}):
        if text.vocab_size != OPENAI_VOCAB_SIZE:
            raise CheckpointError(
                f"{directory} has no tokenizer: put its vocab.json and merges.txt there"
            )
        # archives and many open_clip repositories leave out OpenAI's own vocabulary
        directory = hub.fetch(
            DEFAULT_MODEL, None, lambda names: VOCABULARY, local_files_only=local_files_only
        )
        return read_tokenizer(directory, names=VOCABULARY, **settings)
    return read_tokenizer(directory, **settings)


def _pool_at_end_token(text, tokenizer, files):
    """Check that text is pooled at the tokenizer's end token, and set its id in the config."""
    highest = max(tokenizer.vocab.values())
    asked = highest if text.end_token_id == text.vocab_size - 1 else text.end_token_id
    if asked != tokenizer.end_id:
        raise CheckpointError(
            f"{files.directory}: the configuration pools text at token {asked}, but the "
            f"tokenizer's end token {tokenizer.end_token!r} is {tokenizer.end_id}"
        )
    return replace(text, end_token_id=tokenizer.end_id)


def _build_model(config, state, paths, *, complete):
    """Build the model from tensors, after checking the name and shape of each."""
    where = _names(paths)
    # before the model is built, which takes as long as the configuration asks for
    _check_layers(config, state, where)
    with torch.device("meta"):
        model = CLIP(config)
    expected = model.state_dict()
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, torch.zeros(value.shape, dtype=value.dtype))
    if missing := expected.keys() - state.keys():
        raise CheckpointError(f"{where} lacks {len(missing)} tensors: {some(missing)}")
    if complete and (unknown := state.keys() - expected.keys()):
        raise CheckpointError(
            f"{where} has {len(unknown)} tensors the model does not know: {some(unknown)}"
        )
    tensors = {}
    for key, value in expected.items():
        found = state.pop(key)
        # some files store a scalar, such as the logit scale, as an array of one element
        if found.shape != value.shape and not (value.ndim == 0 and found.shape == (1,)):
            raise CheckpointError(
                f"{where}: {key} has shape {tuple(found.shape)}, but the configuration asks for "
                f"{tuple(value.shape)}"
            )
        allowed = WEIGHT_DTYPES if value.is_floating_point() else COUNT_DTYPES
        if found.dtype not in allowed:
            raise CheckpointError(
                f"{where}: {key} is stored as {_dtype(found.dtype)}; it must be one of "
                f"{', '.join(map(_dtype, allowed))}"
            )
        # a copy, because tensors read from safetensors are views of the mapped file
        found = found.reshape(value.shape).to(value.dtype, copy=True).contiguous()
        if not torch.isfinite(found).all():
            raise CheckpointError(f"{where}: {key} holds values that are not finite")
        tensors[key] = found
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def _check_layers(config, state, where):
    """Check that the weights have as many layers as the configuration says."""
    stages = {"text.transformer.resblocks.": config.text.layers}
    if config.vision.is_resnet:
        stages |= {f"visual.layer{i}.": n for i, n in enumerate(config.vision.layers, start=1)}
    else:
        stages["visual.transformer.resblocks."] = config.vision.layers
    for prefix, count in stages.items():
        if (found := openai.count_parts(state, prefix)) != count:
            raise CheckpointError(
                f"{where} has {found} layers {prefix}*, but the configuration asks for {count}"
            )


def read_templates(directory):
    """Return the prompt templates of a directory, and the files that were read."""
    path = directory / TEMPLATES
    if not os.path.lexists(path):
        return (), []
    return tuple(read_fields(read_json(path), TEMPLATE_FIELDS, path)["templates"]), [path]


def _names(paths):
    return str(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def _dtype(dtype):
    return str(dtype).removeprefix("torch.")
