"""Sphinx configuration; build with ``tox -e docs``."""

from skclip import __version__

project = "skclip"
author = "the skclip developers"
project_copyright = "2026, the skclip developers"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_static", "_templates"]
default_role = "py:obj"

toc_object_entries_show_parents = "hide"
autosummary_generate = True
# the members stand in the template of a class, once
numpydoc_show_class_members = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "ignore_pattern": r"(^|[\\/])(?!plot_)[^\\/]*\.py$",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skclip",),
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_title = f"skclip {version}"
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
}
html_sidebars = {"index": [], "changelog": [], "models": [], "architecture": []}
