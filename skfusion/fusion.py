"""Fusion: what networks do to each other's weights, in pairs (Algorithm 1) or all at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skfusion import _kernels
from skfusion._checks import as_array, check_choice, check_real, described
from skfusion._typing import FloatArray, FusionRule, IntArray, Weights

RULES = ("sequential", "simultaneous")
# How far from 1 rounding may take the sum of a row of shares.
_ROUNDING = 1e-6
_DTYPES = np.dtype(np.float32), np.dtype(np.float64)


def check_pairs(pairs, n_networks):
    """Return ``pairs`` as an int32 array of shape (n_pairs, 2) of indices of networks, or raise ValueError."""
    array = as_array(pairs)
    if array.size == 0:
        return np.empty((0, 2), np.int32)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise ValueError(f"pairs must be integers of shape (n_pairs, 2), got {described(pairs)}")
    if np.ascontiguousarray(array, np.int64).view(np.uint64).max() >= n_networks:  # where negative ones are large
        bad = array[((array < 0) | (array >= n_networks)).any(axis=1)][0]
        raise ValueError(
            f"pairs must hold indices from 0 to {n_networks - 1}, since there are {n_networks} networks; "
            f"got the pair ({bad[0]}, {bad[1]})"
        )
    return np.array(array, dtype=np.int32, order="C")  # a copy, since a topology may return the same array each round


def check_mixing(matrix, n_networks):
    """Return shares, of shape (n_networks, n_networks) with rows of sum 1, as float64, or raise ValueError.

    Where all rows are the same, only the first is returned.
    """
    array = as_array(matrix)
    if array.shape != (n_networks, n_networks) or array.dtype.kind not in "iuf":
        raise ValueError(
            f"matrix must be an array of numbers of shape ({n_networks}, {n_networks}), a row for each network, got "
            f"{described(matrix)}"
        )
    if array.strides[0] == 0 or (array == array[0]).all():  # a row that is broadcast needs no comparison
        array = array[:1]
    array = array.astype(np.float64, copy=False)
    wrong = ~(np.abs(array.sum(axis=1) - 1) <= _ROUNDING)  # NaN too
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"each row of matrix must sum to 1, got a sum of {array[row].sum():.6g} in row {row}")
    return array


def nonzero(mask):
    """Return the rows and columns of a boolean matrix's true entries, far faster than NumPy where these are few."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


@dataclass(frozen=True)
class PairRound:
    """A fusion round in which pairs of networks fuse, one after another.

    Attributes
    ----------
    pairs : int32 ndarray of shape (n_pairs, 2)
    n_networks : int
    """

    pairs: IntArray
    n_networks: int

    def fuse(self, weights, fusion_rate, rule, part=0, n_parts=1, spread=None, *, zero_rule=True):
        """Fuse some columns of the weights in place: what becomes of a column depends on no other."""
        _kernels.fuse(weights, self.pairs, fusion_rate, rule == "simultaneous", part, n_parts, spread, zero_rule)

    def mixing_matrix(self, fusion_rate, rule):
        """Return the round as a matrix, for weights that are not 0."""
        matrix = np.eye(self.n_networks)
        for i, j in self.pairs:
            if i != j:
                old = matrix[i].copy()
                matrix[i] = (1 - fusion_rate) * matrix[i] + fusion_rate * matrix[j]
                matrix[j] = (1 - fusion_rate) * matrix[j] + fusion_rate * (matrix[i] if rule == "sequential" else old)
        return matrix

    def without(self, absent):
        """Return the round without the pairs of some networks."""
        return PairRound(self.pairs[~np.isin(self.pairs, absent).any(axis=1)], self.n_networks)

    def networks_sent(self):
        """Return how often each network is sent: once to each network that it fuses with."""
        return np.bincount(self.pairs[self.pairs[:, 0] != self.pairs[:, 1]].ravel(), minlength=self.n_networks)

    def equals(self, other):
        """Whether another round does the same."""
        return isinstance(other, PairRound) and np.array_equal(self.pairs, other.pairs)


@dataclass(frozen=True)
class MatrixRound:
    """A fusion round in which all networks mix at once; it knows no order, and so no rule.

    Row i of a matrix, the share of each network that network i takes over at a fusion rate of 0.5, has ``shares[k]`` of
    ``networks[k]`` for ``starts[i] <= k < starts[i + 1]``.  Where all networks take the same, it has one row for all.

    Attributes
    ----------
    starts : int32 ndarray of shape (n_rows + 1,)
    networks : int32 ndarray of shape (n_shares,)
    shares : float64 ndarray of shape (n_shares,)
    n_networks : int
    by_server : bool
        Whether a server mixes, to which each network is sent once.
    """

    starts: IntArray
    networks: IntArray
    shares: FloatArray
    n_networks: int
    by_server: bool

    @classmethod
    def of(cls, matrix, by_server):
        """Return the round of a matrix of shape (n_networks, n_networks), or (1, n_networks) for a row for all."""
        n_rows, n_networks = matrix.shape
        rows, networks = nonzero(matrix != 0)
        starts = np.searchsorted(rows, np.arange(n_rows + 1)).astype(np.int32)
        return cls(starts, networks.astype(np.int32), matrix[rows, networks], n_networks, by_server)

    @property
    def n_rows(self):
        """How many rows the matrix has: one if all networks take the same shares, or one for each."""
        return len(self.starts) - 1

    @property
    def matrix(self):
        """The matrix, of shape (n_networks, n_networks)."""
        rows = np.zeros((self.n_rows, self.n_networks))
        rows[np.repeat(np.arange(self.n_rows), np.diff(self.starts)), self.networks] = self.shares
        return np.broadcast_to(rows, (self.n_networks, self.n_networks))

    def fuse(self, weights, fusion_rate, rule, part=0, n_parts=1, spread=None, *, zero_rule=True):
        """Fuse some columns of the weights in place: what becomes of a column depends on no other."""
        shares = self.starts, self.networks, self.shares
        _kernels.mix(weights, *shares, fusion_rate, part, n_parts, spread, zero_rule)

    def mixing_matrix(self, fusion_rate, rule):
        """Return the round as a matrix, for weights that are not 0."""
        return (1 - 2 * fusion_rate) * np.eye(self.n_networks) + 2 * fusion_rate * self.matrix

    def without(self, absent):
        """Return the round without some networks.

        A server's means are those of the networks that are there.  Elsewhere each of these keeps what it would have
        taken of the others: symmetric shares stay symmetric, and so the consensus stays where it is.
        """
        absent = list(absent)
        shares = np.array(self.matrix)
        shares[:, absent] = 0
        total = shares.sum(axis=1)
        if self.by_server:
            known = np.abs(total) > _ROUNDING
            shares[known] /= total[known, np.newaxis]
            total[known] = 1
        shares[np.diag_indices_from(shares)] += 1 - total
        shares[absent] = np.eye(self.n_networks)[absent]
        return MatrixRound.of(shares, self.by_server)

    def edges(self):
        """Return who gives a share to whom: an int array of shape (n_edges, 2), the giver first."""
        takers, givers = nonzero(self.matrix != 0)
        others = takers != givers
        return np.column_stack([givers[others], takers[others]])

    def networks_sent(self):
        """Return how often each network is sent: to each network that takes a share of it, or once to the server."""
        taken = np.bincount(self.networks, minlength=self.n_networks) * (self.n_networks // self.n_rows)
        taken -= self.matrix.diagonal() != 0
        return np.minimum(taken, 1) if self.by_server else taken

    def equals(self, other):
        """Whether another round does the same."""
        return isinstance(other, MatrixRound) and np.array_equal(self.matrix, other.matrix)


def fuse(weights: Weights, pairs: ArrayLike, fusion_rate: float, rule: FusionRule = "sequential") -> Weights:
    """Fuse pairs of networks, one pair after another, in place.

    For each pair (i, j), let A be the weights of network i and B those of network j.  Element by element, A becomes
    ``(1 - F) * A + F * B`` and B becomes ``(1 - F) * B + F * A``.  But if A is exactly 0, it takes B's value and B
    stays; else if B is exactly 0, it takes A's value and A stays.  A pair of a network with itself changes nothing.

    Parameters
    ----------
    weights : ndarray of shape (n_networks, n_parameters), dtype float32 or float64
        A row for each network; changed in place.
    pairs : array-like of int of shape (n_pairs, 2)
        Which networks fuse, in order.
    fusion_rate : float in [0, 1]
        F, the weight that a network gives to the other.
    rule : {"sequential", "simultaneous"}, default="sequential"
        Whether B reads the new A, as the paper prints the algorithm, or both read the old values, as the estimators do
        by default.

    Returns
    -------
    ndarray
        ``weights``.

    Raises
    ------
    TypeError
        If ``weights`` is not a float array or ``fusion_rate`` is not a number.
    ValueError
        If the shape of ``weights`` is wrong, a pair names a network that does not exist, ``fusion_rate`` lies
        outside [0, 1] or ``rule`` is unknown.

    References
    ----------
    J. Smith and M. Gashler, "An Investigation of How Neural Networks Learn From the Experiences of Peers Through
    Periodic Weight Averaging", ICMLA 2017, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import fuse
    >>> fuse(np.array([[1.0, 4.0], [3.0, 0.0]]), [(0, 1)], 0.5, rule="simultaneous")
    array([[2., 4.],
           [2., 4.]])
    """
    check_weights(weights)
    fusion_round = PairRound(check_pairs(pairs, len(weights)), len(weights))
    return fuse_round(weights, fusion_round, fusion_rate, rule)


def check_weights(weights):
    """Raise TypeError or ValueError unless the weights are those of networks and can be changed in place."""
    if not isinstance(weights, np.ndarray) or weights.dtype not in _DTYPES:
        got = f"an array of {weights.dtype}" if isinstance(weights, np.ndarray) else type(weights).__name__
        raise TypeError(
            "weights must be a float32 or float64 ndarray of shape (n_networks, n_parameters), a row for each network; "
            f"got {got}"
        )
    if weights.ndim != 2:
        raise ValueError(f"weights must have shape (n_networks, n_parameters), got {weights.shape}")
    if not len(weights):
        raise ValueError(f"weights must hold at least one network, got an array of shape {weights.shape}")
    if not weights.flags.writeable:
        raise ValueError("weights must not be read-only, since fusion changes them in place")


def fuse_round(weights, fusion_round, fusion_rate, rule):
    """Run a PairRound or a MatrixRound on checked weights, in place, and return them."""
    fusion_rate = check_real("fusion_rate", fusion_rate, 0, 1)
    check_choice("rule", rule, RULES)
    in_place = weights.flags.aligned and weights.strides[1] == weights.itemsize
    rows = weights if in_place else np.array(weights, order="C")
    fusion_round.fuse(rows, fusion_rate, rule)
    if rows is not weights:
        weights[...] = rows
    return weights
