"""Files -> a model with its tokenizer and its preprocessing."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from skclip.checkpoints import hub
from skclip.checkpoints.formats import huggingface, open_clip, openai
from skclip.checkpoints.messages import some
from skclip.checkpoints.resolve import DEFAULT_MODEL, TEMPLATES, fingerprint, resolve, sha256
from skclip.checkpoints.tensors import is_torchscript, read_tensors
from skclip.checkpoints.tokenizer_files import (
    OPENAI_VOCAB_SIZE,
    VOCABULARY,
    has_tokenizer,
    read_json,
    read_tokenizer,
)
from skclip.exceptions import CheckpointError
from skclip.model.clip import CLIP
from skclip.model.config import PreprocessConfig
from skclip.model.tokenizer import Tokenizer

KEY_LAYOUTS = (huggingface, open_clip, openai)
CONFIG_LAYOUTS = (open_clip, huggingface)


@dataclass(frozen=True)
class Checkpoint:
    """A model with all that is needed to use it.

    Attributes
    ----------
    model : CLIP
        In float32, on the CPU, ready for inference.
    tokenizer : Tokenizer
    preprocess : PreprocessConfig
    source : str
        The name or absolute path it was loaded from.
    fingerprint : str
        sha256 over the weights, the files that say what they mean, and the tokenizer; files that
        are not read do not count.
    directory : Path
        Where the files stand.
    templates : tuple of str
        Prompt templates the model was trained for; empty if the files name none.
    """

    model: CLIP
    tokenizer: Tokenizer
    preprocess: PreprocessConfig
    source: str
    fingerprint: str
    directory: Path
    templates: tuple[str, ...] = ()


def load_checkpoint(source=DEFAULT_MODEL, *, local_files_only=False):
    """Load a checkpoint.

    Parameters
    ----------
    source : str or Path, default="openai/clip-vit-base-patch32"
        A bundled name, a directory, a weight file with its configuration beside it or one of
        OpenAI's archives, a name of `list_models`, or a hub id "org/name[@revision]".
    local_files_only : bool, default=False
        Look into the hub's local cache only.

    Returns
    -------
    Checkpoint

    Raises
    ------
    ModelNotAvailableError
        If the model is neither on this machine nor to be reached.
    CheckpointError
        If its files are damaged, ambiguous or of an unknown kind.

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
        (config, preprocess), config_files = openai.infer_config(state), []
    else:
        config, preprocess, config_files = _read_config(files)
    tokenizer = _find_tokenizer(files, config.text, local_files_only)
    config = replace(config, text=_pool_at_end_token(config.text, tokenizer, files))
    templates, template_files = _read_templates(files.directory)
    return Checkpoint(
        model=_build_model(config, state, files.weights, complete=not archive),
        tokenizer=tokenizer,
        preprocess=preprocess,
        source=files.source,
        fingerprint=fingerprint([*files.weights, *config_files, *template_files], tokenizer),
        directory=files.directory,
        templates=templates,
    )


def _read_state(paths):
    state = {}
    for path in paths:
        state.update(read_tensors(path))
    for layout in KEY_LAYOUTS:
        if layout.matches(state):
            return layout.convert(state)
    raise CheckpointError(
        f"{_names(paths)} holds no CLIP with a text tower that skclip knows: its tensors are "
        f"{some(state)}. A model with towers of another library is loaded with that library and "
        "handed over as an object (skclip.OpenCLIPEncoder shows how)"
    )


def _openai_archive(files):
    """Return the name of OpenAI's archive, by its sha256; None for any other file."""
    if len(files.weights) != 1 or not is_torchscript(files.weights[0]):
        return None
    return openai.ARCHIVES.get(sha256(files.weights[0]))


def _read_config(files):
    for layout in CONFIG_LAYOUTS:
        if (files.directory / layout.CONFIG).is_file():
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
                f"{directory} brings no tokenizer: put its vocab.json and merges.txt there"
            )
        # OpenAI's own vocabulary, which archives and many open_clip repositories leave out
        directory = hub.fetch(
            DEFAULT_MODEL, None, lambda names: VOCABULARY, local_files_only=local_files_only
        )
        return read_tokenizer(directory, names=VOCABULARY, **settings)
    return read_tokenizer(directory, **settings)


def _pool_at_end_token(text, tokenizer, files):
    """Check that text is pooled at the tokenizer's end token, and name its id."""
    highest = max(tokenizer.vocab.values())
    asked = highest if text.end_token_id == text.vocab_size - 1 else text.end_token_id
    if asked != tokenizer.end_id:
        raise CheckpointError(
            f"{files.directory}: the configuration pools text at token {asked}, but the "
            f"tokenizer's end token {tokenizer.end_token!r} is {tokenizer.end_id}"
        )
    return replace(text, end_token_id=tokenizer.end_id)


def _build_model(config, state, paths, *, complete):
    """Make the model around tensors, after checking that they fit it one by one."""
    where = _names(paths)
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
        # some store a scalar, such as the logit scale, as an array of one
        if found.shape != value.shape and not (value.ndim == 0 and found.shape == (1,)):
            raise CheckpointError(
                f"{where}: {key} has shape {tuple(found.shape)}, but the configuration asks for "
                f"{tuple(value.shape)}"
            )
        # a copy, because what is read from safetensors is still the file itself
        found = found.reshape(value.shape).to(value.dtype, copy=True).contiguous()
        if not torch.isfinite(found).all():
            raise CheckpointError(f"{where}: {key} holds values that are not finite")
        tensors[key] = found
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def _read_templates(directory):
    path = directory / TEMPLATES
    if not path.is_file():
        return (), []
    templates = read_json(path).get("templates")
    if not isinstance(templates, list) or not all(isinstance(t, str) for t in templates):
        raise CheckpointError(f"{path}: templates must be a list of str, got {templates!r}")
    return tuple(templates), [path]


def _names(paths):
    return str(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
