"""What displays have in common: matplotlib when it is needed, estimators, styles and axes."""

from __future__ import annotations  # the names of matplotlib's classes are there for type checkers alone

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skfusion._checks import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    TwoAxes: TypeAlias = Axes | Sequence[Axes] | np.ndarray
    Keywords: TypeAlias = dict[str, Any]


def pyplot(caller):
    """Import pyplot, or raise ImportError."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{caller} needs matplotlib: pip install 'skfusion[plots]'") from error
    return plt


def ink():
    """Return the colour of text, which shows on the background of any style."""
    from matplotlib import rcParams

    return rcParams["text.color"]


def check_estimator(estimator, *attributes):
    """Raise NotFittedError or TypeError unless the estimator has what is to be drawn."""
    for attribute in attributes:
        if not hasattr(estimator, attribute):
            if isinstance(estimator, BaseEstimator):
                check_is_fitted(estimator)
            raise TypeError(
                f"estimator must have {attribute}, as a FusedMLPClassifier has once it has trained, got "
                f"{shown(estimator)}; pass the last step of a pipeline, or the best_estimator_ of a search"
            )


def check_keywords(name, kw):
    """Return keyword arguments as a dict, empty for None, or raise TypeError."""
    if not (kw is None or isinstance(kw, dict)):
        raise TypeError(f"{name} must be None or a dict of keyword arguments, got {shown(kw)}")
    return kw or {}


def styled(defaults, kw, artist):
    """Let keyword arguments, under any of their names, override the defaults."""
    from matplotlib.cbook import normalize_kwargs

    return defaults | normalize_kwargs(kw, artist)


def one_axes(plt, ax):
    """Return the axes given, or make some in a new figure."""
    if ax is None:
        _, ax = plt.subplots(layout="constrained")
    if not isinstance(ax, plt.Axes):
        raise TypeError(f"ax must be None or matplotlib Axes, got {shown(ax)}")
    return ax


def two_axes(plt, ax, figsize, *, sharex=False, **grid):
    """Return the two axes given, or make two in place of the one given or in a new figure."""
    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    if isinstance(ax, plt.Axes):
        if ax.get_subplotspec() is None:
            raise ValueError("ax must be two Axes or one that is part of a grid of subplots, got one that stands alone")
        ax.set_axis_off()
        return ax.get_subplotspec().subgridspec(**grid).subplots(sharex=sharex)
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) != 2 or not all(isinstance(one, plt.Axes) for one in axes):
        raise ValueError(f"ax must be None, one or two matplotlib Axes, got {shown(ax)}")
    return axes


def count_in_integers(*axes):
    """Put ticks of each x or y axis at integers alone, unless the caller has chosen them, as by a scale."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        if isinstance(axis.get_major_locator(), MaxNLocator):
            axis.get_major_locator().set_params(integer=True, min_n_ticks=1)
