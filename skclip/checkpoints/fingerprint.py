"""The sha256 that identifies a model. Nothing here imports torch."""

import hashlib
import json

from skclip.checkpoints.companions import find_vocabulary, read_config, read_templates
from skclip.checkpoints.files import regular_file
from skclip.checkpoints.formats import openai
from skclip.checkpoints.resolve import DEFAULT_MODEL, resolve
from skclip.checkpoints.tokenizer_files import OPENAI_VOCAB_SIZE, read_vocabulary

_BLOCK = 1 << 20

# Enters the hash of a model without tokenizer files, in place of its vocabulary. It must stay: the
# fingerprint may not change when OpenAI's vocabulary, which such a model uses, is found later.
WITHOUT_VOCABULARY = "the vocabulary of OpenAI's CLIP"


def checkpoint_fingerprint(source=DEFAULT_MODEL, *, local_files_only=False):
    """Return the fingerprint that a checkpoint has when it is loaded, without loading it.

    Parameters
    ----------
    source : str or Path, default="openai/clip-vit-base-patch32"
    local_files_only : bool, default=False
        Both as in `load_checkpoint`.

    Returns
    -------
    str

    Raises
    ------
    ModelNotAvailableError
        If the model is not on this machine and cannot be downloaded.
    CheckpointError
        If a configuration or a tokenizer is damaged. The weights are hashed, but not checked.

    Examples
    --------
    >>> from skclip import load_encoder
    >>> from skclip.checkpoints.fingerprint import checkpoint_fingerprint
    >>> checkpoint_fingerprint("skclip/tiny") == load_encoder("skclip/tiny").fingerprint
    True
    """
    files = resolve(source, local_files_only=local_files_only)
    digests = digest_files(files.weights)
    if is_openai_archive(digests):
        vocabulary = read_vocabulary(files.directory, vocab_size=OPENAI_VOCAB_SIZE)
        paths = []
    else:
        config, _, paths = read_config(files)
        vocabulary = find_vocabulary(files.directory, config.text)
    _, template_paths = read_templates(files.directory)
    return fingerprint(digests | digest_files([*paths, *template_paths]), vocabulary)


def fingerprint(digests, vocabulary):
    """Return the sha256 that identifies a model, as hexadecimal digits.

    Parameters
    ----------
    digests : dict of str to str
        The files that were read: their names, and the sha256 of each.
    vocabulary : Vocabulary or Tokenizer or None
        Its symbols, merges and special tokens enter the hash, not its files, because the same
        vocabulary is stored in several file formats. None for a model without tokenizer files.

    Returns
    -------
    str
    """
    digest = hashlib.sha256()
    for name in sorted(digests):
        digest.update(f"{name}:{digests[name]}\n".encode())
    if vocabulary is None:
        known = WITHOUT_VOCABULARY
    else:
        symbols = sorted(vocabulary.vocab.items())
        known = [symbols, vocabulary.merges, vocabulary.start_token, vocabulary.end_token]
    digest.update(json.dumps(known).encode())
    return digest.hexdigest()


def digest_files(paths, is_needed=lambda: True):
    """Return the sha256 of each file, as a dict of its name to hexadecimal digits.

    Parameters
    ----------
    paths : iterable of Path
    is_needed : callable, default=always
        Is asked now and then whether anybody waits for the digests. If not, they are wrong.

    Returns
    -------
    dict of str to str
    """
    digests, block = {}, memoryview(bytearray(_BLOCK))
    for path in paths:
        regular_file(path)
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while is_needed() and (n_bytes := file.readinto(block)):
                digest.update(block[:n_bytes])
        digests[path.name] = digest.hexdigest()
    return digests


def is_openai_archive(digests):
    """Whether weights with these digests are one of the archives that OpenAI published."""
    return len(digests) == 1 and not openai.ARCHIVES.keys().isdisjoint(digests.values())
