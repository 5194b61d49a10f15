"""Partitioners: which rows each peer sees."""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.metadata_routing import get_routing_for_object

from skfusion._checks import as_array, check_choice, check_integer, check_real, check_rng, check_whole, shown
from skfusion._inputs import as_labels, check_groups, check_labels, comparable
from skfusion._ownership import Ownership, Peers, apportion, nothing_owned, peer_of_row, with_entries, with_labels
from skfusion._typing import IntArray, MatrixLike, RandomState

__all__ = [
    "BasePartitioner",
    "ClassPartitioner",
    "DirichletPartitioner",
    "GroupPartitioner",
    "Ownership",
    "PredefinedPartitioner",
    "RandomPartitioner",
    "StratifiedPartitioner",
]

# How often to draw Dirichlet proportions again if they leave a peer without rows.
_DIRICHLET_DRAWS = 100
# Above which the sum of the law's gamma variates may overflow; proportions have long been equal by then.
_LARGEST_ALPHA = 1e300

_HOW_TO_PASS_GROUPS = (
    "pass them by fit(X, y, groups=...), in a pipeline by fit(X, y, STEP__groups=...), and in a search or "
    "cross-validation by metadata routing; the guide's page 'Sites as groups' (docs/guide/sites.md) shows each"
)


def _check_n_networks(peers, n_samples):
    """Return a number of peers that there are rows for as an int, or raise TypeError or ValueError; None stays None."""
    if peers.n_networks is None:
        return None
    n_networks = check_integer("n_networks", peers.n_networks, 1)
    if peers.complete and n_networks > n_samples:
        raise ValueError(
            f"n_networks must be at most the number of rows, n_samples = {n_samples}, not counting those of "
            f"sample_weight 0, so that no peer is empty; got {shown(n_networks)}"
        )
    return n_networks


def check_parts(parts, n_samples):
    """Return each peer's row indices as an int array, or raise TypeError or ValueError; a peer may have none."""
    if not isinstance(parts, Iterable):
        raise TypeError(f"a partition must be a list with an array of row indices for each peer, got {shown(parts)}")
    parts = [as_array(part) for part in parts]
    for peer, part in enumerate(parts):
        if not part.size:  # the type of [] is float
            continue
        if part.ndim != 1 or part.dtype.kind not in "iu" or part.min() < 0 or part.max() >= n_samples:
            raise ValueError(
                f"a partition must consist of 1-D arrays of row indices from 0 to {n_samples - 1}; "
                f"that of peer {peer} is {shown(part)}"
            )
    return [part.ravel().astype(np.intp) for part in parts]


def _check_partition(parts, n_samples, n_networks, *, complete):
    """Return ``parts`` as int arrays if they are disjoint and cover all rows, or raise.

    With ``complete`` no peer may be left without rows.
    """
    parts = check_parts(parts, n_samples)
    empty = [peer for peer, part in enumerate(parts) if not len(part)]
    if empty and complete:
        raise ValueError(
            f"peer {empty[0]} of {len(parts)} would be empty, with none of the {n_samples} rows; set "
            "n_networks lower, give more rows, or choose a partitioner that spreads them more evenly"
        )
    counts = np.bincount(np.concatenate(parts), minlength=n_samples) if parts else np.zeros(n_samples, int)
    for wrong, what in ((counts > 1, "given more than once"), (counts == 0, "left out")):
        if wrong.any():
            raise ValueError(
                f"a partition must give each row to exactly one peer; {wrong.sum()} of {n_samples} rows are {what}, "
                f"the first of them row {wrong.argmax()}"
            )
    if n_networks is not None and len(parts) != n_networks:
        right = (
            f"set n_networks={len(parts)} or None" if complete and parts else "a peer without rows needs an empty part"
        )
        raise ValueError(f"the partitioner made {len(parts)} parts but n_networks={n_networks}; {right}")
    return parts


class BasePartitioner(BaseEstimator, ABC):
    """Base class of partitioners; a subclass needs only :meth:`partition`.

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
            The rows' group labels, such as the site that each comes from.  A partitioner that makes no use of them
            should raise an error.
        n_networks : int or None, default=None
            Number of peers; None means the partitioner's natural number, such as one per group.
        random_state : int, RandomState instance or None, default=None
            Source of randomness.

        Returns
        -------
        list of int ndarray
            For each peer the indices of its rows.  They are disjoint and cover all rows, and in a first ``fit`` none is
            empty.  In further portions of ``partial_fit`` and in a warm start some may be empty; ``n_networks`` is then
            the number of existing peers.

        Raises
        ------
        ValueError
            If a peer would be empty, or if ``n_networks`` is None and there is no natural number of peers.
        """


class _AssigningPartitioner(BasePartitioner):
    """A partitioner that names a peer for each row."""

    _by_class = False  # whether y must hold class labels
    _by_group = False  # whether it makes use of groups

    @abstractmethod
    def _assign(self, y, groups, peers, rng):
        """Return the peer of each row, as an int array, the number of peers, and their Ownership or None."""

    def partition(
        self,
        X: MatrixLike | None,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        n_networks: int | None = None,
        random_state: RandomState = None,
    ) -> list[IntArray]:
        return self._divide(X, y, groups, Peers(n_networks), random_state)[0]

    def _divide(self, X, y, groups, peers, random_state):
        """Return the rows of each of the Peers, and their Ownership, None where rows go by no labels."""
        targets = self._check_targets(y)
        if X is not None:
            check_consistent_length(X, targets)
        labels = check_groups(groups, len(targets))
        _check_n_networks(peers, len(targets))
        if labels is not None and not self._by_group:
            raise ValueError(_unused_groups(self))
        assigned, n_networks, ownership = self._assign(targets, labels, peers, check_rng(random_state))
        order = np.argsort(assigned, kind="stable")
        ends = np.cumsum(np.bincount(assigned, minlength=n_networks))
        parts = _check_partition(np.split(order, ends[:-1]), len(targets), n_networks, complete=peers.complete)
        return parts, ownership

    def _check_targets(self, y):
        check_whole("y", y)
        targets = check_labels("y", column_or_1d(as_labels(y))) if self._by_class else np.asarray(y)
        if not targets.size:
            raise ValueError(f"y must have at least one row, got {shown(y)}")
        if not targets.ndim:
            raise ValueError(f"y must be an array with an entry for each row, got {shown(y)}")
        return targets

    def _require_number(self, n_networks):
        if n_networks is None:
            raise ValueError(
                f"n_networks must be an integer for {shown(self)}, which has no natural number of peers, got None"
            )
        return n_networks


class RandomPartitioner(_AssigningPartitioner):
    """Random shares of equal size, give or take one row.

    Examples
    --------
    >>> from skfusion.partition import RandomPartitioner
    >>> RandomPartitioner().partition(None, [0, 0, 1, 1, 1], n_networks=2, random_state=0)
    [array([0, 1, 4]), array([2, 3])]
    """

    def _assign(self, y, groups, peers, rng):
        n_networks = self._require_number(peers.n_networks)
        return rng.permutation(peers.in_turn(len(y), n_networks)), n_networks, None


class StratifiedPartitioner(_AssigningPartitioner):
    """Random shares of equal size, each with the same proportions of the classes.

    Examples
    --------
    >>> from skfusion.partition import StratifiedPartitioner
    >>> StratifiedPartitioner().partition(None, [0, 0, 1, 1, 1, 1], n_networks=2, random_state=0)
    [array([1, 3, 5]), array([0, 2, 4])]
    """

    _by_class = True

    def _assign(self, y, groups, peers, rng):
        n_networks = self._require_number(peers.n_networks)
        shuffled = rng.permutation(len(y))
        dealt = shuffled[np.argsort(y[shuffled], kind="stable")]
        assigned = np.empty(len(y), np.intp)
        assigned[dealt] = peers.in_turn(len(y), n_networks)
        return assigned, n_networks, None


class ClassPartitioner(_AssigningPartitioner):
    """Each peer sees only a few classes.

    In sorted order, peer 0 sees the first ``classes_per_network`` classes, peer 1 the next ones, and so on, starting
    over after the last.  Peers that share a class get equal random shares of its rows.

    Parameters
    ----------
    classes_per_network : int, default=1
        Number of classes that a peer sees.

    Notes
    -----
    The natural number of networks is one per class.

    In ``partial_fit`` the classes are all those of its argument ``classes``.  If a portion has no rows of a peer's
    classes, that peer sits it out.  Peers keep their classes from call to call.

    Examples
    --------
    >>> from skfusion.partition import ClassPartitioner
    >>> ClassPartitioner().partition(None, ["b", "a", "b", "c"])
    [array([1]), array([0, 2]), array([3])]
    """

    _by_class = True

    def __init__(self, classes_per_network: int = 1):
        self.classes_per_network = classes_per_network

    def _assign(self, y, groups, peers, rng):
        per_network = check_integer("classes_per_network", self.classes_per_network, 1)
        if peers.own("classes"):
            owned = with_labels(peers.ownership, y, peers.seen(peers.n_networks))
            return peer_of_row(owned, y, rng), owned.n_networks, owned
        classes = np.unique(y) if peers.classes is None else peers.classes
        n_networks = len(classes) if peers.n_networks is None else peers.n_networks
        assigned, owned = np.empty(len(y), np.intp), nothing_owned("classes", n_networks)
        for code, holders in enumerate(_holders(len(classes), n_networks, per_network)):
            rows = rng.permutation(np.flatnonzero(y == classes[code]))
            assigned[rows] = np.resize(holders, len(rows))
            owned = with_entries(owned, np.repeat(classes[[code]], len(holders)), holders, 1 / len(holders))
        return assigned, n_networks, owned


def _holders(n_classes, n_networks, per_network):
    """Return the peers of each class, a list of lists."""
    if per_network > n_classes:
        got = shown(per_network)
        raise ValueError(f"classes_per_network must be at most {n_classes}, the number of classes, got {got}")
    if n_networks * per_network < n_classes:
        raise ValueError(
            f"n_networks={n_networks} peers with classes_per_network={per_network} leave some of the "
            f"{n_classes} classes out; their product must be at least {n_classes}"
        )
    holders = [[] for _ in range(n_classes)]
    for slot in range(n_networks * per_network):
        holders[slot % n_classes].append(slot // per_network)
    return holders


class DirichletPartitioner(_AssigningPartitioner):
    """Shares with skewed classes, in proportions drawn from a Dirichlet distribution for each class.

    If the proportions leave a peer without rows, they are drawn again, up to a hundred times.  Peers keep theirs from
    call to call of ``partial_fit``, where some may have no rows; a new class draws its own.

    Parameters
    ----------
    alpha : float, default=0.5
        Concentration, positive.  The smaller it is, the fewer classes a peer sees.  As it grows, all peers come to see
        the same mix.

    Notes
    -----
    As in Yurochkin et al., each class draws the proportions in which its rows go to the peers, so peers differ in size
    too.  (Their code also skips a peer that already has its even share of all rows.)  Hsu et al., often cited for this,
    draw the other way round: each peer draws the proportions of its classes, around those of all rows, and all peers
    get the same number of rows.  That uses all rows only if peers depart from their proportions once a class runs out,
    and is not offered here.

    References
    ----------
    M. Yurochkin, M. Agarwal, S. Ghosh, K. Greenewald, T. N. Hoang and Y. Khazaeni, "Bayesian Nonparametric Federated
    Learning of Neural Networks", ICML 2019, arXiv:1905.12022.

    T.-M. H. Hsu, H. Qi and M. Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", 2019, arXiv:1909.06335.

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

    def _assign(self, y, groups, peers, rng):
        n_networks = self._require_number(peers.n_networks)
        alpha = check_real("alpha", self.alpha, 0, open_minimum=True, open_maximum=True)
        owned = peers.owned("classes", n_networks)
        for _ in range(_DIRICHLET_DRAWS):
            assigned, drawn = _draw_proportions(y, owned, alpha, rng)
            empty = np.bincount(assigned, minlength=n_networks) == 0
            if not (peers.complete and empty.any()):
                return assigned, n_networks, drawn
        raise ValueError(
            f"peer {empty.argmax()} of {n_networks} would be empty in each of {_DIRICHLET_DRAWS} draws with "
            f"alpha={alpha:g}; set alpha higher or n_networks lower"
        )


def _draw_proportions(y, owned, alpha, rng):
    """Draw the proportions of classes that an Ownership lacks; returns the peer of each row, and all proportions."""
    assigned, new = np.empty(len(y), np.intp), ~np.isin(*comparable(y, owned.labels))
    assigned[~new] = peer_of_row(owned, y[~new], rng)
    for name in np.unique(y[new]):
        rows = rng.permutation(np.flatnonzero(y == name))
        shares = rng.dirichlet(np.full(owned.n_networks, min(alpha, _LARGEST_ALPHA)))
        # alpha may be so small that all of the law's gamma variates are 0; in the limit one peer has all.
        if np.isnan(shares).any():
            shares = np.eye(owned.n_networks)[rng.randint(owned.n_networks)]
        assigned[rows] = apportion(shares, len(rows), 0.5)
        holders = np.flatnonzero(shares)
        owned = with_entries(owned, np.repeat(y[rows[:1]], len(holders)), holders, shares[holders])
    return assigned, owned


class GroupPartitioner(_AssigningPartitioner):
    """One peer per group, or whole groups bundled into fewer peers of about equal size.

    Notes
    -----
    The natural number of networks is one per group, in the groups' sorted order.  A UserWarning says if there are more
    groups than peers.

    In further calls of ``partial_fit``, and in a warm start, a known group keeps its peer.  A new one goes to a peer
    that has no group yet, in sorted order, or else joins the peer that has trained on the fewest rows so far, or in a
    warm start the one with the fewest rows in it.  If a call has no rows of a peer's groups, that peer sits it out.

    Examples
    --------
    >>> from skfusion.partition import GroupPartitioner
    >>> GroupPartitioner().partition(None, [0, 1, 0, 1], groups=["york", "bath", "york", "bath"])
    [array([1, 3]), array([0, 2])]
    """

    _by_group = True

    def _assign(self, y, groups, peers, rng):
        if groups is None:
            raise ValueError(f"no groups reached GroupPartitioner: {_HOW_TO_PASS_GROUPS}")
        n_groups = len(np.unique(groups))
        n_networks = n_groups if peers.n_networks is None else peers.n_networks
        if peers.complete and n_networks > n_groups:
            raise ValueError(
                f"peer {n_groups} of {n_networks} would be empty, since there are {n_groups} groups; set "
                f"n_networks=None for one peer per group, or at most {n_groups}"
            )
        owned = with_labels(peers.owned("groups", n_networks), groups, peers.seen(n_networks))
        return peer_of_row(owned, groups, rng), n_networks, owned


class PredefinedPartitioner(_AssigningPartitioner):
    """A partition that you already have.

    Parameters
    ----------
    peer_of_row : array-like of int of shape (n_samples,)
        The index of each row's peer, from 0.  In a first ``fit`` every peer must occur.

    Notes
    -----
    The natural number of networks is the largest index plus 1.

    ``peer_of_row`` is for the rows of one call.  Set it again before each portion for ``partial_fit``; a peer that does
    not occur sits the call out.

    Examples
    --------
    >>> from skfusion.partition import PredefinedPartitioner
    >>> PredefinedPartitioner([0, 1, 1, 0]).partition(None, [0, 0, 1, 1])
    [array([0, 3]), array([1, 2])]
    """

    def __init__(self, peer_of_row: ArrayLike):
        self.peer_of_row = peer_of_row

    def _assign(self, y, groups, peers, rng):
        n_networks = peers.n_networks
        check_whole("peer_of_row", self.peer_of_row)
        assigned = np.asarray(self.peer_of_row)
        if assigned.shape != (len(y),) or assigned.dtype.kind not in "iu" or assigned.min() < 0:
            raise ValueError(
                f"peer_of_row must hold the index of a peer, from 0, for each of the {len(y)} rows, not counting those "
                f"of sample_weight 0; got {shown(assigned)}"
            )
        natural = int(assigned.max()) + 1
        if n_networks is None and natural > len(y):
            raise ValueError(
                f"peer_of_row must name peers from 0 to {len(y) - 1}, so that each has one of the {len(y)} rows; got "
                f"{natural - 1}"
            )
        if n_networks is not None and n_networks < natural:
            right = f"; set n_networks={natural} or None" if peers.complete else ""
            raise ValueError(f"peer_of_row must name peers below n_networks={n_networks}, got {natural - 1}{right}")
        return assigned.astype(np.intp), natural if n_networks is None else n_networks, None


class SplitterPartitioner(BasePartitioner):
    """The test folds of a scikit-learn splitter.

    Parameters
    ----------
    splitter : splitter
        For example ``StratifiedKFold(8)``; its test folds are disjoint and cover all rows.

    Notes
    -----
    The natural number of networks is the splitter's number of folds.  A splitter that shuffles without a
    ``random_state`` of its own draws from that of the estimator.  A further portion for ``partial_fit`` that is too
    short for one of scikit-learn's splitters is dealt to the peers as by :class:`RandomPartitioner`, or where there are
    groups as by :class:`GroupPartitioner`.
    """

    def __init__(self, splitter):
        self.splitter = splitter

    def partition(self, X, y, groups=None, n_networks=None, random_state=None):
        return self._divide(X, y, groups, Peers(n_networks), random_state)[0]

    def _divide(self, X, y, groups, peers, random_state):
        """Return the rows of each of the Peers, and their Ownership, None where rows go by no labels."""
        self._check_groups(groups)
        try:
            folds = [test for _, test in self._seeded(random_state).split(X, y, groups)]
        except ValueError:
            if peers.complete or not self._may_lack_rows(y, groups, peers):
                raise
            stand_in = RandomPartitioner() if groups is None else GroupPartitioner()
            return stand_in._divide(X, y, groups, peers, random_state)
        parts = _check_partition(folds, len(y), peers.n_networks, complete=peers.complete)
        return parts, _ownership_of(self.splitter, parts, groups)

    def _seeded(self, random_state):
        """Return the splitter, or a copy that draws from ``random_state`` if it shuffles without its own."""
        # RepeatedKFold always shuffles, and has no parameter that says so.
        if not getattr(self.splitter, "shuffle", True) or getattr(self.splitter, "random_state", 0) is not None:
            return self.splitter
        seeded = copy.copy(self.splitter)
        seeded.random_state = check_rng(random_state)
        return seeded

    def _check_groups(self, groups):
        """Raise ValueError if scikit-learn's splitter lacks groups or ignores them; others check for themselves."""
        if self._is_scikit_learns():
            uses_groups = bool(get_routing_for_object(self.splitter).consumes("split", ["groups"]))
            if uses_groups and groups is None:
                raise ValueError(f"no groups reached {shown(self.splitter)}: {_HOW_TO_PASS_GROUPS}")
            if groups is not None and not uses_groups:
                raise ValueError(_unused_groups(self.splitter))

    def _may_lack_rows(self, y, groups, peers):
        """Whether the splitter may have failed for lack of rows: fewer than folds, or fewer of each class or group."""
        if peers.n_networks is None or not self._is_scikit_learns():
            return False
        few_groups = groups is not None and len(np.unique(groups)) < peers.n_networks
        n_alike = len(y) if peers.classes is None else np.unique(y, return_counts=True)[1].max()
        return few_groups or n_alike < peers.n_networks

    def _is_scikit_learns(self):
        return type(self.splitter).__module__.startswith("sklearn.")


def divide(partitioner, X, y, groups, peers, rng):
    """Divide rows among peers; those that have trained before keep their groups or classes.

    Parameters
    ----------
    partitioner : object
        With the method ``partition``.
    X, y, groups
        As in ``partition``.
    peers : Peers
    rng : RandomState

    Returns
    -------
    parts : list of int ndarray
    ownership : Ownership or None
        None where rows go by no labels.
    """
    # A subclass that overrides the method is a third party's.
    method = getattr(type(partitioner), "partition", None)
    if groups is not None and peers.own("groups") and method is not _AssigningPartitioner.partition:
        return GroupPartitioner()._divide(X, y, groups, peers, rng)
    if method in (_AssigningPartitioner.partition, SplitterPartitioner.partition):
        return partitioner._divide(X, y, groups, peers, rng)
    n_networks = _check_n_networks(peers, len(y))
    parts = partitioner.partition(X, y, groups=groups, n_networks=n_networks, random_state=rng)
    parts = _check_partition(parts, len(y), n_networks, complete=peers.complete)
    return parts, _ownership_of(partitioner, parts, groups)


def _ownership_of(partitioner, parts, groups):
    """Return which groups the peers have, None if rows have none; warns where a group is spread over peers."""
    if groups is None:
        return None
    names, codes = np.unique(groups, return_inverse=True)
    owner = np.empty(len(names), np.intp)
    for peer, part in enumerate(parts):
        owner[codes[part]] = peer
    for peer, part in enumerate(parts):
        elsewhere = codes[part][owner[codes[part]] != peer]
        if len(elsewhere):
            warnings.warn(
                f"{shown(partitioner)} got groups, but spreads the rows of {shown(names.tolist()[elsewhere[0]])} over "
                f"several peers, such as {peer} and {owner[elsewhere[0]]}; partitioner='group' keeps groups together",
                stacklevel=2,
            )
            return None
    return with_entries(nothing_owned("groups", len(parts)), names, owner)


def _unused_groups(partitioner):
    return (
        f"{type(partitioner).__name__} makes no use of groups, but got some; choose partitioner=None or 'group' to "
        "keep each group with one peer, or pass none"
    )


PARTITIONERS = {
    "random": RandomPartitioner,
    "stratified": StratifiedPartitioner,
    "class": ClassPartitioner,
    "dirichlet": DirichletPartitioner,
    "group": GroupPartitioner,
}


def check_partitioner(partitioner, groups, peers, *, labelled):
    """Return a new partitioner for None, a name, an instance or a splitter, or raise ValueError or TypeError.

    None stands for "group" if there are groups, else for "random".  If y has no class labels (``labelled``),
    partitioners that go by them raise an error.
    """
    new = _new_partitioner(partitioner, groups, peers)
    if not labelled and getattr(new, "_by_class", False):
        raise ValueError(
            "partitioner must not go by class labels, since the targets are numbers: take 'random', 'group', a "
            f"PredefinedPartitioner or a scikit-learn splitter such as KFold; got {shown(partitioner)}"
        )
    return new


def _new_partitioner(partitioner, groups, peers):
    if partitioner is None:
        if groups is None:
            _check_needs_no_groups(peers)
        partitioner = "random" if groups is None else "group"
    if isinstance(partitioner, str):
        return PARTITIONERS[check_choice("partitioner", partitioner, PARTITIONERS)]()
    if not isinstance(partitioner, type | np.ndarray | bytes):  # classes, and what has another method of that name
        if hasattr(partitioner, "partition"):
            return clone(partitioner, safe=False)
        if hasattr(partitioner, "split") and hasattr(partitioner, "get_n_splits"):
            return SplitterPartitioner(clone(partitioner, safe=False))
    raise TypeError(
        f"partitioner must be None, one of {', '.join(map(repr, PARTITIONERS))}, a BasePartitioner instance or a "
        f"scikit-learn splitter, got {shown(partitioner)}"
    )


def _check_needs_no_groups(peers):
    """Raise ValueError where rows without groups cannot be spread at random."""
    if peers.own("groups"):
        raise ValueError(
            "groups must be given, as in earlier calls, since each peer has its own (see ownership_) and rows without "
            f"groups would mix them, got None: {_HOW_TO_PASS_GROUPS}"
        )
    if peers.n_networks is None:
        raise ValueError(f"no groups reached fit, but n_networks=None means one peer a group: {_HOW_TO_PASS_GROUPS}")
