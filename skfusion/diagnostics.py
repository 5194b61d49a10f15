"""What to expect of a topology, before any training: how fast peers come to agree, and what they send."""

from dataclasses import dataclass
from functools import reduce
from math import inf

import numpy as np
from sklearn.base import clone

from skfusion._checks import check_choice, check_integer, check_real, check_rng, shown
from skfusion._typing import FusionRule, RandomState, TopologyName
from skfusion.fusion import RULES
from skfusion.topology import BaseTopology, RandomTopology, check_topology, round_of

__all__ = ["TopologyDiagnostics", "diagnose"]

# How many rounds stand for all those that a topology could draw.
_N_DRAWS = 1000
# After how many rounds at the latest a topology that draws nothing must repeat itself.
_MAX_CYCLE = 64
# 2 to this power is never: a disagreement that shrinks so slowly is one of networks that nothing joins.
_MAX_DOUBLINGS = 40
# By what share rounding may raise the disagreement: a rate such as 0.55 is itself not exact.
_ROUNDING = 1e-9
# A disagreement that has grown so much never shrinks again; more doublings would overflow.
_GROWN = 1e50


@dataclass(frozen=True, repr=False)
class TopologyDiagnostics:
    """How fast a topology makes networks agree, and what it sends; returned by :func:`diagnose`.

    Parameters
    ----------
    rounds : int or float
        Rounds until at most the given share of the initial disagreement is left, whatever the initial weights;
        infinity if that never happens.
    contraction : float
        One round multiplies the disagreement by this factor, in the worst case.  0 means perfect agreement at once, 1
        no progress; above 1, a single round can increase the disagreement.
    spectral_gap : float
        In the long run, a round multiplies the disagreement by 1 minus this; 0 if networks never agree.
    sent_mean : float
        How many networks, or with ``n_parameters`` numbers, a peer sends in a round, averaged over peers and rounds.
    sent_max : float
        How many of them the busiest peer sends in a round, averaged over rounds.

    Examples
    --------
    >>> from skfusion.diagnostics import diagnose
    >>> diagnose("hypercube", 8, 0.5, rule="simultaneous").rounds
    1
    """

    rounds: int | float
    contraction: float
    spectral_gap: float
    sent_mean: float
    sent_max: float

    def __repr__(self):
        return (
            f"TopologyDiagnostics(rounds={self.rounds}, contraction={self.contraction:.4g}, "
            f"spectral_gap={self.spectral_gap:.4g}, sent_mean={self.sent_mean:.10g}, sent_max={self.sent_max:.10g})"
        )


def diagnose(
    topology: TopologyName | BaseTopology,
    n_networks: int,
    fusion_rate: float,
    rule: FusionRule = "sequential",
    *,
    share: float = 0.01,
    n_parameters: int = 1,
    random_state: RandomState = None,
) -> TopologyDiagnostics:
    """Compute how fast a topology makes networks agree, and what it sends.

    The disagreement is the root mean square distance of the networks' weights from the consensus.  It shrinks while
    networks fuse and do not train in between.  These arguments alone decide how fast, as long as no weight is 0.

    Parameters
    ----------
    topology : str or topology
        A name or an instance of a class of :mod:`skfusion.topology`.
    n_networks : int
        How many networks there are, at least 2.
    fusion_rate : float in [0, 1]
        The weight that a network gives to the other.
    rule : {"sequential", "simultaneous"}, default="sequential"
        See :func:`skfusion.fuse`.  The estimators' default is "simultaneous".
    share : float in (0, 1), default=0.01
        Networks agree once at most this share of the initial disagreement is left.
    n_parameters : int, default=1
        Number of weights and biases of a network.  With the default, ``sent_mean`` and ``sent_max`` count networks.
    random_state : int, RandomState instance or None, default=None
        Source of randomness, for topologies that draw.

    Returns
    -------
    TopologyDiagnostics
        The rounds to agreement, the contraction, the spectral gap, and what peers send.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the topology neither draws from ``random_state`` nor repeats itself after at
        most 64 rounds.

    Notes
    -----
    Let M be the mixing matrix of a round, and P = I - 11'/N, which removes the consensus.  The contraction is the
    largest singular value of PM, and the spectral gap is 1 minus the second largest modulus of M's eigenvalues.  If a
    topology changes from round to round, M is the matrix of a whole cycle of rounds, and both are geometric means over
    these rounds.

    For a topology that draws, the contraction is the root of the largest eigenvalue of E[M'PM], the worst case of the
    root mean square.  The gap is 1 minus that, and ``rounds`` is the upper bound that follows from it.  A mean over
    1000 drawn rounds, from the first on, stands for the expectation, and makes it about 3 per cent too large.  If a
    topology that draws also changes from round to round, ``rounds`` is an estimate.
    :class:`~skfusion.topology.RandomTopology` is an exception: it treats all networks alike, so E[M'PM] is a multiple
    of P.  The trace gives the multiple, exactly if the number of networks is even and ``replacement`` is False.

    References
    ----------
    S. Boyd, A. Ghosh, B. Prabhakar and D. Shah, "Randomized Gossip Algorithms", IEEE Transactions on Information
    Theory 52(6), 2006.

    Examples
    --------
    >>> from skfusion.diagnostics import diagnose
    >>> diagnose("ring", 8, 0.55)
    TopologyDiagnostics(rounds=23, contraction=0.8328, spectral_gap=0.1907, sent_mean=2, sent_max=2)
    >>> diagnose("exponential", 8, 0.5, rule="simultaneous", n_parameters=1000)
    TopologyDiagnostics(rounds=3, contraction=0, spectral_gap=1, sent_mean=1000, sent_max=1000)
    """
    topology = check_topology(topology)
    n_networks = check_integer("n_networks", n_networks, 2)
    fusion_rate = check_real("fusion_rate", fusion_rate, 0, 1)
    check_choice("rule", rule, RULES)
    share = check_real("share", share, 0, 1, open_minimum=True, open_maximum=True)
    n_parameters = check_integer("n_parameters", n_parameters, 1)
    draws, rng = _draws(topology, n_networks), check_rng(random_state)
    rounds = _rounds(topology, n_networks, _N_DRAWS, rng) if draws else _cycle(topology, n_networks)
    mixing = (fusion_round.mixing_matrix(fusion_rate, rule) for fusion_round in rounds)
    contraction, asymptotic, steps = _of_draws(mixing, type(topology) is RandomTopology) if draws else _of_cycle(mixing)
    sent = float(n_parameters) * np.array([fusion_round.networks_sent() for fusion_round in rounds])
    return TopologyDiagnostics(
        rounds=_rounds_until(share * (1 + _ROUNDING), steps),
        contraction=float(contraction),
        spectral_gap=max(0.0, float(1 - asymptotic)),  # no modulus is above 1, but for rounding
        sent_mean=float(sent.mean()),
        sent_max=float(sent.max(axis=1).mean()),
    )


def _draws(topology, n_networks):
    """Whether a topology uses the random state that it is given, in any of its rounds."""
    rng = np.random.RandomState(0)
    _rounds(clone(topology, safe=False), n_networks, _MAX_CYCLE, rng)  # a copy, as it may count its rounds
    return rng.randint(2**31) != np.random.RandomState(0).randint(2**31)


def _rounds(topology, n_networks, n_rounds, rng=None):
    return [round_of(topology, n_networks, fusion_round, rng) for fusion_round in range(n_rounds)]


def _cycle(topology, n_networks):
    """Return the rounds of one cycle, after which a topology repeats itself."""
    rounds = _rounds(topology, n_networks, 2 * _MAX_CYCLE)
    for length in range(1, _MAX_CYCLE + 1):
        if all(one.equals(other) for one, other in zip(rounds, rounds[length:], strict=False)):
            return rounds[:length]
    raise ValueError(
        f"topology must draw from random_state or repeat itself after at most {_MAX_CYCLE} rounds, got "
        f"{shown(topology)}"
    )


def _of_draws(mixing, symmetric):
    """Return the contraction, its bound in the long run, and steps of that size, by the matrices of drawn rounds."""
    contraction = _expected_contraction(mixing, symmetric)
    return contraction, contraction, [np.array([[contraction]])]


def _of_cycle(mixing):
    """Return the contraction, its value in the long run, and the steps, by the matrices of a cycle's rounds."""
    cycle = list(mixing)
    steps = [_without_consensus(matrix) for matrix in cycle]
    contraction = _norm(_product(steps)) ** (1 / len(steps))
    return contraction, min(contraction, _second_eigenvalue(_product(cycle)) ** (1 / len(steps))), steps


def _without_consensus(matrix):
    return matrix - matrix.mean(axis=0)


def _product(matrices):
    """Return the product of the matrices of rounds, the first of them applied first."""
    return reduce(lambda product, matrix: matrix @ product, matrices)


def _norm(matrix):
    return np.linalg.norm(matrix, 2)


def _second_eigenvalue(matrix):
    """Return the second largest modulus of the eigenvalues; the largest is that of the consensus, 1."""
    return np.sort(np.abs(np.linalg.eigvals(matrix)))[-2]


def _expected_contraction(mixing, symmetric):
    """Return the worst case of the root mean square over drawn rounds; ``symmetric`` if all directions are alike."""
    steps = map(_without_consensus, mixing)
    if symmetric:
        return np.sqrt(np.mean([np.sum(step**2) / (len(step) - 1) for step in steps]))
    return np.sqrt(np.linalg.eigvalsh(reduce(np.add, (step.T @ step for step in steps)) / _N_DRAWS)[-1])


def _rounds_until(share, steps):
    """Count the rounds, each a step of the cycle, until the norm of their product is at most ``share``."""
    powers = [_product(steps)]
    while _norm(powers[-1]) > share:
        if len(powers) > _MAX_DOUBLINGS or _norm(powers[-1]) > _GROWN:
            return inf
        powers.append(powers[-1] @ powers[-1])
    product, n_rounds = np.eye(len(powers[0])), 0
    for exponent, power in reversed(list(enumerate(powers))):
        longer = power @ product
        if _norm(longer) > share:
            product, n_rounds = longer, n_rounds + 2**exponent * len(steps)
    while _norm(product) > share:
        product, n_rounds = steps[n_rounds % len(steps)] @ product, n_rounds + 1
    return n_rounds
