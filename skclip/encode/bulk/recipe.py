"""The settings with which a run embeds a whole collection."""

from dataclasses import dataclass

from skclip.checkpoints.resolve import DEFAULT_MODEL
from skclip.encode.devices import resolve_dtype
from skclip.encode.encoder import load_encoder
from skclip.encode.images import embed_readable_images
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
        """Load the model, and return everything that the vectors depend on.

        Returns
        -------
        described : dict
            The model's fingerprint, the features, the normalization, the dtype and the variant.
        """
        encoder = self._load()
        dtype = resolve_dtype(self.dtype, encoder.device)
        return {
            "model": encoder.fingerprint,
            "features": self.features,
            "normalize": self.normalize,
            "dtype": str(dtype).removeprefix("torch."),
            "variant": encoder.variant,
        }

    def check(self):
        """Return what `describe` returns, after a trial without images that finds bad options."""
        described = self.describe()
        self.embed([None], described)
        return described

    def embed(self, images, described, advance=lambda n_rows: None):
        """Embed images.

        Parameters
        ----------
        images : sequence
            What `skclip.inputs.images.as_images` takes. Duplicates in a list are embedded once.
        described : dict
            What `describe` returned, here or in another process.
        advance : callable, default=does nothing
            Called now and then with the number of images completed since the last call.

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
        here = self.describe()
        if here != described:
            raise ValueError(
                "the model or its settings changed during the run: "
                f"{difference(described, here)}; make them the same (on every worker of a "
                "cluster) and run the same command again"
            )
        vectors, errors = embed_readable_images(
            self._load(),
            as_images(images),
            features=self.features,
            batch_size=self.batch_size,
            n_jobs=self.n_jobs,
            cache=self.cache,
            advance=advance,
        )
        return normalize_rows(vectors) if self.normalize else vectors, errors

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
    return f"{words.get(name, f'another {name}')} ({before.get(name)}, now {now.get(name)})"
