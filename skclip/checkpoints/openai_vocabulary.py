"""OpenAI's vocabulary, for models whose files leave it out."""

import hashlib
import importlib.util
import json
from pathlib import Path

from skclip.checkpoints.resolve import DEFAULT_MODEL
from skclip.checkpoints.tokenizer_files import (
    OPENAI_MERGES,
    OPENAI_VOCAB_SIZE,
    VOCABULARY,
    read_openai_merges,
    read_vocabulary,
)
from skclip.exceptions import CheckpointError, ModelNotAvailableError
from skclip.model.vocabulary import Vocabulary

# of `_content`; every file of this vocabulary gives it
_SHA256 = "1409d1bfc9edcb7ebb15044870c857bf45e1ca6b36a062b503ce2ca5bae95ad4"


def find_openai_vocabulary(*, local_files_only=False):
    """Find OpenAI's vocabulary: in the hub's cache, in an installed open_clip, or on the hub.

    Parameters
    ----------
    local_files_only : bool, default=False
        Do not ask the hub; use its local cache only.

    Returns
    -------
    Vocabulary

    Raises
    ------
    ModelNotAvailableError
        If it is in none of these places.
    CheckpointError
        If what is there is another vocabulary.
    """
    try:
        directory = _fetch(local_files_only=True)
    except ModelNotAvailableError:
        path = _open_clip_file()
        if path is not None:
            merges = read_openai_merges(path, OPENAI_VOCAB_SIZE)
            return _checked(Vocabulary.from_merges(merges), path)
        directory = _fetch(local_files_only=local_files_only)
    vocabulary = read_vocabulary(directory, vocab_size=OPENAI_VOCAB_SIZE, names=VOCABULARY)
    return _checked(vocabulary, directory)


def _fetch(*, local_files_only):
    from skclip.checkpoints import hub  # here, because its import takes half a second

    return hub.fetch(
        DEFAULT_MODEL, None, lambda names: VOCABULARY, local_files_only=local_files_only
    )


def _open_clip_file():
    """Return the path of open_clip's own copy; None if there is none. Nothing is imported."""
    try:
        spec = importlib.util.find_spec("open_clip")
    except ValueError:  # what another module has put in its place
        return None
    folders = spec.submodule_search_locations if spec is not None else None
    paths = [Path(folder) / OPENAI_MERGES for folder in folders or ()]
    return next((path for path in paths if path.is_file()), None)


def _checked(vocabulary, where):
    # models without tokenizer files have a fingerprint that stands for exactly this vocabulary
    if hashlib.sha256(_content(vocabulary)).hexdigest() != _SHA256:
        raise CheckpointError(
            f"{where} does not hold OpenAI's vocabulary, as it should: delete it, or put "
            f"{OPENAI_MERGES} beside the weights"
        )
    return vocabulary


def _content(vocabulary):
    return json.dumps([sorted(vocabulary.vocab.items()), vocabulary.merges]).encode()
