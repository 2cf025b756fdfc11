"""What the packaging files say agrees with the package."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import skclip
from skclip.estimators import base

CHECKOUT = Path(__file__).parents[1]
INSTALLED = Path(skclip.__file__).parent


def in_checkout(name):
    """Return the path of a file or folder of the source tree; skip the test where it is not."""
    path = CHECKOUT / name
    if not path.exists():
        pytest.skip(f"the tests stand apart from {name}")
    return path


def files_of(folder):
    """Return all files below a folder, without hidden ones and what Python has compiled."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in paths
        if not any(part == "__pycache__" or part.startswith(".") for part in path.parts)
    }


def test_version_of_the_metadata():
    assert version("skclip") == skclip.__version__


def test_version_of_the_citation():
    citation = in_checkout("CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [skclip.__version__]


def test_every_folder_with_code_is_a_listed_package():
    project = tomllib.loads(in_checkout("pyproject.toml").read_text(encoding="utf-8"))
    files = [Path("skclip", name) for name in files_of(in_checkout("skclip"))]
    folders = {path.parent for path in files if path.suffix == ".py"}
    assert {".".join(folder.parts) for folder in folders} == set(
        project["tool"]["setuptools"]["packages"]
    )
    # setuptools packs a listed folder, but no import finds what lies in one without this file
    assert folders == {path.parent for path in files if path.name == "__init__.py"}


def test_the_installed_package_has_the_files_of_the_source():
    source, installed = files_of(in_checkout("skclip")), files_of(INSTALLED)
    assert source - installed == set(), "not installed: see packages and package-data"
    assert installed - source == set(), "no longer in the source: remove build/, install again"


ESTIMATORS = [
    getattr(skclip, name) for name in skclip.__all__ if hasattr(getattr(skclip, name), "get_params")
]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_html_repr_links_to_a_page_of_the_documentation(estimator, monkeypatch):
    # showing an estimator in a notebook must not load its model, which may be a download
    monkeypatch.setattr(base, "load_encoder", None)
    site, page = re.search(
        r'<a class="sk-estimator-doc-link [^>]*href="(https://[^/]+)/en/latest/([^"]+)\.html"',
        estimator()._repr_html_(),
    ).groups()
    project = tomllib.loads(in_checkout("pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert site == project["urls"]["Documentation"]
    # autosummary names the pages
    assert page == f"generated/skclip.{estimator.__name__}"
    first_section = in_checkout("docs").joinpath("api.rst").read_text().split("Models\n------")[0]
    assert ".. currentmodule:: skclip\n" in first_section
    assert f"\n   {estimator.__name__}\n" in first_section
    assert "   :toctree: generated\n" in first_section
