"""Everything public has type hints, and they agree with the docstrings and with what is accepted."""

import importlib
import inspect
import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from numpydoc.docscrape import NumpyDocString

import skfusion

SUBMODULES = ("callback", "diagnostics", "display", "openml", "partition", "sites", "topology")
# Names that display has for type checkers alone.
OF_MATPLOTLIB = dict.fromkeys(("Axes", "Colormap", "Keywords", "TwoAxes"), Any)


def public(kind):
    """Public functions, or classes with those of our own that they derive from."""
    modules = [skfusion, *(importlib.import_module(f"skfusion.{name}") for name in SUBMODULES)]
    found = [vars(module)[name] for module in modules for name in module.__all__]
    if kind is inspect.isclass:
        found = [base for cls in found if kind(cls) for base in cls.__mro__ if base.__module__.startswith("skfusion")]
    return sorted({one for one in found if kind(one)}, key=lambda one: one.__qualname__)


def signatures():
    """Public functions and methods, each with the docstring that tells of its parameters."""
    for function in public(inspect.isfunction):
        yield function, function.__doc__
    for cls in public(inspect.isclass):
        for name, member in vars(cls).items():
            if name == "__init__":
                yield member, cls.__doc__
            elif not name.startswith("_"):
                yield from ((function, function.__doc__) for function in functions_of(member))


def functions_of(member):
    if isinstance(member, property):
        return filter(None, (member.fget, member.fset))
    return filter(inspect.isfunction, [getattr(member, "__func__", member)])


SIGNATURES = [pytest.param(*pair, id=pair[0].__qualname__) for pair in signatures()]


def section(docstring, title):
    """Names and descriptions of types in a section of a docstring."""
    entries = NumpyDocString(inspect.cleandoc(docstring or ""))[title]
    return [(name, entry.type) for entry in entries for name in entry.name.replace("*", "").split(", ")]


def alternatives(hint):
    """Types and literal values that a hint stands for."""
    if get_origin(hint) in (Union, UnionType):
        return {one for part in get_args(hint) for one in alternatives(part)}
    return set(get_args(hint)) if get_origin(hint) is Literal else {hint}


def names(hint):
    return {one for one in alternatives(hint) if isinstance(one, str)}


@pytest.mark.parametrize(("function", "docstring"), SIGNATURES)
def test_signature_is_typed(function, docstring):
    signature = inspect.signature(function)
    missing = {name for name, parameter in signature.parameters.items() if parameter.annotation is parameter.empty}
    assert missing <= {"self", "cls"}
    assert signature.return_annotation is not signature.empty or function.__name__ == "__init__"


@pytest.mark.parametrize(("function", "docstring"), SIGNATURES)
def test_hints_agree_with_the_docstring(function, docstring):
    hints = get_type_hints(function, localns=OF_MATPLOTLIB)
    for name, documented in section(docstring, "Parameters"):
        kinds, _, _ = documented.partition(", default=")
        assert (type(None) in alternatives(hints[name])) == kinds.endswith("None"), name
        assert set(re.findall(r'"(\w+)"', kinds)) in (set(), names(hints[name])), name


@pytest.mark.parametrize("cls", public(inspect.isclass))
def test_documented_attributes_are_typed(cls):
    typed = {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
    properties = {name for name, member in inspect.getmembers_static(cls) if isinstance(member, property)}
    assert {name for name, _ in section(cls.__doc__, "Attributes")} <= typed | properties


HINTS = get_type_hints(skfusion.FusedMLPClassifier.__init__)


@pytest.mark.parametrize("name", [name for name, hint in HINTS.items() if names(hint)])
def test_hint_has_the_names_that_are_accepted(name):
    model = skfusion.FusedMLPClassifier(**{name: "nonsense"})
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*got 'nonsense'") as caught:
        model.fit(np.eye(8), [0, 1] * 4)
    assert set(re.findall(r"'(\w+)'", str(caught.value))) == names(HINTS[name]) | {"nonsense"}
