"""Whose rows a peer has: groups and classes that stay with it from call to call."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skfusion._balance import largest_first
from skfusion._checks import shown
from skfusion._inputs import check_groups, comparable
from skfusion._typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Ownership:
    """Which groups, or classes, each peer has: a table with an entry for each peer of each group or class.

    Parameters
    ----------
    kind : {"groups", "classes"}
        What the labels are.
    n_networks : int
        Number of peers.
    labels : ndarray of shape (n_entries,)
        Groups or classes.  If several peers share one, it has several entries.
    peers : int ndarray of shape (n_entries,)
        A peer that has it.
    shares : float64 ndarray of shape (n_entries,)
        The share of its rows that goes to this peer; 1 if no other peer has it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skfusion import FusedMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> site = ["Bath", "Leeds", "York"] * 50
    >>> model = FusedMLPClassifier(n_networks=None, max_iter=20, tol=0, random_state=0).fit(X, y, groups=site)
    >>> [labels.tolist() for labels in model.ownership_.by_peer]
    [['Bath'], ['Leeds'], ['York']]
    """

    kind: Literal["groups", "classes"]
    n_networks: int
    labels: np.ndarray
    peers: IntArray
    shares: FloatArray

    @property
    def by_peer(self) -> list[np.ndarray]:
        """The groups or classes of each peer, a list of n_networks ndarray."""
        ends = np.bincount(self.peers, minlength=self.n_networks).cumsum()
        return np.split(self.labels[np.argsort(self.peers, kind="stable")], ends[:-1])


@dataclass(frozen=True)
class Peers:
    """The peers that rows are divided among, and what is known of them beforehand.

    Attributes
    ----------
    n_networks : int or None
        How many there are; None to leave it to the partitioner.
    complete : bool
        Whether each must get rows, as in a first ``fit``, rather than sit a call out.
    n_seen : int ndarray of shape (n_networks,) or None
        Rows that each has trained on so far; None for none.
    classes : ndarray of shape (n_classes,) or None
        All classes that may occur; None for those that do.
    ownership : Ownership or None
        What each has already.
    """

    n_networks: int | None = None
    complete: bool = True
    n_seen: IntArray | None = None
    classes: np.ndarray | None = None
    ownership: Ownership | None = None

    def own(self, kind):
        """Whether they have groups, or classes."""
        return self.ownership is not None and self.ownership.kind == kind

    def owned(self, kind, n_networks):
        """Return which groups, or classes, ``n_networks`` peers have so far."""
        return self.ownership if self.own(kind) else nothing_owned(kind, n_networks)

    def seen(self, n_networks):
        """Return the rows that each of ``n_networks`` peers has trained on so far."""
        return np.zeros(n_networks, np.int64) if self.n_seen is None else self.n_seen

    def in_turn(self, n_rows, n_networks):
        """Return the peers to whom rows are dealt in turn, those who have seen least first."""
        return np.argsort(self.seen(n_networks), kind="stable")[np.arange(n_rows) % n_networks]


def nothing_owned(kind, n_networks):
    """Return the Ownership of peers who have nothing yet."""
    return Ownership(kind, n_networks, np.empty(0), np.empty(0, np.intp), np.empty(0))


def with_entries(ownership, labels, peers, shares=1.0):
    """Return an Ownership with more entries, of labels that it lacks."""
    return Ownership(
        ownership.kind,
        ownership.n_networks,
        np.concatenate(comparable(ownership.labels, labels)) if len(ownership.labels) else labels,
        np.append(ownership.peers, peers).astype(np.intp),
        np.append(ownership.shares, np.broadcast_to(shares, len(labels))),
    )


def with_labels(ownership, labels, n_seen):
    """Return an Ownership that has all of some rows' labels: a new one gets a free peer, or joins the least loaded.

    Parameters
    ----------
    ownership : Ownership
    labels : ndarray of shape (n_samples,)
        The rows' groups or classes.
    n_seen : int ndarray of shape (n_networks,)
        Rows that each peer has trained on so far.

    Raises
    ------
    ValueError
        If groups cannot be sorted among those of earlier rows.
    """
    names, sizes = np.unique(labels, return_counts=True)
    if len(ownership.labels):
        together = np.concatenate([labels.astype(object) for labels in comparable(ownership.labels, names)])
        check_groups(together, len(together))
    entries = _entries(ownership, names)
    new = np.array([len(indices) == 0 for indices in entries])
    taken = np.bincount(ownership.peers, minlength=ownership.n_networks) > 0
    if new.sum() <= (~taken).sum():
        return with_entries(ownership, names[new], np.flatnonzero(~taken)[: new.sum()])
    load = n_seen.astype(float)
    for indices, size in zip(entries, sizes, strict=True):
        load[ownership.peers[indices]] += size * ownership.shares[indices]
    joined = with_entries(ownership, names[new], _places(sizes[new], np.flatnonzero(~taken), load))
    if np.bincount(ownership.peers, minlength=1).max() < 2:
        _warn_of_merger(joined)
    return joined


def peer_of_row(ownership, labels, rng):
    """Return the peer of each row by the rows' labels, drawn where several peers share one."""
    names, codes = np.unique(labels, return_inverse=True)
    entries = _entries(ownership, names)
    peers = np.array([ownership.peers[indices[0]] for indices in entries], np.intp)[codes]
    for code, indices in enumerate(entries):
        if len(indices) > 1:
            rows = rng.permutation(np.flatnonzero(codes == code))
            peers[rows] = ownership.peers[indices[apportion(ownership.shares[indices], len(rows), rng.uniform())]]
    return peers


def apportion(shares, n_rows, offset):
    """Divide rows by shares, to within one row; returns for each row the index of a share.

    Parameters
    ----------
    shares : ndarray of shape (n_shares,)
    n_rows : int
    offset : float
        In [0, 1); where it is drawn, even single rows keep to the shares in the long run.
    """
    ends = np.cumsum(shares)
    return np.searchsorted(ends[:-1] / ends[-1], (np.arange(n_rows) + offset) / n_rows, side="right")


def _entries(ownership, names):
    """Return for each of some labels the indices of its entries, a list of ndarray."""
    known, names = comparable(ownership.labels, names)
    indices = {}
    for index, label in enumerate(known.tolist()):
        indices.setdefault(label, []).append(index)
    return [np.array(indices.get(name, []), np.intp) for name in names.tolist()]


def _places(sizes, free, load):
    """Return a peer for each of more groups than there are free peers: one of these, or the least loaded."""
    order, peers = np.argsort(-sizes, kind="stable"), np.empty(len(sizes), np.intp)
    first, others = order[: len(free)], order[len(free) :]
    peers[first] = free
    load[free] += sizes[first]
    peers[others] = largest_first(sizes[others], load)
    return peers


def _warn_of_merger(ownership):
    kind, peer = ownership.kind, np.bincount(ownership.peers).argmax()
    labels = ownership.by_peer[peer].tolist()
    more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
    warnings.warn(
        f"there are {len(np.unique(ownership.labels))} {kind} for n_networks={ownership.n_networks}, so some share a "
        f"peer: peer {peer}, for example, has {shown(labels[0])}, {shown(labels[1])}{more} (ownership_ lists all of "
        f"them); to give each a peer of its own, set n_networks=None, or if some {kind} come only in later portions of "
        "partial_fit, to the number of all",
        stacklevel=2,
    )
