"""Algorithm 1: what two networks that fuse do to each other's weights."""

import numpy as np
from numpy.typing import ArrayLike

from skfusion import _kernels
from skfusion._checks import check_choice, check_real
from skfusion._typing import FusionRule, Weights

RULES = ("sequential", "simultaneous")
_DTYPES = np.dtype(np.float32), np.dtype(np.float64)


def check_pairs(pairs, n_networks):
    """Return ``pairs`` as an int32 array of shape (n_pairs, 2) of indices of networks, or raise ValueError."""
    array = np.asarray(pairs)
    if array.size == 0:
        return np.empty((0, 2), np.int32)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"pairs must be integers of shape (n_pairs, 2), got shape {array.shape} and dtype {array.dtype}"
        )
    if np.ascontiguousarray(array, np.int64).view(np.uint64).max() >= n_networks:  # where negative ones are large
        bad = array[((array < 0) | (array >= n_networks)).any(axis=1)][0]
        raise ValueError(
            f"pairs must hold indices from 0 to {n_networks - 1}, since there are {n_networks} networks; "
            f"got the pair ({bad[0]}, {bad[1]})"
        )
    return np.ascontiguousarray(array, dtype=np.int32)


def count_fusions(pairs, n_networks):
    """How often each network fuses with another, and so sends its weights."""
    return np.bincount(pairs[pairs[:, 0] != pairs[:, 1]].ravel(), minlength=n_networks)


def fuse(weights: Weights, pairs: ArrayLike, fusion_rate: float, rule: FusionRule = "sequential") -> Weights:
    """Fuse pairs of networks, one pair after another, in place.

    For each pair (i, j), with A the weights of network i and B those of network j, element by element: where A is
    exactly 0, it takes B's value; else where B is exactly 0, it takes A's; else A becomes ``(1 - F) * A + F * B``
    and B becomes ``(1 - F) * B + F * A``.  A pair of a network with itself changes nothing.

    Parameters
    ----------
    weights : ndarray of shape (n_networks, n_parameters), dtype float32 or float64
        A row for each network; changed in place.
    pairs : array-like of int of shape (n_pairs, 2)
        Which networks fuse, in order.
    fusion_rate : float in [0, 1]
        F, the weight that a network gives to the other.
    rule : {"sequential", "simultaneous"}, default="sequential"
        Whether B reads the A that is already updated, as the algorithm is printed, or both read the old values, as
        the estimators do by default.

    Returns
    -------
    ndarray
        ``weights``.

    Raises
    ------
    TypeError
        If ``weights`` is no float array or ``fusion_rate`` no number.
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
    if not isinstance(weights, np.ndarray) or weights.dtype not in _DTYPES:
        got = f"an array of {weights.dtype}" if isinstance(weights, np.ndarray) else type(weights).__name__
        raise TypeError(
            f"weights must be a float32 or float64 ndarray of shape (n_networks, n_parameters), the networks being "
            f"of one shape; got {got}"
        )
    if weights.ndim != 2:
        raise ValueError(f"weights must have shape (n_networks, n_parameters), got {weights.shape}")
    if not len(weights):
        raise ValueError(f"weights must be those of at least one network, got an array of shape {weights.shape}")
    pairs = check_pairs(pairs, weights.shape[0])
    fusion_rate = check_real("fusion_rate", fusion_rate, 0, 1)
    check_choice("rule", rule, RULES)
    if not weights.flags.writeable:
        raise ValueError("weights must not be read-only, as they are changed in place")
    rows = weights if weights.strides[1] == weights.itemsize else np.ascontiguousarray(weights)
    _kernels.fuse(rows, pairs, fusion_rate, rule == "simultaneous")
    if rows is not weights:
        weights[...] = rows
    return weights


def mixing_matrix(pairs, n_networks, fusion_rate, rule="sequential"):
    """Return what :func:`fuse` does to weights of which none is 0, as a matrix of shape (n_networks, n_networks)."""
    rate = check_real("fusion_rate", fusion_rate, 0, 1)
    check_choice("rule", rule, RULES)
    matrix = np.eye(n_networks)
    for i, j in check_pairs(pairs, n_networks):
        if i != j:
            old = matrix[i].copy()
            matrix[i] = (1 - rate) * matrix[i] + rate * matrix[j]
            matrix[j] = (1 - rate) * matrix[j] + rate * (matrix[i] if rule == "sequential" else old)
    return matrix
