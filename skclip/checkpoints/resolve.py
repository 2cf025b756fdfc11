"""A bundled name, a path or a hub id -> the local files of a checkpoint."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from skclip._messages import shorten, some
from skclip.checkpoints.files import names_in, regular_file
from skclip.checkpoints.formats import huggingface, open_clip
from skclip.checkpoints.models import MODELS, canonical_name, suggest
from skclip.checkpoints.tokenizer_files import NAMES as TOKENIZER_FILES
from skclip.exceptions import CheckpointError, ModelNotAvailableError

DEFAULT_MODEL = "openai/clip-vit-base-patch32"
TEMPLATES = "prompt_templates.json"

# Files beside the weights that say how the weights are used.
COMPANIONS = (open_clip.CONFIG, *huggingface.CONFIGS, *TOKENIZER_FILES, TEMPLATES)

_BUNDLED = {"skclip/tiny": Path(__file__).parent / "bundled" / "tiny"}

_HUB_ID = re.compile(r"(?P<repo>[\w.-]{1,96}/[\w.-]{1,96})(@(?P<revision>[\w./-]+))?")
_ARCHIVE_SUFFIXES = (".pt", ".pth")


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of one checkpoint.

    Parameters
    ----------
    source : str
        The name that was asked for, or the absolute path.
    directory : Path
        Directory of the weights and of the files beside them.
    weights : tuple of Path
    """

    source: str
    directory: Path
    weights: tuple[Path, ...]


def resolve(source, *, local_files_only=False):
    """Find the local files of a checkpoint; those on the hub are downloaded.

    Parameters
    ----------
    source : str or Path
        Looked up in this order: a bundled name, an existing directory or file, a name of
        `list_models`, a hub id "org/name" or "org/name@revision".
    local_files_only : bool, default=False
        Use the hub's local cache only.

    Returns
    -------
    CheckpointFiles
    """
    path = _local_path(source)
    if path is None:
        return _collect(str(source), _fetch(source, local_files_only), None)
    if path.is_dir():
        names = [name for name, directory in _BUNDLED.items() if directory == path]
        return _collect(names[0] if names else str(path), path, None)
    return _collect(str(path), path.parent, path)


def identify(source):
    """Return a cheap, hashable key that changes when a local checkpoint changes.

    Parameters
    ----------
    source : str or Path

    Returns
    -------
    tuple
        For a local checkpoint the absolute path, and the name, size and modification time of each
        file; for a hub model its id.
    """
    path = _local_path(source)
    if path is None:  # a name on the hub, however it is spelled
        repo, revision = _hub_id(source)
        return (f"{repo}@{revision}" if revision else repo,)
    if path.is_dir():
        files = [path / name for name in names_in(path)]
    else:
        files = [path, *(path.parent / name for name in COMPANIONS)]
    # what is no file has no content that could change; `resolve` refuses it
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    stats = sorted((name, status.st_size, status.st_mtime_ns) for name, status in stats)
    return (str(path), *stats)


def _local_path(source):
    if not isinstance(source, (str, Path)):
        raise TypeError(
            "model must be a name, a path, or an object with encode_images and encode_texts, "
            f"got a {type(source).__name__}"
        )
    if source in _BUNDLED:
        return _BUNDLED[source]
    path = Path(os.path.expanduser(source))
    # a link that leads nowhere is there, too
    if source != "" and os.path.lexists(path):
        # not resolve(): the files beside a linked file are looked for beside the link
        return path.absolute()
    if isinstance(source, Path) or path.is_absolute() or str(source).startswith((".", "~")):
        raise ModelNotAvailableError(f"there is no file or directory {shorten(repr(str(source)))}")
    return _BUNDLED.get(canonical_name(source))


def _hub_id(source):
    name = canonical_name(source)
    match = _HUB_ID.fullmatch(MODELS[name].repository if name in MODELS else name)
    if not match:
        raise ModelNotAvailableError(
            f"{shorten(repr(source))} is not a file or directory, not a name of "
            "skclip.list_models(), and not a hub id (org/name or org/name@revision). "
            f"{suggest(source)}".rstrip()
        )
    return match["repo"], match["revision"]


def _fetch(source, local_files_only):
    from skclip.checkpoints import hub  # here, because its import takes half a second

    repo, revision = _hub_id(source)
    try:
        return hub.fetch(repo, revision, _needed_names, local_files_only=local_files_only)
    except ModelNotAvailableError as error:
        suggestion = "" if canonical_name(source) in MODELS else suggest(source)
        if not suggestion:
            raise
        raise ModelNotAvailableError(f"{error}. {suggestion}") from error


def _needed_names(names):
    """Choose the files that a checkpoint needs from the names of a repository's files."""
    weights = _weight_names(names)
    if not weights:
        raise ModelNotAvailableError(
            "the repository holds no weights of a CLIP model: it needs open_clip_config.json or "
            f"config.json, and safetensors or .bin weights; found {some(names)}"
        )
    return [*weights, *sorted(names & set(COMPANIONS))]


def _weight_names(names):
    """Return the weight files of the first layout whose configuration file exists."""
    order = open_clip.WEIGHTS * (open_clip.CONFIG in names)
    order += huggingface.WEIGHTS * bool({open_clip.CONFIG, huggingface.CONFIG} & set(names))
    for name in order:
        if name in names:
            return _shards(name, names) if name.endswith(".index.json") else [name]
    archives = [name for name in names if name.endswith(_ARCHIVE_SUFFIXES) and "/" not in name]
    if len(archives) > 1:
        raise CheckpointError(
            f"several files may hold the weights: {some(archives)}; pass the path of one of them"
        )
    return archives


def _shards(index, names):
    """Return the names of the shards 1 to n of n, each of which must be there once."""
    stem, suffix, *_ = index.split(".")
    pattern = re.compile(rf"{stem}-(\d{{1,9}})-of-(\d{{1,9}})\.{suffix}", re.ASCII)
    shards = sorted(name for name in names if pattern.fullmatch(name))
    found = [tuple(map(int, pattern.fullmatch(name).groups())) for name in shards]
    count = max((total for _, total in found), default=0)
    complete = [(number, len(shards)) for number in range(1, len(shards) + 1)]
    if not found or sorted(found) != complete:
        raise CheckpointError(
            f"{index} exists, but the shards 1 to {count or 'n'} of one set do not: "
            f"found {some(shards)}"
        )
    return shards


def _collect(source, directory, weights):
    if weights is None:
        names = names_in(directory)
        chosen = [directory / name for name in _weight_names(names)]
        if not chosen:
            raise CheckpointError(
                f"{directory} holds no checkpoint that skclip can read: it needs "
                "open_clip_config.json or config.json, and safetensors or .bin weights, or one .pt "
                f"archive; found {some(names)}"
            )
    else:
        chosen = [weights]
    # before any of them is opened, also those that may not be needed
    companions = [directory / name for name in COMPANIONS if os.path.lexists(directory / name)]
    for path in [*chosen, *companions]:
        regular_file(path)
    return CheckpointFiles(source, directory, tuple(chosen))
