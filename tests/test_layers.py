"""The floors of the house: an import goes down, never up, never round."""

import ast
import re
from pathlib import Path

import pytest

import skclip

ROOT = Path(skclip.__file__).parent

FLOORS = {
    "exceptions": 0,
    "inputs": 1,
    "model": 1,
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
WITHOUT = {
    "exceptions": {"numpy", "torch", "PIL"},
    "inputs": {"torch", "torchvision", "transformers"},
    "metrics": {"torch", "torchvision"},
}
# the front door, skclip/__init__.py, names what stands behind it as text
FILES = sorted(path.relative_to(ROOT) for path in ROOT.glob("*/**/*.py"))
FILES += sorted(path.relative_to(ROOT) for path in ROOT.glob("[!_]*.py"))


def layer_of(module):
    """Return the layer of "skclip.encode.encoder", of "skclip.exceptions" and so on."""
    return module.split(".")[1] if "." in module else None


def imports_of(source):
    """Yield (line, module) for every import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                is_file = (ROOT / Path(*module.split(".")[1:]) / f"{alias.name}.py").is_file()
                yield node.lineno, f"{module}.{alias.name}" if is_file else module


def faults_of(relative_path, source):
    """Return what is wrong with one file's imports, a line of text each."""
    module = ".".join(["skclip", *relative_path.with_suffix("").parts])
    layer = layer_of(module)
    faults = []
    for line, target in imports_of(source):
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
            elif other == "_sklearn_compat":
                if layer not in MAY_IMPORT_SKLEARN:
                    faults.append(f"{where}: scikit-learn")
            elif FLOORS[other] > FLOORS[layer]:
                faults.append(f"{where}: upwards")
            elif FLOORS[other] == FLOORS[layer] and other != layer:
                faults.append(f"{where}: across")
        elif top == "sklearn":
            if layer not in MAY_IMPORT_SKLEARN:
                faults.append(f"{where}: scikit-learn")
            elif layer != "_sklearn_compat" and re.search(r"\._", target):
                faults.append(f"{where}: private in scikit-learn")
        elif top in WITHOUT.get(layer, ()):
            faults.append(f"{where}: {layer} goes without {top}")
        elif top == "matplotlib" and layer != "inspection":
            faults.append(f"{where}: matplotlib")
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
        ("estimators/zero_shot.py", "from sklearn.utils._tags import Tags", "private"),
        ("estimators/zero_shot.py", "from skclip import load_encoder", "front door"),
        ("estimators/zero_shot.py", "from .prompts import embed_prompts", "relative"),
        ("encode/encoder.py", "from skclip.model import CLIP", "__init__"),
        ("estimators/zero_shot.py", "import matplotlib.pyplot", "matplotlib"),
    ],
)
def test_a_broken_import_is_found(path, source, fault):
    (found,) = faults_of(Path(path), source)
    assert found.endswith(fault) or fault in found
