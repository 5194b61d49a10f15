"""What sites report before training, and what the coordinator makes of it: numbers, names and sums, but no row.

A site is asked by a message of the kind "describe", whose content is a :class:`Question`, and answers by one of the
kind "describe answered", whose content and arrays are a :class:`Description`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import reduce
from itertools import zip_longest
from operator import add
from typing import Any, Self

import numpy as np

from skfusion._checks import shown
from skfusion._inputs import MOST_NUMBERED
from skfusion._moments import Moments, merged
from skfusion._row_weights import WeightTotals
from skfusion.sites.message import Message, MessageError, check_name

DTYPES = ("float32", "float64")
LABEL_KINDS = "biufU"  # of dtypes
_NUMBERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
_MOST_CHARACTERS = 2**22  # of all labels, were each as long as the longest


@dataclass(frozen=True)
class Question:
    """What the coordinator asks of each site.

    Attributes
    ----------
    labelled : bool
        Whether y is to hold class labels, not numbers.
    classes : list or None
        The classes, where they are known beforehand, as JSON; the sites then do not report theirs.
    by_class : bool
        Whether rows and their weights are to be summed up class by class.
    moments : bool
        Whether each column's mean and squared deviations are asked for.
    collect : bool, default=True
        Whether weights are going to be asked for.
    """

    labelled: bool
    classes: dict[str, Any] | None
    by_class: bool
    moments: bool
    collect: bool = True

    def content(self) -> dict[str, Any]:
        """Return it as a message's content."""
        return asdict(self)

    @classmethod
    def read(cls, message: Message) -> Self:
        """Take it from a message, or raise MessageError."""
        return cls(
            labelled=message.entry("labelled", bool),
            classes=message.entry("classes", dict, type(None)),
            by_class=message.entry("by_class", bool),
            moments=message.entry("moments", bool),
            collect=message.entry("collect", bool),
        )


@dataclass(frozen=True)
class PeerDescription:
    """What a site reports of a peer's rows, leaving out those of weight 0.

    Attributes
    ----------
    name : str
        The site's, or with several peers at a site the site's, a slash, and the peer's own.
    totals : WeightTotals
        For each class, or for all rows.
    """

    name: str
    totals: WeightTotals

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return int(self.totals.counts.sum())


@dataclass(frozen=True)
class Description:
    """What a site reports.

    Attributes
    ----------
    site : str
    dtype : {"float32", "float64"}
    sparse : bool
    n_features : int
    feature_names : list of str or None
    n_outputs : int
        Numbers per row in regression, else 0.
    labels : ndarray of shape (n_labels,) or None
        The site's labels, sorted; None in regression and where the classes are known beforehand.
    weighted : bool
        Whether rows have weights of their own.
    peers : list of PeerDescription
    moments : Moments or None
    """

    site: str
    dtype: str
    sparse: bool
    n_features: int
    feature_names: list[str] | None
    n_outputs: int
    labels: np.ndarray | None
    weighted: bool
    peers: list[PeerDescription]
    moments: Moments | None

    def content(self) -> dict[str, Any]:
        """Return it as a message's content, without the arrays."""
        names = "dtype", "sparse", "n_features", "feature_names", "n_outputs", "weighted"
        content = {name: getattr(self, name) for name in names}
        content["labels"] = None if self.labels is None else pack_labels(self.labels)
        content["peers"] = [peer.name for peer in self.peers]
        if self.weighted:
            content["sums"] = [[list(one.as_integer_ratio()) for one in peer.totals.sums] for peer in self.peers]
        return content

    def arrays(self) -> dict[str, np.ndarray]:
        """Return a message's arrays."""
        arrays = {"counts": np.array([peer.totals.counts for peer in self.peers])}
        if self.weighted:
            arrays["maxima"] = np.array([peer.totals.maxima for peer in self.peers])
        if self.moments is not None:
            arrays["weight"] = np.array(self.moments.weight)
            arrays["mean"], arrays["squared_deviations"] = self.moments.mean, self.moments.squared_deviations
        return arrays

    @classmethod
    def read(cls, message: Message, question: Question) -> Self:
        """Take a site's answer to a question from a message, or raise MessageError."""
        n_features = _natural(message, "n_features", 1, MOST_NUMBERED)
        labels = None
        if question.labelled and question.classes is None:
            labels = unpack_labels(message.entry("labels", dict))
        return cls(
            site=message.site,
            dtype=_one_of(message, "dtype", DTYPES),
            sparse=message.entry("sparse", bool),
            n_features=n_features,
            feature_names=_feature_names(message, n_features),
            n_outputs=0 if question.labelled else _natural(message, "n_outputs", 1, MOST_NUMBERED),
            labels=labels,
            weighted=message.entry("weighted", bool),
            peers=_peers(message, _n_sums(question, labels)),
            moments=_moments(message, n_features) if question.moments else None,
        )


@dataclass(frozen=True)
class Agreement:
    """What all sites together have.

    Attributes
    ----------
    peers : list of str
        Their names, sorted: the order of the peers.
    sites : list of str
        For each peer the site that it lives at.
    lengths : list of int
        For each peer the number of its rows.
    dtype : {"float32", "float64"}
    sparse : bool
    n_features : int
    feature_names : list of str or None
    n_outputs : int
    classes : ndarray of shape (n_classes,) or None
    weighted : bool
    totals : WeightTotals
    moments : Moments or None
    """

    peers: list[str]
    sites: list[str]
    lengths: list[int]
    dtype: str
    sparse: bool
    n_features: int
    feature_names: list[str] | None
    n_outputs: int
    classes: np.ndarray | None
    weighted: bool
    totals: WeightTotals
    moments: Moments | None

    @property
    def by_site(self) -> dict[str, list[int]]:
        """By site the peers that live there."""
        peers: dict[str, list[int]] = {}
        for peer, site in enumerate(self.sites):
            peers.setdefault(site, []).append(peer)
        return peers


def agree(descriptions: Sequence[Description], question: Question) -> Agreement:
    """Merge what the sites have reported.

    Parameters
    ----------
    descriptions : sequence of Description
    question : Question
        What they were asked.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If a site's rows are not like the others'; the message names the site.
    """
    first, *others = sorted(descriptions, key=lambda one: one.site)
    for other in others:
        _check_alike(first, other)
    classes = _classes([first, *others], question)
    found = [(peer.name, site, peer) for site in (first, *others) for peer in site.peers]
    found.sort(key=lambda entry: entry[0])
    n_sums = len(classes) if classes is not None and question.by_class else 1
    moments = [one.moments for one in (first, *others) if one.moments is not None]
    with np.errstate(over="ignore", invalid="ignore"):  # whoever scales by them looks
        together = merged(moments) if question.moments else None
    return Agreement(
        peers=[name for name, _, _ in found],
        sites=[site.site for _, site, _ in found],
        lengths=[peer.n_rows for _, _, peer in found],
        dtype=first.dtype,
        sparse=first.sparse,
        n_features=first.n_features,
        feature_names=first.feature_names,
        n_outputs=first.n_outputs,
        classes=classes,
        weighted=any(site.weighted for site in (first, *others)),
        totals=reduce(add, (_spread(peer.totals, site.labels, classes, n_sums) for _, site, peer in found)),
        moments=together,
    )


def pack_labels(labels: np.ndarray) -> dict[str, Any]:
    """Return labels, which are numbers or strings, as JSON; floats that are neither single nor double become double."""
    if labels.dtype.kind == "f" and labels.dtype.name not in _NUMBERS:
        labels = labels.astype(np.float64)
    return {"dtype": "str" if labels.dtype.kind == "U" else labels.dtype.name, "values": labels.tolist()}


def unpack_labels(content: dict[str, Any]) -> np.ndarray:
    """Return labels from JSON, or raise MessageError unless they are sorted and distinct numbers or strings."""
    dtype, values = content.get("dtype"), content.get("values")
    right = "labels must be distinct numbers or strings, sorted"
    if not isinstance(values, list) or dtype not in (*_NUMBERS, "str"):
        raise MessageError(f"{right}, got the dtype {shown(dtype)}")
    kinds = set(map(type, values))
    if dtype == "str":
        fits = kinds <= {str} and len(values) * max(map(len, values), default=0) <= _MOST_CHARACTERS
    else:
        fits = kinds <= {np.dtype(dtype).type(0).item().__class__}
    try:
        labels = np.array(values if fits else [], dtype)
        distinct = np.array_equal(labels, np.unique(labels)) and labels.tolist() == values
    except (ValueError, OverflowError) as error:
        raise MessageError(f"{right}, got what {dtype} cannot hold: {error}") from None
    if not (fits and distinct):
        raise MessageError(f"{right}, got others")
    return labels


# What a stranger reports


def _natural(message, name, minimum, maximum):
    value = message.entry(name, int)
    if not minimum <= value <= maximum:
        raise MessageError(f"entry {name!r} must be from {minimum} to {maximum}, got {value}")
    return value


def _one_of(message, name, choices):
    value = message.entry(name, str)
    if value not in choices:
        raise MessageError(f"entry {name!r} must be one of {', '.join(choices)}, got {shown(value)}")
    return value


def _feature_names(message, n_features):
    names = message.entry("feature_names", list, type(None))
    if names is not None and (len(names) != n_features or not all(isinstance(name, str) for name in names)):
        raise MessageError(f"entry 'feature_names' must have a string for each of {n_features} features")
    return names


def _n_sums(question, labels):
    """How many sums each peer has: one for each of the classes, or one for all."""
    if not (question.labelled and question.by_class):
        return 1
    return len(question.classes["values"] if labels is None else labels)


def _peers(message, n_sums):
    names = message.entry("peers", list)
    for name in names:
        if not _is_peer(name, message.site) or names.count(name) > 1:
            raise MessageError(f"each peer must have a name of its own that begins with the site's, got {shown(name)}")
    shape = len(names), n_sums
    counts = message.array("counts", np.int64, shape)
    if not (names and counts.any(axis=1).all()):
        raise MessageError("each peer must have rows with a weight above 0, got none")
    if counts.min() < 0 or counts.max() > MOST_NUMBERED:
        raise MessageError(f"counts of rows must be from 0 to {MOST_NUMBERED}")
    if message.entry("weighted", bool):
        maxima = message.array("maxima", np.float64, shape)
        sums = [_exact(*own) for own in zip(_lists(message, "sums", shape), counts, maxima, strict=True)]
        totals = [WeightTotals(*own) for own in zip(counts, sums, maxima, strict=True)]
    else:
        totals = [WeightTotals.of_equal_rows(own) for own in counts]
    return [PeerDescription(name, own) for name, own in zip(names, totals, strict=True)]


def _is_peer(name, site):
    """Whether a peer of that name may live at a site."""
    try:
        return name == site or (name.startswith(f"{site}/") and bool(check_name(name.removeprefix(f"{site}/"))))
    except (AttributeError, ValueError):
        return False


def _lists(message, name, shape):
    """Return an entry that is a list of lists of that many items."""
    rows = message.entry(name, list)
    if len(rows) != shape[0] or not all(isinstance(row, list) and len(row) == shape[1] for row in rows):
        raise MessageError(f"entry {name!r} must have {shape[0]} lists of {shape[1]}")
    return rows


def _exact(ratios, counts, maxima):
    """Return sums of weights that may be those of that many rows with such a maximum."""
    sums = []
    for ratio, count, maximum in zip(ratios, counts.tolist(), maxima.tolist(), strict=True):
        if not (isinstance(ratio, list) and list(map(type, ratio)) == [int, int] and ratio[1] > 0):
            raise MessageError("sums of weights must be ratios of integers")
        sums.append(Fraction(*ratio))
        if (maximum > 0) != (count > 0) or not maximum <= sums[-1] <= count * Fraction(maximum):
            raise MessageError("sums of weights must lie between the largest weight and that times the number of rows")
    return sums


def _moments(message, n_features):
    weight = message.array("weight", np.float64, ()).item()
    mean, deviations = (message.array(name, np.float64, (n_features,)) for name in ("mean", "squared_deviations"))
    if weight < 1 or (deviations < 0).any():
        raise MessageError("moments must be of at least one row, and sums of squares must not be negative")
    return Moments(weight, mean, deviations)


# What sites must have in common


def _check_alike(first, other):
    """Raise ValueError unless two sites' rows could stand in one table."""
    for what, ours, theirs in (
        ("features, in the same order", *_first_difference(first.feature_names, other.feature_names)),
        ("number of features", first.n_features, other.n_features),
        ("dtype of X", first.dtype, other.dtype),
        ("kind of X", *("sparse" if one.sparse else "dense" for one in (first, other))),
        ("number of outputs", first.n_outputs, other.n_outputs),
        ("kind of labels", _kind(first.labels), _kind(other.labels)),
    ):
        if ours != theirs:
            raise ValueError(
                f"all sites must have the same {what}; site {first.site!r} has {ours}, site {other.site!r} {theirs}"
            )


def _first_difference(ours, theirs):
    """Return what two sites have where their features' names first differ."""
    if ours == theirs:
        return "", ""
    if ours is None or theirs is None:
        return tuple("no names" if names is None else "names" for names in (ours, theirs))
    place = next(place for place, pair in enumerate(zip_longest(ours, theirs)) if len(set(pair)) > 1)
    ours, theirs = (shown(names[place]) if place < len(names) else "none" for names in (ours, theirs))
    return f"{ours} at place {place}", theirs


def _kind(labels):
    return None if labels is None else "strings" if labels.dtype.kind == "U" else "numbers"


def _classes(sites, question):
    if question.classes is not None:
        return unpack_labels(question.classes)
    if not question.labelled:
        return None
    classes = np.unique(np.concatenate([site.labels for site in sites]))
    for site in sites:
        if site.labels.astype(classes.dtype).tolist() != site.labels.tolist():
            raise ValueError(
                f"all sites must have labels of a dtype that holds those of each; site {site.site!r} has labels of "
                f"{site.labels.dtype} that differ once all are {classes.dtype}"
            )
    return classes


def _spread(totals, labels, classes, n_sums):
    """Return totals of the site's labels as totals of all classes."""
    if n_sums == 1 or labels is None:
        return totals
    places = np.searchsorted(classes, labels)
    counts, maxima, sums = np.zeros(n_sums, np.int64), np.zeros(n_sums), [Fraction(0)] * n_sums
    counts[places], maxima[places] = totals.counts, totals.maxima
    for place, own in zip(places.tolist(), totals.sums, strict=True):
        sums[place] = own
    return WeightTotals(counts, sums, maxima)
