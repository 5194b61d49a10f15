"""Functions by names such as ``hospital:load``, as each machine has its own."""

import importlib

from skfusion._checks import shown


class FunctionNameError(ValueError):
    """A name that leads to no function."""


def check_function_name(parameter, name):
    """Return the module and the function in a name such as ``hospital:load``, or raise FunctionNameError."""
    module, _, function = name.partition(":") if isinstance(name, str) else ("", "", "")
    # A relative name has nothing to be relative to, and Python would look for a module "py" in a file's name.
    if not (module and function) or module.startswith(".") or module.endswith(".py"):
        raise FunctionNameError(
            f"{parameter} must name a function of a module, as in 'hospital:load', got {shown(name)}"
        )
    return module, function


def named_function(parameter, name):
    """Import a function by its name, or raise FunctionNameError; what goes wrong in its module is raised as it is."""
    module, function = check_function_name(parameter, name)
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise FunctionNameError(
            f"{parameter} must name a module that is installed, in this folder or elsewhere on Python's path; got "
            f"{module!r}"
        ) from None
    if not callable(getattr(loaded, function, None)):
        raise FunctionNameError(
            f"{parameter} must name a function of {getattr(loaded, '__file__', None) or module}, got {function!r}"
        )
    return getattr(loaded, function)
