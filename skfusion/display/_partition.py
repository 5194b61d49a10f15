"""PartitionDisplay: who sees which classes."""

from __future__ import annotations  # the names of matplotlib's classes are there for type checkers alone

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target

from skfusion._inputs import check_object_labels, check_targets
from skfusion._typing import IntArray
from skfusion.classifier import FusedMLPClassifier
from skfusion.display._common import check_estimator, check_keywords, count_in_integers, one_axes, pyplot, styled
from skfusion.partition import check_parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from skfusion.display._common import Keywords

# Above which the figure leaves out what would be too crowded to be read.
_MAX_CLASSES_IN_LEGEND = 15
_MAX_SEPARATE_BARS = 100


class PartitionDisplay:
    """Draw how many rows of each class each peer sees, as stacked bars.

    Make one with :meth:`from_estimator` or :meth:`from_partition`.  All parameters are stored as attributes.

    Parameters
    ----------
    counts : int ndarray of shape (n_networks, n_classes)
        Number of rows.
    classes : array-like of shape (n_classes,)
        Class labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        The figure.
    bars_ : list of matplotlib PolyCollection
        The part of the peers' bars that belongs to each class.

    See Also
    --------
    skfusion.partition : The partitioners.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skfusion.display import PartitionDisplay
    >>> from skfusion.partition import DirichletPartitioner
    >>> X, y = load_iris(return_X_y=True)
    >>> partition = DirichletPartitioner().partition(X, y, n_networks=4, random_state=0)
    >>> PartitionDisplay.from_partition(partition, y).counts
    array([[ 2,  0,  2],
           [ 3,  0,  1],
           [19,  7, 41],
           [26, 43,  6]])
    """

    ax_: Axes
    figure_: Figure
    bars_: list[PolyCollection]

    def __init__(self, *, counts: IntArray, classes: Sequence[Any] | np.ndarray):
        self.counts = counts
        self.classes = classes

    @classmethod
    def from_estimator(
        cls,
        estimator: FusedMLPClassifier,
        y: ArrayLike,
        *,
        cmap: str | Colormap = "viridis",
        ax: Axes | None = None,
        bar_kw: Keywords | None = None,
    ) -> Self:
        """Draw which classes the peers of a classifier saw.

        Parameters
        ----------
        estimator : FusedMLPClassifier
            A fitted classifier.
        y : array-like of shape (n_samples,)
            The class labels passed to ``fit``.
        cmap : str or matplotlib Colormap, default="viridis"
            Colours of the classes, from the first to the last.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None for a new figure.
        bar_kw : dict or None, default=None
            Keyword arguments of matplotlib's ``PolyCollection``, for the bars.

        Returns
        -------
        PartitionDisplay
            What is drawn.

        Raises
        ------
        NotFittedError, TypeError
            If the estimator is not fitted, or not a FusedMLPClassifier.
        ValueError
            As :meth:`from_partition`.
        """
        check_estimator(estimator, "partition_", "classes_")
        return cls.from_partition(estimator.partition_, y, cmap=cmap, ax=ax, bar_kw=bar_kw)

    @classmethod
    def from_partition(
        cls,
        partition: Sequence[ArrayLike],
        y: ArrayLike,
        *,
        cmap: str | Colormap = "viridis",
        ax: Axes | None = None,
        bar_kw: Keywords | None = None,
    ) -> Self:
        """Draw which classes are in the parts of a partition.

        Parameters
        ----------
        partition : list of int ndarray
            For each peer the indices of its rows.
        y : array-like of shape (n_samples,)
            Class labels of the rows.
        cmap : str or matplotlib Colormap, default="viridis"
            Colours of the classes, from the first to the last.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None for a new figure.
        bar_kw : dict or None, default=None
            Keyword arguments of matplotlib's ``PolyCollection``, for the bars.

        Returns
        -------
        PartitionDisplay
            What is drawn.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, y holds numbers to predict instead of class labels, or ``partition``
            holds no indices of its rows.
        """
        check_targets(y)
        check_object_labels(y)
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass"):
            raise ValueError(f"y must be class labels, for PartitionDisplay to count, got a target of type {kind!r}")
        classes, codes = np.unique(column_or_1d(y), return_inverse=True)
        parts = check_parts(partition, len(codes))
        if not parts:
            raise ValueError("a partition must have at least one peer, got none")
        counts = [np.bincount(codes[part], minlength=len(classes)) for part in parts]
        return cls(counts=np.array(counts), classes=classes).plot(ax, cmap=cmap, bar_kw=bar_kw)

    def plot(self, ax: Axes | None = None, *, cmap: str | Colormap = "viridis", bar_kw: Keywords | None = None) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None for a new figure.
        cmap : str or matplotlib Colormap, default="viridis"
            Colours of the classes, from the first to the last.
        bar_kw : dict or None, default=None
            Keyword arguments of matplotlib's ``PolyCollection``, for the bars.

        Returns
        -------
        PartitionDisplay
            Itself.

        Raises
        ------
        ImportError
            If there is no matplotlib.
        TypeError
            If ``ax`` or ``bar_kw`` is not as described.
        """
        plt = pyplot("PartitionDisplay.plot")
        bar_kw = check_keywords("bar_kw", bar_kw)
        from matplotlib.collections import PolyCollection

        ax = one_axes(plt, ax)
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]  # or a part of a figure
        colors = plt.get_cmap(cmap, len(self.classes))
        apart = len(self.counts) <= _MAX_SEPARATE_BARS
        border = dict(edgecolor="white", linewidth=0.5) if apart else dict(linewidth=0, antialiased=False)
        width = 0.8 if apart else 1
        self.bars_ = []
        for code, rectangles in enumerate(_stacked(self.counts, width)):
            defaults = dict(facecolor=colors(code), label=str(self.classes[code])) | border
            bars = PolyCollection(rectangles, **styled(defaults, bar_kw, PolyCollection))
            ax.add_collection(bars)
            self.bars_.append(bars)
        # Peers without rows have a place on the axis, too.
        ax.update_datalim([(-width / 2, 0), (len(self.counts) - 1 + width / 2, 0)])
        ax.autoscale_view()
        ax.set(xlabel="peer", ylabel="rows")
        ax.set_ylim(bottom=0)
        count_in_integers(ax.xaxis, ax.yaxis)
        self._explain_colors(plt, colors)
        return self

    def _explain_colors(self, plt, colors):
        n_classes = len(self.classes)
        if n_classes <= _MAX_CLASSES_IN_LEGEND:
            top_first = range(n_classes)[::-1]
            bars = [self.bars_[code] for code in top_first]
            # A legend leaves out labels that are empty or begin with "_", so names come in afterwards.
            legend = self.ax_.legend(bars, top_first, title="class", loc="upper left", bbox_to_anchor=(1, 1))
            for text, code in zip(legend.get_texts(), top_first, strict=True):
                text.set(text=str(self.classes[code]), parse_math=False)
            return
        scale = plt.cm.ScalarMappable(plt.Normalize(-0.5, n_classes - 0.5), colors)
        ticks = np.arange(0, n_classes, -(-n_classes // _MAX_CLASSES_IN_LEGEND))
        colorbar = self.figure_.colorbar(scale, ax=self.ax_, label="class")
        colorbar.set_ticks(ticks, labels=[str(self.classes[tick]) for tick in ticks], parse_math=False)


def _stacked(counts, width):
    """Yield for each class the rectangles, of shape (n_bars, 4, 2), in the bars of those peers that have any of it."""
    tops = np.cumsum(counts, axis=1)
    for code in range(counts.shape[1]):
        peers = np.flatnonzero(counts[:, code])
        left, right, top = peers - width / 2, peers + width / 2, tops[peers, code]
        bottom = top - counts[peers, code]
        corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
        yield np.moveaxis(np.array(corners, dtype=float), 2, 0)
