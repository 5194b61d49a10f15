"""Topologies: Algorithms 2 to 4 against transliterations, other graphs, rounds, mixing matrices, what is refused."""

from itertools import product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import chisquare
from sklearn.base import clone
from test_fusion import RULES, fused_by_the_book, rounding, weights_with_zeros

from skfusion import FusedMLPClassifier, fuse
from skfusion.topology import TOPOLOGIES as NAMES
from skfusion.topology import (
    BaseTopology,
    CompleteTopology,
    ExponentialTopology,
    GraphTopology,
    HypercubeTopology,
    LineTopology,
    RandomTopology,
    RingTopology,
    StarTopology,
    TorusTopology,
)

SIZES = range(1, 18)
TOPOLOGIES = {
    "ring": RingTopology(),
    "random": RandomTopology(),
    "random with replacement": RandomTopology(replacement=True),
    "hypercube": HypercubeTopology(),
    "hypercube, each edge once": HypercubeTopology(each_edge_once=True),
    "line": LineTopology(),
    "star": StarTopology(),
    "complete": CompleteTopology(),
    "torus": TorusTopology(),
    "exponential": ExponentialTopology(),
}
each_topology = pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)


# The printed algorithms, as loops over lists


def algorithm_2(n_networks):
    pairs = []
    if n_networks > 1:
        for s in range(n_networks - 1):
            pairs.append((s, s + 1))
        pairs.append((n_networks - 1, 0))
    return pairs


def algorithm_4(n_networks, each_edge_once=False):
    pairs = []
    x = 0
    while 2**x < n_networks:
        for s in range(n_networks):
            partner = s ^ 2**x
            if partner < n_networks and (s < partner or not each_edge_once):
                pairs.append((s, partner))
        x += 1
    return pairs


class FixedTopology(BaseTopology):
    """A third party's topology: one method."""

    def __init__(self, fixed):
        self.fixed = fixed

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return np.array(self.fixed)


class TurningTopology(BaseTopology):
    """In round r, network 0 fuses with network r + 1, and then with one that is drawn."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        drawn = np.random.default_rng(random_state).integers(1, n_networks)
        return np.array([(0, 1 + fusion_round % (n_networks - 1)), (0, drawn)])


# Pairs


@pytest.mark.parametrize("n_networks", SIZES)
def test_ring_is_algorithm_2_closed_by_its_last_pair(n_networks):
    assert list(map(tuple, RingTopology().pairs(n_networks).tolist())) == algorithm_2(n_networks)


def test_ring_of_two_fuses_them_once_from_each_end():
    assert RingTopology().pairs(2).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("each_edge_once", [False, True])
@pytest.mark.parametrize("n_networks", SIZES)
def test_hypercube_is_algorithm_4_without_partners_that_do_not_exist(n_networks, each_edge_once):
    pairs = HypercubeTopology(each_edge_once=each_edge_once).pairs(n_networks)
    assert list(map(tuple, pairs.tolist())) == algorithm_4(n_networks, each_edge_once)


@pytest.mark.parametrize("n_networks", [2, 4, 8, 16])
def test_complete_hypercube_has_every_edge_twice_or_once_as_asked(n_networks):
    edges = {frozenset((s, t)) for s in range(n_networks) for t in range(s) if (s ^ t).bit_count() == 1}
    twice = [tuple(pair) for pair in HypercubeTopology().pairs(n_networks).tolist()]
    once = [tuple(pair) for pair in HypercubeTopology(each_edge_once=True).pairs(n_networks).tolist()]
    assert len(twice) == len(set(twice)) == 2 * len(edges)
    assert {frozenset(pair) for pair in twice} == edges
    assert {(t, s) for s, t in twice} == set(twice)
    assert len(once) == len(edges)
    assert {frozenset(pair) for pair in once} == edges


@pytest.mark.parametrize(
    "topology", [topology for name, topology in TOPOLOGIES.items() if "random" not in name], ids=repr
)
@pytest.mark.parametrize("n_networks", SIZES)
def test_deterministic_topologies_connect_all_networks_within_five_rounds(topology, n_networks):
    pairs = np.concatenate([topology.pairs(n_networks, fusion_round) for fusion_round in range(5)])
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_networks, n_networks))
    assert connected_components(graph, directed=False, return_labels=False) == 1


@pytest.mark.parametrize("n_networks", SIZES)
def test_hypercube_can_refuse_a_number_that_is_no_power_of_two(n_networks):
    topology = HypercubeTopology(incomplete="raise")
    if n_networks in (1, 2, 4, 8, 16):
        np.testing.assert_array_equal(topology.pairs(n_networks), HypercubeTopology().pairs(n_networks))
    else:
        with pytest.raises(ValueError, match=rf"power of two .*got {n_networks}; incomplete='skip'"):
            topology.pairs(n_networks)


@settings(max_examples=60)
@given(n_networks=st.integers(2, 33), seed=st.integers(0, 2**31))
def test_random_pairs_are_a_perfect_matching_and_with_odd_numbers_one_network_fuses_twice(n_networks, seed):
    pairs = RandomTopology().pairs(n_networks, random_state=seed)
    assert pairs.shape == ((n_networks + 1) // 2, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    counts = np.bincount(pairs.ravel(), minlength=n_networks)
    assert sorted(counts) == [1] * (n_networks - n_networks % 2) + [2] * (n_networks % 2)


@pytest.mark.parametrize("n_networks", [4, 6])
def test_random_matchings_are_uniform_in_pairs_order_and_direction(n_networks):
    # All orders of the pairs, each in both directions: that is, all permutations of the networks.
    rng = np.random.RandomState(0)
    orders = {}
    draws = 24 * 100 if n_networks == 4 else 720 * 10
    for _ in range(draws):
        key = tuple(RandomTopology().pairs(n_networks, random_state=rng).ravel().tolist())
        orders[key] = orders.get(key, 0) + 1
    n_orders = {4: 24, 6: 720}[n_networks]
    assert len(orders) == n_orders
    assert chisquare(list(orders.values())).pvalue > 0.001


def test_with_an_odd_number_every_network_is_equally_likely_to_fuse_twice_and_with_any_other():
    rng = np.random.RandomState(1)
    twice, places, edges = np.zeros(5), np.zeros(4), np.zeros((5, 5))
    for _ in range(3000):
        pairs = RandomTopology().pairs(5, random_state=rng)
        network = np.bincount(pairs.ravel()).argmax()
        twice[network] += 1
        places[pairs.ravel().tolist().index(network)] += 1  # of the four in the pairs before the last
        first, second = pairs[0]
        edges[min(first, second), max(first, second)] += 1
    assert chisquare(twice).pvalue > 0.001
    assert chisquare(places).pvalue > 0.001
    assert chisquare(edges[np.triu_indices(5, 1)]).pvalue > 0.001


@pytest.mark.parametrize("n_networks", [2, 5, 8])
def test_with_replacement_both_ends_of_every_pair_are_drawn_from_all(n_networks):
    rng = np.random.RandomState(2)
    topology = RandomTopology(replacement=True)
    counts = np.zeros((n_networks, n_networks))
    for _ in range(100 * n_networks**2):
        pairs = topology.pairs(n_networks, random_state=rng)
        assert pairs.shape == ((n_networks + 1) // 2, 2)
        np.add.at(counts, tuple(pairs.T), 1)
    assert chisquare(counts.ravel()).pvalue > 0.001  # self-pairs as often as any other


@pytest.mark.parametrize("replacement", [False, True])
def test_random_pairs_follow_the_random_state(replacement):
    topology = RandomTopology(replacement=replacement)
    np.testing.assert_array_equal(topology.pairs(9, random_state=3), topology.pairs(9, random_state=3))
    rng = np.random.RandomState(3)
    drawn = [topology.pairs(9, random_state=rng) for _ in range(2)]
    np.testing.assert_array_equal(drawn[0], topology.pairs(9, random_state=3))
    assert not np.array_equal(*drawn)


@each_topology
@pytest.mark.parametrize("n_networks", [1, 2, 5, 8])
def test_pairs_are_integers_in_two_columns(topology, n_networks):
    pairs = topology.pairs(n_networks, random_state=0)
    assert pairs.ndim == 2
    assert pairs.shape[1] == 2
    assert pairs.dtype.kind == "i"


@each_topology
def test_one_network_has_nothing_to_fuse_with(topology):
    weights = weights_with_zeros(1, np.float64, seed=0)
    assert len(topology.pairs(1, random_state=0)) == 0
    np.testing.assert_array_equal(topology.fuse(weights.copy(), 0.5, random_state=0), weights)
    np.testing.assert_array_equal(topology.mixing_matrix(1, 0.5, random_state=0), [[1.0]])


# Other topologies


def as_lists(topology, n_networks, fusion_round=0):
    return topology.pairs(n_networks, fusion_round).tolist()


def test_line_is_a_ring_that_is_open():
    assert as_lists(LineTopology(), 5) == as_lists(RingTopology(), 5)[:-1]
    assert as_lists(LineTopology(), 2) == [[0, 1]]


def test_star_fuses_the_hub_with_each_other_network():
    assert as_lists(StarTopology(), 5) == [[0, 1], [0, 2], [0, 3], [0, 4]]


@pytest.mark.parametrize("n_networks", SIZES)
def test_complete_has_each_pair_once_the_near_before_the_far(n_networks):
    pairs = as_lists(CompleteTopology(), n_networks)
    assert pairs == [[s, s + distance] for distance in range(1, n_networks) for s in range(n_networks - distance)]


@pytest.mark.parametrize(
    ("n_networks", "n_rows"), [(4, 2), (6, 2), (8, 2), (9, 3), (12, 3), (16, 4), (17, 1), (24, 4), (64, 8)]
)
def test_torus_is_rings_along_rows_then_columns_of_the_squarest_grid(n_networks, n_rows):
    n_columns = n_networks // n_rows
    rows, columns = [], []
    for row, column in product(range(n_rows), range(n_columns)):
        rows.append([n_columns * row + column, n_columns * row + (column + 1) % n_columns])
        columns.append([n_columns * row + column, n_columns * ((row + 1) % n_rows) + column])
    assert as_lists(TorusTopology(), n_networks) == rows + (columns if n_rows > 1 else [])


@pytest.mark.parametrize("n_networks", [2, 3, 5, 7, 11, 13])
def test_torus_of_a_prime_number_is_a_ring(n_networks):
    assert as_lists(TorusTopology(), n_networks) == as_lists(RingTopology(), n_networks)


def test_exponential_by_hand():
    eight = [
        [[0, 1], [2, 3], [4, 5], [6, 7]],
        [[0, 2], [1, 3], [4, 6], [5, 7]],
        [[0, 4], [1, 5], [2, 6], [3, 7]],
    ]
    five = [[[0, 1], [2, 3], [4, 0]], [[0, 2], [1, 3], [4, 1]], [[0, 4], [1, 0], [2, 1], [3, 2]]]
    for n_networks, rounds in ((8, eight), (5, five)):
        for fusion_round in range(7):
            assert as_lists(ExponentialTopology(), n_networks, fusion_round) == rounds[fusion_round % 3]


@settings(max_examples=60)
@given(n_bits=st.integers(0, 7), start=st.integers(0, 20), seed=st.integers(0, 2**16))
def test_exponential_rounds_make_a_power_of_two_of_networks_exactly_equal_to_their_mean(n_bits, start, seed):
    # Integers below 2^20 and their means are exact in float64, and none of them is 0.
    weights = np.random.default_rng(seed).integers(1, 2**20, size=(2**n_bits, 3)).astype(float)
    mean = weights.mean(axis=0)
    for fusion_round in range(start, start + n_bits):
        ExponentialTopology().fuse(weights, 0.5, "simultaneous", fusion_round)
    np.testing.assert_array_equal(weights, np.tile(mean, (2**n_bits, 1)))


@settings(max_examples=60)
@given(n_networks=st.integers(2, 70), fusion_round=st.integers(0, 30))
def test_exponential_has_every_network_in_one_pair_or_with_other_numbers_in_two(n_networks, fusion_round):
    pairs = ExponentialTopology().pairs(n_networks, fusion_round)
    n_distances = (n_networks - 1).bit_length()
    distance = 2 ** (fusion_round % n_distances)
    assert ((pairs[:, 1] - pairs[:, 0]) % n_networks == distance).all()
    counts = np.bincount(pairs.ravel(), minlength=n_networks)
    assert set(counts) <= {1, 2}
    assert (counts == 2).sum() <= (0 if n_networks == 2**n_distances else distance)


def test_exponential_rounds_of_other_numbers_leave_less_than_the_stated_share_of_the_disagreement():
    for n_networks in [*range(2, 65), 129, 224, 257]:
        matrix = np.eye(n_networks)
        for fusion_round in range((n_networks - 1).bit_length()):
            matrix = ExponentialTopology().mixing_matrix(n_networks, 0.5, "simultaneous", fusion_round) @ matrix
        assert np.linalg.norm(disagreement_matrix(matrix), 2) < 0.274


@pytest.mark.parametrize("fusion_round", [-1, 0.5])
def test_exponential_refuses_what_is_no_number_of_a_round(fusion_round):
    with pytest.raises((ValueError, TypeError), match=f"fusion_round must be .*at least 0, got {fusion_round}"):
        ExponentialTopology().pairs(4, fusion_round)


EDGES = [(2, 0), (0, 1), (1, 1), (3, 1), (0, 1)]


@pytest.mark.parametrize(
    "graph",
    [EDGES, np.array(EDGES), np.array(EDGES, dtype=np.uint8), tuple(map(list, EDGES)), nx.MultiDiGraph(EDGES)],
    ids=["tuples", "array", "bytes", "lists", "networkx"],
)
def test_graph_is_its_edges_in_their_order(graph):
    expected = [list(edge) for edge in (graph.edges() if isinstance(graph, nx.Graph) else EDGES)]
    assert as_lists(GraphTopology(graph), 4) == expected
    assert sorted(map(tuple, expected)) == sorted(EDGES)
    assert as_lists(GraphTopology(graph), 6) == expected  # two networks without an edge


def test_graphs_without_edges_fuse_nothing():
    for graph in ([], np.empty((0, 2), int), nx.empty_graph(3)):
        assert GraphTopology(graph).pairs(3).shape == (0, 2)
        np.testing.assert_array_equal(GraphTopology(graph).mixing_matrix(3, 0.5), np.eye(3))


@settings(max_examples=40)
@given(n_networks=st.integers(1, 12), seed=st.integers(0, 2**16), rate=st.floats(0, 1), rule=st.sampled_from(RULES))
def test_a_random_graph_fuses_as_its_edges_do(n_networks, seed, rate, rule):
    graph = nx.gnp_random_graph(n_networks, 0.5, seed=seed)
    weights = weights_with_zeros(n_networks, np.float64, seed)
    expected = fuse(weights.copy(), list(graph.edges), rate, rule)
    np.testing.assert_array_equal(GraphTopology(graph).fuse(weights, rate, rule), expected)


def test_networkx_makes_the_same_edges():
    for topology, graph in (
        (RingTopology(), nx.cycle_graph(9)),
        (LineTopology(), nx.path_graph(9)),
        (StarTopology(), nx.star_graph(8)),
        (CompleteTopology(), nx.complete_graph(9)),
        (TorusTopology(), nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 3, periodic=True))),
    ):
        expected = {frozenset(edge) for edge in GraphTopology(graph).pairs(9).tolist()}
        assert {frozenset(pair) for pair in topology.pairs(9).tolist()} == expected


@pytest.mark.parametrize(
    ("graph", "match"),
    [
        ([(0, 1), (1, 4)], "graph must have nodes from 0 to 3, the indices of 4 networks, got the node 4;"),
        ([(0, -1)], "got the node -1"),
        ([(0.0, 1.0)], "got the node 0.0"),
        (nx.path_graph(5), "got the node 4"),
        (nx.empty_graph(5), "got the node 4"),
        (nx.Graph([("Bath", "York")]), "got the node 'Bath'; networkx.convert_node_labels_to_integers"),
        (nx.grid_2d_graph(2, 2), r"got the node \(0, 0\)"),
        ([(0, 1, 2)], r"graph must be a networkx graph or a list of edges such as .* got \[\(0, 1, 2\)\]"),
        ([(0, 1), (1,)], "graph must be a networkx graph or a list of edges"),
        (zip([0], [1], strict=True), "graph must be a networkx graph or a list of edges"),
        ("ring", "graph must be a networkx graph or a list of edges such as .* got 'ring'"),
        (None, "graph must be a networkx graph or a list of edges such as .* got None"),
    ],
)
def test_what_is_no_graph_of_the_networks_is_refused(graph, match):
    with pytest.raises(ValueError, match=match):
        GraphTopology(graph).pairs(4)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_what_is_fitted_keeps_the_edges_of_a_graph_alone(kind):
    graph = kind([(np.int64(first), second) for first, second in EDGES])
    fitted = FusedMLPClassifier((3,), n_networks=4, max_iter=1, topology=GraphTopology(graph))
    fitted.fit(np.eye(4), [0, 1, 0, 1])
    assert fitted.topology.graph is graph
    assert fitted.topology_.graph == list(graph.edges())
    assert {type(node) for edge in fitted.topology_.graph for node in edge} == {int}
    fitted.set_params(topology__mixing="metropolis").fit(np.eye(4), [0, 1, 0, 1])
    assert fitted.topology_.mixing == "metropolis"
    with_edges = FusedMLPClassifier((3,), n_networks=4, max_iter=1, topology=GraphTopology(EDGES))
    assert with_edges.fit(np.eye(4), [0, 1, 0, 1]).topology_.graph == EDGES


class MatchingTopology(GraphTopology):
    """A third party's: only edges that share no network."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return sorted(nx.maximal_matching(self.graph))


class WheelTopology(GraphTopology):
    """A third party's: a graph that it makes from a parameter of its own."""

    def __init__(self, n_nodes, mixing="pairs"):
        super().__init__(nx.wheel_graph(n_nodes), mixing)
        self.n_nodes = n_nodes


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("topology", [MatchingTopology(nx.path_graph(4)), WheelTopology(4)], ids=["other", "made"])
def test_a_third_partys_graph_trains_as_its_pairs_do(topology):
    peers = FusedMLPClassifier((3,), n_networks=4, max_iter=3, random_state=0)
    X, pairs = np.random.default_rng(0).normal(size=(12, 2)), topology.pairs(4)
    fitted, same = (
        clone(peers).set_params(topology=each).fit(X, X[:, 0] > 0) for each in (topology, FixedTopology(pairs))
    )
    np.testing.assert_array_equal(fitted.weights_, same.weights_)


RING = [(0, 1), (1, 2), (2, 3), (3, 0)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("topology", "same"),
    [(name, kind()) for name, kind in NAMES.items()]
    + [(GraphTopology(RING), "ring"), (RingTopology(), GraphTopology(nx.DiGraph(RING)))],
)
def test_peers_train_alike_along_the_same_topology_by_another_name(topology, same):
    X = np.random.default_rng(0).normal(size=(12, 2))
    peers = FusedMLPClassifier((3,), n_networks=4, max_iter=3, random_state=0)
    first, second = (clone(peers).set_params(topology=each).fit(X, X[:, 0] > 0) for each in (topology, same))
    np.testing.assert_array_equal(first.weights_, second.weights_)
    assert first.history_[0]["disagreement_after_fusion"] != first.history_[0]["disagreement_before_fusion"]


# A round


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_networks", SIZES)
def test_a_round_agrees_with_the_printed_algorithms(n_networks, dtype, rule):
    printed = {
        "ring": algorithm_2(n_networks),
        "hypercube": algorithm_4(n_networks),
        "hypercube, each edge once": algorithm_4(n_networks, each_edge_once=True),
    }
    for seed in range(3):
        for name in ("random", "random with replacement"):
            printed[name] = TOPOLOGIES[name].pairs(n_networks, random_state=seed).tolist()
        for name, pairs in printed.items():
            weights = weights_with_zeros(n_networks, dtype, seed)
            expected = fused_by_the_book(weights, pairs, 0.55, rule)
            bound = rounding(weights, len(pairs))
            assert TOPOLOGIES[name].fuse(weights, 0.55, rule, random_state=seed) is weights
            np.testing.assert_allclose(weights, expected, rtol=0, atol=bound, err_msg=name)


def test_a_round_is_sequential_unless_asked():
    weights = weights_with_zeros(4, np.float64, seed=0)
    np.testing.assert_array_equal(
        RingTopology().fuse(weights.copy(), 0.55), RingTopology().fuse(weights.copy(), 0.55, rule="sequential")
    )
    np.testing.assert_array_equal(
        RingTopology().mixing_matrix(4, 0.55), RingTopology().mixing_matrix(4, 0.55, rule="sequential")
    )


# Mixing matrices


@settings(max_examples=40)
@given(
    topology=st.sampled_from(list(TOPOLOGIES.values())),
    n_networks=st.integers(1, 17),
    rate=st.floats(0, 1),
    rule=st.sampled_from(RULES),
    seed=st.integers(0, 2**16),
)
def test_mixing_matrix_has_rows_of_sum_one_and_does_what_a_round_does(topology, n_networks, rate, rule, seed):
    matrix = topology.mixing_matrix(n_networks, rate, rule, random_state=seed)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-13)
    weights = np.random.default_rng(seed).uniform(1, 2, size=(n_networks, 7))
    expected = matrix @ weights
    topology.fuse(weights, rate, rule, random_state=seed)
    np.testing.assert_allclose(weights, expected, rtol=1e-13)


@settings(max_examples=20)
@given(topology=st.sampled_from(list(TOPOLOGIES.values())), n_networks=st.integers(1, 17), rate=st.floats(0, 1))
def test_simultaneous_rounds_preserve_the_consensus(topology, n_networks, rate):
    matrix = topology.mixing_matrix(n_networks, rate, "simultaneous", random_state=0)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=0, atol=1e-13)


def contraction(second_moment):
    """Root of the largest eigenvalue of E[Q'Q] among weights orthogonal to all ones."""
    n_networks = len(second_moment)
    centre = np.eye(n_networks) - 1 / n_networks
    return np.sqrt(np.linalg.eigvalsh(centre @ second_moment @ centre)[-1])


def disagreement_matrix(matrix):
    """Q: what a round does to the distances from the consensus."""
    return (np.eye(len(matrix)) - 1 / len(matrix)) @ matrix


def contraction_by_pairs(pairs, rule):
    """Contraction of eight networks at a rate of 0.55, by Algorithm 1 on the identity, pair after pair."""
    matrix = np.eye(8)
    for i, j in pairs:
        old = matrix[i].copy()
        matrix[i] = 0.45 * old + 0.55 * matrix[j]
        matrix[j] = 0.45 * matrix[j] + 0.55 * (matrix[i] if rule == "sequential" else old)
    Q = disagreement_matrix(matrix)
    return contraction(Q.T @ Q)


CONTRACTIONS = [
    (topology, rule, contraction_by_pairs(pairs, rule))
    for topology, pairs in (
        (RingTopology(), algorithm_2(8)),
        (HypercubeTopology(), algorithm_4(8)),
        (HypercubeTopology(each_edge_once=True), algorithm_4(8, each_edge_once=True)),
    )
    for rule in RULES
]
# Of the 7 dimensions of disagreement 4 lie within the pairs of a matching.  Simultaneous fusion shrinks them by 1 - 2F,
# sequential fusion by (1 - F)^2, but moves a pair's mean by F^2 of its half difference.
RANDOM_CONTRACTIONS = {
    "sequential": np.sqrt(3 / 7 + 4 / 7 * (0.45**4 + 3 / 4 * 0.55**4)),
    "simultaneous": np.sqrt(3 / 7 + 4 / 7 * 0.1**2),
}


@pytest.mark.parametrize(("topology", "rule", "expected"), CONTRACTIONS, ids=str)
def test_a_round_shrinks_the_disagreement_of_eight_networks_by_the_known_factor(topology, rule, expected):
    Q = disagreement_matrix(topology.mixing_matrix(8, 0.55, rule))
    assert contraction(Q.T @ Q) == pytest.approx(expected, rel=1e-12)


def test_known_factors_are_those_of_the_halves_where_a_hypercube_fuses_simultaneously():
    factors = {str(topology): factor for topology, rule, factor in CONTRACTIONS if rule == "simultaneous"}
    assert factors["HypercubeTopology(each_edge_once=True)"] == pytest.approx(0.1, rel=1e-12)
    assert factors["HypercubeTopology()"] == pytest.approx(0.1**2, rel=1e-12)


def matchings(networks):
    if not networks:
        yield []
        return
    first, *rest = networks
    for partner in rest:
        for others in matchings([network for network in rest if network != partner]):
            yield [(first, partner), *others]


@pytest.mark.parametrize(("rule", "expected"), RANDOM_CONTRACTIONS.items())
def test_a_random_round_shrinks_the_disagreement_of_eight_networks_by_the_known_factor(rule, expected):
    # Pairs of a matching are disjoint, so that their order does not matter; their directions do.
    moments = []
    for matching in matchings(list(range(8))):
        for directions in product((1, -1), repeat=4):
            pairs = [pair[::step] for pair, step in zip(matching, directions, strict=True)]
            Q = disagreement_matrix(FixedTopology(pairs).mixing_matrix(8, 0.55, rule))
            moments.append(Q.T @ Q)
    assert len(moments) == 105 * 16
    assert contraction(np.mean(moments, axis=0)) == pytest.approx(expected, rel=1e-12)


# Third parties' topologies


@pytest.mark.parametrize("rule", RULES)
def test_a_subclass_needs_pairs_alone(rule):
    pairs = [(0, 2), (2, 2), (2, 1)]
    weights = weights_with_zeros(3, np.float64, seed=7, share=0)
    expected = fuse(weights.copy(), pairs, 0.3, rule)
    matrix = FixedTopology(pairs).mixing_matrix(3, 0.3, rule)
    np.testing.assert_allclose(matrix @ weights, expected, rtol=0, atol=rounding(weights, 3))
    np.testing.assert_array_equal(FixedTopology(pairs).fuse(weights, 0.3, rule), expected)


def test_round_and_random_state_reach_pairs():
    topology = TurningTopology()
    for fusion_round, random_state in ((0, 1), (1, 1), (3, 2)):
        weights = np.arange(1.0, 6.0)[:, np.newaxis]
        expected = fuse(weights.copy(), topology.pairs(5, fusion_round, random_state), 0.5)
        matrix = topology.mixing_matrix(5, 0.5, fusion_round=fusion_round, random_state=random_state)
        np.testing.assert_allclose(matrix @ weights, expected, rtol=1e-14)
        topology.fuse(weights, 0.5, fusion_round=fusion_round, random_state=random_state)
        np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize("use", ["fuse", "mixing_matrix"])
def test_indices_out_of_range_from_a_subclass_are_named(use):
    topology = FixedTopology([(0, 1), (1, 3)])
    with pytest.raises(ValueError, match=r"indices from 0 to 2, .*got the pair \(1, 3\)"):
        topology.fuse(np.ones((3, 2)), 0.5) if use == "fuse" else topology.mixing_matrix(3, 0.5)


# Parameters


@each_topology
def test_topologies_clone_and_show_their_parameters(topology):
    copy = clone(topology)
    assert copy is not topology
    assert copy.get_params() == topology.get_params()
    assert repr(copy) == repr(topology)
    assert type(topology).__name__ in repr(topology)


def test_parameters_are_kept_verbatim_and_can_be_set():
    topology = HypercubeTopology(each_edge_once="perhaps", incomplete=3)
    assert topology.get_params() == {"each_edge_once": "perhaps", "incomplete": 3}
    topology.set_params(each_edge_once=True, incomplete="skip")
    assert len(topology.pairs(8)) == 12
    assert RandomTopology().set_params(replacement=True).replacement is True


@pytest.mark.parametrize(
    ("topology", "error", "match"),
    [
        (HypercubeTopology(incomplete="ignore"), ValueError, "incomplete must be one of 'skip', 'raise'; got 'ignore'"),
        (HypercubeTopology(each_edge_once="yes"), TypeError, "each_edge_once must be True or False, got 'yes'"),
        (RandomTopology(replacement=1), TypeError, "replacement must be True or False, got 1"),
    ],
)
def test_wrong_parameters_are_refused_at_use(topology, error, match):
    for use in (
        lambda: topology.pairs(8),
        lambda: topology.fuse(np.ones((8, 1)), 0.5),
        lambda: topology.mixing_matrix(8, 0.5),
    ):
        with pytest.raises(error, match=match):
            use()


@each_topology
@pytest.mark.parametrize(
    ("n_networks", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_a_number_of_networks_that_is_no_positive_integer_is_refused(topology, n_networks, error):
    with pytest.raises(error, match=f"n_networks must be .*at least 1, got {n_networks}"):
        topology.pairs(n_networks, random_state=0)
    with pytest.raises(error, match=f"n_networks must be .*at least 1, got {n_networks}"):
        topology.mixing_matrix(n_networks, 0.5, random_state=0)


@each_topology
def test_rounds_refuse_bad_rates_and_rules(topology):
    for rate in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match=r"fusion_rate must be in \[0, 1\]"):
            topology.fuse(np.ones((4, 2)), rate, random_state=0)
        with pytest.raises(ValueError, match=r"fusion_rate must be in \[0, 1\]"):
            topology.mixing_matrix(4, rate, random_state=0)
    with pytest.raises(ValueError, match="rule must be one of"):
        topology.fuse(np.ones((4, 2)), 0.5, rule="both", random_state=0)
    with pytest.raises(ValueError, match="rule must be one of"):
        topology.mixing_matrix(4, 0.5, rule="both", random_state=0)


@each_topology
def test_rounds_refuse_weights_that_are_no_float_matrix(topology):
    with pytest.raises(TypeError, match="weights must be a float32 or float64 ndarray"):
        topology.fuse([[1.0], [2.0]], 0.5, random_state=0)
    with pytest.raises(TypeError, match="weights must be a float32 or float64 ndarray"):
        topology.fuse(np.ones((2, 1), int), 0.5, random_state=0)
    with pytest.raises(ValueError, match="weights must have shape"):
        topology.fuse(np.ones(4), 0.5, random_state=0)
