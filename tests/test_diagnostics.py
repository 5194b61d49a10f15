"""Diagnostics of topologies: known values, agreement with brute force, what is sent, what is refused."""

from dataclasses import FrozenInstanceError, astuple
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_topology import CONTRACTIONS, RANDOM_CONTRACTIONS, TOPOLOGIES

from skfusion import FusedMLPClassifier
from skfusion.diagnostics import TopologyDiagnostics, diagnose
from skfusion.topology import (
    BaseTopology,
    ExponentialTopology,
    GraphTopology,
    HypercubeTopology,
    RandomTopology,
    RingTopology,
)

RULES = ("sequential", "simultaneous")
FIXED = {name: topology for name, topology in TOPOLOGIES.items() if "random" not in name}


class NeighboursTopology(BaseTopology):
    """A third party's: even networks fuse with the next, then odd ones do."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [(i, i + 1) for i in range(fusion_round % 2, n_networks - 1, 2)]


class NeighboursAtOnce(BaseTopology):
    """The same in shares."""

    def matrix(self, n_networks, fusion_round=0, random_state=None):
        return NeighboursTopology().mixing_matrix(n_networks, 0.5, "simultaneous", fusion_round)


class OnePairTopology(BaseTopology):
    """A third party's: two random networks fuse."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [random_state.permutation(n_networks)[:2]]


class OneRandomPairTopology(OnePairTopology, RandomTopology):
    """The same as a random topology of another kind."""


class LossyExponentialTopology(BaseTopology):
    """A third party's: one that changes from round to round loses a tenth of its pairs."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        pairs = ExponentialTopology().pairs(n_networks, fusion_round)
        return pairs[random_state.uniform(size=len(pairs)) >= 0.1]


class StarByTurnsTopology(BaseTopology):
    """A third party's: the hub fuses with all others, then with one."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [(0, other) for other in range(1, 2 if fusion_round % 2 else n_networks)]


class CountingStarTopology(StarByTurnsTopology):
    """The same by a count of its own."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        self.n_rounds_ = getattr(self, "n_rounds_", -1) + 1
        return super().pairs(n_networks, self.n_rounds_)


class BatonTopology(BaseTopology):
    """One pair a round, which moves around a ring."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return np.array([[fusion_round, fusion_round + 1]], np.int32) % n_networks


class ReusingBatonTopology(BatonTopology):
    """The same, in an array that it changes from round to round."""

    array = np.empty((1, 2), np.int32)

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        self.array[:] = super().pairs(n_networks, fusion_round)
        return self.array


class RandomByTurnsTopology(BaseTopology):
    """A third party's: a ring, and in every other round random pairs."""

    def __init__(self, first=0):
        self.first = first

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        topology = RandomTopology() if fusion_round % 2 == self.first else RingTopology()
        return topology.pairs(n_networks, fusion_round, random_state)


class SharesByTurnsTopology(BaseTopology):
    """A third party's: a ring of pairs, and in every other round the mean of all."""

    def __init__(self, first):
        self.first = first

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return RingTopology().pairs(n_networks)

    def matrix(self, n_networks, fusion_round=0, random_state=None):
        return np.full((n_networks, n_networks), 1 / n_networks) if fusion_round % 2 == self.first else None


class StrayingTopology(BaseTopology):
    """One that never begins anew."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [(0, 1)] if fusion_round < 70 else [(1, 0)]


# Known values


def test_rounds_that_draw_and_change_are_those_of_all_numbers():
    """A pair that is not lost removes what differs along one of three dimensions, and leaves the rest."""
    found = diagnose(LossyExponentialTopology(), 8, 0.5, "simultaneous", random_state=0)
    assert found.contraction == pytest.approx(np.sqrt(0.9 * 2 / 3 + 0.1), rel=0.03)
    assert found.sent_mean == pytest.approx(0.9, rel=0.03)
    assert found.rounds == np.ceil(np.log(0.01) / np.log(found.contraction))


def test_a_third_partys_kind_of_random_topology_is_judged_by_its_own_pairs(monkeypatch):
    monkeypatch.setattr("skfusion.diagnostics._N_DRAWS", 50)
    own, other = (diagnose(kind(), 6, 0.5, random_state=0) for kind in (OneRandomPairTopology, OnePairTopology))
    assert own == other


def test_a_topology_that_counts_its_rounds_is_asked_for_none_before_the_first():
    assert diagnose(CountingStarTopology(), 5, 0.3) == diagnose(StarByTurnsTopology(), 5, 0.3)


def test_rounds_of_a_topology_that_reuses_an_array_differ():
    assert diagnose(ReusingBatonTopology(), 5, 0.5) == diagnose(BatonTopology(), 5, 0.5)


def test_a_topology_that_draws_in_some_rounds_alone_is_one_that_draws():
    found = [diagnose(RandomByTurnsTopology(first), 8, 0.5, "simultaneous", random_state=0) for first in (0, 1)]
    assert [one.sent_mean for one in found] == [1.5, 1.5]  # half in pairs, half round a ring
    assert found[1].contraction == pytest.approx(found[0].contraction, rel=0.03)


@pytest.mark.parametrize("first", [0, 1])
def test_rounds_may_be_pairs_and_shares_by_turns(first):
    found = diagnose(SharesByTurnsTopology(first), 5, 0.5)
    assert (found.rounds, found.spectral_gap) == (1 + first, pytest.approx(1))
    assert found.sent_mean == (2 + 4) / 2


@pytest.mark.parametrize(("topology", "rule", "expected"), CONTRACTIONS, ids=str)
def test_contraction_of_eight_networks_has_the_known_value(topology, rule, expected):
    assert diagnose(topology, 8, 0.55, rule).contraction == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rate", [0.8, 0.9, 1])
def test_networks_that_fusion_drives_apart_never_agree(rate):
    # The shares' smallest eigenvalue is -1/3, so that of a round is 1 - 2F - 2F / 3.
    result = diagnose(RingTopology(mixing="metropolis"), 8, rate)
    assert (result.rounds, result.spectral_gap) == (inf, pytest.approx(0, abs=1e-12))
    assert result.contraction == pytest.approx(8 / 3 * rate - 1, rel=1e-12)


@pytest.mark.parametrize(("rule", "expected"), RANDOM_CONTRACTIONS.items())
def test_contraction_of_random_matchings_of_eight_networks_is_exact(rule, expected):
    for seed in range(3):
        result = diagnose("random", 8, 0.55, rule, random_state=seed)
        assert result.contraction == pytest.approx(expected, rel=1e-12)
        assert result.spectral_gap == pytest.approx(1 - expected, rel=1e-12)
        assert result.rounds == np.ceil(np.log(0.01) / np.log(expected))


@pytest.mark.parametrize("n_networks", [2, 3, 8, 10, 64])
@pytest.mark.parametrize(("rate", "share", "rounds"), [(0.55, 0.01, 2), (0.7, 0.4, 1), (0.4, 0.008, 3)])
def test_rounding_adds_no_round_where_what_is_left_is_the_share_itself(rate, share, rounds, n_networks):
    """Each mean of all leaves |1 - 2 F| of the disagreement."""
    assert diagnose("average", n_networks, rate, share=share).rounds == rounds


@pytest.mark.parametrize("n_networks", [3, 5, 9, 33])
def test_contraction_of_random_matchings_of_an_odd_number_is_known(n_networks):
    # At one half, simultaneously: of M's squared entries each pair of the matching has 1 and the network left over 1;
    # its averaging with one of a pair turns 1 + 1/2 into 2 (1/4 + 1/16 + 1/16).  The consensus takes 1.
    expected = np.sqrt(1 / 2 - 3 / (4 * (n_networks - 1)))
    result = diagnose("random", n_networks, 0.5, "simultaneous", random_state=1)
    assert result.contraction == pytest.approx(expected, rel=1e-12)


def test_contraction_of_one_random_pair_is_what_boyd_et_al_find():
    # Averaging projects, so that E[W'W] = E[W] = I - E[(e_i - e_j)(e_i - e_j)'] / 2, whose second eigenvalue is
    # 1 - 1 / (N - 1); from 1000 draws it comes out somewhat too large.
    result = diagnose(OnePairTopology(), 6, 0.5, "simultaneous", random_state=0)
    assert np.sqrt(1 - 1 / 5) < result.contraction < 1.03 * np.sqrt(1 - 1 / 5)
    assert result.sent_mean == pytest.approx(2 / 6)
    assert result.sent_max == 1


@pytest.mark.parametrize("topology", [NeighboursTopology(), NeighboursAtOnce()], ids=["pairs", "shares"])
def test_spectral_gap_of_rounds_of_neighbours_is_known(topology):
    # A path of N = 4 by turns, at one half: the two averaging steps of paths meet at the angle arccos sqrt(1/2), so a
    # cycle shrinks by 1/2 at last, and a round by sqrt(1/2).
    result = diagnose(topology, 4, 0.5, "simultaneous")
    assert result.spectral_gap == pytest.approx(1 - np.sqrt(1 / 2))


@pytest.mark.parametrize("n_bits", [1, 2, 3, 6])
def test_exponential_agrees_exactly_after_log_rounds(n_bits):
    assert astuple(diagnose("exponential", 2**n_bits, 0.5, "simultaneous")) == (n_bits, 0, 1, 1, 1)
    once = HypercubeTopology(each_edge_once=True)
    assert astuple(diagnose(once, 2**n_bits, 0.5, "simultaneous")) == (1, 0, 1, n_bits, n_bits)


@pytest.mark.parametrize(
    ("topology", "rate", "rule"),
    [
        ("ring", 0.0, "sequential"),
        ("random", 0.0, "sequential"),
        ("exponential", 0.0, "simultaneous"),
        ("ring", 1.0, "simultaneous"),
        (GraphTopology([(0, 1), (2, 3)]), 0.5, "simultaneous"),
        (GraphTopology([]), 0.5, "sequential"),
    ],
)
def test_networks_that_nothing_joins_never_agree(topology, rate, rule):
    result = diagnose(topology, 5, rate, rule, random_state=0)
    assert result.rounds == inf
    assert 0 <= result.spectral_gap < 1e-12


# Brute force


def worst_cases(topology, n_networks, rate, rule, n_rounds):
    """Share of the disagreement that is left after each round at worst, and before the first."""
    shares, product = [1.0], np.eye(n_networks)
    for fusion_round in range(n_rounds):
        product = topology.mixing_matrix(n_networks, rate, rule, fusion_round) @ product
        shares.append(np.linalg.norm(product - product.mean(axis=0), 2))
    return shares


@settings(max_examples=80)
@given(
    topology=st.sampled_from([*FIXED.values(), NeighboursTopology()]),
    n_networks=st.integers(3, 12),
    rate=st.floats(0.2, 0.7),
    rule=st.sampled_from(RULES),
    share=st.floats(0.001, 0.9),
)
def test_rounds_and_contraction_are_those_of_rounds_one_after_another(topology, n_networks, rate, rule, share):
    result = diagnose(topology, n_networks, rate, rule, share=share)
    shares = worst_cases(topology, n_networks, rate, rule, result.rounds)
    assert shares[-1] <= share * (1 + 1e-9)
    assert shares[-2] > share * (1 - 1e-9)
    cycles = {"ExponentialTopology": (n_networks - 1).bit_length(), "NeighboursTopology": 2}
    length = cycles.get(type(topology).__name__, 1)
    expected = worst_cases(topology, n_networks, rate, rule, length)[-1]
    assert result.contraction**length == pytest.approx(expected, rel=1e-9, abs=1e-14)


@settings(max_examples=30)
@given(topology=st.sampled_from(list(FIXED.values())), n_networks=st.integers(2, 12), rate=st.floats(0.2, 0.7))
def test_weights_at_random_never_need_more_rounds(topology, n_networks, rate):
    weights = np.random.default_rng(0).normal(size=(n_networks, 5))
    start = np.linalg.norm(weights - weights.mean(axis=0))
    for fusion_round in range(diagnose(topology, n_networks, rate, share=0.1).rounds):
        topology.fuse(weights, rate, fusion_round=fusion_round)
    assert np.linalg.norm(weights - weights.mean(axis=0)) <= 0.1 * start * (1 + 1e-9)


@settings(max_examples=30)
@given(topology=st.sampled_from(list(FIXED.values())), n_networks=st.integers(2, 17), rate=st.floats(0, 1))
def test_simultaneous_rounds_never_add_to_the_disagreement_and_late_ones_shrink_it_most(topology, n_networks, rate):
    result = diagnose(topology, n_networks, rate, "simultaneous")
    assert 0 <= result.contraction <= 1 + 1e-12
    assert 1 - result.contraction <= result.spectral_gap + 1e-12


def test_a_sequential_round_along_a_line_can_add_to_the_disagreement():
    assert diagnose("line", 64, 0.55).contraction > 1


# What is sent


@pytest.mark.parametrize(
    ("topology", "n_networks", "mean", "most"),
    [
        ("ring", 8, 2, 2),
        ("line", 8, 14 / 8, 2),
        ("star", 8, 14 / 8, 7),
        ("complete", 8, 7, 7),
        ("torus", 16, 4, 4),
        ("hypercube", 8, 6, 6),
        ("exponential", 8, 1, 1),
        ("random", 8, 1, 1),
        ("random", 9, 10 / 9, 2),
        (NeighboursTopology(), 5, 4 / 5, 1),
        (StarByTurnsTopology(), 4, (6 / 4 + 2 / 4) / 2, (3 + 1) / 2),
        (GraphTopology([(0, 1), (2, 2), (1, 0)]), 4, 1, 2),
    ],
)
def test_a_peer_sends_one_network_for_each_other_that_it_fuses_with(topology, n_networks, mean, most):
    result = diagnose(topology, n_networks, 0.5, random_state=0)
    assert (result.sent_mean, result.sent_max) == (pytest.approx(mean), most)
    result = diagnose(topology, n_networks, 0.5, n_parameters=1000, random_state=0)
    assert (result.sent_mean, result.sent_max) == (pytest.approx(1000 * mean), 1000 * most)


def test_what_is_sent_does_not_overflow():
    assert diagnose("ring", 8, 0.5, n_parameters=2**62).sent_max == 2.0**63


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_training_sends_what_was_said():
    X = np.random.default_rng(0).normal(size=(24, 2))
    peers = FusedMLPClassifier((3,), topology="star", max_iter=1, random_state=0).fit(X, X[:, 0] > 0)
    sent = peers.history_[0]["numbers_sent"]
    result = diagnose("star", 8, 0.55, n_parameters=peers.weights_.shape[1])
    assert (np.mean(sent), max(sent)) == (result.sent_mean, result.sent_max)


# The result, and what is refused


def test_result_is_frozen_compares_and_reads_well():
    result = diagnose(RingTopology(), 8, 0.55, n_parameters=1234567)
    assert result == diagnose("ring", 8, 0.55, n_parameters=1234567)
    assert repr(result) == (
        "TopologyDiagnostics(rounds=23, contraction=0.8328, spectral_gap=0.1907, sent_mean=2469134, sent_max=2469134)"
    )
    with pytest.raises(FrozenInstanceError):
        result.rounds = 1
    assert isinstance(result, TopologyDiagnostics)


def test_drawn_topologies_follow_the_random_state():
    first, second, other = (diagnose(OnePairTopology(), 6, 0.5, random_state=seed) for seed in (0, 0, 1))
    assert first == second != other


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"topology": "grid"}, ValueError, "topology must be one of 'ring', .*got 'grid'"),
        ({"topology": 3}, TypeError, "topology must be one of .*got 3"),
        ({"n_networks": 1}, ValueError, "n_networks must be at least 2, got 1"),
        ({"n_networks": 8.0}, TypeError, "n_networks must be an integer of at least 2, got 8.0"),
        ({"fusion_rate": 1.1}, ValueError, r"fusion_rate must be in \[0, 1\], got 1.1"),
        ({"rule": "both"}, ValueError, "rule must be one of 'sequential', 'simultaneous'; got 'both'"),
        ({"share": 0}, ValueError, r"share must be in \(0, 1\), got 0"),
        ({"share": 1.0}, ValueError, r"share must be in \(0, 1\), got 1.0"),
        ({"n_parameters": 0}, ValueError, "n_parameters must be at least 1, got 0"),
        ({"random_state": "seed"}, TypeError, "random_state must be None, an integer or .*got 'seed'"),
        ({"random_state": -1}, ValueError, "random_state must be from 0 to .*got -1"),
        ({"topology": GraphTopology([(0, 9)])}, ValueError, "graph must have nodes from 0 to 7"),
        ({"topology": StrayingTopology()}, ValueError, "repeat itself after at most 64 rounds, got StrayingTopology()"),
    ],
)
def test_bad_arguments_are_refused(changes, error, match):
    with pytest.raises(error, match=match):
        diagnose(**{"topology": "ring", "n_networks": 8, "fusion_rate": 0.5} | changes)
