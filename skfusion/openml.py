"""Runs on OpenML tasks through the openml client; needs ``pip install 'skfusion[openml]'``."""

import contextlib
import copy
import importlib
import inspect
import json
from functools import partial
from typing import Any, Literal, overload

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_selector

from skfusion._checks import shown

try:
    import openml
    import pandas as pd
    from openml.extensions.sklearn import SklearnExtension
    from openml.flows import OpenMLFlow
    from openml.runs import OpenMLRun
    from openml.tasks import OpenMLTask
except ImportError as error:
    raise ImportError("skfusion.openml needs the openml client: pip install 'skfusion[openml]'") from error

__all__ = ["flow_to_model", "model_to_flow", "run_on_task"]


@overload
def run_on_task(
    model: BaseEstimator, task: int | str | OpenMLTask, *, return_flow: Literal[False] = False, **options: Any
) -> OpenMLRun: ...


@overload
def run_on_task(
    model: BaseEstimator, task: int | str | OpenMLTask, *, return_flow: Literal[True], **options: Any
) -> tuple[OpenMLRun, OpenMLFlow]: ...


def run_on_task(
    model: BaseEstimator, task: int | str | OpenMLTask, *, return_flow: bool = False, **options: Any
) -> OpenMLRun | tuple[OpenMLRun, OpenMLFlow]:
    """Run a model on the folds of an OpenML task.

    It takes the same arguments as ``openml.runs.run_model_on_task``, and differs in three ways.  Columns of class
    probabilities are in the order of ``task.class_labels`` for every estimator (the client files them by position).
    Targets that the client reads as booleans or numbers become labels again.  Models may have strategy objects as
    parameters.

    Parameters
    ----------
    model : estimator
        Any scikit-learn estimator; it is not changed.
    task : int, str or openml.tasks.OpenMLTask
        The task or its id.
    return_flow : bool, default=False
        Whether to return the model's flow too.
    **options
        Passed to ``openml.runs.run_flow_on_task``.  Without the server, pass ``avoid_duplicate_runs=False``.

    Returns
    -------
    run : openml.runs.OpenMLRun
        The run; ``run.publish()`` uploads it.  If its model has strategy objects, and you stored the run and read it
        again with ``OpenMLRun.from_filesystem``, set ``run.flow = model_to_flow(run.model)`` first.
    flow : openml.flows.OpenMLFlow
        Only with ``return_flow=True``.

    Raises
    ------
    TypeError
        If OpenML cannot store the model; the message says what to write instead.
    ValueError
        If ``task`` is neither a task nor an id.

    Examples
    --------
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.openml import run_on_task
    >>> run = run_on_task(FusedMLPClassifier(), 3022, avoid_duplicate_runs=False)  # doctest: +SKIP
    """
    flow = model_to_flow(model)
    flow.model = clone(model)  # the client seeds it
    with _registered():
        run = openml.runs.run_flow_on_task(flow, _with_declared_labels(_get_task(task)), **options)
    return (run, flow) if return_flow else run


def model_to_flow(model: BaseEstimator) -> OpenMLFlow:
    """Describe a model, with names or strategy objects as its parameters, as an OpenML flow.

    Parameters
    ----------
    model : estimator
        Any scikit-learn estimator.

    Returns
    -------
    openml.flows.OpenMLFlow
        The flow, not published; :func:`flow_to_model` makes an equal model of it.

    Raises
    ------
    TypeError
        If OpenML cannot store the model; the message says what to write instead.

    Examples
    --------
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.openml import model_to_flow
    >>> from skfusion.topology import RingTopology
    >>> model_to_flow(FusedMLPClassifier(topology=RingTopology())).name
    'skfusion.classifier.FusedMLPClassifier(topology=skfusion.topology.RingTopology)'
    """
    if not isinstance(model, BaseEstimator):
        raise TypeError(f"model must be a scikit-learn estimator, got {shown(model)}")
    flow = _Extension().model_to_flow(model)
    try:
        flow_to_model(flow)
    except Exception as error:
        raise TypeError(f"OpenML cannot store {shown(model)}, since it cannot be restored: {error}") from None
    return flow


def flow_to_model(flow: OpenMLFlow) -> BaseEstimator:
    """Make the model that an OpenML flow describes.

    Flows hold JSON, which has no tuples.  A list comes back as a tuple if the parameter's default is one, as in
    ``hidden_layer_sizes``, or if it is inside a list, as in the edges of a graph.

    Parameters
    ----------
    flow : openml.flows.OpenMLFlow
        A flow that :func:`model_to_flow` or the client's scikit-learn extension made.

    Returns
    -------
    estimator
        Not fitted.

    Examples
    --------
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.openml import flow_to_model, model_to_flow
    >>> flow_to_model(model_to_flow(FusedMLPClassifier((50, 20), topology="ring")))
    FusedMLPClassifier(hidden_layer_sizes=(50, 20), topology='ring')
    """
    return _Extension().flow_to_model(flow)


# How the client marks what it has turned into JSON; the marks of a step, a component with its name and its columns.
_KIND = "oml-python:serialized_object"
_STEP_OF_A_NAME = "composition_step_constant"  # "passthrough" or "drop"
_STEPS = ("component_reference", _STEP_OF_A_NAME)


class _Extension(SklearnExtension):
    """The client's own extension, with strategies, column selectors, and class probabilities in the task's order."""

    def is_estimator(self, model):
        """Whether an object becomes a flow: a strategy does too, which has parameters but no ``fit``."""
        return super().is_estimator(model) or (isinstance(model, BaseEstimator) and not isinstance(model, type))

    def _run_model_on_fold(self, model, task, *args, **kwargs):
        predictions, probabilities, *rest = super()._run_model_on_fold(model, task, *args, **kwargs)
        if probabilities is not None:
            probabilities = probabilities[task.class_labels]
        return predictions, probabilities, *rest

    def _serialize_sklearn(self, o, parent_model=None):
        try:
            return super()._serialize_sklearn(o, parent_model)
        except (TypeError, KeyError) as error:
            if error.args[0] is not o and "not JSON serializable" not in str(error):
                raise
            raise TypeError(
                f"OpenML cannot store {shown(o)}, a {type(o).__name__}: write a string, a number, a list of these or "
                "an estimator instead, and a make_column_selector for columns by type"
            ) from None

    def _is_cross_validator(self, o):
        """Whether an object is stored as its class and the arguments that made it."""
        return super()._is_cross_validator(o) or isinstance(o, make_column_selector)

    def _serialize_cross_validator(self, o):
        if isinstance(o, make_column_selector):
            o = copy.copy(o)
            o.dtype_include, o.dtype_exclude = _dtype_names(o.dtype_include), _dtype_names(o.dtype_exclude)
        return super()._serialize_cross_validator(o)

    def _serialize_model(self, model):
        _check_version(type(model))
        self._check_grid(model)
        try:
            return super()._serialize_model(model)
        except (TypeError, ValueError) as error:
            if str(error).startswith("OpenML "):
                raise
            raise TypeError(f"OpenML cannot store {shown(model)}: {error}") from None

    def _check_grid(self, model):
        for name, values in _grid_items(model):
            for value in values if isinstance(values, (list, tuple)) else ():
                if self.is_estimator(value):
                    raise TypeError(
                        f"OpenML cannot store {shown(value)} among the values of {name!r}: write names there, such as "
                        f"'ring', or give the estimator one such object and search over its parameters, '{name}__...'"
                    )

    def _deserialize_sklearn(self, o, *args, **kwargs):
        if isinstance(o, str) and not isinstance(o, _Text):
            with contextlib.suppress(json.JSONDecodeError):
                o = _mark_texts(json.loads(o))
        if isinstance(o, _Text):
            return str(o)
        if isinstance(o, dict) and o.get(_KIND) == _STEP_OF_A_NAME:  # beside which the client leaves columns as JSON
            o = o | {"value": super()._deserialize_sklearn(o["value"])}
        return super()._deserialize_sklearn(o, *args, **kwargs)

    def _deserialize_model(self, flow, *args, **kwargs):
        model = super()._deserialize_model(flow, *args, **kwargs)
        if not isinstance(model, BaseEstimator):
            return model  # "passthrough" or "drop"
        defaults = {name: p.default for name, p in inspect.signature(type(model)).parameters.items()}
        params = model.get_params(deep=False)
        return model.set_params(**{name: _as_written(params[name], defaults.get(name)) for name in params})


class _Text(str):
    """A text within a parameter: the client would read it as JSON once more, and make a number of the label "1"."""


def _mark_texts(value):
    if isinstance(value, str):
        return _Text(value)
    if isinstance(value, list):
        return [_mark_texts(item) for item in value]
    if isinstance(value, dict) and value.get(_KIND) in _STEPS:  # whose columns may have names like JSON
        return value | {"value": _mark_texts(value["value"])}
    if isinstance(value, dict) and _KIND not in value:
        return {_Text(name): _mark_texts(item) for name, item in value.items()}
    return value


def _as_written(value, default=None):
    """Undo what JSON does, which has no tuples, and what the client does, which stores an empty list as None."""
    if isinstance(default, tuple) and (value is None or isinstance(value, list)):
        return tuple(value or ())
    if isinstance(value, dict):
        return {name: _as_written(item) for name, item in value.items()}
    if isinstance(value, list):
        return [tuple(item) if isinstance(item, list) else _as_written(item) for item in value]
    return value


def _dtype_names(dtypes):
    """Return pandas' names of column types, which select the same columns as the types do, and are JSON."""
    if dtypes is None or isinstance(dtypes, str):
        return dtypes
    if isinstance(dtypes, (list, tuple, set)):
        return [_dtype_names(dtype) for dtype in dtypes]
    if dtypes is object or (isinstance(dtypes, type) and issubclass(dtypes, (np.generic, bool, int, float, str))):
        return dtypes.__name__
    raise TypeError(
        f"OpenML cannot store the dtype {shown(dtypes)} of a make_column_selector: write its name, such as 'category' "
        "or 'float32'"
    )


def _grid_items(model):
    """Return names and values of a search's grid, or of all its grids."""
    grids = getattr(model, "param_grid", None) or getattr(model, "param_distributions", None) or []
    return [item for grid in ([grids] if isinstance(grids, dict) else grids) for item in grid.items()]


def _check_version(cls):
    package = cls.__module__.partition(".")[0]
    if not hasattr(importlib.import_module(package), "__version__"):
        raise TypeError(
            f"OpenML stores the version of the package that a class is from, and {package!r} with {cls.__name__} has "
            "no __version__: move the class into a package that has one"
        )


@contextlib.contextmanager
def _registered():
    """Have the client use the extension here for flows that it downloads, to find earlier runs."""
    registered = openml.extensions.extensions[:]
    openml.extensions.extensions[:] = [_Extension]
    try:
        yield
    finally:
        openml.extensions.extensions[:] = registered


def _get_task(task):
    if isinstance(task, OpenMLTask):
        return task
    if not str(task).isdecimal():
        raise ValueError(f"task must be an OpenML task or its id, got {shown(task)}")
    return openml.tasks.get_task(int(task))


def _with_declared_labels(task):
    """Copy a classification task, with the labels that it declares as its targets."""
    if not getattr(task, "class_labels", None):
        return task
    labelled = copy.copy(task)
    labelled.get_X_and_y = partial(_get_data, task)
    return labelled


def _get_data(task, dataset_format):
    """Return a task's rows and labels, which the client may have read as booleans or numbers."""
    X, y = task.get_X_and_y(dataset_format=dataset_format)
    if isinstance(y, pd.Series) and not set(y.dropna()) <= set(task.class_labels):
        labels = {label.lower(): label for label in task.class_labels}
        y = y.astype(object).map(lambda value: labels.get(str(value).lower(), np.nan))
        y = y.astype(pd.CategoricalDtype(task.class_labels))
    return X, y
