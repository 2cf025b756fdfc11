"""Load a model with its tokenizer and its preprocessing configuration."""

import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from skclip._messages import some
from skclip.checkpoints.companions import (
    find_vocabulary,
    join_names,
    read_config,
    read_templates,
)
from skclip.checkpoints.fingerprint import digest_files, fingerprint, is_openai_archive
from skclip.checkpoints.formats import huggingface, open_clip, openai
from skclip.checkpoints.lazy_tokenizer import LazyTokenizer
from skclip.checkpoints.resolve import DEFAULT_MODEL, resolve
from skclip.checkpoints.tensors import COUNT_DTYPES, WEIGHT_DTYPES, read_tensors
from skclip.exceptions import CheckpointError, ModelNotAvailableError
from skclip.model.clip import CLIP
from skclip.model.config import PreprocessConfig

KEY_LAYOUTS = (huggingface, open_clip, openai)
# the exponential of a larger one is infinite in float32, that of its negative is zero
_LARGEST_LOGIT_SCALE = 80


@dataclass(frozen=True)
class Checkpoint:
    """A model with everything that is needed to use it.

    Attributes
    ----------
    model : CLIP
        In float32, on the CPU, ready for inference.
    lazy_tokenizer : LazyTokenizer
        What `tokenizer` is built from.
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
    digests : dict of str to str, or None
        The sha256 of each file, if there are no tokenizer files.
    """

    model: CLIP
    lazy_tokenizer: LazyTokenizer
    preprocess_config: PreprocessConfig
    source: str
    fingerprint: str
    directory: Path
    templates: tuple[str, ...] = ()
    digests: dict[str, str] | None = None

    @property
    def tokenizer(self):
        """The `Tokenizer`, built at the first access."""
        return self.lazy_tokenizer.get()

    def former_fingerprint(self):
        """Return the fingerprint that development versions gave the same files.

        For a checkpoint without tokenizer files they hashed OpenAI's vocabulary, wherever they
        found it. For others the fingerprint is what it was, and this is None.
        """
        if self.digests is None:
            return None
        try:
            return fingerprint(self.digests, self.tokenizer)
        except (ModelNotAvailableError, CheckpointError):
            return None  # there is no vocabulary now

    def __setstate__(self, state):
        if "tokenizer" in state:  # pickled by a development version
            tokenizer = state.pop("tokenizer")
            state["lazy_tokenizer"] = LazyTokenizer.of(tokenizer, source=state["source"])
        self.__dict__.update(state)


def load_checkpoint(source=DEFAULT_MODEL, *, local_files_only=False, copy=True):
    """Load a checkpoint.

    Parameters
    ----------
    source : str or Path, default="openai/clip-vit-base-patch32"
        A bundled name, a directory, a weight file with its configuration beside it, one of OpenAI's
        archives, a name of `list_models`, or a hub id "org/name[@revision]".
    local_files_only : bool, default=False
        Use the hub's local cache only.
    copy : bool, default=True
        With False, weights may be views of the mapped file, which must not change while they are
        used. This is for those who convert them at once.

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
    stored = _read_files(files.weights)
    # the weights are hashed while the model is built; after an error nobody waits for that
    is_over = threading.Event()
    hashing = ThreadPoolExecutor(1)
    try:
        weight_digests = hashing.submit(digest_files, files.weights, lambda: not is_over.is_set())
        return _assemble(files, stored, weight_digests, local_files_only, copy)
    finally:
        is_over.set()
        hashing.shutdown(wait=False)


def _assemble(files, stored, weight_digests, local_files_only, copy):
    state = _convert(stored, files.weights)
    # all of OpenAI's archives are zip files; for others there is no need to wait for the digest
    archive = zipfile.is_zipfile(files.weights[0]) and is_openai_archive(weight_digests.result())
    if archive:
        config, preprocess_config = _infer_config(state, files.weights)
        config_files = []
    else:
        config, preprocess_config, config_files = read_config(files)
    vocabulary = find_vocabulary(files.directory, config.text)
    templates, template_files = read_templates(files.directory)
    model = _build_model(config, state, files.weights, complete=not archive, copy=copy)
    digests = digest_files([*config_files, *template_files]) | weight_digests.result()
    return Checkpoint(
        model=model,
        lazy_tokenizer=LazyTokenizer(
            vocabulary,
            config.text.context_length,
            source=files.source,
            local_files_only=local_files_only,
        ),
        preprocess_config=preprocess_config,
        source=files.source,
        fingerprint=fingerprint(digests, vocabulary),
        directory=files.directory,
        templates=templates,
        digests=digests if vocabulary is None else None,
    )


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


def _read_files(paths):
    stored = {}
    for path in paths:
        tensors = read_tensors(path)
        if twice := tensors.keys() & stored.keys():
            raise CheckpointError(
                f"{path} holds tensors that another shard holds too: {some(twice)}"
            )
        stored |= tensors
    return stored


def _convert(state, paths):
    """Give the tensors skclip's names."""
    for layout in KEY_LAYOUTS:
        if layout.matches(state):
            try:
                return layout.convert(state)
            except CheckpointError as error:
                raise CheckpointError(f"{join_names(paths)}: {error}") from error
    raise CheckpointError(
        f"{join_names(paths)} holds no CLIP with a text tower that skclip knows: its tensors are "
        f"{some(state)}. Load a model with towers of another library with that library, and pass "
        "it as an object (skclip.OpenCLIPEncoder shows how)"
    )


def _infer_config(state, paths):
    try:
        return openai.infer_config(state)
    except ValueError as error:
        raise CheckpointError(f"{join_names(paths)}: {error}") from error


def _build_model(config, state, paths, *, complete, copy):
    """Build the model from tensors, after checking the name and shape of each."""
    where = join_names(paths)
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
        # tensors read from safetensors are views of the mapped file
        found = found.reshape(value.shape).to(value.dtype, copy=copy).contiguous()
        if not _is_finite(found):
            raise CheckpointError(f"{where}: {key} holds values that are not finite")
        if key == "logit_scale" and abs(float(found)) > _LARGEST_LOGIT_SCALE:
            raise CheckpointError(
                f"{where}: logit_scale is {float(found):.3g}; the logarithm of the factor on "
                f"similarities must lie between -{_LARGEST_LOGIT_SCALE} and {_LARGEST_LOGIT_SCALE}"
            )
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


def _is_finite(tensor):
    if not tensor.is_floating_point():
        return True
    # a norm is a tenth of the work; that of large finite numbers may overflow
    return bool(torch.linalg.vector_norm(tensor).isfinite() or torch.isfinite(tensor).all())


def _dtype(dtype):
    return str(dtype).removeprefix("torch.")
