"""The public names are complete and documented, and cheap to import."""

import importlib
import inspect
import subprocess
import sys

import pytest
from numpydoc.docscrape import NumpyDocString

import skclip

CALLABLES = [
    getattr(module, name)
    for module in (skclip, skclip.datasets, skclip.training)
    for name in module.__all__
    if callable(getattr(module, name))
]
ESTIMATORS = [public for public in CALLABLES if hasattr(public, "get_params")]


def test_importing_skclip_imports_neither_torch_nor_sklearn():
    code = "import sys, skclip; print([m for m in ('torch', 'sklearn', 'PIL') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_resolves_and_is_listed():
    assert set(skclip.__all__) <= set(dir(skclip))
    for name in skclip.__all__:
        assert getattr(skclip, name) is not None
    assert skclip.datasets is importlib.import_module("skclip.datasets")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'skclip' has no attribute 'nonsense'"):
        _ = skclip.nonsense


@pytest.mark.parametrize("public", ESTIMATORS)
def test_constructor_keeps_the_house_rules(public):
    parameters = list(inspect.signature(public).parameters.values())
    # one more until rejection is an estimator of its own
    assert len(parameters) <= (11 if public is skclip.ZeroShotClassifier else 10)
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[1:])


@pytest.mark.parametrize("public", CALLABLES)
def test_docstring_names_every_parameter(public):
    doc = NumpyDocString(inspect.getdoc(public))
    documented = [n.strip() for p in doc["Parameters"] for n in p.name.split(",")]
    if not issubclass_of_exception(public):
        assert documented == list(inspect.signature(public).parameters)
        assert doc["Examples"]


def issubclass_of_exception(public):
    return inspect.isclass(public) and issubclass(public, Exception)
