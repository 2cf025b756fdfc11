"""A bundled name, a path or a hub id -> the local files of a checkpoint."""

import re
from dataclasses import dataclass
from pathlib import Path

from skclip.checkpoints.formats import huggingface, open_clip
from skclip.checkpoints.messages import some
from skclip.checkpoints.tokenizer_files import NAMES as TOKENIZER_FILES
from skclip.exceptions import CheckpointError, ModelNotAvailableError

DEFAULT_MODEL = "openai/clip-vit-base-patch32"
TEMPLATES = "prompt_templates.json"

# Files beside the weights that say how the weights are used.
COMPANIONS = (open_clip.CONFIG, *huggingface.CONFIGS, *TOKENIZER_FILES, TEMPLATES)

_BUNDLED = {"skclip/tiny": Path(__file__).parent / "bundled" / "tiny"}

# Architecture and training data as open_clip names them (open_clip/pretrained.py), and the
# repository that holds the weights with their configuration.
_SHORT_NAMES = {
    "RN50/openai": "timm/resnet50_clip.openai",
    "RN101/openai": "timm/resnet101_clip.openai",
    "RN50x4/openai": "timm/resnet50x4_clip.openai",
    "RN50x16/openai": "timm/resnet50x16_clip.openai",
    "RN50x64/openai": "timm/resnet50x64_clip.openai",
    "ViT-B-32/openai": "openai/clip-vit-base-patch32",
    "ViT-B-16/openai": "openai/clip-vit-base-patch16",
    "ViT-L-14/openai": "openai/clip-vit-large-patch14",
    "ViT-L-14-336/openai": "openai/clip-vit-large-patch14-336",
    "ViT-B-32/laion2b_s34b_b79k": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "ViT-B-16/laion2b_s34b_b88k": "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
    "ViT-L-14/laion2b_s32b_b82k": "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    "ViT-H-14/laion2b_s32b_b79k": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "ViT-g-14/laion2b_s34b_b88k": "laion/CLIP-ViT-g-14-laion2B-s34B-b88K",
    "ViT-bigG-14/laion2b_s39b_b160k": "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    "ViT-B-32/datacomp_xl_s13b_b90k": "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
    "ViT-B-32-256/datacomp_s34b_b86k": "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
    "ViT-B-16/datacomp_xl_s13b_b90k": "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
    "ViT-L-14/datacomp_xl_s13b_b90k": "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
    "ViT-B-32/metaclip_400m": "timm/vit_base_patch32_clip_224.metaclip_400m",
    "ViT-B-32/metaclip_fullcc": "timm/vit_base_patch32_clip_224.metaclip_2pt5b",
    "ViT-B-16/metaclip_400m": "timm/vit_base_patch16_clip_224.metaclip_400m",
    "ViT-B-16/metaclip_fullcc": "timm/vit_base_patch16_clip_224.metaclip_2pt5b",
    "ViT-L-14/metaclip_400m": "timm/vit_large_patch14_clip_224.metaclip_400m",
    "ViT-L-14/metaclip_fullcc": "timm/vit_large_patch14_clip_224.metaclip_2pt5b",
    "ViT-H-14/metaclip_fullcc": "timm/vit_huge_patch14_clip_224.metaclip_2pt5b",
    "ViT-B-16/dfn2b": "apple/DFN2B-CLIP-ViT-B-16",
    "ViT-L-14/dfn2b": "apple/DFN2B-CLIP-ViT-L-14",
    "ViT-H-14/dfn5b": "apple/DFN5B-CLIP-ViT-H-14",
    "ViT-H-14-378/dfn5b": "apple/DFN5B-CLIP-ViT-H-14-378",
}

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
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


def list_models():
    """List the models that have a short name.

    Returns
    -------
    dict of str to str
        Maps each name, which every ``model=`` accepts, to the source of the weights: the id of a
        repository on the Hugging Face hub, or "bundled". Any other repository with a CLIP model in
        a layout that skclip reads can be named by its id.

    Examples
    --------
    >>> from skclip import list_models
    >>> list_models()["ViT-B-32/openai"]
    'openai/clip-vit-base-patch32'
    >>> list_models()["skclip/tiny"]
    'bundled'
    """
    return {**dict.fromkeys(_BUNDLED, "bundled"), **_SHORT_NAMES}


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
        from skclip.checkpoints import hub  # here, because its import takes half a second

        repo, revision = _hub_id(source)
        path = hub.fetch(repo, revision, _needed_names, local_files_only=local_files_only)
        return _collect(str(source), path, None)
    if path.is_file():
        return _collect(str(path), path.parent, path)
    return _collect(str(source) if str(source) in _BUNDLED else str(path), path, None)


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
    if path is None:  # a name on the hub
        return (str(source),)
    directory = path if path.is_dir() else path.parent
    files = [entry for entry in directory.iterdir() if entry.is_file()] if path.is_dir() else [path]
    if not path.is_dir():
        files += [directory / name for name in COMPANIONS if (directory / name).is_file()]
    stats = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return (str(path), *stats)


def _local_path(source):
    if not isinstance(source, (str, Path)):
        raise TypeError(
            "model must be a name, a path, or an object with encode_images and encode_texts, "
            f"got a {type(source).__name__}"
        )
    if source in _BUNDLED:
        return _BUNDLED[source]
    path = Path(source).expanduser()
    if source != "" and path.exists():
        # not resolve(): the files beside a linked file are looked for beside the link
        return path.absolute()
    if isinstance(source, Path) or path.is_absolute() or str(source).startswith((".", "~")):
        raise ModelNotAvailableError(f"there is no file or directory {str(source)!r}")
    return None


def _hub_id(source):
    match = _HUB_ID.fullmatch(_SHORT_NAMES.get(source, source))
    if not match:
        raise ModelNotAvailableError(
            f"{source!r} is not a file or directory, not a name of skclip.list_models(), and not a "
            "hub id (org/name or org/name@revision)"
        )
    return match["repo"], match["revision"]


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
            f"several files may hold the weights: {sorted(archives)}; pass the path of one of them"
        )
    return archives


def _shards(index, names):
    stem, suffix, *_ = index.split(".")
    pattern = re.compile(rf"{stem}-\d+-of-(\d+)\.{suffix}")
    shards = sorted(name for name in names if pattern.fullmatch(name))
    count = int(pattern.fullmatch(shards[0])[1]) if shards else None
    if len(shards) != count:
        raise CheckpointError(f"{index} exists, but only {len(shards)} of {count} shards do")
    return shards


def _collect(source, directory, weights):
    if weights is None:
        names = {entry.name for entry in directory.iterdir()}
        chosen = [directory / name for name in _weight_names(names)]
        if not chosen:
            raise CheckpointError(
                f"{directory} holds no checkpoint that skclip can read: it needs "
                "open_clip_config.json or config.json, and safetensors or .bin weights, or one .pt "
                f"archive; found {some(names)}"
            )
    else:
        chosen = [weights]
    return CheckpointFiles(source, directory, tuple(chosen))
