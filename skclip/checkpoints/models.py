"""The models that have a short name: what is known about them, and how their names may be spelled.

Names, repositories and architectures are those of open_clip: ``open_clip/pretrained.py`` and
``open_clip/model_configs``. Accuracies are from ``docs/openclip_results.csv`` of
https://github.com/mlfoundations/open_clip, column "ImageNet 1k". Licenses are those that the
repositories of the weights name: OpenAI's LICENSE (https://github.com/openai/CLIP), the model cards
of LAION and of Apple, and https://github.com/facebookresearch/MetaCLIP.
"""

import difflib
import html
from typing import NamedTuple

from skclip._messages import shown
from skclip.exceptions import ModelNotAvailableError

_APPLE, _META = "apple-amlr", "CC-BY-NC 4.0"
# The training data whose models have quick-GELU. open_clip says so in the name of the architecture.
_QUICK_GELU = ("openai", "metaclip", "dfn")
_HUB_PREFIX = "hf-hub:"  # open_clip's
_SEPARATORS = str.maketrans("/:_ @", "-----")
_MOST_SUGGESTIONS = 3


class ModelFacts(NamedTuple):
    """What is published about a model.

    Parameters
    ----------
    repository : str
        Id on the Hugging Face hub, or "bundled".
    embed_dim : int
        Width of the embeddings.
    parameters : float
        Number of parameters, in millions.
    image_size : int
        Height and width of the images the model takes, in pixels.
    license : str
        License of the weights.
    imagenet : float or None
        Published zero-shot accuracy on ImageNet, in percent.
    """

    repository: str
    embed_dim: int
    parameters: float
    image_size: int
    license: str
    imagenet: float | None


# The name is the architecture, then the training data.
MODELS = {
    name: ModelFacts(*facts)
    for name, *facts in (
        ("skclip/tiny", "bundled", 192, 3.31, 32, "BSD-3-Clause", None),
        ("RN50/openai", "timm/resnet50_clip.openai", 1024, 102.01, 224, "MIT", 59.82),
        ("RN101/openai", "timm/resnet101_clip.openai", 512, 119.69, 224, "MIT", 62.28),
        ("RN50x4/openai", "timm/resnet50x4_clip.openai", 640, 178.30, 288, "MIT", 66.27),
        ("RN50x16/openai", "timm/resnet50x16_clip.openai", 768, 290.98, 384, "MIT", 70.72),
        ("RN50x64/openai", "timm/resnet50x64_clip.openai", 1024, 623.26, 448, "MIT", 73.91),
        ("ViT-B-32/openai", "openai/clip-vit-base-patch32", 512, 151.28, 224, "MIT", 63.32),
        ("ViT-B-16/openai", "openai/clip-vit-base-patch16", 512, 149.62, 224, "MIT", 68.34),
        ("ViT-L-14/openai", "openai/clip-vit-large-patch14", 768, 427.62, 224, "MIT", 75.54),
        (
            "ViT-L-14-336/openai",
            "openai/clip-vit-large-patch14-336",
            *(768, 427.94, 336, "MIT", 76.56),
        ),
        (
            "ViT-B-32/laion2b_s34b_b79k",
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            *(512, 151.28, 224, "MIT", 66.56),
        ),
        (
            "ViT-B-16/laion2b_s34b_b88k",
            "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
            *(512, 149.62, 224, "MIT", 70.23),
        ),
        (
            "ViT-L-14/laion2b_s32b_b82k",
            "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
            *(768, 427.62, 224, "MIT", 75.25),
        ),
        (
            "ViT-H-14/laion2b_s32b_b79k",
            "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            *(1024, 986.11, 224, "MIT", 77.96),
        ),
        (
            "ViT-g-14/laion2b_s34b_b88k",
            "laion/CLIP-ViT-g-14-laion2B-s34B-b88K",
            *(1024, 1366.68, 224, "MIT", 78.47),
        ),
        (
            "ViT-bigG-14/laion2b_s39b_b160k",
            "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
            *(1280, 2539.57, 224, "MIT", 80.09),
        ),
        (
            "ViT-B-32/datacomp_xl_s13b_b90k",
            "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
            *(512, 151.28, 224, "MIT", 69.17),
        ),
        (
            "ViT-B-32-256/datacomp_s34b_b86k",
            "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
            *(512, 151.29, 256, "MIT", 72.81),
        ),
        (
            "ViT-B-16/datacomp_xl_s13b_b90k",
            "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
            *(512, 149.62, 224, "MIT", 73.49),
        ),
        (
            "ViT-L-14/datacomp_xl_s13b_b90k",
            "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
            *(768, 427.62, 224, "MIT", 79.21),
        ),
        (
            "ViT-B-32/metaclip_400m",
            "timm/vit_base_patch32_clip_224.metaclip_400m",
            *(512, 151.28, 224, _META, 65.58),
        ),
        (
            "ViT-B-32/metaclip_fullcc",
            "timm/vit_base_patch32_clip_224.metaclip_2pt5b",
            *(512, 151.28, 224, _META, 67.66),
        ),
        (
            "ViT-B-16/metaclip_400m",
            "timm/vit_base_patch16_clip_224.metaclip_400m",
            *(512, 149.62, 224, _META, 70.80),
        ),
        (
            "ViT-B-16/metaclip_fullcc",
            "timm/vit_base_patch16_clip_224.metaclip_2pt5b",
            *(512, 149.62, 224, _META, 72.12),
        ),
        (
            "ViT-L-14/metaclip_400m",
            "timm/vit_large_patch14_clip_224.metaclip_400m",
            *(768, 427.62, 224, _META, 76.20),
        ),
        (
            "ViT-L-14/metaclip_fullcc",
            "timm/vit_large_patch14_clip_224.metaclip_2pt5b",
            *(768, 427.62, 224, _META, 79.17),
        ),
        (
            "ViT-H-14/metaclip_fullcc",
            "timm/vit_huge_patch14_clip_224.metaclip_2pt5b",
            *(1024, 986.11, 224, _META, 80.51),
        ),
        ("ViT-B-16/dfn2b", "apple/DFN2B-CLIP-ViT-B-16", 512, 149.62, 224, _APPLE, 76.24),
        ("ViT-L-14/dfn2b", "apple/DFN2B-CLIP-ViT-L-14", 768, 427.62, 224, _APPLE, 81.41),
        ("ViT-H-14/dfn5b", "apple/DFN5B-CLIP-ViT-H-14", 1024, 986.11, 224, _APPLE, 83.44),
        ("ViT-H-14-378/dfn5b", "apple/DFN5B-CLIP-ViT-H-14-378", 1024, 986.71, 378, _APPLE, 84.37),
    )
}

_HEADER = ("name", "embed_dim", "parameters", "image size", "ImageNet", "license")
_NOTE = (
    "ImageNet: published zero-shot accuracy (docs/openclip_results.csv of open_clip). Read the "
    "license of the weights in their repository before you use them."
)


class ModelTable(dict):
    """Maps the name of each model to the source of its weights; printed, it shows the facts."""

    def __repr__(self):
        rows = [_HEADER, *map(_cells, self._known())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, _NOTE])

    def _known(self):
        return [name for name in self if name in MODELS]  # others may have been added

    def _repr_html_(self):
        head = "".join(f"<th>{cell}</th>" for cell in _HEADER)
        rows = [
            "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(name))
            for name in self._known()
        ]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{_NOTE}</p>"


def list_models():
    """List the models that have a short name.

    Returns
    -------
    dict of str to str
        Maps each name, which every ``model=`` accepts, to the source of the weights: the id of a
        repository on the Hugging Face hub, or "bundled". Any other repository with a CLIP model in
        a layout that skclip reads can be named by its id. Printed, it is a table: the width of the
        embeddings, the number of parameters, the input size in pixels, the published zero-shot
        accuracy on ImageNet and the license of the weights.

    Notes
    -----
    A name is the architecture and the training data, as open_clip has them. Other spellings of
    the same name are understood (``"vit-b-32:laion2b_s34b_b79k"``), so are OpenAI's names
    (``"ViT-B/32"``), those of sentence-transformers (``"clip-ViT-B-32"``) and open_clip's
    ``"hf-hub:org/name"``.

    The accuracies are from ``docs/openclip_results.csv`` of [1]_.

    References
    ----------
    .. [1] open_clip, https://github.com/mlfoundations/open_clip

    Examples
    --------
    >>> from skclip import list_models
    >>> models = list_models()
    >>> models["ViT-B-32/openai"]
    'openai/clip-vit-base-patch32'
    >>> models["skclip/tiny"]
    'bundled'
    >>> print(models)  # doctest: +ELLIPSIS
    name                             embed_dim  parameters  image size  ImageNet  license
    skclip/tiny                      192        3.3 M       32                    BSD-3-Clause
    RN50/openai                      1024       102.0 M     224         59.82 %   MIT
    ...
    """
    return ModelTable((name, facts.repository) for name, facts in MODELS.items())


def canonical_name(source):
    """Return the name of `list_models` that a spelling means, or a hub id.

    Parameters
    ----------
    source : str

    Returns
    -------
    str
        What is no spelling of a name is returned as it is, without open_clip's "hf-hub:".

    Raises
    ------
    ModelNotAvailableError
        If it names an architecture, but not which of the models with that architecture.
    """
    if source in MODELS:
        return source
    known = _OPENAI_NAMES.get(source.lower()) or _SPELLINGS.get(_normal(source))
    if known:
        return known
    if source.startswith(_HUB_PREFIX):
        return source.removeprefix(_HUB_PREFIX)
    architecture = _normal(source.partition("/")[0].partition(":")[0])
    if candidates := _ARCHITECTURES.get(architecture):
        raise ModelNotAvailableError(
            f"{shown(source)} is an architecture, not one of the models that have it: "
            f"{', '.join(map(repr, candidates))}. A revision needs the repository's id"
        )
    return source


def suggest(source):
    """Return a sentence with the names most like one that was not found; "" if there are none."""
    spellings = {**_SPELLINGS, **_OPENAI_NAMES}
    spellings |= {_normal(facts.repository): facts.repository for facts in MODELS.values()}
    found = difflib.get_close_matches(_normal(source), spellings, _MOST_SUGGESTIONS, cutoff=0.75)
    names = list(dict.fromkeys(repr(spellings[spelling]) for spelling in found))
    if not names:
        return ""
    return f"Did you mean {names[0] if len(names) == 1 else 'one of ' + ', '.join(names)}?"


def _cells(name):
    facts = MODELS[name]
    return (
        name,
        str(facts.embed_dim),
        f"{facts.parameters:.1f} M",
        str(facts.image_size),
        "" if facts.imagenet is None else f"{facts.imagenet:.2f} %",
        facts.license,
    )


def _normal(name):
    return name.lower().translate(_SEPARATORS)


def _spellings():
    """Map each way of writing a name, with "-" between all its parts, to the name."""
    spellings = {_normal(name): name for name in MODELS}
    for name in MODELS:
        architecture, data = name.split("/")
        if data.startswith(_QUICK_GELU):
            spellings[_normal(f"{architecture}-quickgelu-{data}")] = name
    return spellings


def _openai_names():
    """Map OpenAI's own names (clip/clip.py), and those of sentence-transformers, to ours."""
    names = {}
    for name in MODELS:
        architecture, data = name.split("/")
        if data == "openai":
            own = architecture.replace("ViT-B-", "ViT-B/").replace("ViT-L-", "ViT-L/")
            names[own.replace("-336", "@336px").lower()] = name
            names[f"clip-{architecture}".lower()] = name
    return names


def _architectures():
    """Map each architecture to the names of the models that have it."""
    architectures = {}
    for name, facts in MODELS.items():
        if facts.repository != "bundled":
            architectures.setdefault(_normal(name.split("/")[0]), []).append(name)
    return architectures


_SPELLINGS = _spellings()
_OPENAI_NAMES = _openai_names()
_ARCHITECTURES = _architectures()
