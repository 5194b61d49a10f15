"""Displays: how training went, whom a round joins, and who sees which classes; they need matplotlib."""

from __future__ import annotations  # the names of matplotlib's classes are there for type checkers alone

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from skfusion._base import BaseFusedMLP
from skfusion._typing import FloatArray, FusionRule, IntArray, RandomState, Records, TopologyName
from skfusion.classifier import FusedMLPClassifier
from skfusion.fusion import check_pairs
from skfusion.topology import BaseTopology, check_topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D
    from matplotlib.quiver import Quiver
    from matplotlib.text import Text

    TwoAxes: TypeAlias = Axes | Sequence[Axes] | np.ndarray
    Keywords: TypeAlias = dict[str, Any]

__all__ = ["FusionCurveDisplay", "PartitionDisplay", "TopologyDisplay"]


_HISTORY_KEYS = ("losses", "loss", "disagreement_before_fusion", "disagreement_after_fusion", "fusion_rounds")
_SCORE_KEYS = ("peers", "consensus")
# Above which a figure leaves out what would be too crowded to be read.
_MOST_MARKED_ROUNDS = 30
_MOST_NUMBERED_PAIRS = 32
_MOST_NUMBERED_PEERS = 16
_MOST_PRINTED_SHARES = 10
_MOST_CLASSES_IN_LEGEND = 15
_MOST_SEPARATE_BARS = 100


def _pyplot(caller):
    """Import pyplot, or raise ImportError."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError(f"{caller} needs matplotlib: pip install 'skfusion[plots]'") from None
    return plt


def _check_estimator(estimator, *attributes):
    """Raise NotFittedError or TypeError unless the estimator has what is to be drawn."""
    check_is_fitted(estimator)
    for attribute in attributes:
        if not hasattr(estimator, attribute):
            raise TypeError(
                f"estimator must have {attribute}, as a FusedMLPClassifier has once it has trained, got {estimator!r}; "
                "pass the last step of a pipeline, or the best_estimator_ of a search"
            )


def _by_epoch(name, records, keys, origin):
    """Return the records of each epoch, or raise TypeError or ValueError."""
    if not isinstance(records, list):
        raise TypeError(f"{name} must be a list, {origin}; got {records!r}")
    if not records:
        raise ValueError(f"{name} must hold at least one epoch, as does {origin} once fitted; got []")
    for key in ("epoch", *keys):
        if not all(key in record for record in records):
            raise ValueError(f"{name} must be {origin}; this one lacks {key!r}")
    return {record["epoch"]: record for record in records}


def _styled(defaults, kw, artist):
    """Let keyword arguments, under any of their names, override the defaults."""
    from matplotlib.cbook import normalize_kwargs

    return defaults | normalize_kwargs(kw, artist)


def _two_axes(plt, ax, figsize, *, sharex=False, **grid):
    """Return the two axes given, or make two in place of the one given or in a new figure."""
    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    if isinstance(ax, plt.Axes):
        if ax.get_subplotspec() is None:
            raise ValueError("ax must be two Axes or one that is part of a grid of subplots, got one of its own")
        ax.set_axis_off()
        return ax.get_subplotspec().subgridspec(**grid).subplots(sharex=sharex)
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) != 2 or not all(isinstance(one, plt.Axes) for one in axes):
        raise ValueError(f"ax must be None, one or two matplotlib Axes, got {ax!r}")
    return axes


def _count_in_integers(*axes):
    for axis in axes:
        axis.get_major_locator().set_params(integer=True, min_n_ticks=1)


class FusionCurveDisplay:
    """Losses or scores of the peers over epochs, and how far the peers disagree.

    Make one with :meth:`from_estimator` or :meth:`from_history`.  All parameters are stored as attributes.

    Parameters
    ----------
    epochs : int ndarray of shape (n_epochs,)
        Epochs, counted from 1.
    peer_scores : ndarray of shape (n_epochs, n_networks)
        Each peer's loss or score after each epoch.
    summary_scores : ndarray of shape (n_epochs,)
        The peers' mean loss, or the consensus's score.
    disagreement_before, disagreement_after : ndarray of shape (n_epochs,)
        Disagreement before and after the last fusion round of each epoch.
    fusion_rounds : int ndarray of shape (n_epochs,)
        Number of fusion rounds in each epoch.
    summary_name : str, default="mean"
        What ``summary_scores`` are of.
    score_name : str, default="loss"
        What the scores are.

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib Axes
        The axes of the scores, and those of the disagreement.
    figure_ : matplotlib Figure
        The figure.
    peer_lines_ : list of matplotlib Line2D
        The scores of each peer.
    summary_line_ : matplotlib Line2D
        Their mean, or the scores of the consensus.
    disagreement_line_ : matplotlib Line2D
        The disagreement, which falls where a round brings the peers together.
    fusion_lines_ : list of matplotlib Line2D
        The disagreement before, and that after fusion, of the epochs that had a fusion round.
    fusion_marks_ : matplotlib Line2D
        A mark, at the top of the lower axes, for each epoch that had a fusion round.

    See Also
    --------
    skfusion.callback.PeerScores : Scores the peers after each epoch.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.display import FusionCurveDisplay
    >>> model = FusedMLPClassifier(n_networks=3, max_iter=5, random_state=0).fit(*load_iris(return_X_y=True))
    >>> display = FusionCurveDisplay.from_estimator(model)
    >>> display.axes_[0].get_ylabel()
    'loss'
    """

    axes_: np.ndarray
    figure_: Figure
    peer_lines_: list[Line2D]
    summary_line_: Line2D
    disagreement_line_: Line2D
    fusion_lines_: list[Line2D]
    fusion_marks_: Line2D

    def __init__(
        self,
        *,
        epochs: IntArray,
        peer_scores: FloatArray,
        summary_scores: FloatArray,
        disagreement_before: FloatArray,
        disagreement_after: FloatArray,
        fusion_rounds: IntArray,
        summary_name: str = "mean",
        score_name: str = "loss",
    ):
        self.epochs = epochs
        self.peer_scores = peer_scores
        self.summary_scores = summary_scores
        self.disagreement_before = disagreement_before
        self.disagreement_after = disagreement_after
        self.fusion_rounds = fusion_rounds
        self.summary_name = summary_name
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseFusedMLP,
        *,
        scores: Records | None = None,
        score_name: str | None = None,
        ax: TwoAxes | None = None,
        peer_kw: Keywords | None = None,
        line_kw: Keywords | None = None,
    ) -> Self:
        """Draw how the training of an estimator went.

        Parameters
        ----------
        estimator : FusedMLPClassifier
            A fitted estimator.
        scores : list of dict or None, default=None
            The ``history`` of a :class:`skfusion.callback.PeerScores`, to draw scores and the consensus's score in
            place of the training losses and their mean.
        score_name : str or None, default=None
            What the scores are, None for "loss" or "score".
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one whose place two new ones take; None for a new figure.
        peer_kw, line_kw : dict or None, default=None
            Keyword arguments of ``Axes.plot`` for the peers' lines, and for that of their mean or consensus.

        Returns
        -------
        FusionCurveDisplay
            What is drawn.

        Raises
        ------
        NotFittedError, TypeError
            If the estimator is not fitted, or has no ``history_``.
        TypeError, ValueError
            As :meth:`from_history`.
        """
        _check_estimator(estimator, "history_")
        return cls.from_history(
            estimator.history_, scores=scores, score_name=score_name, ax=ax, peer_kw=peer_kw, line_kw=line_kw
        )

    @classmethod
    def from_history(
        cls,
        history: Records,
        *,
        scores: Records | None = None,
        score_name: str | None = None,
        ax: TwoAxes | None = None,
        peer_kw: Keywords | None = None,
        line_kw: Keywords | None = None,
    ) -> Self:
        """Draw how training went from its records.

        Parameters
        ----------
        history : list of dict
            The ``history_`` of an estimator.
        scores : list of dict or None, default=None
            The ``history`` of a :class:`skfusion.callback.PeerScores`, to draw scores and the consensus's score in
            place of the training losses and their mean.
        score_name : str or None, default=None
            What the scores are, None for "loss" or "score".
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one whose place two new ones take; None for a new figure.
        peer_kw, line_kw : dict or None, default=None
            Keyword arguments of ``Axes.plot`` for the peers' lines, and for that of their mean or consensus.

        Returns
        -------
        FusionCurveDisplay
            What is drawn.

        Raises
        ------
        TypeError, ValueError
            If ``history`` or ``scores`` are not as described, have no epoch, or are not of the same fit.
        """
        records = _by_epoch("history", history, _HISTORY_KEYS, "the history_ of a FusedMLPClassifier")
        if scores is not None:
            scored = _by_epoch("scores", scores, _SCORE_KEYS, "the history of a PeerScores")
            unknown = scored.keys() - records.keys()
            if unknown:
                raise ValueError(f"scores must be of the same fit as history, but has epoch {min(unknown)} besides")
            records = {epoch: records[epoch] | record for epoch, record in scored.items()}
        peers, summary = ("losses", "loss") if scores is None else ("peers", "consensus")

        def column(key):
            return np.array([record[key] for record in records.values()])

        display = cls(
            epochs=column("epoch"),
            peer_scores=column(peers),
            summary_scores=column(summary),
            disagreement_before=column("disagreement_before_fusion"),
            disagreement_after=column("disagreement_after_fusion"),
            fusion_rounds=column("fusion_rounds"),
            summary_name="mean" if scores is None else "consensus",
            score_name=score_name or ("loss" if scores is None else "score"),
        )
        return display.plot(ax, peer_kw=peer_kw, line_kw=line_kw)

    def plot(
        self, ax: TwoAxes | None = None, *, peer_kw: Keywords | None = None, line_kw: Keywords | None = None
    ) -> Self:
        """Draw the scores, and the disagreement below.

        Parameters
        ----------
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one whose place two new ones take; None for a new figure.
        peer_kw, line_kw : dict or None, default=None
            Keyword arguments of ``Axes.plot`` for the peers' lines, and for that of their mean or consensus.

        Returns
        -------
        FusionCurveDisplay
            Itself.

        Raises
        ------
        ImportError
            If there is no matplotlib.
        ValueError
            If ``ax`` is not as described.
        """
        plt = _pyplot("FusionCurveDisplay.plot")
        self.axes_ = _two_axes(plt, ax, (6.4, 5.6), nrows=2, ncols=1, height_ratios=[5, 3], sharex=True)
        self.figure_ = self.axes_[0].figure
        self._plot_scores(self.axes_[0], plt.Line2D, peer_kw, line_kw)
        self._plot_disagreement(self.axes_[1])
        if not self.axes_[0].get_shared_x_axes().joined(*self.axes_):
            self.axes_[0].set_xlabel("epoch")
        return self

    def _plot_scores(self, ax, artist, peer_kw, line_kw):
        n_networks = self.peer_scores.shape[1]
        faint = {"color": "tab:blue", "linewidth": 0.8, "alpha": np.clip(8 / n_networks, 0.04, 0.7)}
        marker = {"marker": "o"} if len(self.epochs) == 1 else {}
        self.peer_lines_ = ax.plot(self.epochs, self.peer_scores, **_styled(faint | marker, peer_kw, artist))
        self.peer_lines_[0].set_label(f"{n_networks} peers" if n_networks > 1 else "1 peer")
        strong = {"color": "black", "linewidth": 2, "label": self.summary_name}
        (self.summary_line_,) = ax.plot(self.epochs, self.summary_scores, **_styled(strong | marker, line_kw, artist))
        falling = self.summary_scores[-1] < self.summary_scores[0]
        legend = ax.legend(loc="upper right" if falling else "lower right")
        for handle in legend.get_lines():
            handle.set_alpha(1)
        ax.set_ylabel(self.score_name)
        _count_in_integers(ax.xaxis)

    def _plot_disagreement(self, ax):
        course = np.column_stack([self.disagreement_before, self.disagreement_after]).ravel()
        (self.disagreement_line_,) = ax.plot(np.repeat(self.epochs, 2), course, color="0.6", linewidth=1)
        fused = self.fusion_rounds > 0
        epochs, before, after = self.epochs[fused], self.disagreement_before[fused], self.disagreement_after[fused]
        marker = "." if len(epochs) <= _MOST_MARKED_ROUNDS else None
        self.fusion_lines_ = [
            *ax.plot(epochs, before, "-", color="0.35", marker=marker, label="before fusion"),
            *ax.plot(epochs, after, "--", color="black", marker=marker, label="after fusion"),
        ]
        (self.fusion_marks_,) = ax.plot(
            epochs,
            np.full(len(epochs), 0.96),
            "|",
            color="firebrick",
            label=f"fusion rounds: {self.fusion_rounds.sum()}",
            transform=ax.get_xaxis_transform(),
        )
        ax.set(xlabel="epoch", ylabel="disagreement", yscale="log" if (course > 0).any() else "linear")
        ax.margins(y=0.15)
        legend = dict(ncols=3, columnspacing=1, handletextpad=0.5, fontsize="small", frameon=False)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), **legend)
        _count_in_integers(ax.xaxis)


class TopologyDisplay:
    """The pairs of one fusion round as a graph, and what the round does to the peers as a matrix.

    Make one with :meth:`from_estimator` or :meth:`from_topology`.  All parameters are stored as attributes.

    Parameters
    ----------
    pairs : int ndarray of shape (n_pairs, 2)
        Ordered pairs of peers, in the order in which they fuse.
    mixing_matrix : ndarray of shape (n_networks, n_networks)
        For each peer after the round (row) the share of each peer before it (column).

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib Axes
        The axes of the graph, and those of the matrix.
    figure_ : matplotlib Figure
        The figure.
    arrows_ : matplotlib Quiver
        An arrow from the first to the second of each pair, but for peers paired with themselves.
    order_texts_ : list of matplotlib Text
        The places of the pairs in the round, counted from 1; empty where there are too many to be read.
    im_ : matplotlib AxesImage
        The matrix.
    colorbar_ : matplotlib Colorbar
        Its colour bar.

    See Also
    --------
    skfusion.topology.BaseTopology.mixing_matrix : The matrix.

    Examples
    --------
    >>> from skfusion.display import TopologyDisplay
    >>> display = TopologyDisplay.from_topology("ring", n_networks=4, fusion_rate=0.5)
    >>> display.pairs.tolist()
    [[0, 1], [1, 2], [2, 3], [3, 0]]
    """

    axes_: np.ndarray
    figure_: Figure
    arrows_: Quiver
    order_texts_: list[Text]
    im_: AxesImage
    colorbar_: Colorbar

    def __init__(self, *, pairs: IntArray, mixing_matrix: FloatArray):
        self.pairs = pairs
        self.mixing_matrix = mixing_matrix

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseFusedMLP,
        *,
        fusion_round: int = 0,
        random_state: RandomState = None,
        ax: TwoAxes | None = None,
        arrow_kw: Keywords | None = None,
        im_kw: Keywords | None = None,
    ) -> Self:
        """Draw a fusion round as an estimator's topology, fusion rate and rule make it.

        Parameters
        ----------
        estimator : FusedMLPClassifier
            A fitted estimator.
        fusion_round : int, default=0
            Number of rounds before this one.
        random_state : int, RandomState instance or None, default=None
            Source of randomness, for topologies that draw; a round like those of ``fit``, but not one of them.
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one whose place two new ones take; None for a new figure.
        arrow_kw, im_kw : dict or None, default=None
            Keyword arguments of ``Axes.quiver`` for the graph, and of ``Axes.imshow`` for the matrix.

        Returns
        -------
        TopologyDisplay
            What is drawn.

        Raises
        ------
        NotFittedError, TypeError
            If the estimator is not fitted, or has no ``topology_``.
        """
        _check_estimator(estimator, "topology_")
        return cls.from_topology(
            estimator.topology_,
            len(estimator.weights_),
            estimator.fusion_rate,
            rule=estimator.fusion_rule,
            fusion_round=fusion_round,
            random_state=random_state,
            ax=ax,
            arrow_kw=arrow_kw,
            im_kw=im_kw,
        )

    @classmethod
    def from_topology(
        cls,
        topology: TopologyName | BaseTopology,
        n_networks: int,
        fusion_rate: float = 0.55,
        *,
        rule: FusionRule = "sequential",
        fusion_round: int = 0,
        random_state: RandomState = None,
        ax: TwoAxes | None = None,
        arrow_kw: Keywords | None = None,
        im_kw: Keywords | None = None,
    ) -> Self:
        """Draw a fusion round of a topology.

        Parameters
        ----------
        topology : str or topology
            A name, such as "ring", or an instance of a class of :mod:`skfusion.topology`.
        n_networks : int
            How many peers there are.
        fusion_rate : float in [0, 1], default=0.55
            The weight that a peer gives to the other.
        rule : {"sequential", "simultaneous"}, default="sequential"
            See :func:`skfusion.fuse`.
        fusion_round : int, default=0
            Number of rounds before this one.
        random_state : int, RandomState instance or None, default=None
            Source of randomness, for topologies that draw.
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one whose place two new ones take; None for a new figure.
        arrow_kw, im_kw : dict or None, default=None
            Keyword arguments of ``Axes.quiver`` for the graph, and of ``Axes.imshow`` for the matrix.

        Returns
        -------
        TopologyDisplay
            What is drawn.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        """
        topology = check_topology(topology)
        # The graph and the matrix are to show the same draw.
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        matrix = topology.mixing_matrix(n_networks, fusion_rate, rule, fusion_round, seed)
        pairs = check_pairs(topology.pairs(n_networks, fusion_round, seed), n_networks)
        return cls(pairs=pairs, mixing_matrix=matrix).plot(ax, arrow_kw=arrow_kw, im_kw=im_kw)

    def plot(
        self, ax: TwoAxes | None = None, *, arrow_kw: Keywords | None = None, im_kw: Keywords | None = None
    ) -> Self:
        """Draw the graph, and the matrix beside it.

        Parameters
        ----------
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one whose place two new ones take; None for a new figure.
        arrow_kw, im_kw : dict or None, default=None
            Keyword arguments of ``Axes.quiver`` for the graph, and of ``Axes.imshow`` for the matrix.

        Returns
        -------
        TopologyDisplay
            Itself.

        Raises
        ------
        ImportError
            If there is no matplotlib.
        ValueError
            If ``ax`` is not as described.
        """
        plt = _pyplot("TopologyDisplay.plot")
        self.axes_ = _two_axes(plt, ax, (9.6, 4.4), nrows=1, ncols=2)
        self.figure_ = self.axes_[0].figure
        self._plot_graph(self.axes_[0], plt, arrow_kw)
        self._plot_matrix(self.axes_[1], im_kw)
        return self

    def _plot_graph(self, ax, plt, arrow_kw):
        n_networks = len(self.mixing_matrix)
        angles = np.pi / 2 - 2 * np.pi * np.arange(n_networks) / n_networks
        places = np.column_stack([np.cos(angles), np.sin(angles)])
        tails, shafts = _shafts(places, self.pairs)
        many = len(self.pairs) > _MOST_NUMBERED_PAIRS
        self.arrows_ = self._plot_arrows(ax, plt, tails, shafts, {"width": 0.01 if many else 0.015} | (arrow_kw or {}))
        ax.scatter(*places.T, s=np.clip(500 / n_networks, 1, 60), color="0.2", linewidth=0, zorder=3)
        for peer in range(0, n_networks, -(-n_networks // _MOST_NUMBERED_PEERS)):
            ax.text(*places[peer] * 1.16, peer, ha="center", va="center", weight="bold")
        self.order_texts_ = [] if many else _number(ax, self.pairs, places, tails, shafts)
        ax.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
        ax.set_title("pairs of a round, first (light) to last (dark)" if many else "pairs of a round, in order")
        ax.axis("off")

    def _plot_arrows(self, ax, plt, tails, shafts, arrow_kw):
        orders = np.flatnonzero(self.pairs[:, 0] != self.pairs[:, 1])
        dark_half = plt.matplotlib.colors.ListedColormap(plt.get_cmap("Blues")(np.linspace(0.45, 1, 256)))
        scale = dict(angles="xy", scale_units="xy", scale=1, units="inches", headwidth=6, headlength=8)
        color = dict(cmap=dark_half, alpha=np.clip(500 / max(len(orders), 1), 0.05, 1))
        return ax.quiver(*tails[orders].T, *shafts[orders].T, orders + 1, **scale | color | arrow_kw)

    def _plot_matrix(self, ax, im_kw):
        matrix = self.mixing_matrix
        im_kw = {"cmap": "Blues"} | (im_kw or {})
        self.im_ = ax.imshow(matrix, **im_kw if "norm" in im_kw else {"vmin": 0} | im_kw)
        self.colorbar_ = self.figure_.colorbar(self.im_, ax=ax, label="share")
        if len(matrix) <= _MOST_PRINTED_SHARES:
            for place in np.argwhere(matrix >= 0.005):
                share = matrix[tuple(place)]
                color = "white" if sum(self.im_.to_rgba(share)[:3]) < 1.5 else "black"
                ax.text(*place[::-1], f"{share:.2f}".lstrip("0"), ha="center", va="center", color=color, size="small")
        ax.set(xlabel="peer before the round", ylabel="peer after the round", title="mixing matrix")
        _count_in_integers(ax.xaxis, ax.yaxis)


def _shafts(places, pairs):
    """Tails and shafts of arrows that stop short of the peers and keep right, so that opposite ones are apart."""
    tails, heads = places[pairs[:, 0]], places[pairs[:, 1]]
    along = heads - tails
    length = np.linalg.norm(along, axis=1, keepdims=True)
    unit = along / np.maximum(length, np.finfo(float).tiny)
    right = unit[:, ::-1] * (1, -1)
    gap = np.minimum(0.08, 0.15 * length)
    return tails + gap * unit + np.minimum(0.03, 0.06 * length) * right, along - 2 * gap * unit


def _number(ax, pairs, places, tails, shafts):
    """Write on each arrow when its pair fuses, and outside of a peer when it is paired with itself."""
    orders = {}
    for order, pair in enumerate(pairs.tolist()):
        orders.setdefault(tuple(pair), []).append(order)
    texts, taken = [], places
    for (i, j), same in orders.items():
        label = ", ".join(str(order + 1) for order in same)
        if i == j:
            label, spot = f"{label} ↺", 1.32 * places[i]
        else:
            spots = tails[same[0]] + np.multiply.outer(np.linspace(0.2, 0.4, 9), shafts[same[0]])
            spot = max(spots, key=lambda spot: np.linalg.norm(taken - spot, axis=1).min())
        taken = np.vstack([taken, spot])
        box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
        texts.append(ax.text(*spot, label, ha="center", va="center", size="small", color="firebrick", bbox=box))
    return texts


class PartitionDisplay:
    """How many rows of each class each peer sees, as stacked bars.

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
        For each class its part of the peers' bars.

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
        """Draw which classes the peers of a classifier were shown.

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
            If the estimator is not fitted, or no FusedMLPClassifier.
        ValueError
            As :meth:`from_partition`.
        """
        _check_estimator(estimator, "partition_", "classes_")
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
        ValueError
            If y holds no class labels, as that of a regression does, or ``partition`` no indices of its rows.
        """
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"y must be class labels, which PartitionDisplay counts for each peer, got a target of type {kind!r}"
            )
        classes, codes = np.unique(column_or_1d(y), return_inverse=True)
        parts = [_check_part(part, peer, len(codes)) for peer, part in enumerate(partition)]
        if not parts:
            raise ValueError("partition must have at least one peer, got none")
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
        """
        plt = _pyplot("PartitionDisplay.plot")
        from matplotlib.collections import PolyCollection

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]  # or a part of a figure
        colors = plt.get_cmap(cmap, len(self.classes))
        apart = len(self.counts) <= _MOST_SEPARATE_BARS
        border = dict(edgecolor="white", linewidth=0.5) if apart else dict(linewidth=0, antialiased=False)
        self.bars_ = []
        for code, rectangles in enumerate(_stacked(self.counts, width=0.8 if apart else 1)):
            defaults = dict(facecolor=colors(code), label=str(self.classes[code])) | border
            bars = PolyCollection(rectangles, **_styled(defaults, bar_kw, PolyCollection))
            ax.add_collection(bars)
            self.bars_.append(bars)
        ax.autoscale_view()
        ax.set(xlabel="peer", ylabel="rows")
        ax.set_ylim(bottom=0)
        _count_in_integers(ax.xaxis, ax.yaxis)
        self._explain_colors(plt, colors)
        return self

    def _explain_colors(self, plt, colors):
        n_classes = len(self.classes)
        if n_classes <= _MOST_CLASSES_IN_LEGEND:
            self.ax_.legend(title="class", loc="upper left", bbox_to_anchor=(1, 1), reverse=True)
            return
        scale = plt.cm.ScalarMappable(plt.Normalize(-0.5, n_classes - 0.5), colors)
        ticks = np.arange(0, n_classes, -(-n_classes // _MOST_CLASSES_IN_LEGEND))
        colorbar = self.figure_.colorbar(scale, ax=self.ax_, label="class")
        colorbar.set_ticks(ticks, labels=[str(self.classes[tick]) for tick in ticks])


def _check_part(part, peer, n_samples):
    """Return a peer's row indices as an array, or raise ValueError."""
    part = np.asarray(part)
    if part.ndim != 1 or part.dtype.kind not in "iu" or (part.size and not 0 <= part.min() <= part.max() < n_samples):
        raise ValueError(
            f"partition must consist of 1-D arrays of indices of the {n_samples} rows of y; "
            f"that of peer {peer} is {part!r}"
        )
    return part


def _stacked(counts, width):
    """For each class the rectangles, of shape (n_bars, 4, 2), of those peers' bars that have any of it."""
    tops = np.cumsum(counts, axis=1)
    for code in range(counts.shape[1]):
        peers = np.flatnonzero(counts[:, code])
        left, right, top = peers - width / 2, peers + width / 2, tops[peers, code]
        bottom = top - counts[peers, code]
        corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
        yield np.moveaxis(np.array(corners, dtype=float), 2, 0)
