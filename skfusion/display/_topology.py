"""TopologyDisplay: whom a round joins, and what it does to them."""

from __future__ import annotations  # the names of matplotlib's classes are there for type checkers alone

import re
from typing import TYPE_CHECKING, Self

import numpy as np

from skfusion._base import BaseFusedMLP
from skfusion._checks import check_choice, check_integer, check_real, check_rng
from skfusion._typing import FloatArray, FusionRule, IntArray, RandomState, TopologyName
from skfusion.display._common import check_estimator, check_keywords, count_in_integers, ink, pyplot, styled, two_axes
from skfusion.fusion import RULES, MatrixRound
from skfusion.topology import BaseTopology, check_topology, round_of

if TYPE_CHECKING:
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.quiver import Quiver
    from matplotlib.text import Text

    from skfusion.display._common import Keywords, TwoAxes

# Above which the figure leaves out what would be too crowded to be read.
_MAX_NUMBERED_PAIRS = 32
_MAX_NUMBERED_PEERS = 16
_MAX_PRINTED_SHARES = 10


class TopologyDisplay:
    """Draw the pairs of one fusion round as a graph, and what the round does to the peers as a matrix.

    Make one with :meth:`from_estimator` or :meth:`from_topology`.  All parameters are stored as attributes.

    Parameters
    ----------
    pairs : int ndarray of shape (n_pairs, 2)
        Ordered pairs of peers, in the order in which they fuse.
    mixing_matrix : ndarray of shape (n_networks, n_networks)
        What share of each peer before the round (column) is in each peer after it (row).
    at_once : bool, default=False
        Whether all peers mix at once, in no order.  Then the second of each pair takes a share of the first.

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib Axes
        The axes of the graph, and those of the matrix.
    figure_ : matplotlib Figure
        The figure.
    arrows_ : matplotlib Quiver
        An arrow from the first to the second of each pair, except for peers paired with themselves.
    order_texts_ : list of matplotlib Text
        The position of each pair in the round, counted from 1; empty if there are too many to read.
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

    def __init__(self, *, pairs: IntArray, mixing_matrix: FloatArray, at_once: bool = False):
        self.pairs = pairs
        self.mixing_matrix = mixing_matrix
        self.at_once = at_once

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
        """Draw a fusion round of an estimator, with its topology, fusion rate and rule.

        Parameters
        ----------
        estimator : FusedMLPClassifier or FusedMLPRegressor
            A fitted estimator.
        fusion_round : int, default=0
            Number of rounds before this one.
        random_state : int, RandomState instance or None, default=None
            Source of randomness, for topologies that draw.  The round is like those of ``fit``, but not one of them.
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one to replace by two new ones; None for a new figure.
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
        TypeError, ValueError
            As :meth:`from_topology`.
        """
        check_estimator(estimator, "topology_")
        of_fit = estimator._fitted().settings  # which the parameters of today need not be
        return cls.from_topology(
            estimator.topology_,
            len(estimator.weights_),
            of_fit.fusion_rate,
            rule=of_fit.fusion_rule,
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
        fusion_rate: float = 0.5,
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
        fusion_rate : float in [0, 1], default=0.5
            The weight that a peer gives to the other.
        rule : {"sequential", "simultaneous"}, default="sequential"
            See :func:`skfusion.fuse`.
        fusion_round : int, default=0
            Number of rounds before this one.
        random_state : int, RandomState instance or None, default=None
            Source of randomness, for topologies that draw.
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one to replace by two new ones; None for a new figure.
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
        n_networks = check_integer("n_networks", n_networks, 1)
        rate, rule = check_real("fusion_rate", fusion_rate, 0, 1), check_choice("rule", rule, RULES)
        drawn = round_of(topology, n_networks, fusion_round, check_rng(random_state))
        matrix = drawn.mixing_matrix(rate, rule)
        at_once = isinstance(drawn, MatrixRound)
        display = cls(pairs=drawn.edges() if at_once else drawn.pairs, mixing_matrix=matrix, at_once=at_once)
        return display.plot(ax, arrow_kw=arrow_kw, im_kw=im_kw)

    def plot(
        self, ax: TwoAxes | None = None, *, arrow_kw: Keywords | None = None, im_kw: Keywords | None = None
    ) -> Self:
        """Draw the graph, and the matrix beside it.

        Parameters
        ----------
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one to replace by two new ones; None for a new figure.
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
        TypeError, ValueError
            If an argument is not as described.
        """
        plt = pyplot("TopologyDisplay.plot")
        arrow_kw, im_kw = check_keywords("arrow_kw", arrow_kw), check_keywords("im_kw", im_kw)
        self.axes_ = two_axes(plt, ax, (9.6, 4.4), nrows=1, ncols=2)
        self.figure_ = self.axes_[0].figure
        self._plot_graph(self.axes_[0], plt, arrow_kw)
        self._plot_matrix(self.axes_[1], im_kw)
        return self

    def _plot_graph(self, ax, plt, arrow_kw):
        n_networks = len(self.mixing_matrix)
        angles = np.pi / 2 - 2 * np.pi * np.arange(n_networks) / n_networks
        places = np.column_stack([np.cos(angles), np.sin(angles)])
        tails, shafts = _shafts(places, self.pairs)
        many = self.at_once or len(self.pairs) > _MAX_NUMBERED_PAIRS
        self.arrows_ = self._plot_arrows(ax, plt, tails, shafts, {"width": 0.01 if many else 0.015} | arrow_kw)
        ax.scatter(*places.T, s=np.clip(500 / n_networks, 1, 60), color=ink(), linewidth=0, zorder=3)
        for peer in range(0, n_networks, -(-n_networks // _MAX_NUMBERED_PEERS)):
            ax.text(*places[peer] * 1.16, peer, ha="center", va="center", weight="bold")
        self.order_texts_ = [] if many else _number(ax, self.pairs, places, tails, shafts)
        ax.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
        if self.at_once:
            ax.set_title("who takes a share of whom, all at once")
        elif not many:
            ax.set_title("pairs of a round, in order")
        elif self.arrows_.get_array() is None:  # all of one colour
            ax.set_title("pairs of a round")
        else:
            ax.set_title("pairs of a round, first (light) to last (dark)")
        ax.axis("off")

    def _plot_arrows(self, ax, plt, tails, shafts, arrow_kw):
        orders = np.flatnonzero(self.pairs[:, 0] != self.pairs[:, 1])
        dark_half = plt.matplotlib.colors.ListedColormap(plt.get_cmap("Blues")(np.linspace(0.45, 1, 256)))
        scale = dict(angles="xy", scale_units="xy", scale=1, units="inches", headwidth=6, headlength=8)
        color = dict(cmap=dark_half, alpha=np.clip(500 / max(len(orders), 1), 0.05, 1))
        shades = np.ones_like(orders) if self.at_once else orders + 1
        arrow_kw = styled(scale | color, arrow_kw, plt.matplotlib.collections.PolyCollection)
        shaded = [] if {"color", "facecolor"} & arrow_kw.keys() else [shades]  # which would hide a colour
        return ax.quiver(*tails[orders].T, *shafts[orders].T, *shaded, **arrow_kw)

    def _plot_matrix(self, ax, im_kw):
        matrix = self.mixing_matrix
        im_kw = {"cmap": "Blues"} | im_kw
        self.im_ = ax.imshow(matrix, **im_kw if "norm" in im_kw else {"vmin": min(0, matrix.min())} | im_kw)
        self.colorbar_ = self.figure_.colorbar(self.im_, ax=ax, label="share")
        if len(matrix) <= _MAX_PRINTED_SHARES:
            for place in np.argwhere(np.abs(matrix) >= 0.005):
                share = matrix[tuple(place)]
                style = {"color": "white" if sum(self.im_.to_rgba(share)[:3]) < 1.5 else "black", "size": "small"}
                ax.text(*place[::-1], re.sub(r"\b0\.", ".", f"{share:.2f}"), ha="center", va="center", **style)
        ax.set(xlabel="peer before the round", ylabel="peer after the round", title="mixing matrix")
        count_in_integers(ax.xaxis, ax.yaxis)


def _shafts(places, pairs):
    """Return tails and shafts of arrows, which stop short of the peers and keep right, so that opposite ones differ."""
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
