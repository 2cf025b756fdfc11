"""What stands beside the weights: configuration, preprocessing, vocabulary, prompt templates."""

import os

from skclip.checkpoints.formats import huggingface, open_clip
from skclip.checkpoints.json_files import REQUIRED, read_fields, read_json
from skclip.checkpoints.resolve import TEMPLATES
from skclip.checkpoints.tokenizer_files import OPENAI_VOCAB_SIZE, read_vocabulary
from skclip.exceptions import CheckpointError
from skclip.model.fields import TEXT, Kind

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


def read_config(files):
    """Read the configuration of a model.

    Parameters
    ----------
    files : CheckpointFiles

    Returns
    -------
    config : CLIPConfig
    preprocess_config : PreprocessConfig
    paths : list of Path
        The files that were read.
    """
    for layout in CONFIG_LAYOUTS:
        # also a link that leads nowhere is there, so that the message names it
        if os.path.lexists(files.directory / layout.CONFIG):
            return layout.read_config(files.directory)
    raise CheckpointError(
        f"{join_names(files.weights)} does not say which activation and which preprocessing it was "
        "trained with, and a guess would silently give wrong embeddings. Put an "
        f"{open_clip.CONFIG} (model_cfg with quick_gelu, preprocess_cfg with mean and std) or a "
        f"{huggingface.CONFIG} with preprocessor_config.json beside it"
    )


def find_vocabulary(directory, text):
    """Read the vocabulary of a directory, and check that it is the one of a text tower.

    Parameters
    ----------
    directory : Path
    text : TextConfig

    Returns
    -------
    Vocabulary or None
        None for a model with OpenAI's vocabulary that has no file of it, such as OpenAI's archives
        and many repositories of open_clip.
    """
    vocabulary = read_vocabulary(directory, vocab_size=text.vocab_size)
    if vocabulary is None:
        if text.vocab_size != OPENAI_VOCAB_SIZE:
            raise CheckpointError(
                f"{directory} has no tokenizer: put its vocab.json and merges.txt there"
            )
        end_token, end_id = "of OpenAI's vocabulary", OPENAI_VOCAB_SIZE - 1
    else:
        end_token, end_id = repr(vocabulary.end_token), vocabulary.end_id
    if end_id != text.end_token_id:
        raise CheckpointError(
            f"{directory}: the configuration pools text at token {text.end_token_id}, but the "
            f"tokenizer's end token {end_token} is {end_id}"
        )
    return vocabulary


def read_templates(directory):
    """Read the prompt templates of a directory.

    Parameters
    ----------
    directory : Path

    Returns
    -------
    templates : tuple of str
    paths : list of Path
        The files that were read.
    """
    path = directory / TEMPLATES
    if not os.path.lexists(path):
        return (), []
    return tuple(read_fields(read_json(path), TEMPLATE_FIELDS, path)["templates"]), [path]


def join_names(paths):
    """Return the first of some paths and the number of the others, for a message."""
    return str(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
