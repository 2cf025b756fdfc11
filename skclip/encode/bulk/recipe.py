"""The settings with which a run embeds a whole collection."""

from contextlib import closing
from dataclasses import dataclass

import numpy as np

from skclip._messages import shorten
from skclip.checkpoints.fingerprint import checkpoint_fingerprint
from skclip.checkpoints.resolve import DEFAULT_MODEL
from skclip.encode.devices import resolve_device, resolve_dtype
from skclip.encode.encoder import load_encoder, variant_of
from skclip.encode.images import embed_in_batches, embedding_width
from skclip.encode.protocol import brief
from skclip.encode.vectors import normalize_rows
from skclip.inputs.images import as_images


@dataclass(frozen=True)
class Recipe:
    """The settings with which images are embedded. A pickle contains only these, not the model.

    Parameters
    ----------
    model : str, default="openai/clip-vit-base-patch32"
    features : {"projected", "pooled"}, default="projected"
    normalize : bool, default=True
    batch_size : int or "auto", default="auto"
    device : str, default="auto"
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
    n_jobs : int or None, default=None
    cache : str or None, default=None
        All as in `CLIPImageEmbedder`.
    preprocess : {"fast", "exact"}, default="fast"
    compile : bool, default=False
        Both as in `load_encoder`.
    """

    model: str = DEFAULT_MODEL
    features: str = "projected"
    normalize: bool = True
    batch_size: int | str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    n_jobs: int | None = None
    cache: str | None = None
    preprocess: str = "fast"
    compile: bool = False

    def describe(self):
        """Return everything that the vectors depend on. The model's files are read, not loaded.

        Returns
        -------
        described : dict
            The model's fingerprint, the features, the normalization, the dtype and the variant.
        """
        dtype = resolve_dtype(self.dtype, resolve_device(self.device))
        return self._described(
            checkpoint_fingerprint(self.model), dtype, variant_of(self.preprocess, dtype)
        )

    def check(self):
        """Load the model, and make a trial without images that finds bad options.

        Returns
        -------
        described : dict
            As `describe` returns it.
        """
        described = self._describe_loaded()
        self.embed([None], described)
        return described

    def embed(self, images, described):
        """Embed images.

        Parameters
        ----------
        images : sequence
            What `skclip.inputs.images.as_images` takes. Duplicates in a list are embedded once.
        described : dict
            What `describe` or `check` returned, here or in another process.

        Returns
        -------
        vectors : ndarray of shape (n_images, n_features), float32
            NaN where the image could not be read.
        errors : dict of int to str
            For each row that could not be read, why not.

        Raises
        ------
        ValueError
            If the model, the version of Pillow or a setting is not the one described.
        """
        vectors, errors = None, {}
        for rows, part, part_errors in self.embed_in_batches(images, described):
            if vectors is None:
                vectors = np.empty((len(images), part.shape[1]), np.float32)
            vectors[rows] = part
            errors |= part_errors
        return vectors, errors

    def embed_in_batches(self, images, described):
        """Embed images, and yield the vectors as they are completed.

        Parameters
        ----------
        images, described
            As for `embed`.

        Yields
        ------
        rows : ndarray of shape (n_rows,), int
            Each row of `images` is in one batch.
        vectors : ndarray of shape (n_rows, n_features), float32
            NaN where the image could not be read.
        errors : dict of int to str
            For each of these rows that could not be read, why not.

        Raises
        ------
        ValueError
            If the model, the version of Pillow or a setting is not the one described.
        """
        here = self._describe_loaded()
        if here != described:
            raise ValueError(
                "the model or its settings changed during the run: "
                f"{difference(described, here)}; make them the same (on every worker of a "
                "cluster) and run the same command again"
            )
        encoder = self._load()
        batches = embed_in_batches(
            encoder,
            as_images(images),
            features=self.features,
            batch_size=self.batch_size,
            n_jobs=self.n_jobs,
            cache=self.cache,
        )
        width = embedding_width(encoder, self.features)
        with closing(batches):
            for rows, vectors, errors in batches:
                missing = np.full((len(errors), width), np.nan, np.float32)
                if vectors is None:
                    vectors = missing[:0]
                if self.normalize:
                    vectors = normalize_rows(vectors)
                rows = np.concatenate([rows, np.fromiter(errors, np.intp)])
                yield rows, np.concatenate([vectors, missing]), errors

    def _describe_loaded(self):
        encoder = self._load()
        dtype = resolve_dtype(self.dtype, encoder.device)
        return self._described(encoder.fingerprint, dtype, encoder.variant)

    def _described(self, fingerprint, dtype, variant):
        return {
            "model": fingerprint,
            "features": self.features,
            "normalize": self.normalize,
            "dtype": str(dtype).removeprefix("torch."),
            "variant": variant,
        }

    def _load(self):
        return load_encoder(
            self.model,
            device=self.device,
            dtype=self.dtype,
            preprocess=self.preprocess,
            compile=self.compile,
        )


def difference(before, now):
    """Return in words how two descriptions of runs differ, for messages.

    Parameters
    ----------
    before, now : dict
        What `Recipe.describe` returned, or descriptions of whole runs. They must differ.

    Returns
    -------
    str
        The first difference, with both values.
    """
    words = {
        "model": "another model",
        "rows": "another number of images",
        "inputs": "images with other names, sizes or times of change",
        "variant": "another way to prepare images",
    }
    name = next(name for name in (*now, *before) if before.get(name) != now.get(name))
    values = before.get(name), now.get(name)
    then, here = (brief(v) if name == "model" else shorten(str(v)) for v in values)
    return f"{words.get(name, f'another {name}')} ({then}, now {here})"
