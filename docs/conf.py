"""How the documentation is built: ``sphinx-build -W -b html docs docs/_build/html``, without network."""

import sys
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

import skfusion
from skfusion._base import BaseFusedMLP

HERE = Path(__file__).parent
sys.path.append(str(HERE / "_extensions"))
import elsewhere  # noqa: E402

project = "skfusion"
author = "the skfusion developers"
copyright = author
version = release = skfusion.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "parameter_groups",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_extensions", "_templates"]
templates_path = ["_templates"]

# Reference
autosummary_ignore_module_all = False  # a module's page lists the names in its __all__
autodoc_typehints = "none"  # numpydoc's sections say more
autodoc_mock_imports = ["flwr", "nvflare"]  # which the site is built without
numpydoc_show_class_members = False  # the class template lists them

# Links
intersphinx_mapping = elsewhere.mapping(HERE / "_build" / "inventories")
# An estimator that an example shows links to its page: scikit-learn's "Developer API for HTML representation".
BaseFusedMLP._doc_link_module = "skfusion"
BaseFusedMLP._doc_link_template = "../reference/skfusion.{estimator_name}.html"

# Pages
highlight_language = "none"
myst_heading_anchors = 3

# Examples, in the order of the guide
ORDER = (
    "decision_regions",
    "second_hand_learning",
    "displays",
    "topologies",
    "label_skew",
    "tuning",
    "sites",
    "csv_of_sites",
    "real_sites",
    "your_own_experiment",
)
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "within_subsection_order": ExplicitOrder([f"plot_{name}.py" for name in ORDER] + ["*"]),
    "doc_module": "skfusion",
    "backreferences_dir": "_build/backreferences",
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "download_all_examples": False,
}

# Looks
toc_object_entries_show_parents = "hide"
html_theme = "pydata_sphinx_theme"
html_title = "skfusion"
html_logo = html_favicon = "images/logo.svg"
html_static_path = ["_static"]
html_css_files = ["skfusion.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "skfusion"},
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}


def skip_what_scikit_learn_documents(app, what, name, obj, skip, options):
    """Leave out set_fit_request and the like, whose docstrings refer to scikit-learn's own pages."""
    return True if name.endswith("_request") or name == "get_metadata_routing" else None


def setup(app):
    """Connect the above to Sphinx."""
    app.connect("autodoc-skip-member", skip_what_scikit_learn_documents)
