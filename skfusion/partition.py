"""Partitioners: which rows each peer sees."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d

from skfusion._checks import check_choice, check_integer, check_real
from skfusion._inputs import check_groups
from skfusion._typing import IntArray, MatrixLike, RandomState

__all__ = [
    "BasePartitioner",
    "ClassPartitioner",
    "DirichletPartitioner",
    "GroupPartitioner",
    "PredefinedPartitioner",
    "RandomPartitioner",
    "StratifiedPartitioner",
]

# How often Dirichlet proportions that leave a peer without rows are drawn anew.
_DIRICHLET_DRAWS = 100


def check_n_networks(n_networks, n_samples):
    """Return a number of peers that there are rows for as an int, or raise TypeError or ValueError; None stays None."""
    if n_networks is None:
        return None
    n_networks = check_integer("n_networks", n_networks, 1)
    if n_networks > n_samples:
        raise ValueError(
            f"n_networks must be at most the number of rows, n_samples = {n_samples}, so that no peer is empty; got "
            f"{n_networks}"
        )
    return n_networks


def check_partition(parts, n_samples, n_networks=None):
    """Return ``parts`` as int arrays if they are disjoint, cover all rows and leave no peer without, or raise."""
    parts = [np.asarray(part) for part in parts]
    if n_networks is not None and len(parts) != n_networks:
        raise ValueError(
            f"the partitioner made {len(parts)} parts but n_networks={n_networks}; set n_networks={len(parts)} or None"
        )
    for peer, part in enumerate(parts):
        if part.size == 0:
            raise ValueError(
                f"peer {peer} of {len(parts)} would be empty, without a single one of the {n_samples} rows; set "
                "n_networks lower, give more rows, or choose a partitioner that spreads them more evenly"
            )
        if part.ndim != 1 or part.dtype.kind not in "iu" or part.min() < 0 or part.max() >= n_samples:
            raise ValueError(
                f"a partition must consist of 1-D arrays of row indices from 0 to {n_samples - 1}; "
                f"that of peer {peer} is {part!r}"
            )
    parts = [part.astype(np.intp) for part in parts]
    counts = np.bincount(np.concatenate(parts), minlength=n_samples) if parts else np.zeros(n_samples, int)
    for wrong, what in ((counts > 1, "given to more than one peer"), (counts == 0, "left out")):
        if wrong.any():
            raise ValueError(
                f"a partition must give each row to exactly one peer; {wrong.sum()} of {n_samples} rows are {what}, "
                f"the first of them row {wrong.argmax()}"
            )
    return parts


def largest_first(sizes: ArrayLike, n_bins: int) -> IntArray:
    """Spread items over bins, the largest first and each into the bin that holds least; return the bin of each."""
    sizes = np.asarray(sizes)
    bins, loads = np.empty(len(sizes), np.intp), np.zeros(n_bins, np.intp)
    for item in np.argsort(-sizes, kind="stable"):
        bins[item] = loads.argmin()
        loads[bins[item]] += sizes[item]
    return bins


class BasePartitioner(BaseEstimator, ABC):
    """Base class of partitioners; a subclass needs :meth:`partition` alone.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.partition import BasePartitioner
    >>> class TurnPartitioner(BasePartitioner):
    ...     def partition(self, X, y, groups=None, n_networks=None, random_state=None):
    ...         return [np.arange(peer, len(y), n_networks) for peer in range(n_networks)]
    >>> TurnPartitioner().partition(None, np.zeros(5), n_networks=2)
    [array([0, 2, 4]), array([1, 3])]
    """

    @abstractmethod
    def partition(
        self,
        X: MatrixLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        n_networks: int | None = None,
        random_state: RandomState = None,
    ) -> Sequence[IntArray]:
        """Divide the rows among the peers.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            The rows' features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The rows' class labels, or in regression their targets.
        groups : array-like of shape (n_samples,) or None, default=None
            The rows' group labels, such as the site that each comes from.
        n_networks : int or None, default=None
            Number of peers; None for the partitioner's natural number, such as one per group.
        random_state : int, RandomState instance or None, default=None
            Source of randomness.

        Returns
        -------
        list of int ndarray
            For each peer the indices of its rows.  They are disjoint, cover all rows, and none is empty.

        Raises
        ------
        ValueError
            If a peer would be empty, or there is no natural number of peers and ``n_networks`` is None.
        """


class _AssigningPartitioner(BasePartitioner):
    """A partitioner that names a peer for each row."""

    _by_class = False  # whether y must hold class labels

    @abstractmethod
    def _assign(self, y, groups, n_networks, rng):
        """Return the peer of each row, as an int array, and the number of peers."""

    def partition(
        self,
        X: MatrixLike | None,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        n_networks: int | None = None,
        random_state: RandomState = None,
    ) -> list[IntArray]:
        targets = column_or_1d(y) if self._by_class else np.asarray(y)
        if X is not None:
            check_consistent_length(X, targets)
        labels = check_groups(groups, len(targets))
        n_networks = check_n_networks(n_networks, len(targets))
        peer_of_row, n_networks = self._assign(targets, labels, n_networks, check_random_state(random_state))
        order = np.argsort(peer_of_row, kind="stable")
        ends = np.cumsum(np.bincount(peer_of_row, minlength=n_networks))
        return check_partition(np.split(order, ends[:-1]), len(targets), n_networks)

    def _require_number(self, n_networks):
        if n_networks is None:
            raise ValueError(f"n_networks must be an integer for {self!r}, which has no natural number, got None")
        return n_networks


class RandomPartitioner(_AssigningPartitioner):
    """Random shares of equal size, to within one row.

    Examples
    --------
    >>> from skfusion.partition import RandomPartitioner
    >>> RandomPartitioner().partition(None, [0, 0, 1, 1, 1], n_networks=2, random_state=0)
    [array([0, 1, 4]), array([2, 3])]
    """

    def _assign(self, y, groups, n_networks, rng):
        n_networks = self._require_number(n_networks)
        return rng.permutation(np.arange(len(y)) % n_networks), n_networks


class StratifiedPartitioner(_AssigningPartitioner):
    """Random shares of equal size, each with the classes in the proportions of the whole.

    Examples
    --------
    >>> from skfusion.partition import StratifiedPartitioner
    >>> StratifiedPartitioner().partition(None, [0, 0, 1, 1, 1, 1], n_networks=2, random_state=0)
    [array([1, 3, 5]), array([0, 2, 4])]
    """

    _by_class = True

    def _assign(self, y, groups, n_networks, rng):
        n_networks = self._require_number(n_networks)
        shuffled = rng.permutation(len(y))
        dealt = shuffled[np.argsort(y[shuffled], kind="stable")]
        peer_of_row = np.empty(len(y), np.intp)
        peer_of_row[dealt] = np.arange(len(y)) % n_networks
        return peer_of_row, n_networks


class ClassPartitioner(_AssigningPartitioner):
    """Each peer sees a few classes alone.

    Peer p sees the ``classes_per_network`` classes from the p-th times ``classes_per_network`` on, in sorted order
    and starting over after the last; the peers of a class get equal random shares of its rows.

    Parameters
    ----------
    classes_per_network : int, default=1
        Number of classes that a peer sees.

    Notes
    -----
    The natural number of networks is one per class.

    Examples
    --------
    >>> from skfusion.partition import ClassPartitioner
    >>> ClassPartitioner().partition(None, ["b", "a", "b", "c"])
    [array([1]), array([0, 2]), array([3])]
    """

    _by_class = True

    def __init__(self, classes_per_network: int = 1):
        self.classes_per_network = classes_per_network

    def _assign(self, y, groups, n_networks, rng):
        classes, codes = np.unique(y, return_inverse=True)
        per_network = check_integer("classes_per_network", self.classes_per_network, 1)
        n_networks = len(classes) if n_networks is None else n_networks
        if per_network > len(classes):
            raise ValueError(f"classes_per_network must be at most {len(classes)}, the classes, got {per_network}")
        if n_networks * per_network < len(classes):
            raise ValueError(
                f"n_networks={n_networks} peers with classes_per_network={per_network} leave some of the "
                f"{len(classes)} classes out; their product must be at least {len(classes)}"
            )
        holders = [[] for _ in classes]
        for slot in range(n_networks * per_network):
            holders[slot % len(classes)].append(slot // per_network)
        peer_of_row = np.empty(len(y), np.intp)
        for code, peers in enumerate(holders):
            rows = rng.permutation(np.flatnonzero(codes == code))
            peer_of_row[rows] = np.resize(peers, len(rows))
        return peer_of_row, n_networks


class DirichletPartitioner(_AssigningPartitioner):
    """Shares with skewed classes: those of each class go to the peers in proportions drawn from a Dirichlet law.

    Proportions that leave a peer without rows are drawn anew, up to a hundred times.

    Parameters
    ----------
    alpha : float, default=0.5
        Concentration, positive: the smaller, the fewer classes a peer sees; towards infinity all see the same mix.

    References
    ----------
    T.-M. H. Hsu, H. Qi and M. Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", 2019.

    Examples
    --------
    >>> from skfusion.partition import DirichletPartitioner
    >>> parts = DirichletPartitioner(alpha=0.3).partition(None, [0, 1] * 50, n_networks=4, random_state=0)
    >>> [len(part) for part in parts]
    [12, 34, 13, 41]
    """

    _by_class = True

    def __init__(self, alpha: float = 0.5):
        self.alpha = alpha

    def _assign(self, y, groups, n_networks, rng):
        n_networks = self._require_number(n_networks)
        alpha = check_real("alpha", self.alpha, 0, open_minimum=True, open_maximum=True)
        classes, codes = np.unique(y, return_inverse=True)
        for _ in range(_DIRICHLET_DRAWS):
            peer_of_row = np.empty(len(y), np.intp)
            for code in range(len(classes)):
                rows = rng.permutation(np.flatnonzero(codes == code))
                shares = rng.dirichlet(np.full(n_networks, alpha))
                # alpha may be so small that all of the law's gamma variates are 0; in the limit one peer has all.
                if np.isnan(shares).any():
                    shares = np.eye(n_networks)[rng.randint(n_networks)]
                peer_of_row[rows] = np.searchsorted(np.cumsum(shares)[:-1], (np.arange(len(rows)) + 0.5) / len(rows))
            if np.bincount(peer_of_row, minlength=n_networks).all():
                return peer_of_row, n_networks
        empty = np.bincount(peer_of_row, minlength=n_networks).argmin()
        raise ValueError(
            f"peer {empty} of {n_networks} would be empty in each of {_DIRICHLET_DRAWS} draws with alpha={alpha:g}; "
            "set alpha higher or n_networks lower"
        )


class GroupPartitioner(_AssigningPartitioner):
    """One peer per group, or whole groups bundled into fewer peers of about equal size.

    Notes
    -----
    The natural number of networks is one per group, in the groups' sorted order.

    Examples
    --------
    >>> from skfusion.partition import GroupPartitioner
    >>> GroupPartitioner().partition(None, [0, 1, 0, 1], groups=["york", "bath", "york", "bath"])
    [array([1, 3]), array([0, 2])]
    """

    def _assign(self, y, groups, n_networks, rng):
        if groups is None:
            raise ValueError("groups must be given to GroupPartitioner, got None; pass fit(X, y, groups=...)")
        names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        if n_networks is None or n_networks == len(names):
            return codes, len(names)
        if n_networks > len(names):
            raise ValueError(
                f"peer {len(names)} of {n_networks} would be empty, as there are {len(names)} groups; set "
                f"n_networks=None for one peer per group, or at most {len(names)}"
            )
        return largest_first(sizes, n_networks)[codes], n_networks


class PredefinedPartitioner(_AssigningPartitioner):
    """A partition of one's own.

    Parameters
    ----------
    peer_of_row : array-like of int of shape (n_samples,)
        For each row the index of its peer, from 0; each peer occurs.

    Notes
    -----
    The natural number of networks is the largest index plus 1.

    Examples
    --------
    >>> from skfusion.partition import PredefinedPartitioner
    >>> PredefinedPartitioner([0, 1, 1, 0]).partition(None, [0, 0, 1, 1])
    [array([0, 3]), array([1, 2])]
    """

    def __init__(self, peer_of_row: ArrayLike):
        self.peer_of_row = peer_of_row

    def _assign(self, y, groups, n_networks, rng):
        peer_of_row = np.asarray(self.peer_of_row)
        if peer_of_row.shape != (len(y),) or peer_of_row.dtype.kind not in "iu" or peer_of_row.min() < 0:
            raise ValueError(
                f"peer_of_row must hold the index of a peer, from 0, for each of the {len(y)} rows, not counting those "
                f"of sample_weight 0; got {peer_of_row!r}"
            )
        natural = int(peer_of_row.max()) + 1
        if natural > len(y):
            raise ValueError(
                f"peer_of_row must name peers from 0 to {len(y) - 1}, so that each has one of the {len(y)} rows; got "
                f"{natural - 1}"
            )
        if n_networks is not None and n_networks < natural:
            raise ValueError(
                f"peer_of_row must name peers below n_networks={n_networks}, got {natural - 1}; set "
                f"n_networks={natural} or None"
            )
        return peer_of_row.astype(np.intp), natural if n_networks is None else n_networks


class SplitterPartitioner(BasePartitioner):
    """The test folds of a scikit-learn splitter.

    Parameters
    ----------
    splitter : splitter
        For example ``StratifiedKFold(8)``; its test folds are disjoint and cover all rows.

    Notes
    -----
    The natural number of networks is the splitter's number of folds.
    """

    def __init__(self, splitter):
        self.splitter = splitter

    def partition(self, X, y, groups=None, n_networks=None, random_state=None):
        folds = [test for _, test in self.splitter.split(X, y, groups)]
        return check_partition(folds, len(y), n_networks)


PARTITIONERS = {
    "random": RandomPartitioner,
    "stratified": StratifiedPartitioner,
    "class": ClassPartitioner,
    "dirichlet": DirichletPartitioner,
    "group": GroupPartitioner,
}


def check_partitioner(partitioner, groups=None, *, labelled=True):
    """Return a partitioner of one's own from None, a name, an instance or a splitter, or raise ValueError or TypeError.

    None stands for "group" where there are groups, else for "random".  Without class labels in y (``labelled``)
    partitioners that go by them are refused.
    """
    own = _own_partitioner(partitioner, groups)
    if not labelled and getattr(own, "_by_class", False):
        raise ValueError(
            "partitioner must not go by class labels, as the targets are numbers: 'random', 'group', a "
            f"PredefinedPartitioner or a scikit-learn splitter such as KFold will do; got {partitioner!r}"
        )
    return own


def _own_partitioner(partitioner, groups):
    if partitioner is None:
        partitioner = "random" if groups is None else "group"
    if isinstance(partitioner, str):
        return PARTITIONERS[check_choice("partitioner", partitioner, PARTITIONERS)]()
    if not isinstance(partitioner, type | np.ndarray | bytes):  # whose partition is another
        if hasattr(partitioner, "partition"):
            return clone(partitioner, safe=False)
        if hasattr(partitioner, "split") and hasattr(partitioner, "get_n_splits"):
            return SplitterPartitioner(clone(partitioner, safe=False))
    raise TypeError(
        f"partitioner must be None, one of {', '.join(map(repr, PARTITIONERS))}, a BasePartitioner instance or a "
        f"scikit-learn splitter, got {partitioner!r}"
    )
