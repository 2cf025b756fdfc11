"""Imports go down a floor, never up and never across; private names stay in the compat files.

And warnings are issued by the one function that finds the user's line.
"""

import ast
from pathlib import Path

import pytest

import skclip

ROOT = Path(skclip.__file__).parent

FLOORS = {
    "_messages": 0,
    "_sklearn_compat": 0,
    "_torch_compat": 0,
    "_warnings": 0,
    "exceptions": 0,
    "inputs": 1,
    "model": 1,
    "solvers": 1,
    "metrics": 1,
    "checkpoints": 2,
    "encode": 3,
    "training": 4,
    "datasets": 5,
    "estimators": 5,
    "inspection": 6,
    "cli": 7,
}
MAY_IMPORT_SKLEARN = {"datasets", "estimators", "inspection", "_sklearn_compat"}
MAY_IMPORT_TORCH_COMPAT = {"model", "encode", "training"}
WITHOUT = {
    "_messages": {"numpy", "torch", "PIL"},
    "_sklearn_compat": {"torch", "torchvision"},
    "_torch_compat": {"torchvision"},  # whose import takes a second
    "_warnings": {"numpy", "torch", "PIL"},
    "exceptions": {"numpy", "torch", "PIL"},
    "inputs": {"torch", "torchvision", "transformers"},
    "solvers": {"PIL", "torchvision", "transformers"},
    "metrics": {"torch", "torchvision"},
}
# the files that may use private names of a library
COMPAT = {"sklearn": "_sklearn_compat", "torch": "_torch_compat", "torchvision": "_torch_compat"}
LIBRARY = {"sklearn": "scikit-learn", "torch": "torch", "torchvision": "torchvision"}
# the second one stands in for the module as Pillow sees it
WARNING_FILES = ("_warnings.py", "inputs/pillow_warnings.py")
WARNING_CALLS = {"warnings.warn", "warnings.warn_explicit"}
# skclip/__init__.py is not checked: it names the modules of the public names as text
FILES = sorted(path.relative_to(ROOT) for path in ROOT.glob("*/**/*.py"))
FILES += sorted(path.relative_to(ROOT) for path in ROOT.glob("[!_]*.py"))
FILES += sorted(path.relative_to(ROOT) for path in ROOT.glob("_[!_]*.py"))


def layer_of(module):
    """Return the layer of "skclip.encode.encoder", of "skclip.exceptions" and so on."""
    return module.split(".")[1] if "." in module else None


def imports_of(tree):
    """Yield (line, module) for every import, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                is_file = (ROOT / Path(*module.split(".")[1:]) / f"{alias.name}.py").is_file()
                yield node.lineno, f"{module}.{alias.name}" if is_file else module


def names_of_libraries(tree):
    """Yield (line, dotted name) for every name of a library in `COMPAT` that a file uses.

    Such as "torch.nn.functional.gelu" for ``F.gelu``, for ``getattr(F, "gelu")`` and for
    ``from torch.nn.functional import gelu``.
    """
    imported = {}  # names in the file -> dotted names in the library
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                imported[alias.asname or top] = alias.name if alias.asname else top
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.lineno, f"{node.module}.{alias.name}"

    def dotted_name(node):
        if isinstance(node, ast.Name):
            return imported.get(node.id)
        if isinstance(node, ast.Attribute) and dotted_name(node.value):
            return f"{dotted_name(node.value)}.{node.attr}"
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "hasattr")
            and isinstance(node.args[1], ast.Constant)
            and dotted_name(node.args[0])
        ):
            return f"{dotted_name(node.args[0])}.{node.args[1].value}"
        return None

    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Call)) and dotted_name(node):
            yield node.lineno, dotted_name(node)


def private_names_of(tree):
    """Yield (line, library, dotted name up to its first private part)."""
    found = set()
    for line, name in names_of_libraries(tree):
        parts = name.split(".")
        if parts[0] not in COMPAT:
            continue
        for i, part in enumerate(parts):
            if part.startswith("_") and not part.endswith("__"):
                found.add((line, parts[0], ".".join(parts[: i + 1])))
                break
    yield from sorted(found)


def faults_of(relative_path, source):
    """Return the forbidden imports and names of one file, a line of text each."""
    module = ".".join(["skclip", *relative_path.with_suffix("").parts])
    layer = layer_of(module)
    tree = ast.parse(source)
    faults = []
    for line, target in imports_of(tree):
        top = target.split(".")[0]
        where = f"{relative_path}:{line} imports {target}"
        if target.startswith("."):
            faults.append(f"{where}: relative")
        elif target == "skclip":
            faults.append(f"{where}: the package's own front door")
        elif top == "skclip":
            other = layer_of(target)
            if (ROOT / Path(*target.split(".")[1:])).is_dir():
                faults.append(f"{where}: a package's __init__ instead of the file")
            elif other == "_sklearn_compat" and layer not in MAY_IMPORT_SKLEARN:
                faults.append(f"{where}: scikit-learn")
            elif other == "_torch_compat" and layer not in MAY_IMPORT_TORCH_COMPAT:
                faults.append(f"{where}: torch's private names")
            elif FLOORS[other] > FLOORS[layer]:
                faults.append(f"{where}: upwards")
            elif FLOORS[other] == FLOORS[layer] and other != layer:
                faults.append(f"{where}: across")
        elif top == "sklearn" and layer not in MAY_IMPORT_SKLEARN:
            faults.append(f"{where}: scikit-learn")
        elif top in WITHOUT.get(layer, ()):
            faults.append(f"{where}: {layer} goes without {top}")
        elif top == "matplotlib" and layer != "inspection":
            faults.append(f"{where}: matplotlib")
    for line, library, name in private_names_of(tree):
        if layer != COMPAT[library]:
            faults.append(f"{relative_path}:{line} uses {name}: private in {LIBRARY[library]}")
    if str(relative_path) not in WARNING_FILES:
        calls = {(line, name) for line, name in names_of_libraries(tree) if name in WARNING_CALLS}
        for line, name in sorted(calls):
            faults.append(f"{relative_path}:{line} uses {name}: not skclip._warnings.warn")
    return faults


def test_every_file_has_a_floor():
    layers = {layer_of(".".join(["skclip", *path.with_suffix("").parts])) for path in FILES}
    assert layers <= set(FLOORS)
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_down(path):
    assert faults_of(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("model/clip.py", "from skclip.encode.encoder import load_encoder", "upwards"),
        ("inputs/images.py", "from skclip.model.config import CLIPConfig", "across"),
        ("inputs/images.py", "def f():\n    import torch", "goes without torch"),
        ("encode/encoder.py", "from sklearn.base import clone", "scikit-learn"),
        ("encode/encoder.py", "from skclip._sklearn_compat import Interval", "scikit-learn"),
        ("solvers/softmax.py", "from sklearn.base import clone", "scikit-learn"),
        ("solvers/softmax.py", "from skclip.model.config import CLIPConfig", "across"),
        ("training/trainer.py", "from sklearn.base import clone", "scikit-learn"),
        ("training/trainer.py", "from skclip.datasets.glyphs import make_glyphs", "upwards"),
        ("estimators/zero_shot.py", "from sklearn.utils._tags import Tags", "private"),
        ("estimators/zero_shot.py", "from sklearn.utils import _tags", "private in scikit-learn"),
        ("estimators/zero_shot.py", "from skclip import load_encoder", "front door"),
        ("estimators/zero_shot.py", "from .prompts import embed_prompts", "relative"),
        ("encode/encoder.py", "from skclip.model import CLIP", "__init__"),
        ("estimators/zero_shot.py", "import matplotlib.pyplot", "matplotlib"),
        (
            "checkpoints/load.py",
            "from skclip._torch_compat import packed_linear",
            "torch's private names",
        ),
        ("estimators/zero_shot.py", "from skclip._torch_compat import jpeg_operator", "private"),
        ("_torch_compat.py", "import torchvision", "goes without torchvision"),
        ("_torch_compat.py", "from skclip.model.config import CLIPConfig", "upwards"),
        ("model/text.py", "import torch\ntorch._C._get_tracing_state()", "torch._C: private in"),
        ("model/text.py", "import torch\ntorch.ops.mkldnn._x.default(1)", "torch.ops.mkldnn._x"),
        (
            "model/text.py",
            "import torch\ndef f():\n    return torch.cpu._x",
            ":3 uses torch.cpu",
        ),
        ("model/text.py", "from torch import cpu as c\nc._is_fast()", "torch.cpu._is_fast"),
        ("model/text.py", "import torch.nn.functional as F\nF._x", "torch.nn.functional._x"),
        ("model/text.py", "import torch\ngetattr(torch.cpu, '_x', None)", "torch.cpu._x"),
        ("model/text.py", "import torch\nhasattr(torch.ops.mkldnn, '_x')", "torch.ops.mkldnn._x"),
        ("model/text.py", "import torch._dynamo", "uses torch._dynamo: private in torch"),
        ("model/text.py", "from torch import _C", "uses torch._C: private in torch"),
        ("model/text.py", "from torch._dynamo import reset", "uses torch._dynamo: private"),
        (
            "encode/reading.py",
            "from torchvision.transforms import _presets",
            "private in torchvision",
        ),
        ("encode/reading.py", "import torchvision\ntorchvision._HAS_OPS", "torchvision._HAS_OPS"),
        ("_warnings.py", "import numpy", "goes without numpy"),
        ("model/text.py", "import warnings as w\nw.warn('a')", ":2 uses warnings.warn: not"),
        ("model/text.py", "from warnings import warn", ":1 uses warnings.warn: not"),
        (
            "model/text.py",
            "import warnings\nwarnings.warn_explicit('a')",
            "warnings.warn_explicit: not",
        ),
    ],
)
def test_a_broken_import_is_found(path, source, fault):
    (found,) = faults_of(Path(path), source)
    assert found.endswith(fault) or fault in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("_torch_compat.py", "import torch\ntorch.ops.mkldnn._linear_pointwise"),
        ("_warnings.py", "import warnings\nwarnings.warn('a')"),
        ("encode/reading.py", "import warnings\nwarnings.catch_warnings()"),
        ("encode/reading.py", "from skclip._torch_compat import jpeg_operator"),
        ("training/trainer.py", "from skclip._torch_compat import cpu_multiplies_bfloat16"),
        ("model/text.py", "import torch\ntorch.__version__\ntorch.zeros(1).clamp_(max=1)"),
        (
            "solvers/softmax.py",
            "import numpy\nimport torch\nfrom skclip.exceptions import X",
        ),
    ],
)
def test_an_allowed_import_is_no_fault(path, source):
    assert faults_of(Path(path), source) == []
