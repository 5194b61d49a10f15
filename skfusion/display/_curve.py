"""FusionCurveDisplay: how training went."""

from __future__ import annotations  # the names of matplotlib's classes are there for type checkers alone

from itertools import chain
from typing import TYPE_CHECKING, Self

import numpy as np

from skfusion._base import BaseFusedMLP
from skfusion._checks import shown
from skfusion._typing import FloatArray, IntArray, Records
from skfusion.display._common import check_estimator, check_keywords, count_in_integers, ink, pyplot, styled, two_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from skfusion.display._common import Keywords, TwoAxes

_HISTORY_KEYS = ("losses", "loss", "disagreement_before_fusion", "disagreement_after_fusion", "fusion_rounds")
_SCORE_KEYS = ("peers", "consensus")
# Above which the figure leaves out what would be too crowded to be read.
_MAX_MARKED_ROUNDS = 30


class FusionCurveDisplay:
    """Draw losses or scores of the peers over epochs, and how far the peers disagree.

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
        Name of ``summary_scores`` in the legend.
    score_name : str, default="loss"
        Name of the scores, for the axis.

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
        The disagreement, before and after the last round of each epoch.
    fusion_lines_ : list of matplotlib Line2D
        The disagreement before and after fusion, in the epochs that had a fusion round.
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
        """Draw how an estimator's training went.

        Parameters
        ----------
        estimator : FusedMLPClassifier or FusedMLPRegressor
            A fitted estimator.
        scores : list of dict or None, default=None
            The ``history`` of a :class:`skfusion.callback.PeerScores`, to draw the scores of the peers and the
            consensus instead of the training losses and their mean.
        score_name : str or None, default=None
            Name of the scores, for the axis; None means "loss" or "score".
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one to replace by two new ones; None for a new figure.
        peer_kw, line_kw : dict or None, default=None
            Keyword arguments of ``Axes.plot``, for the lines of the peers and for the line of their mean or consensus.

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
        check_estimator(estimator, "history_")
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
        """Draw how training went, from its records.

        Parameters
        ----------
        history : list of dict
            The ``history_`` of an estimator.
        scores : list of dict or None, default=None
            The ``history`` of a :class:`skfusion.callback.PeerScores`, to draw the scores of the peers and the
            consensus instead of the training losses and their mean.
        score_name : str or None, default=None
            Name of the scores, for the axis; None means "loss" or "score".
        ax : matplotlib Axes, array-like of two matplotlib Axes or None, default=None
            Two axes to draw on, or one to replace by two new ones; None for a new figure.
        peer_kw, line_kw : dict or None, default=None
            Keyword arguments of ``Axes.plot``, for the lines of the peers and for the line of their mean or consensus.

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
                raise ValueError(f"scores must be of the same fit as history, but they also have epoch {min(unknown)}")
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
            Two axes to draw on, or one to replace by two new ones; None for a new figure.
        peer_kw, line_kw : dict or None, default=None
            Keyword arguments of ``Axes.plot``, for the lines of the peers and for the line of their mean or consensus.

        Returns
        -------
        FusionCurveDisplay
            Itself.

        Raises
        ------
        ImportError
            If there is no matplotlib.
        TypeError, ValueError
            If an argument is not as described.
        """
        plt = pyplot("FusionCurveDisplay.plot")
        peer_kw, line_kw = check_keywords("peer_kw", peer_kw), check_keywords("line_kw", line_kw)
        self.axes_ = two_axes(plt, ax, (6.4, 5.6), nrows=2, ncols=1, height_ratios=[5, 3], sharex=True)
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
        # Across the epochs that a peer sat out, or its lonely ones would not be seen.
        has_score = ~np.isnan(self.peer_scores).T
        lines = [(self.epochs[has], of_peer[has]) for has, of_peer in zip(has_score, self.peer_scores.T, strict=True)]
        self.peer_lines_ = ax.plot(*chain.from_iterable(lines), **styled(faint | marker, peer_kw, artist))
        self.peer_lines_[0].set_label(peer_kw.get("label", f"{n_networks} peers" if n_networks > 1 else "1 peer"))
        for line in self.peer_lines_[1:]:
            line.set_label("_")  # one entry of the legend stands for all
        strong = {"color": ink(), "linewidth": 2, "label": self.summary_name}
        (self.summary_line_,) = ax.plot(self.epochs, self.summary_scores, **styled(strong | marker, line_kw, artist))
        falling = self.summary_scores[-1] < self.summary_scores[0]
        legend = ax.legend(loc="upper right" if falling else "lower right")
        for handle in legend.get_lines():
            handle.set_alpha(1)
        ax.set_ylabel(self.score_name)
        count_in_integers(ax.xaxis)

    def _plot_disagreement(self, ax):
        course = np.column_stack([self.disagreement_before, self.disagreement_after]).ravel()
        (self.disagreement_line_,) = ax.plot(np.repeat(self.epochs, 2), course, color="0.6", linewidth=1)
        fused = self.fusion_rounds > 0
        epochs, before, after = self.epochs[fused], self.disagreement_before[fused], self.disagreement_after[fused]
        marker = "." if len(epochs) <= _MAX_MARKED_ROUNDS else None
        self.fusion_lines_ = [
            *ax.plot(epochs, before, "-", color="0.35", marker=marker, label="before fusion"),
            *ax.plot(epochs, after, "--", color=ink(), marker=marker, label="after fusion"),
        ]
        (self.fusion_marks_,) = ax.plot(
            epochs,
            np.full(len(epochs), 0.96),
            "|",
            color="firebrick",
            label=f"fusion rounds: {self.fusion_rounds.sum()}",
            transform=ax.get_xaxis_transform(),
        )
        # A logarithmic scale has no place for 0, which is what a round of the default topology leaves.
        ax.set(xlabel="epoch", ylabel="disagreement", yscale="log" if (course > 0).all() else "linear")
        ax.margins(y=0.15)
        legend = dict(ncols=3, columnspacing=1, handletextpad=0.5, fontsize="small", frameon=False)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), **legend)
        count_in_integers(ax.xaxis)


def _by_epoch(name, records, keys, origin):
    """Return the records of each epoch, or raise TypeError or ValueError."""
    if not isinstance(records, list):
        raise TypeError(f"{name} must be a list, {origin}; got {shown(records)}")
    if not records:
        raise ValueError(f"{name} must hold at least one epoch, like {origin} once fitted; got []")
    if not all(isinstance(record, dict) for record in records):
        raise TypeError(f"{name} must be a list of dicts, {origin}; got {shown(records)}")
    for key in ("epoch", *keys):
        if not all(key in record for record in records):
            raise ValueError(f"{name} must be {origin}; this one lacks {key!r}")
    return {record["epoch"]: record for record in records}
