"""Fusion topologies: which ordered pairs of networks fuse in a round (Algorithms 2 to 4)."""

from abc import ABC, abstractmethod

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state

from skfusion._validation import check_choice, check_flag, check_integer, check_real
from skfusion.fusion import RULES, check_pairs, fuse

__all__ = ["BaseTopology", "HypercubeTopology", "RandomTopology", "RingTopology"]


class BaseTopology(BaseEstimator, ABC):
    """Base class of fusion topologies; a subclass needs :meth:`pairs` alone.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.topology import BaseTopology
    >>> class StarTopology(BaseTopology):
    ...     def pairs(self, n_networks, fusion_round=0, random_state=None):
    ...         return np.array([(0, i) for i in range(1, n_networks)])
    >>> StarTopology().mixing_matrix(3, 0.5)
    array([[0.25 , 0.25 , 0.5  ],
           [0.25 , 0.75 , 0.   ],
           [0.125, 0.125, 0.75 ]])
    """

    @abstractmethod
    def pairs(self, n_networks, fusion_round=0, random_state=None):
        """Ordered pairs of networks that fuse in a round, one after another.

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
        int ndarray of shape (n_pairs, 2)
            Indices from 0 to ``n_networks - 1``.
        """

    def fuse(self, weights, fusion_rate, rule="sequential", fusion_round=0, random_state=None):
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
        return fuse(weights, self.pairs(len(weights), fusion_round, random_state), fusion_rate, rule)

    def mixing_matrix(self, n_networks, fusion_rate, rule="sequential", fusion_round=0, random_state=None):
        """Return what one round does to weights of which none is 0, as a matrix.

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
            M such that the round turns ``weights`` into ``M @ weights``; its rows sum to 1.

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
        rate = check_real("fusion_rate", fusion_rate, 0, 1)
        check_choice("rule", rule, RULES)
        matrix = np.eye(check_integer("n_networks", n_networks, 1))
        for i, j in check_pairs(self.pairs(n_networks, fusion_round, random_state), n_networks):
            if i != j:
                old = matrix[i].copy()
                matrix[i] = (1 - rate) * matrix[i] + rate * matrix[j]
                matrix[j] = (1 - rate) * matrix[j] + rate * (matrix[i] if rule == "sequential" else old)
        return matrix


def _as_pairs(first, second):
    return np.column_stack([first, second]).astype(np.intp)


class RingTopology(BaseTopology):
    """Each network fuses with the next, and the last with the first.

    References
    ----------
    J. Smith and M. Gashler, ICMLA 2017, Algorithm 2 (with the last index read as S - 1).

    Examples
    --------
    >>> from skfusion.topology import RingTopology
    >>> RingTopology().pairs(4).tolist()
    [[0, 1], [1, 2], [2, 3], [3, 0]]
    """

    def pairs(self, n_networks, fusion_round=0, random_state=None):  # noqa: D102 (inherited)
        n_networks = check_integer("n_networks", n_networks, 1)
        first = np.arange(n_networks if n_networks > 1 else 0)
        return _as_pairs(first, (first + 1) % n_networks)


class RandomTopology(BaseTopology):
    """Networks fuse in random pairs.

    Every network is in one pair, of a uniformly random perfect matching in random order; where their number is
    odd, the one left over fuses with a random other, which thus fuses twice.

    Parameters
    ----------
    replacement : bool, default=False
        Draw both ends of each of the ``n_networks / 2`` (rounded up) pairs independently, as the algorithm's loop
        is printed: this leaves some networks out, and a network drawn with itself does not change.

    References
    ----------
    J. Smith and M. Gashler, ICMLA 2017, Algorithm 3 (its text by default, its printed loop with ``replacement``).

    Examples
    --------
    >>> from skfusion.topology import RandomTopology
    >>> RandomTopology().pairs(6, random_state=0).tolist()
    [[5, 2], [1, 3], [0, 4]]
    """

    def __init__(self, replacement=False):
        self.replacement = replacement

    def pairs(self, n_networks, fusion_round=0, random_state=None):  # noqa: D102 (inherited)
        n_networks = check_integer("n_networks", n_networks, 1)
        rng = check_random_state(random_state)
        n_pairs = (n_networks + 1) // 2 if n_networks > 1 else 0
        if check_flag("replacement", self.replacement):
            return rng.randint(n_networks, size=(n_pairs, 2)).astype(np.intp)
        order = rng.permutation(n_networks)
        if n_networks % 2 and n_networks > 1:
            order = np.append(order, order[rng.randint(n_networks - 1)])
        return order[: 2 * n_pairs].reshape(n_pairs, 2).astype(np.intp)


class HypercubeTopology(BaseTopology):
    """Networks fuse along the edges of a hypercube, dimension after dimension.

    For each bit x and each network s, s fuses with s XOR 2^x, so that each edge is fused twice, once from each end.

    Parameters
    ----------
    each_edge_once : bool, default=False
        Fuse each edge from its lower end alone.
    incomplete : {"skip", "raise"}, default="skip"
        What to do where the number of networks is no power of two: leave out the pairs whose partner does not
        exist (the graph stays connected), or raise ValueError.

    References
    ----------
    J. Smith and M. Gashler, ICMLA 2017, Algorithm 4.

    Examples
    --------
    >>> from skfusion.topology import HypercubeTopology
    >>> HypercubeTopology(each_edge_once=True).pairs(4).tolist()
    [[0, 1], [2, 3], [0, 2], [1, 3]]
    """

    def __init__(self, each_edge_once=False, incomplete="skip"):
        self.each_edge_once = each_edge_once
        self.incomplete = incomplete

    def pairs(self, n_networks, fusion_round=0, random_state=None):  # noqa: D102 (inherited)
        n_networks = check_integer("n_networks", n_networks, 1)
        check_choice("incomplete", self.incomplete, ("skip", "raise"))
        n_bits = (n_networks - 1).bit_length()
        if self.incomplete == "raise" and n_networks != 2**n_bits:
            raise ValueError(
                f"n_networks must be a power of two for HypercubeTopology(incomplete='raise'), got {n_networks}; "
                "incomplete='skip' leaves out the pairs whose partner does not exist"
            )
        first = np.tile(np.arange(n_networks), n_bits)
        second = first ^ np.repeat(2 ** np.arange(n_bits), n_networks)
        keep = second < n_networks
        if check_flag("each_edge_once", self.each_edge_once):
            keep &= first < second
        return _as_pairs(first[keep], second[keep])


TOPOLOGIES = {"ring": RingTopology, "random": RandomTopology, "hypercube": HypercubeTopology}


def check_topology(topology):
    """Return a topology of one's own from a name or an instance, or raise ValueError or TypeError."""
    if isinstance(topology, str):
        return TOPOLOGIES[check_choice("topology", topology, TOPOLOGIES)]()
    if isinstance(topology, type) or not hasattr(topology, "pairs"):
        raise TypeError(
            f"topology must be one of {', '.join(map(repr, TOPOLOGIES))} or a BaseTopology instance, got {topology!r}"
        )
    return clone(topology, safe=False)
