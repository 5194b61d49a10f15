"""Rounds in which all networks mix at once: against a plain reference, and with training, cluster and displays."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_iris
from test_fusion import rounding, weights_with_zeros

from skfusion import FusedMLPClassifier, _kernels
from skfusion.diagnostics import diagnose
from skfusion.display import TopologyDisplay
from skfusion.topology import (
    AverageTopology,
    BaseTopology,
    CompleteTopology,
    GraphTopology,
    LineTopology,
    RingTopology,
    StarTopology,
    TorusTopology,
    round_of,
)

X, Y = load_iris(return_X_y=True)
GRAPH = [(0, 1), (1, 2), (2, 0), (3, 2)]
AT_ONCE = {
    "average": AverageTopology(),
    "ring": RingTopology(mixing="metropolis"),
    "line": LineTopology(mixing="metropolis"),
    "star": StarTopology(mixing="metropolis"),
    "complete": CompleteTopology(mixing="metropolis"),
    "torus": TorusTopology(mixing="metropolis"),
    "graph": GraphTopology(GRAPH, mixing="metropolis"),
}
each_topology = pytest.mark.parametrize("topology", AT_ONCE.values(), ids=AT_ONCE)


class Shares(BaseTopology):
    """A third party's topology: one method."""

    def __init__(self, shares):
        self.shares = shares

    def matrix(self, n_networks, fusion_round=0, random_state=None):
        return self.shares


class DrawnShares(BaseTopology):
    """Shares that are drawn, and turn with the round."""

    def matrix(self, n_networks, fusion_round=0, random_state=None):
        shares = np.random.default_rng(random_state.randint(99)).dirichlet(np.ones(n_networks), n_networks)
        return np.roll(shares, fusion_round, axis=0)


def mixed_by_the_book(weights, shares, rate):
    """One element after another: the mean, by the shares, of what is not exactly 0."""
    n_networks, result = len(weights), weights.astype(np.float64)
    matrix = (1 - 2 * rate) * np.eye(n_networks) + 2 * rate * np.asarray(shares)
    for i in range(n_networks):
        for j in range(weights.shape[1]):
            counted = [k for k in range(n_networks) if weights[k, j] != 0]
            total = sum(matrix[i, k] for k in counted)
            if len(counted) == n_networks:
                total = 1
            if abs(total) > 1e-12:
                result[i, j] = sum(matrix[i, k] * float(weights[k, j]) for k in counted) / total
    return result


def shares_of(n_networks, seed):
    """Rows of sum 1, many of whose entries are 0."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(n_networks), n_networks) * (rng.random((n_networks, n_networks)) < 0.6)
    shares += np.diag(1 - shares.sum(axis=1))
    return shares


# A round


@settings(max_examples=60)
@given(
    n_networks=st.integers(1, 7),
    rate=st.sampled_from([0, 0.2, 0.5]),
    seed=st.integers(0, 99),
    share_of_zeros=st.sampled_from([0, 0.4]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_a_round_agrees_with_the_book(n_networks, rate, seed, share_of_zeros, dtype):
    shares = shares_of(n_networks, seed)
    weights = weights_with_zeros(n_networks, dtype, seed, share=share_of_zeros)
    expected = mixed_by_the_book(weights, shares, rate)
    bound = 4 * n_networks * np.finfo(dtype).eps * np.abs(weights).max()
    np.testing.assert_allclose(Shares(shares).fuse(weights, rate), expected, rtol=1e-5, atol=bound)


@settings(max_examples=40)
@given(
    n_networks=st.integers(1, 20),
    n_parameters=st.integers(1, 200),
    rate=st.sampled_from([0.2, 0.5]),
    seed=st.integers(0, 99),
    share_of_zeros=st.sampled_from([0, 0.4]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_a_server_that_hears_of_some_agrees_with_the_book(n_networks, n_parameters, rate, seed, share_of_zeros, dtype):
    rng = np.random.default_rng(seed)
    row = rng.random(n_networks) * (rng.random(n_networks) < 0.6)
    row[rng.integers(n_networks)] += 1
    row /= row.sum()
    weights = weights_with_zeros(n_networks, dtype, seed, n_parameters, share_of_zeros)
    expected = mixed_by_the_book(weights, np.tile(row, (n_networks, 1)), rate)
    result = Shares(np.broadcast_to(row, (n_networks, n_networks))).fuse(weights.copy(), rate)
    bound = 4 * n_networks * np.finfo(dtype).eps * np.abs(weights).max()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=bound)
    written_out = Shares(np.tile(row, (n_networks, 1))).fuse(weights, rate)
    np.testing.assert_array_equal(written_out, result)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_networks", "rate", "n_nonzero"), [(3, 0.75, 1), (6, 0.75, 2), (7, 0.7, 2), (9, 0.9, 4)])
def test_where_the_shares_of_what_counts_cancel_out_weights_stay(n_networks, rate, n_nonzero, dtype):
    # (1 - 2 F) of one's own and 2 F / N of each that is not 0 come to 0, but for rounding.
    weights = np.zeros((n_networks, 2), dtype)
    weights[:n_nonzero] = np.linspace(0.5, 1.5, 2 * n_nonzero).reshape(n_nonzero, 2)
    fused = AverageTopology().fuse(weights.copy(), rate)
    np.testing.assert_array_equal(fused[:n_nonzero], weights[:n_nonzero])
    mean = weights[:n_nonzero].mean(axis=0)
    np.testing.assert_allclose(fused[n_nonzero:], np.tile(mean, (n_networks - n_nonzero, 1)), rtol=1e-6)


def test_negative_shares_that_cancel_out_leave_a_weight_of_0():
    shares = np.array([[1.0, 0.1, 0.2, -0.3], *np.eye(4)[1:]])
    weights = np.array([[0.0], [1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(Shares(shares).fuse(weights.copy(), 0.5), weights)


def test_a_round_by_hand():
    weights = np.array([[1.0, 0.0, 0.0, 2.0], [4.0, 2.0, 0.0, 0.0], [4.0, 4.0, 0.0, 0.0]])
    expected = [[3.0, 3.0, 0.0, 2.0]] * 3
    np.testing.assert_array_equal(AverageTopology().fuse(weights.copy(), 0.5), expected)
    np.testing.assert_array_equal(AverageTopology().fuse(weights.copy(), 0.0), weights)
    quarter = AverageTopology().fuse(weights.copy(), 0.25)  # half of one's own, half of the mean
    np.testing.assert_allclose(quarter, [[2.0, 3.0, 0.0, 2.0], [3.5, 2.4, 0.0, 2.0], [3.5, 3.6, 0.0, 2.0]])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_networks_mix_as_a_simultaneous_pair(rate, dtype):
    weights = weights_with_zeros(2, dtype, seed=1)
    pair = LineTopology().fuse(weights.copy(), rate, rule="simultaneous")
    bound = rounding(weights, 4)
    np.testing.assert_allclose(AverageTopology().fuse(weights, rate), pair, rtol=0, atol=bound)


@pytest.mark.parametrize("rule", ["sequential", "simultaneous"])
def test_the_rule_has_no_say(rule):
    weights = weights_with_zeros(4, np.float64, seed=2)
    expected = AverageTopology().fuse(weights.copy(), 0.4)
    np.testing.assert_array_equal(AverageTopology().fuse(weights, 0.4, rule), expected)


@pytest.mark.parametrize("topology", [AverageTopology(), RingTopology("metropolis")], ids=["average", "ring"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share_of_zeros", [0, 0.2])
def test_parts_and_measuring_change_no_bit(topology, dtype, share_of_zeros):
    weights = weights_with_zeros(5, dtype, seed=3, n_parameters=30_000, share=share_of_zeros)
    whole, parted, measured = weights.copy(), weights.copy(), weights.copy()
    fusion_round = round_of(topology, 5)
    fusion_round.fuse(whole, 0.3, "simultaneous")
    for part in range(3):
        fusion_round.fuse(parted, 0.3, "simultaneous", part, 3)
    spread = np.empty((_kernels.n_blocks(weights), 2))
    fusion_round.fuse(measured, 0.3, "simultaneous", spread=spread)
    np.testing.assert_array_equal(parted, whole)
    np.testing.assert_array_equal(measured, whole)
    np.testing.assert_allclose(
        np.sqrt(spread.sum(axis=0) / 5), [_kernels.disagreement(weights), _kernels.disagreement(whole)], rtol=1e-4
    )


@settings(max_examples=30)
@given(seed=st.integers(0, 99), n_networks=st.integers(2, 6), n_parameters=st.integers(1, 70))
def test_columns_mix_as_they_would_alone(seed, n_networks, n_parameters):
    weights = weights_with_zeros(n_networks, np.float32, seed, n_parameters, share=0.1)
    topology = Shares(shares_of(n_networks, seed))
    alone = [topology.fuse(weights[:, [column]].copy(), 0.4) for column in range(n_parameters)]
    np.testing.assert_allclose(topology.fuse(weights, 0.4), np.hstack(alone), rtol=1e-5, atol=1e-6)


# Shares of the topologies


@each_topology
@pytest.mark.parametrize("n_networks", [4, 5, 8, 9])
def test_shares_are_symmetric_and_rounds_preserve_the_consensus(topology, n_networks):
    shares = topology.matrix(n_networks)
    np.testing.assert_allclose(shares, shares.T)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    weights = weights_with_zeros(n_networks, np.float64, seed=4, share=0)
    np.testing.assert_allclose(topology.fuse(weights.copy(), 0.5).mean(axis=0), weights.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(topology.mixing_matrix(n_networks, 0.5), shares)
    identity = np.eye(n_networks)
    np.testing.assert_allclose(topology.mixing_matrix(n_networks, 0.2), 0.6 * identity + 0.4 * shares)


def test_metropolis_shares_by_hand():
    third = 1 / 3
    expected = np.array([[5 / 12, third, 0.25, 0], [third, 5 / 12, 0.25, 0], [0.25] * 4, [0, 0, 0.25, 0.75]])
    np.testing.assert_allclose(GraphTopology(GRAPH, mixing="metropolis").matrix(4), expected)
    np.testing.assert_allclose(RingTopology("metropolis").matrix(6)[0], [third, third, 0, 0, 0, third])
    np.testing.assert_allclose(RingTopology("metropolis").matrix(2), 0.5)  # one edge, though two pairs
    np.testing.assert_allclose(CompleteTopology("metropolis").matrix(5), 0.2)
    np.testing.assert_allclose(GraphTopology([(0, 1), (1, 1)], "metropolis").matrix(2), 0.5)  # a loop is no neighbour


class Turning(RingTopology):
    """A third party's graph: in each round two edges, one of which is drawn."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [(fusion_round, fusion_round + 1), (0, random_state.randint(1, n_networks))]


def test_metropolis_shares_are_those_of_the_rounds_own_edges():
    for fusion_round, seed in ((0, 0), (3, 0), (3, 1)):
        edges = Turning().pairs(5, fusion_round, np.random.RandomState(seed))
        shares = Turning("metropolis").matrix(5, fusion_round, np.random.RandomState(seed))
        np.testing.assert_array_equal(shares, GraphTopology(edges, "metropolis").matrix(5))


@each_topology
def test_one_network_is_left_alone(topology):
    if topology is AT_ONCE["graph"]:
        pytest.skip("its graph has four nodes")
    np.testing.assert_array_equal(topology.matrix(1), [[1.0]])


def test_topologies_of_pairs_have_no_matrix():
    assert RingTopology().matrix(4) is None
    with pytest.raises(NotImplementedError, match="AverageTopology has no pairs"):
        AverageTopology().pairs(4)


@pytest.mark.parametrize(
    ("shares", "match"),
    [
        (np.ones((3, 3)), r"must sum to 1, got a sum of 3 in row 0"),
        (np.full((3, 3), 1 / 3 + 1e-5), r"must sum to 1, got a sum of 1.00003 in row 0"),
        (np.eye(2), r"shape \(3, 3\).*got shape \(2, 2\)"),
        (np.full((3, 3), np.nan), "must sum to 1, got a sum of nan"),
        (np.full((3, 3), "a"), "dtype"),
        (None, r"matrix must be an array of numbers of shape \(3, 3\), a row for each network, got None"),
    ],
)
def test_what_are_no_shares_is_refused_before_any_training(shares, match):
    for use in (
        lambda topology: topology.fuse(np.ones((3, 2)), 0.5),
        lambda topology: FusedMLPClassifier(n_networks=3, topology=topology).fit(X, Y),
    ):
        with pytest.raises(ValueError, match=match):
            use(Shares(shares))


@pytest.mark.parametrize("mixing", ["both", None])
def test_an_unknown_mixing_is_refused(mixing):
    with pytest.raises(ValueError, match="mixing must be one of 'pairs', 'metropolis'"):
        RingTopology(mixing).fuse(np.ones((3, 2)), 0.5)


class SharesAlone:
    """A third party's topology of a class of its own."""

    def matrix(self, n_networks, fusion_round=0, random_state=None):
        return np.full((n_networks, n_networks), 1 / n_networks)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_shares_of_any_class_will_do():
    own, other = (small(topology=topology).fit(X, Y) for topology in (SharesAlone(), Shares(np.full((4, 4), 0.25))))
    np.testing.assert_array_equal(own.weights_, other.weights_)
    assert own.history_[-1]["numbers_sent"] == other.history_[-1]["numbers_sent"]


def test_a_topology_that_says_nothing_is_refused():
    class Silent(BaseTopology):
        pass

    with pytest.raises(TypeError, match="topology must be"):
        FusedMLPClassifier(topology=Silent()).fit(X, Y)


# What is sent, and how fast


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("topology", "mean", "most"),
    [
        ("average", 1, 1),
        (RingTopology("metropolis"), 2, 2),
        (StarTopology("metropolis"), 1.75, 7),
        (CompleteTopology("metropolis"), 7, 7),
        (Shares(np.eye(8)), 0, 0),
        (Shares(np.broadcast_to([0.5, 0.5, 0, 0, 0, 0, 0, 0], (8, 8))), 1.75, 7),
    ],
    ids=str,
)
def test_a_peer_sends_its_network_once_to_a_server_or_to_each_that_takes_a_share(topology, mean, most):
    result = diagnose(topology, 8, 0.5)
    assert (result.sent_mean, result.sent_max) == (mean, most)
    model = small(n_networks=8, topology=topology).fit(X, Y)
    sent = np.array(model.history_[-1]["numbers_sent"]) / model.weights_.shape[1]
    assert (sent.mean(), sent.max()) == (mean, most)


def test_contraction_is_the_second_singular_value_of_the_matrix():
    assert diagnose("average", 10, 0.5).rounds == 1
    assert diagnose("average", 10, 0.3).contraction == pytest.approx(0.4)
    ring = diagnose(RingTopology("metropolis"), 10, 0.5)
    assert ring.contraction == pytest.approx((1 + 2 * np.cos(2 * np.pi / 10)) / 3)
    assert ring.spectral_gap == pytest.approx(1 - ring.contraction)


# Without some networks


@each_topology
@pytest.mark.parametrize("absent", [[1], [0, 2], [0, 1, 2, 3]], ids=str)
def test_rounds_without_some_networks_preserve_the_consensus_and_these(topology, absent):
    shares = round_of(topology, 4).without(absent).matrix
    np.testing.assert_allclose(shares, shares.T)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_array_equal(shares[absent], np.eye(4)[absent])


def test_a_server_takes_the_mean_of_those_that_are_there():
    shares = round_of(AverageTopology(), 4).without([1]).matrix
    third = 1 / 3
    np.testing.assert_allclose(
        shares, [[third, 0, third, third], [0, 1, 0, 0], [third, 0, third, third], [third, 0, third, third]]
    )


def test_whoever_is_left_alone_keeps_its_weights():
    of_the_first = Shares(np.broadcast_to([1.0, 0, 0], (3, 3)))
    of_the_first.by_server = True
    for topology in (of_the_first, Shares(np.roll(np.eye(3), 1, axis=1))):
        np.testing.assert_array_equal(round_of(topology, 3).without([0]).matrix[2], [0, 0, 1])


# Training


def small(**params):
    defaults = {"n_networks": 4, "max_iter": 3, "random_state": 0, "n_iter_no_change": 10**6}
    return FusedMLPClassifier((6,), **defaults | params)


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "topology", ["average", RingTopology("metropolis"), DrawnShares()], ids=lambda topology: type(topology).__name__
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_and_processes_change_no_bit(topology, dtype):
    params = {"topology": topology, "fusion_unit": "step", "fusion_frequency": 5, "fusion_rate": 0.4}
    alone = small(**params).fit(X.astype(dtype), Y)
    for backend in ("threading", "loky"):
        with joblib.parallel_config(backend, n_jobs=2):
            together = small(**params).fit(X.astype(dtype), Y)
        np.testing.assert_array_equal(together.weights_, alone.weights_)
    copied = pickle.loads(pickle.dumps(alone))
    for model in (copied, alone):
        model.partial_fit(X.astype(dtype), Y)
    np.testing.assert_array_equal(copied.weights_, alone.weights_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_after_the_mean_all_peers_are_equal_and_the_consensus():
    model = small(topology="average", n_networks=7).fit(X, Y)
    np.testing.assert_array_equal(model.weights_, model.weights_[[0] * 7])
    assert model.history_[-1]["disagreement_before_fusion"] > 0
    assert model.history_[-1]["disagreement_after_fusion"] == 0


@each_topology
def test_topologies_clone_and_can_be_searched(topology):
    assert clone(topology).get_params() == topology.get_params()
    model = FusedMLPClassifier(topology=copy.deepcopy(topology))
    if "mixing" in topology.get_params():
        assert model.set_params(topology__mixing="pairs").topology.mixing == "pairs"


# Pictures


def test_an_arrow_leads_to_whoever_takes_a_share():
    display = TopologyDisplay.from_topology(Shares(np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])), 3)
    assert display.pairs.tolist() == [[0, 1]]


@each_topology
def test_all_shares_are_drawn_without_an_order(topology):
    display = TopologyDisplay.from_topology(topology, 6)
    assert display.at_once
    assert display.order_texts_ == []
    assert len(display.arrows_.U) == np.count_nonzero(topology.matrix(6)) - np.count_nonzero(
        np.diag(topology.matrix(6))
    )
    np.testing.assert_allclose(display.im_.get_array(), topology.matrix(6))
    display.figure_.canvas.draw()
