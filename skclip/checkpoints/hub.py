"""Files of models on the Hugging Face hub, downloaded into its local cache."""

from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from skclip._messages import first_line
from skclip.exceptions import CheckpointError, ModelNotAvailableError

DEFAULT_REVISION = "main"
_LISTING_TIMEOUT = 10  # seconds
_WAYS_OUT = (
    "Without a network, use the bundled model 'skclip/tiny', or download the model on another "
    "machine and pass the path of its directory (model='/path/to/directory')"
)


def fetch(repo, revision, choose, *, local_files_only=False):
    """Return the local directory of a hub model, after downloading the files that are missing.

    Parameters
    ----------
    repo : str
        "org/name".
    revision : str or None
        Branch, tag or commit; None means "main".
    choose : callable
        Called with the set of names of the repository's files; returns the names that are needed.
    local_files_only : bool, default=False
        Use the local cache only, as with ``HF_HUB_OFFLINE=1`` in the environment.

    Returns
    -------
    Path

    Raises
    ------
    ModelNotAvailableError
        If the hub has no such model, or the model is not in the cache and the hub cannot be
        reached.
    """
    revision = revision or DEFAULT_REVISION
    cause = None
    if not (local_files_only or constants.HF_HUB_OFFLINE):
        try:
            info = HfApi().model_info(repo, revision=revision, timeout=_LISTING_TIMEOUT)
            wanted = choose({entry.rfilename for entry in info.siblings})
            cached = [try_to_load_from_cache(repo, name, revision=info.sha) for name in wanted]
            if all(isinstance(path, str) for path in cached):
                return Path(cached[0]).parent
            return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
        except (GatedRepoError, HFValidationError) as error:
            raise ModelNotAvailableError(
                f"the hub refuses {repo!r}: {first_line(error)}"
            ) from error
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise ModelNotAvailableError(
                f"the hub has no model {repo!r} with revision {revision!r}, or the model is "
                "private; skclip.list_models() lists names that exist"
            ) from error
        except (ModelNotAvailableError, CheckpointError):
            raise
        # which exceptions a network error raises depends on the version of huggingface_hub
        except Exception as error:
            cause = error
    directory = _cached_directory(repo, revision, choose)
    if directory is None:
        if cause is not None:
            reason = f"cannot be reached ({type(cause).__name__}: {first_line(cause)})"
        elif constants.HF_HUB_OFFLINE:
            reason = "was not asked, because HF_HUB_OFFLINE is set"
        else:
            reason = "was not asked, because local_files_only is set"
        raise ModelNotAvailableError(
            f"the model {repo!r} is not in the local cache, and the hub {reason}. {_WAYS_OUT}"
        ) from cause
    return directory


def _cached_directory(repo, revision, choose):
    for name in ("config.json", "open_clip_config.json", "vocab.json"):
        try:
            path = try_to_load_from_cache(repo, name, revision=revision)
        except HFValidationError:
            return None  # a name that no model on the hub can have
        if isinstance(path, str):
            directory = Path(path).parent
            there = {entry.name for entry in directory.iterdir()}
            try:
                complete = there.issuperset(choose(there))
            except (ModelNotAvailableError, CheckpointError):
                complete = False
            return directory if complete else None
    return None
