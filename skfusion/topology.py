"""Fusion topologies: who fuses with whom in a round, in pairs (the paper's and others) or all at once."""

from math import isqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone

from skfusion._checks import check_choice, check_flag, check_integer, check_real, check_rng, is_integer, shown
from skfusion._typing import FusionRule, Graph, IntArray, RandomState, TopologyName, Weights
from skfusion.fusion import (
    RULES,
    MatrixRound,
    PairRound,
    check_mixing,
    check_pairs,
    check_weights,
    fuse_round,
    nonzero,
)

__all__ = [
    "AverageTopology",
    "BaseTopology",
    "CompleteTopology",
    "ExponentialTopology",
    "GraphTopology",
    "HypercubeTopology",
    "LineTopology",
    "RandomTopology",
    "RingTopology",
    "StarTopology",
    "TorusTopology",
]


class BaseTopology(BaseEstimator):
    """Base class of fusion topologies; a subclass needs one method, :meth:`pairs` or :meth:`matrix`.

    Attributes
    ----------
    by_server : bool
        Whether a server mixes the networks of a round by :meth:`matrix`.  Then each peer sends its network once, not to
        every peer that takes a share of it.  A subclass may set it.

    Examples
    --------
    >>> from skfusion.topology import BaseTopology
    >>> class NeighboursTopology(BaseTopology):
    ...     def pairs(self, n_networks, fusion_round=0, random_state=None):
    ...         return [(i, i + 1) for i in range(fusion_round % 2, n_networks - 1, 2)]
    >>> NeighboursTopology().mixing_matrix(4, 0.5, rule="simultaneous")
    array([[0.5, 0.5, 0. , 0. ],
           [0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5],
           [0. , 0. , 0.5, 0.5]])
    """

    by_server: bool = False

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> ArrayLike:
        """Return the ordered pairs of networks that fuse in a round, one after another.

        Parameters
        ----------
        n_networks : int
            How many networks there are.
        fusion_round : int, default=0
            Number of rounds before this one, for topologies that change over time.
        random_state : int, RandomState instance or None, default=None
            Source of randomness, for topologies that draw.

        Returns
        -------
        array-like of int of shape (n_pairs, 2)
            Indices from 0 to ``n_networks - 1``.

        Raises
        ------
        NotImplementedError
            If all networks mix at once, by :meth:`matrix`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no pairs: all networks mix at once, by matrix")

    def matrix(
        self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None
    ) -> NDArray[np.float64] | None:
        """Return the share that each network takes of each, if all mix at once.

        With these shares W and the fusion rate F, a round multiplies the weights by (1 - 2 F) I + 2 F W: that is W at
        F = 0.5, and changes nothing at F = 0.  There is no order, so the rule does not matter.  The mean ignores
        weights that are exactly 0, unless all of them are.

        Parameters
        ----------
        n_networks : int
            How many networks there are.
        fusion_round : int, default=0
            Number of rounds before this one, for topologies that change over time.
        random_state : int, RandomState instance or None, default=None
            Source of randomness, for topologies that draw.

        Returns
        -------
        float64 ndarray of shape (n_networks, n_networks) or None
            W, whose rows sum to 1; None if the networks fuse in :meth:`pairs`.
        """
        return None

    def fuse(
        self,
        weights: Weights,
        fusion_rate: float,
        rule: FusionRule = "sequential",
        fusion_round: int = 0,
        random_state: RandomState = None,
    ) -> Weights:
        """Fuse networks for one round, in place.

        Parameters
        ----------
        weights : ndarray of shape (n_networks, n_parameters), dtype float32 or float64
            A row for each network; changed in place.
        fusion_rate : float in [0, 1]
            The weight that a network gives to the other.
        rule : {"sequential", "simultaneous"}, default="sequential"
            See :func:`skfusion.fuse`.
        fusion_round : int, default=0
            Number of rounds before this one.
        random_state : int, RandomState instance or None, default=None
            Source of randomness, for topologies that draw.

        Returns
        -------
        ndarray
            ``weights``.

        Raises
        ------
        TypeError, ValueError
            As :func:`skfusion.fuse`.
        """
        check_weights(weights)
        return fuse_round(weights, round_of(self, len(weights), fusion_round, random_state), fusion_rate, rule)

    def mixing_matrix(
        self,
        n_networks: int,
        fusion_rate: float,
        rule: FusionRule = "sequential",
        fusion_round: int = 0,
        random_state: RandomState = None,
    ) -> NDArray[np.float64]:
        """Return the matrix of one round, if no weight is 0.

        Parameters
        ----------
        n_networks : int
            How many networks there are.
        fusion_rate : float in [0, 1]
            The weight that a network gives to the other.
        rule : {"sequential", "simultaneous"}, default="sequential"
            See :func:`skfusion.fuse`.
        fusion_round : int, default=0
            Number of rounds before this one.
        random_state : int, RandomState instance or None, default=None
            Source of randomness, for topologies that draw.

        Returns
        -------
        float64 ndarray of shape (n_networks, n_networks)
            M, where a round turns ``weights`` into ``M @ weights``; its rows sum to 1.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range.

        Examples
        --------
        >>> from skfusion.topology import RingTopology
        >>> RingTopology().mixing_matrix(2, 0.5)
        array([[0.4375, 0.5625],
               [0.375 , 0.625 ]])
        """
        n_networks = check_integer("n_networks", n_networks, 1)
        rate = check_real("fusion_rate", fusion_rate, 0, 1)
        check_choice("rule", rule, RULES)
        return round_of(self, n_networks, fusion_round, random_state).mixing_matrix(rate, rule)


def round_of(topology, n_networks, fusion_round=0, random_state=None):
    """Return a topology's round, checked, as a PairRound or a MatrixRound."""
    fusion_round = check_integer("fusion_round", fusion_round, 0)
    matrix = getattr(topology, "matrix", None)  # a topology that is not a BaseTopology may have pairs alone
    shares = None if matrix is None else matrix(n_networks, fusion_round, random_state)
    if shares is None and _overrides(topology, "pairs"):
        return PairRound(check_pairs(topology.pairs(n_networks, fusion_round, random_state), n_networks), n_networks)
    return MatrixRound.of(check_mixing(shares, n_networks), getattr(topology, "by_server", False))


def _as_pairs(first, second):
    """Return pairs of an array of networks and one of their partners, but none of a network with itself."""
    pairs = np.empty((len(first), 2), np.intp)
    pairs[:, 0], pairs[:, 1] = first, second
    return pairs[pairs[:, 0] != pairs[:, 1]]


class _GraphOfNetworks(BaseTopology):
    """A topology along the edges of a graph, in pairs or by Metropolis-Hastings weights."""

    def __init__(self, mixing: Literal["pairs", "metropolis"] = "pairs"):
        self.mixing = mixing

    def matrix(
        self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None
    ) -> NDArray[np.float64] | None:
        if check_choice("mixing", self.mixing, ("pairs", "metropolis")) == "pairs":
            return None
        n_networks = check_integer("n_networks", n_networks, 1)
        edges = check_pairs(self.pairs(n_networks, fusion_round, random_state), n_networks)
        return _metropolis_weights(edges, n_networks)


def _metropolis_weights(edges, n_networks):
    """Return the Metropolis-Hastings weights of a graph.

    Two networks that an edge joins take a share of 1 / (1 + the larger number of neighbours) of each other, and keep
    the rest.  The shares are symmetric, so the consensus stays where it is.

    Parameters
    ----------
    edges : int array of shape (n_edges, 2)
        In either direction, and maybe more than once.
    n_networks : int

    Returns
    -------
    float64 ndarray of shape (n_networks, n_networks)

    References
    ----------
    L. Xiao, S. Boyd and S. Lall, "A scheme for robust distributed sensor fusion based on average consensus",
    IPSN 2005.
    """
    joined = np.zeros((n_networks, n_networks), bool)
    joined[edges[:, 0], edges[:, 1]] = joined[edges[:, 1], edges[:, 0]] = True
    np.fill_diagonal(joined, False)
    degrees = joined.sum(axis=1)
    first, second = nonzero(joined)
    shares = np.zeros(joined.shape)
    shares[first, second] = 1 / (1 + np.maximum(degrees[first], degrees[second]))
    np.fill_diagonal(shares, 1 - shares.sum(axis=1))
    return shares


class RingTopology(_GraphOfNetworks):
    """Each network fuses with the next, and the last with the first.

    Parameters
    ----------
    mixing : {"pairs", "metropolis"}, default="pairs"
        Whether the pairs of a round fuse one after another, or all networks mix at once by Metropolis-Hastings weights.

    References
    ----------
    J. Smith and M. Gashler, ICMLA 2017, Algorithm 2 (with the last index read as S - 1).

    Examples
    --------
    >>> from skfusion.topology import RingTopology
    >>> RingTopology().pairs(4).tolist()
    [[0, 1], [1, 2], [2, 3], [3, 0]]
    """

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> IntArray:
        n_networks = check_integer("n_networks", n_networks, 1)
        first = np.arange(n_networks)
        return _as_pairs(first, (first + 1) % n_networks)


class RandomTopology(BaseTopology):
    """Networks fuse in random pairs.

    The pairs are a uniformly random perfect matching, in random order, so every network is in one pair.  If the number
    of networks is odd, the one left over fuses with a random other one, which then fuses twice.

    Parameters
    ----------
    replacement : bool, default=False
        Whether to draw both ends of each pair independently, ``n_networks / 2`` pairs (rounded up), as the paper prints
        the loop.  This leaves some networks out, and a network paired with itself does not change.

    References
    ----------
    J. Smith and M. Gashler, ICMLA 2017, Algorithm 3 (its text by default, its printed loop with ``replacement``).

    Examples
    --------
    >>> from skfusion.topology import RandomTopology
    >>> RandomTopology().pairs(6, random_state=0).tolist()
    [[5, 2], [1, 3], [0, 4]]
    """

    def __init__(self, replacement: bool = False):
        self.replacement = replacement

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> IntArray:
        n_networks = check_integer("n_networks", n_networks, 1)
        rng = check_rng(random_state)
        n_pairs = (n_networks + 1) // 2 if n_networks > 1 else 0
        if check_flag("replacement", self.replacement):
            return rng.randint(n_networks, size=(n_pairs, 2)).astype(np.intp)
        order = rng.permutation(n_networks)
        if n_networks % 2 and n_networks > 1:
            order = np.append(order, order[rng.randint(n_networks - 1)])
        return order[: 2 * n_pairs].reshape(n_pairs, 2).astype(np.intp, copy=False)


class HypercubeTopology(BaseTopology):
    """Networks fuse along the edges of a hypercube, one dimension after another.

    For each bit x and each network s, s fuses with s XOR 2^x.  So each edge is fused twice, once from each end.

    Parameters
    ----------
    each_edge_once : bool, default=False
        Whether to fuse each edge from its lower end only.
    incomplete : {"skip", "raise"}, default="skip"
        What to do if the number of networks is not a power of two: leave out pairs if one partner does not exist (the
        graph stays connected, but networks that lack partners fuse less often), or raise a ValueError.

    References
    ----------
    J. Smith and M. Gashler, ICMLA 2017, Algorithm 4.

    Examples
    --------
    >>> from skfusion.topology import HypercubeTopology
    >>> HypercubeTopology(each_edge_once=True).pairs(4).tolist()
    [[0, 1], [2, 3], [0, 2], [1, 3]]
    """

    def __init__(self, each_edge_once: bool = False, incomplete: Literal["skip", "raise"] = "skip"):
        self.each_edge_once = each_edge_once
        self.incomplete = incomplete

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> IntArray:
        n_networks = check_integer("n_networks", n_networks, 1)
        check_choice("incomplete", self.incomplete, ("skip", "raise"))
        n_bits = (n_networks - 1).bit_length()
        if self.incomplete == "raise" and n_networks != 2**n_bits:
            raise ValueError(
                f"n_networks must be a power of two for HypercubeTopology(incomplete='raise'), got "
                f"{shown(n_networks)}; incomplete='skip' leaves out pairs if one partner does not exist"
            )
        pairs = np.empty((n_bits, n_networks, 2), np.intp)
        pairs[:, :, 0] = networks = np.arange(n_networks)
        pairs[:, :, 1] = networks ^ 2 ** np.arange(n_bits)[:, None]
        keep = pairs[:, :, 1] < n_networks
        if check_flag("each_edge_once", self.each_edge_once):
            keep &= pairs[:, :, 0] < pairs[:, :, 1]
        return pairs[keep]


class LineTopology(_GraphOfNetworks):
    """Each network fuses with the next: a ring without the pair that closes it.

    Parameters
    ----------
    mixing : {"pairs", "metropolis"}, default="pairs"
        Whether the pairs of a round fuse one after another, or all networks mix at once by Metropolis-Hastings weights.

    Examples
    --------
    >>> from skfusion.topology import LineTopology
    >>> LineTopology().pairs(4).tolist()
    [[0, 1], [1, 2], [2, 3]]
    """

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> IntArray:
        first = np.arange(check_integer("n_networks", n_networks, 1) - 1)
        return _as_pairs(first, first + 1)


class StarTopology(_GraphOfNetworks):
    """Network 0, the hub, fuses with each of the others, in order.

    Parameters
    ----------
    mixing : {"pairs", "metropolis"}, default="pairs"
        Whether the pairs of a round fuse one after another, or all networks mix at once by Metropolis-Hastings weights.

    Examples
    --------
    >>> from skfusion.topology import StarTopology
    >>> StarTopology().pairs(4).tolist()
    [[0, 1], [0, 2], [0, 3]]
    """

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> IntArray:
        others = np.arange(1, check_integer("n_networks", n_networks, 1))
        return _as_pairs(np.zeros_like(others), others)


class CompleteTopology(_GraphOfNetworks):
    """Each network fuses with every other once, near ones first.

    Parameters
    ----------
    mixing : {"pairs", "metropolis"}, default="pairs"
        Whether the pairs of a round fuse one after another, or all networks mix at once by Metropolis-Hastings weights.

    Examples
    --------
    >>> from skfusion.topology import CompleteTopology
    >>> CompleteTopology().pairs(4).tolist()
    [[0, 1], [1, 2], [2, 3], [0, 2], [1, 3], [0, 3]]
    """

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> IntArray:
        first, second = np.triu_indices(check_integer("n_networks", n_networks, 1), 1)
        # In the order of networks, each would be finished before it could learn what later ones learn from one another.
        order = np.argsort(second - first, kind="stable")
        return _as_pairs(first[order], second[order])


class TorusTopology(_GraphOfNetworks):
    """Networks fuse along the rows, then along the columns of a grid that wraps around.

    Rows and columns are rings.  The grid is as square as the number of networks allows; a prime number makes it a
    single row, a ring.  If a side is 2, its pairs fuse twice, once from each end, as in a ring of two.

    Parameters
    ----------
    mixing : {"pairs", "metropolis"}, default="pairs"
        Whether the pairs of a round fuse one after another, or all networks mix at once by Metropolis-Hastings weights.

    Examples
    --------
    The six networks ``0 1 2`` over ``3 4 5``:

    >>> from skfusion.topology import TorusTopology
    >>> TorusTopology().pairs(6)[:6].tolist()
    [[0, 1], [1, 2], [2, 0], [3, 4], [4, 5], [5, 3]]
    >>> TorusTopology().pairs(6)[6:].tolist()
    [[0, 3], [1, 4], [2, 5], [3, 0], [4, 1], [5, 2]]
    """

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> IntArray:
        n_networks = check_integer("n_networks", n_networks, 1)
        n_rows = max(side for side in range(1, isqrt(n_networks) + 1) if n_networks % side == 0)
        grid = np.arange(n_networks).reshape(n_rows, -1)
        right, below = np.roll(grid, -1, axis=1), np.roll(grid, -1, axis=0)
        return _as_pairs(np.tile(grid.ravel(), 2), np.concatenate([right.ravel(), below.ravel()]))


class ExponentialTopology(BaseTopology):
    """Networks fuse once a round, over a distance that doubles from round to round.

    In round k the distance is d = 2^(k mod log2 N), with the logarithm rounded up.  Of each 2d consecutive networks,
    the first d fuse with those d further on, starting over from 0 after the last.

    Notes
    -----
    If N is a power of two, each network is in one pair a round.  Any log2 N successive rounds with the simultaneous
    rule and ``fusion_rate=0.5`` then make all networks equal to their mean.  For any other N, up to d networks of a
    round are in two pairs, and log2 N rounds, rounded up, leave some of the disagreement: less than 0.274 of it for N
    up to 257.

    The networks of Ying et al. average in one direction: network s reads s + d, and s - d reads s.  Here a fusion
    changes both networks, so half of those edges are enough for the same exact mean.  They join each network to one
    other, at the same cost: a network sends its weights once a round.

    References
    ----------
    B. Ying, K. Yuan, Y. Chen, H. Hu, P. Pan and W. Yin, "Exponential Graph is Provably Efficient for Decentralized
    Deep Training", NeurIPS 2021 (one-peer exponential graphs).

    Examples
    --------
    >>> from skfusion.topology import ExponentialTopology
    >>> topology = ExponentialTopology()
    >>> [topology.pairs(4, fusion_round).tolist() for fusion_round in range(3)]
    [[[0, 1], [2, 3]], [[0, 2], [1, 3]], [[0, 1], [2, 3]]]
    """

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> IntArray:
        n_networks = check_integer("n_networks", n_networks, 1)
        n_distances = max(1, (n_networks - 1).bit_length())
        distance = 2 ** (check_integer("fusion_round", fusion_round, 0) % n_distances)
        networks = np.arange(n_networks)
        first = networks[networks & distance == 0]
        return _as_pairs(first, (first + distance) % n_networks)


class GraphTopology(_GraphOfNetworks):
    """Networks fuse along the edges of a graph, in the graph's order.

    Parameters
    ----------
    graph : networkx graph or array-like of int of shape (n_edges, 2)
        The edges, each a pair of networks, or a networkx graph with these ``edges()``.  Nodes are indices of networks,
        from 0.  A network without an edge never fuses, and without a path between them, two networks never learn from
        one another.
    mixing : {"pairs", "metropolis"}, default="pairs"
        Whether the pairs of a round fuse one after another, or all networks mix at once by Metropolis-Hastings weights.

    Raises
    ------
    ValueError
        At use, if a node is not the index of a network.

    Examples
    --------
    >>> from skfusion.topology import GraphTopology
    >>> GraphTopology([(0, 1), (2, 1)]).pairs(3).tolist()
    [[0, 1], [2, 1]]
    """

    def __init__(self, graph: Graph | ArrayLike, mixing: Literal["pairs", "metropolis"] = "pairs"):
        super().__init__(mixing)
        self.graph = graph

    def pairs(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> IntArray:
        n_networks = check_integer("n_networks", n_networks, 1)
        nodes, edges = self._nodes_and_edges()
        for node in nodes:
            if not is_integer(node) or not 0 <= int(node) < n_networks:
                raise ValueError(
                    f"graph must have nodes from 0 to {n_networks - 1}, the indices of {n_networks} networks, got the "
                    f"node {shown(node)}; networkx.convert_node_labels_to_integers numbers the nodes of a graph"
                )
        return np.array(edges, dtype=np.intp).reshape(-1, 2)

    def _nodes_and_edges(self):
        if hasattr(self.graph, "edges"):
            return self.graph.nodes(), list(self.graph.edges())
        edges = np.array(self.graph, dtype=object)
        if edges.size and (edges.ndim != 2 or edges.shape[1] != 2):
            raise ValueError(
                f"graph must be a networkx graph or a list of edges such as [(0, 1), (1, 2)], got {shown(self.graph)}"
            )
        return edges.ravel(), edges

    def __getstate__(self):
        # A networkx graph keeps views of itself once asked for, and skops follows them without end; a copy has none.
        graph = self.graph.copy() if hasattr(self.graph, "edges") else self.graph
        return super().__getstate__() | {"graph": graph}


class AverageTopology(BaseTopology):
    """All networks take the mean of all.

    This is what a server does in federated averaging (FedAvg): once a round it gets every network and sends back their
    mean.  Unlike pairs, it reaches the exact mean with any number of networks.  All networks count alike; McMahan et
    al. weight each by its number of rows, which is the same where these are equal.

    References
    ----------
    B. McMahan, E. Moore, D. Ramage, S. Hampson and B. Agüera y Arcas, "Communication-Efficient Learning of Deep
    Networks from Decentralized Data", AISTATS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.topology import AverageTopology
    >>> AverageTopology().fuse(np.array([[1.0, 0.0], [4.0, 2.0], [4.0, 4.0]]), fusion_rate=0.5)
    array([[3., 3.],
           [3., 3.],
           [3., 3.]])
    """

    by_server = True

    def matrix(self, n_networks: int, fusion_round: int = 0, random_state: RandomState = None) -> NDArray[np.float64]:
        n_networks = check_integer("n_networks", n_networks, 1)
        return np.broadcast_to(1 / n_networks, (n_networks, n_networks))


TOPOLOGIES = {
    "ring": RingTopology,
    "random": RandomTopology,
    "hypercube": HypercubeTopology,
    "line": LineTopology,
    "star": StarTopology,
    "complete": CompleteTopology,
    "torus": TorusTopology,
    "exponential": ExponentialTopology,
    "average": AverageTopology,
}


def check_topology(topology: TopologyName | BaseTopology) -> BaseTopology:
    """Return a new topology for a name or an instance, or raise ValueError or TypeError."""
    if isinstance(topology, str):
        return TOPOLOGIES[check_choice("topology", topology, TOPOLOGIES)]()
    if isinstance(topology, type) or not any(_overrides(topology, name) for name in ("pairs", "matrix")):
        raise TypeError(
            f"topology must be one of {', '.join(map(repr, TOPOLOGIES))} or a BaseTopology instance, got "
            f"{shown(topology)}"
        )
    return clone(topology, safe=False)


def _overrides(topology, name):
    """Whether a topology has a method of its own."""
    return getattr(type(topology), name, None) not in (None, getattr(BaseTopology, name))


def check_round(topology, n_networks, fusion_round):
    """Return a topology's round of ``n_networks`` networks, or raise an error if it cannot make one.

    This asks a copy: a topology that counts its rounds must not count this one.
    """
    return round_of(clone(topology, safe=False), n_networks, fusion_round, np.random.RandomState(0))


def with_edges_alone(topology):
    """Return a topology with a list of edges in place of a networkx graph: a fitted estimator then needs no networkx.

    A third party's subclass keeps its graph, of which it may use more than the edges.
    """
    if type(topology) is GraphTopology and hasattr(topology.graph, "edges"):
        edges = [(int(first), int(second)) for first, second in topology.graph.edges()]
        return GraphTopology(edges, topology.mixing)
    return topology
