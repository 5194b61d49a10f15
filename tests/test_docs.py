"""The documentation is complete: docstrings, reference, navigation, links.  Building it checks more."""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from sklearn.callback import FitCallback

import skfusion

validate = pytest.importorskip("numpydoc.validate").validate
mock = pytest.importorskip("sphinx.ext.autodoc.mock").mock
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "skfusion"
sys.path.append(str(DOCS / "_extensions"))
elsewhere = importlib.import_module("elsewhere")
GENERATED = ("_build", "_extensions", "auto_examples", "reference")
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.relative_to(DOCS).parts[0] not in GENERATED)
API = (DOCS / "api.md").read_text()
# What numpydoc would like besides: an extended summary (ES01) where the first line says it all, and a section of
# cross-references (SA01) beside those in the text.  A method's example (EX01) is its class's.
UNCHECKED = {"ES01", "SA01"}
UNCHECKED_IN_METHODS = {*UNCHECKED, "EX01"}


def public_modules():
    """Return the modules that have public names, by name; the others' public names are those of the package."""
    names = [module.name for module in pkgutil.walk_packages(skfusion.__path__, "skfusion.")]
    with mock([name for name in ("flwr", "nvflare") if find_spec(name) is None]):
        modules = {name: importlib.import_module(name) for name in names if "._" not in name}
    return {"skfusion": skfusion} | {name: module for name, module in modules.items() if hasattr(module, "__all__")}


def public_objects():
    """Return the names of the public classes and functions, and of the former's public methods and properties."""
    for module_name, module in public_modules().items():
        for name in module.__all__:
            if not inspect.ismodule(getattr(module, name)):
                yield f"{module_name}.{name}"
                yield from (f"{module_name}.{name}.{member}" for member in own_members(getattr(module, name)))


def own_members(value):
    """Return the names of a class's public methods and properties, but for those documented where they come from."""
    ours = [base for base in getattr(value, "__mro__", ()) if base.__module__.startswith("skfusion")]
    members = {name: member for base in reversed(ours) for name, member in vars(base).items()}
    for name, member in members.items():
        is_public = name[0] != "_" and (callable(member) or isinstance(member, (classmethod, property)))
        is_inherited = hasattr(FitCallback, name) or (member.__doc__ is None and inspect.getdoc(member) is not None)
        if is_public and not is_inherited:
            yield name


@pytest.mark.parametrize("name", list(public_objects()))
def test_docstring_follows_numpydoc(name):
    is_method = name.rpartition(".")[0] not in public_modules()
    unchecked = UNCHECKED_IN_METHODS if is_method else UNCHECKED
    assert [error for error in validate(name)["errors"] if error[0] not in unchecked] == []


@pytest.mark.parametrize("name", public_modules())
def test_reference_lists_module(name):
    assert re.search(rf"^ +{re.escape(name)}$", API, flags=re.MULTILINE)


def test_every_page_is_in_a_toctree():
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for entries in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            names = [line.split("<")[-1].rstrip(">") for line in entries.split("\n") if line and line[0] != ":"]
            listed |= {(page.parent / f"{name}.md").resolve() for name in names}
    assert [str(page.relative_to(DOCS)) for page in PAGES if page.resolve() not in listed] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]*)\)", text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = source_of(page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def source_of(path):
    """Return the file itself, or of a gallery page or picture the example that makes it."""
    example = re.fullmatch(r".*/auto_examples/(?:images/sphx_glr_)?(plot_\w+?)(?:_\d{3}\.png|\.rst)", str(path))
    if example:
        return ROOT / "examples" / f"{example[1]}.py"
    return ROOT / "examples" if str(path).endswith("auto_examples/index.rst") else path


def anchors(page):
    """Return the headings of a page as links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_titles_differ():
    titles = [page.read_text().partition("\n")[0].removeprefix("# ") for page in PAGES]
    titles += [example.read_text().split("\n")[1] for example in (ROOT / "examples").glob("plot_*.py")]
    assert len(set(titles)) == len(titles)


def test_names_that_we_link_to_elsewhere_are_known_and_exist():
    sources = [*PAGES, *(ROOT / "examples").glob("plot_*.py"), *(ROOT / "skfusion").rglob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    linked = re.findall(r"(?::\w+:|\{\w+\})`(?:[^`<]*<)?~?((?:sklearn|numpy)\.[\w.]+)>?`", text)
    linked += re.findall(r"^ +((?:sklearn|numpy)\.[\w.]+) : ", text, flags=re.MULTILINE)  # See Also
    known = {*elsewhere.CLASSES, *elsewhere.FUNCTIONS}
    assert set(linked) <= known
    for name in known:
        module, _, member = name.rpartition(".")
        assert hasattr(importlib.import_module(module), member), name


def code_tour():
    """Return the place of each file of skfusion in the code tour, by its path."""
    table = (DOCS / "contributing.md").read_text().partition("## Code tour")[2]
    rows = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    named = [SOURCE / name for row in rows for name in re.findall(r"`(.*?)`", row)]
    return {path: place for place, one in enumerate(named) for path in (one.glob("*.py") if one.is_dir() else [one])}


def imported_files(path):
    """Return the Python files of skfusion that one of them imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                yield (ROOT / name.replace(".", "/")).with_suffix(".py")


def test_code_tour_names_every_file():
    files = {path for path in SOURCE.rglob("*") if path.suffix in (".py", ".pyx", ".h")}
    assert code_tour().keys() == files - {SOURCE / "_training/__init__.py", SOURCE / "sites/__init__.py"}


def test_nothing_imports_upward():
    tour = code_tour()
    upward = [
        (str(path.relative_to(ROOT)), str(file.relative_to(ROOT)))
        for path, place in tour.items()
        if path.suffix == ".py"
        for file in imported_files(path)
        if tour.get(file, place) > place
    ]
    assert upward == []
