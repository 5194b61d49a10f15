"""Displays show the numbers they are made of, on whatever axes, and refuse what cannot be drawn."""

import builtins
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import LogNorm, to_rgb
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier, FusedMLPRegressor
from skfusion.callback import PeerScores
from skfusion.display import FusionCurveDisplay, PartitionDisplay, TopologyDisplay
from skfusion.topology import BaseTopology, HypercubeTopology, RandomTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
NAMES = load_iris().target_names[Y]
SCORES = PeerScores(X, NAMES)
PARAMS = {"n_networks": 3, "max_iter": 6, "tol": 0, "fusion_frequency": 2, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    with pytest.warns(match="Maximum number of epochs"):
        return FusedMLPClassifier((4,), **PARAMS).set_callbacks(SCORES).fit(X, NAMES)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Pairs(BaseTopology):
    """The pairs it is given."""

    def __init__(self, pairs):
        self.pairs_ = pairs

    def __sklearn_clone__(self):
        return self

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return self.pairs_


def values(history, key):
    return [record[key] for record in history]


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# Fusion curves


def test_curves_are_the_losses_their_mean_and_the_disagreement(fitted):
    display = FusionCurveDisplay.from_estimator(fitted)
    upper, lower = display.axes_
    peers = np.column_stack([line.get_ydata() for line in display.peer_lines_])
    np.testing.assert_array_equal(peers, values(fitted.history_, "losses"))
    np.testing.assert_array_equal(display.summary_line_.get_xydata(), list(enumerate(fitted.loss_curve_, start=1)))
    before, after = (values(fitted.history_, f"disagreement_{when}_fusion") for when in ("before", "after"))
    np.testing.assert_array_equal(display.disagreement_line_.get_ydata()[::2], before)
    np.testing.assert_array_equal(display.disagreement_line_.get_ydata()[1::2], after)
    np.testing.assert_array_equal(display.disagreement_line_.get_xdata(), np.repeat(np.arange(1, 7), 2))
    for line, disagreement in zip(display.fusion_lines_, (before, after), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), [(epoch, disagreement[epoch - 1]) for epoch in (2, 4, 6)])
    assert lower.get_yscale() == "log"
    assert (upper.get_ylabel(), lower.get_xlabel(), lower.get_ylabel()) == ("loss", "epoch", "disagreement")
    assert legend_texts(upper) == ["3 peers", "mean"]
    assert upper.get_shared_x_axes().joined(upper, lower)


def test_curves_mark_the_epochs_with_fusion_rounds(fitted):
    twice = [record | {"fusion_rounds": 2 * record["fusion_rounds"]} for record in fitted.history_]
    display = FusionCurveDisplay.from_history(twice)
    assert display.fusion_marks_.get_xdata().tolist() == [2, 4, 6]
    assert legend_texts(display.axes_[1])[-1] == "fusion rounds: 6"


def test_curves_are_scores_and_the_consensus_where_these_are_given(fitted):
    display = FusionCurveDisplay.from_estimator(fitted, scores=SCORES.history, score_name="accuracy")
    peers = np.column_stack([line.get_ydata() for line in display.peer_lines_])
    np.testing.assert_array_equal(peers, values(SCORES.history, "peers"))
    np.testing.assert_array_equal(display.summary_line_.get_ydata(), values(SCORES.history, "consensus"))
    assert display.axes_[0].get_ylabel() == "accuracy"
    assert legend_texts(display.axes_[0]) == ["3 peers", "consensus"]


def test_curves_show_the_epochs_that_have_scores(fitted):
    display = FusionCurveDisplay.from_history(fitted.history_, scores=SCORES.history[2:])
    assert display.epochs.tolist() == [3, 4, 5, 6]
    assert display.disagreement_before.tolist() == values(fitted.history_[2:], "disagreement_before_fusion")
    assert display.axes_[0].get_ylabel() == "score"


def test_curves_of_a_thousand_peers_are_each_faint(fitted):
    history = [record | {"losses": [record["loss"]] * 1000} for record in fitted.history_]
    display = FusionCurveDisplay.from_history(history)
    assert len(display.peer_lines_) == 1000
    assert display.peer_lines_[0].get_alpha() < 0.1
    assert display.axes_[0].get_legend().get_lines()[0].get_alpha() == 1


def test_a_label_for_the_peers_stands_for_all_of_them(fitted):
    display = FusionCurveDisplay.from_estimator(fitted, peer_kw={"label": "sites"})
    assert legend_texts(display.axes_[0]) == ["sites", "mean"]


def test_one_network_that_never_disagrees_is_drawn():
    single = FusedMLPClassifier((4,), **PARAMS | {"n_networks": 1}).fit(X, Y)
    display = FusionCurveDisplay.from_estimator(single)
    assert display.axes_[1].get_yscale() == "linear"
    display.figure_.canvas.draw()


def test_perfect_agreement_after_fusion_has_a_place_in_the_figure():
    display = FusionCurveDisplay.from_estimator(FusedMLPClassifier((4,), **PARAMS | {"n_networks": 4}).fit(X, Y))
    after = display.fusion_lines_[1]
    assert after.get_ydata().tolist() == [0, 0, 0]
    display.figure_.canvas.draw()
    assert (after.get_transform().transform(after.get_xydata())[:, 1] > display.axes_[1].bbox.y0).all()


def test_lines_and_peers_show_on_a_dark_background(fitted):
    with plt.style.context("dark_background"):
        curves = FusionCurveDisplay.from_estimator(fitted)
        graph = TopologyDisplay.from_estimator(fitted).axes_[0]
    lines = [line.get_color() for line in (curves.summary_line_, *curves.fusion_lines_)]
    (peers,) = [dots for dots in graph.collections if len(dots.get_offsets()) == 3 and dots.get_zorder() == 3]
    for color in [*lines, *peers.get_facecolor()]:
        assert max(to_rgb(color)) > 0.3


def test_one_epoch_is_a_point():
    display = FusionCurveDisplay.from_estimator(FusedMLPClassifier((4,), n_networks=3).partial_fit(X, Y, [0, 1, 2]))
    assert {line.get_marker() for line in [*display.peer_lines_, display.summary_line_]} == {"o"}


@pytest.mark.parametrize(
    ("history", "error", "message"),
    [
        (None, TypeError, "^history must be a list, the history_ of a FusedMLPClassifier; got None$"),
        ([1], TypeError, "^history must be a list of dicts, the history_ of a FusedMLPClassifier; got \\[1\\]$"),
        ([], ValueError, "^history must hold at least one epoch"),
        ([{"epoch": 1}], ValueError, "^history must be the history_ of a FusedMLPClassifier; this one lacks 'losses'$"),
    ],
)
def test_histories_that_are_none_are_refused(history, error, message):
    with pytest.raises(error, match=message):
        FusionCurveDisplay.from_history(history)


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (SCORES, TypeError, "^scores must be a list, the history of a PeerScores; got <"),
        ([], ValueError, "^scores must hold at least one epoch"),
        ([{"epoch": 1}], ValueError, "^scores must be the history of a PeerScores; this one lacks 'peers'$"),
        (
            [{"epoch": 7, "peers": [1], "consensus": 1}],
            ValueError,
            "^scores must be of the same fit .* they also have epoch 7$",
        ),
    ],
)
def test_scores_that_are_none_are_refused(fitted, scores, error, message):
    with pytest.raises(error, match=message):
        FusionCurveDisplay.from_estimator(fitted, scores=scores)


# Topologies


@pytest.mark.parametrize("topology", [HypercubeTopology(), Pairs([(0, 1), (2, 2), (0, 3)])], ids=["cube", "self-pair"])
def test_arrows_join_the_pairs_in_order_and_the_matrix_is_the_mixing_matrix(topology):
    display = TopologyDisplay.from_topology(topology, 4, 0.3, rule="simultaneous")
    pairs = np.array([pair for pair in topology.pairs(4) if pair[0] != pair[1]])
    clock = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
    tails = np.column_stack([display.arrows_.X, display.arrows_.Y])
    heads = tails + np.column_stack([display.arrows_.U, display.arrows_.V])
    for ends, peers in ((tails, pairs[:, 0]), (heads, pairs[:, 1])):
        np.testing.assert_array_equal(np.linalg.norm(ends[:, None] - clock, axis=2).argmin(axis=1), peers)
    assert (np.diff(display.arrows_.get_array()) > 0).all()
    matrix = topology.mixing_matrix(4, 0.3, "simultaneous")
    np.testing.assert_array_equal(display.im_.get_array(), matrix)
    assert display.colorbar_.mappable is display.im_


@pytest.mark.parametrize("name", ["color", "facecolor", "fc"])
def test_arrows_of_one_colour_are_not_shaded(name):
    display = TopologyDisplay.from_topology("ring", 64, arrow_kw={name: "red"})
    display.figure_.canvas.draw()  # which colours what is shaded
    assert (display.arrows_.get_facecolor()[:, :3] == [1, 0, 0]).all()
    assert display.axes_[0].get_title() == "pairs of a round"


def test_the_order_of_pairs_is_written_beside_them():
    pairs = [(0, 1), (2, 2), (0, 3), (0, 1)]
    texts = TopologyDisplay.from_topology(Pairs(pairs), 4).order_texts_
    assert [text.get_text() for text in texts] == ["1, 4", "2 ↺", "3"]
    spots = np.array([text.get_position() for text in texts])
    np.testing.assert_allclose(spots[0], (0.5, 0.5), atol=0.3)  # between 12 and 3 o'clock, where peers 0 and 1 are
    assert spots[1, 1] < -1.1  # outside, at 6 o'clock


def test_shares_below_0_are_shown_too():
    display = TopologyDisplay.from_topology("average", 3, fusion_rate=0.9)  # which overshoots the mean
    assert [text.get_text() for text in display.axes_[1].texts] == [
        "-.20",
        ".60",
        ".60",
        ".60",
        "-.20",
        ".60",
        ".60",
        ".60",
        "-.20",
    ]
    np.testing.assert_allclose(display.im_.get_clim(), (-0.2, 0.6))


def test_shares_are_written_in_the_row_of_who_takes_and_the_column_of_whose_they_are():
    texts = TopologyDisplay.from_topology(Pairs([(0, 1)]), 2, fusion_rate=0.5).axes_[1].texts
    places = {text.get_position(): text.get_text() for text in texts}
    assert places == {(0, 0): ".50", (1, 0): ".50", (0, 1): ".25", (1, 1): ".75"}


def test_graph_and_matrix_are_of_the_same_draw():
    display = TopologyDisplay.from_topology("random", 20, random_state=np.random.RandomState(0))
    joined = np.argwhere(np.triu(display.mixing_matrix, 1)).tolist()
    assert sorted(map(sorted, display.pairs.tolist())) == joined


class DrawnByTurns(BaseTopology):
    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [(0, 1 + fusion_round), (0, random_state.randint(1, n_networks))]


def test_the_round_is_drawn_that_is_asked_for():
    estimator = FusedMLPClassifier((4,), topology=DrawnByTurns(), **PARAMS | {"n_networks": 20, "max_iter": 1})
    display = TopologyDisplay.from_estimator(estimator.fit(X, Y), fusion_round=2, random_state=5)
    assert display.pairs.tolist() == [[0, 3], [0, np.random.RandomState(5).randint(1, 20)]]


class PairsAlone:
    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [(0, 2)]


def test_a_topology_of_any_class_that_fit_takes_is_drawn():
    display = TopologyDisplay.from_topology(PairsAlone(), 3, 0.5, rule="simultaneous")
    assert display.pairs.tolist() == [[0, 2]]
    np.testing.assert_array_equal(display.mixing_matrix, [[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    estimator = FusedMLPClassifier((4,), topology=PairsAlone(), **PARAMS).fit(X, Y)
    assert TopologyDisplay.from_estimator(estimator).pairs.tolist() == [[0, 2]]


def test_the_topology_of_an_estimator_is_drawn_with_the_rate_and_rule_of_its_fit():
    params = {"topology": "ring", "fusion_rate": 0.2, "fusion_rule": "simultaneous"}
    estimator = FusedMLPClassifier((4,), **PARAMS, **params).fit(X, Y)
    estimator.set_params(topology="hypercube", fusion_rate=0.4, fusion_rule="sequential")
    display = TopologyDisplay.from_estimator(estimator)
    np.testing.assert_array_equal(display.mixing_matrix, estimator.topology_.mixing_matrix(3, 0.2, "simultaneous"))
    assert display.pairs.tolist() == [[0, 1], [1, 2], [2, 0]]


@pytest.mark.parametrize("n_networks", [1, 2, 1024])
def test_any_number_of_peers_can_be_drawn(n_networks):
    display = TopologyDisplay.from_topology(RandomTopology(), n_networks, random_state=0)
    assert len(display.arrows_.U) == n_networks // 2
    assert len(display.order_texts_) == (n_networks == 2)
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("grid", 4), ValueError, "topology must be one of 'ring'"),
        (("ring", 0), ValueError, "n_networks must be at least 1, got 0"),
        (("ring", 4, 1.5), ValueError, r"fusion_rate must be in \[0, 1\], got 1.5"),
    ],
)
def test_topologies_that_are_none_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        TopologyDisplay.from_topology(*arguments)


@pytest.mark.parametrize(
    ("fusion_round", "error", "message"),
    [
        (-1, ValueError, "fusion_round must be at least 0, got -1"),
        ("two", TypeError, "fusion_round must be an integer of at least 0, got 'two'"),
    ],
)
def test_rounds_that_are_none_are_refused(fusion_round, error, message):
    with pytest.raises(error, match=message):
        TopologyDisplay.from_topology("ring", 4, fusion_round=fusion_round)


# Partitions


def test_bars_are_the_rows_of_each_class_on_top_of_one_another(fitted):
    display = PartitionDisplay.from_estimator(fitted, NAMES)
    below = np.zeros(3)
    for name, bars in zip(fitted.classes_, display.bars_, strict=True):
        corners = np.array([path.vertices for path in bars.get_paths()])
        (left, bottom), (right, top) = corners.min(axis=1).T, corners.max(axis=1).T
        np.testing.assert_allclose((left + right) / 2, [0, 1, 2], atol=1e-12)
        np.testing.assert_array_equal(bottom, below)
        np.testing.assert_array_equal(top - bottom, [np.sum(NAMES[part] == name) for part in fitted.partition_])
        below = top
    np.testing.assert_array_equal(below, [len(part) for part in fitted.partition_])


def test_a_class_that_a_peer_lacks_has_no_bar_there():
    display = PartitionDisplay.from_partition([[0, 1], [2, 3]], ["b", "a", "a", "a"])
    assert [len(bars.get_paths()) for bars in display.bars_] == [2, 1]
    (bar,) = display.bars_[1].get_paths()
    assert bar.vertices[:4].tolist() == [[-0.4, 1], [0.4, 1], [0.4, 2], [-0.4, 2]]


def test_a_peer_without_rows_has_a_place_but_no_bar():
    display = PartitionDisplay.from_partition([[], [0, 1], []], ["b", "a"])
    assert [len(bars.get_paths()) for bars in display.bars_] == [1, 1]
    left, right = display.ax_.get_xlim()
    assert left < -0.4 and 2.4 < right < 3


def test_classes_are_named_and_grow_lighter():
    display = PartitionDisplay.from_partition([[0, 1], [2, 3]], ["b", "c", "a", "b"])
    assert legend_texts(display.ax_) == ["c", "b", "a"]  # as they lie
    lightness = [np.dot(bars.get_facecolor()[0, :3], (0.3, 0.6, 0.1)) for bars in display.bars_]
    assert (np.diff(lightness) > 0.1).all()


def test_classes_are_named_as_they_are_whatever_their_names_mean_to_matplotlib():
    names = ["", "$5-$10", "$a_$", "_rest"]
    display = PartitionDisplay.from_partition([[0, 1], [2, 3]], names)
    display.figure_.canvas.draw()
    assert legend_texts(display.ax_) == names[::-1]
    assert not any(text.get_parse_math() for text in display.ax_.get_legend().get_texts())
    many = PartitionDisplay.from_partition([np.arange(40)], [f"$a_{name:02}_$" for name in range(40)])
    many.figure_.canvas.draw()
    assert many.figure_.axes[1].get_yticklabels()[0].get_text() == "$a_00_$"


def test_many_classes_and_peers_have_a_colour_bar():
    y = np.random.default_rng(0).integers(100, size=20000)
    display = PartitionDisplay.from_partition(np.array_split(np.arange(20000), 1024), y)
    assert display.ax_.get_legend() is None
    (colorbar,) = [ax for ax in display.figure_.axes if ax is not display.ax_]
    assert [int(text.get_text()) for text in colorbar.get_yticklabels()] == list(range(0, 100, 7))
    assert display.counts.sum() == 20000
    display.figure_.canvas.draw()


def test_rows_that_no_peer_was_shown_are_not_counted():
    weight = np.resize([0, 1], len(Y))
    estimator = FusedMLPClassifier((4,), **PARAMS).fit(X, Y, sample_weight=weight)
    display = PartitionDisplay.from_estimator(estimator, Y)
    assert display.counts.sum(axis=0).tolist() == np.bincount(Y[weight > 0]).tolist()


@pytest.mark.parametrize(
    ("partition", "y", "message"),
    [
        ([[0], [1]], [0.5, 1.7], "^y must be class labels, .* got a target of type 'continuous'$"),
        ([[0], [1]], [[0, 1], [1, 1]], "^y must be class labels, .* got a target of type 'multilabel-indicator'$"),
        ([[0], [2]], ["a", "b"], "^a partition must .* row indices from 0 to 1; that of peer 1 is array"),
        ([[0], [-1]], ["a", "b"], "^a partition must .* that of peer 1 is array"),
        ([[0.0], [1]], ["a", "b"], "^a partition must .* that of peer 0 is array"),
        ([([0], [1, 2])], ["a", "b", "a"], "^a partition must .* that of peer 0 is array"),
        ([0, 1], ["a", "b"], "^a partition must .* that of peer 0 is array"),
        ([], ["a", "b"], "^a partition must have at least one peer, got none$"),
        (None, ["a", "b"], "^a partition must be a list .* row indices for each peer, got None$"),
        ([[0], [1]], None, "^y must be an array with an entry for each row, got None$"),
        ([[0], [1]], "class", "^y must be an array with an entry for each row, got 'class'"),
        ([[0], [1]], np.array(["a", "b"], np.dtypes.StringDType()), "^y must hold strings of fixed width"),
        ([[0], [1]], np.array(["a", None], object), "^y must be labels .* got labels of type NoneType, str$"),
    ],
)
def test_partitions_that_are_none_are_refused(partition, y, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PartitionDisplay.from_partition(partition, y)


# What displays have in common

FROM_ESTIMATOR = {
    FusionCurveDisplay: FusionCurveDisplay.from_estimator,
    TopologyDisplay: TopologyDisplay.from_estimator,
    PartitionDisplay: lambda estimator, **params: PartitionDisplay.from_estimator(estimator, NAMES, **params),
}
OF_TWO_AXES = [FusionCurveDisplay, TopologyDisplay]
each_display = pytest.mark.parametrize("display", FROM_ESTIMATOR, ids=lambda display: display.__name__)


@pytest.mark.parametrize("display", OF_TWO_AXES)
def test_two_axes_given_are_drawn_on(fitted, display):
    figure, axes = plt.subplots(1, 2)
    drawn = FROM_ESTIMATOR[display](fitted, ax=axes)
    assert all(has is given for has, given in zip(drawn.axes_, axes, strict=True))
    assert drawn.figure_ is figure
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("display", OF_TWO_AXES)
def test_two_axes_take_the_place_of_one(fitted, display):
    figure, (_, right) = plt.subplots(1, 2)
    drawn = FROM_ESTIMATOR[display](fitted, ax=right)
    assert drawn.figure_ is figure
    assert not right.axison
    assert plt.get_fignums() == [figure.number]
    outer = right.get_position()
    for ax in drawn.axes_:
        inner = ax.get_subplotspec().get_position(figure)
        assert outer.x0 - 1e-9 <= inner.x0 < inner.x1 <= outer.x1 + 1e-9
        assert outer.y0 - 1e-9 <= inner.y0 < inner.y1 <= outer.y1 + 1e-9


def test_one_axes_given_is_drawn_on(fitted):
    figure, ax = plt.subplots()
    drawn = PartitionDisplay.from_estimator(fitted, NAMES, ax=ax)
    assert drawn.ax_ is ax
    assert drawn.figure_ is figure
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("display", [FusionCurveDisplay, PartitionDisplay], ids=lambda display: display.__name__)
def test_a_scale_and_ticks_that_the_caller_has_chosen_stay(fitted, display):
    _, (logarithmic, ticked) = plt.subplots(1, 2)
    logarithmic.set_xscale("log")
    ticked.set_xticks([1, 3])
    for ax in [[logarithmic, ticked]] if display in OF_TWO_AXES else [logarithmic, ticked]:
        FROM_ESTIMATOR[display](fitted, ax=ax)
    assert logarithmic.get_xscale() == "log"
    assert ticked.get_xticks().tolist() == [1, 3]


def test_peers_rows_and_epochs_are_counted_in_integers(fitted):
    _, matrix = TopologyDisplay.from_topology("line", 2).axes_
    bars = PartitionDisplay.from_partition([[0], [1]], ["a", "b"]).ax_
    upper, lower = FusionCurveDisplay.from_history(fitted.history_[:2]).axes_
    for axis in (matrix.xaxis, matrix.yaxis, bars.xaxis, bars.yaxis, upper.xaxis, lower.xaxis):
        ticks = axis.get_majorticklocs()
        np.testing.assert_array_equal(ticks, np.round(ticks))


def test_what_is_no_axes_is_refused(fitted):
    with pytest.raises(TypeError, match=r"^ax must be None or matplotlib Axes, got 3$"):
        PartitionDisplay.from_estimator(fitted, NAMES, ax=3)


@pytest.mark.parametrize("display", OF_TWO_AXES)
def test_axes_that_cannot_be_drawn_on_are_refused(fitted, display):
    figure, axes = plt.subplots(1, 3)
    with pytest.raises(ValueError, match=r"^ax must be None, one or two matplotlib Axes, got array"):
        FROM_ESTIMATOR[display](fitted, ax=axes)
    with pytest.raises(ValueError, match=r"^ax must be None, one or two matplotlib Axes, got 'here'$"):
        FROM_ESTIMATOR[display](fitted, ax="here")
    with pytest.raises(ValueError, match=r"^ax must be two Axes or one that is part of a grid of subplots"):
        FROM_ESTIMATOR[display](fitted, ax=figure.add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize(
    ("display", "name"),
    [
        (FusionCurveDisplay, "peer_kw"),
        (FusionCurveDisplay, "line_kw"),
        (TopologyDisplay, "arrow_kw"),
        (TopologyDisplay, "im_kw"),
        (PartitionDisplay, "bar_kw"),
    ],
)
def test_keyword_arguments_that_are_none_are_refused_before_a_figure_is_made(fitted, display, name):
    before = plt.get_fignums()
    with pytest.raises(TypeError, match=rf"^{name} must be None or a dict of keyword arguments, got 'red'$"):
        FROM_ESTIMATOR[display](fitted, **{name: "red"})
    assert plt.get_fignums() == before


@each_display
def test_a_display_can_be_made_from_what_it_stores(fitted, display):
    drawn = FROM_ESTIMATOR[display](fitted)
    stored = {name: value for name, value in vars(drawn).items() if not name.endswith("_")}
    again = display(**stored)
    assert again.plot() is again
    assert again.figure_ is not drawn.figure_


@each_display
def test_estimators_that_cannot_be_drawn_are_refused(fitted, display):
    draw = FROM_ESTIMATOR[display]
    with pytest.raises(NotFittedError):
        draw(clone(fitted))
    for other in (LogisticRegression().fit(X, Y), make_pipeline(StandardScaler(), fitted), 1000 * fitted.history_):
        with pytest.raises(TypeError, match=r"^estimator must have \w+_, as a .* once it has trained, got ") as refused:
            draw(other)
        assert len(str(refused.value)) < 400


def test_a_regressor_has_no_classes_to_draw():
    regressor = FusedMLPRegressor((4,), **PARAMS).fit(X, Y)
    with pytest.raises(TypeError, match=r"^estimator must have classes_, as a FusedMLPClassifier has"):
        PartitionDisplay.from_estimator(regressor, Y)


@pytest.mark.parametrize(
    ("display", "kw", "style", "expected"),
    [
        (FusionCurveDisplay, {"peer_kw": {"c": "red"}}, lambda drawn: drawn.peer_lines_[1].get_color(), "red"),
        (FusionCurveDisplay, {"line_kw": {"lw": 7}}, lambda drawn: drawn.summary_line_.get_linewidth(), 7),
        (TopologyDisplay, {"arrow_kw": {"cmap": "Reds"}}, lambda drawn: drawn.arrows_.get_cmap().name, "Reds"),
        (TopologyDisplay, {"im_kw": {"vmax": 7}}, lambda drawn: drawn.im_.get_clim(), (0, 7)),
        (TopologyDisplay, {"im_kw": {"norm": LogNorm(0.01)}}, lambda drawn: drawn.im_.get_clim()[0], 0.01),
        (PartitionDisplay, {"bar_kw": {"lw": 7}}, lambda drawn: drawn.bars_[1].get_linewidth(), 7),
        (PartitionDisplay, {"cmap": "gray"}, lambda drawn: drawn.bars_[0].get_facecolor()[0].tolist(), [0, 0, 0, 1]),
    ],
)
def test_keyword_arguments_override_the_style(fitted, display, kw, style, expected):
    assert style(FROM_ESTIMATOR[display](fitted, **kw)) == expected


@each_display
def test_without_matplotlib_a_display_says_what_to_install(fitted, display, monkeypatch):
    real_import = builtins.__import__

    def without_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    message = rf"^{display.__name__}.plot needs matplotlib: pip install 'skfusion\[plots\]'$"
    with pytest.raises(ImportError, match=message):
        FROM_ESTIMATOR[display](fitted)


def test_importing_the_package_does_not_import_matplotlib():
    code = "import sys, skfusion.display, skfusion.callback; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
