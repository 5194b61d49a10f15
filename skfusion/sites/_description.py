"""What sites report before training: numbers, names and sums, but no row.

A site is asked by a message of the kind "describe", whose content is a :class:`Question`, and answers by one of the
kind "describe answered", whose content and arrays are a :class:`Description`.
"""

import re
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any, Self

import numpy as np

from skfusion._checks import shown
from skfusion._inputs import MAX_NUMBERED
from skfusion._moments import Moments
from skfusion._row_weights import WeightTotals
from skfusion.sites._labels import pack_labels, unpack_labels
from skfusion.sites.message import Message, MessageError, check_known, check_name

ROW_DTYPES = ("float32", "float64")
CHECKSUM_BYTES = 2


@dataclass(frozen=True)
class Question:
    """What the coordinator asks of each site.

    Attributes
    ----------
    labelled : bool
        Whether y is to hold class labels, not numbers.
    classes : dict or None
        The classes, packed by :func:`pack_labels`, where they are known beforehand, so that sites do not report theirs.
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
        check_known(message.content, (field.name for field in fields(cls)))
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
    output_names : list of str or None
        The names of y's columns, if there are several and they have names.
    labels : ndarray of shape (n_labels,) or None
        The site's labels, sorted; None in regression and where the classes are known beforehand.
    weighted : bool
        Whether rows have weights of their own.
    peers : list of PeerDescription
    moments : Moments or None
    targets : Moments or None
        Of y in regression, as if all rows together had the weight 1.
    checksum : str
        By which the site notices later that its rows have changed.
    """

    site: str
    dtype: str
    sparse: bool
    n_features: int
    feature_names: list[str] | None
    n_outputs: int
    output_names: list[str] | None
    labels: np.ndarray | None
    weighted: bool
    peers: list[PeerDescription]
    moments: Moments | None
    targets: Moments | None
    checksum: str

    def content(self) -> dict[str, Any]:
        """Return it as a message's content, without the arrays."""
        names = "dtype", "sparse", "n_features", "feature_names", "n_outputs", "weighted", "checksum"
        content = {name: getattr(self, name) for name in names}
        if self.n_outputs > 1:
            content["output_names"] = self.output_names
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
        if self.targets is not None:
            arrays["target_mean"], arrays["target_variance"] = self.targets.mean, self.targets.squared_deviations
        return arrays

    @classmethod
    def read(cls, message: Message, question: Question) -> Self:
        """Take a site's answer to a question from a message, or raise MessageError."""
        n_features = _natural(message, "n_features", 1, MAX_NUMBERED)
        n_outputs = 0 if question.labelled else _natural(message, "n_outputs", 1, MAX_NUMBERED)
        labels = None
        if question.labelled and question.classes is None:
            labels = unpack_labels(message.entry("labels", dict))
        return cls(
            site=message.site,
            dtype=_one_of(message, "dtype", ROW_DTYPES),
            sparse=message.entry("sparse", bool),
            n_features=n_features,
            feature_names=_names(message, "feature_names", n_features),
            n_outputs=n_outputs,
            output_names=_names(message, "output_names", n_outputs) if n_outputs > 1 else None,
            labels=labels,
            weighted=message.entry("weighted", bool),
            peers=_peers(message, _n_sums(question, labels)),
            moments=_moments(message, n_features) if question.moments else None,
            targets=None if question.labelled else _targets(message, n_outputs),
            checksum=_checksum(message),
        )


# What a stranger reports


def _natural(message, name, minimum, maximum):
    value = message.entry(name, int)
    if not minimum <= value <= maximum:
        raise MessageError(f"entry {name!r} must be from {minimum} to {maximum}, got {value}")
    return value


def _checksum(message):
    value = message.entry("checksum", str)
    if not re.fullmatch(f"[0-9a-f]{{{2 * CHECKSUM_BYTES}}}", value):
        raise MessageError(f"entry 'checksum' must have {2 * CHECKSUM_BYTES} hexadecimal digits, got {shown(value)}")
    return value


def _one_of(message, name, choices):
    value = message.entry(name, str)
    if value not in choices:
        raise MessageError(f"entry {name!r} must be one of {', '.join(choices)}, got {shown(value)}")
    return value


def _names(message, entry, n_columns):
    names = message.entry(entry, list, type(None))
    if names is not None and (len(names) != n_columns or not all(isinstance(name, str) for name in names)):
        raise MessageError(f"entry {entry!r} must have a string for each of {n_columns} columns")
    return names


def _n_sums(question, labels):
    """Return how many sums each peer has: one for each of the classes, or one for all."""
    if not (question.labelled and question.by_class):
        return 1
    return len(question.classes["values"] if labels is None else labels)


def _peers(message, n_sums):
    names = message.entry("peers", list)
    seen = set()
    for name in names:
        if not _is_peer(name, message.site) or name in seen:
            raise MessageError(f"each peer must have a name of its own that begins with the site's, got {shown(name)}")
        seen.add(name)
    shape = len(names), n_sums
    counts = message.array("counts", np.int64, shape)
    if not (names and counts.any(axis=1).all()):
        raise MessageError("each peer must have rows with a weight above 0, got none")
    if counts.min() < 0 or counts.max() > MAX_NUMBERED:
        raise MessageError(f"counts of rows must be from 0 to {MAX_NUMBERED}")
    if message.entry("weighted", bool):
        maxima = message.array("maxima", np.float64, shape)
        sums = [_exact(*of_peer) for of_peer in zip(_lists(message, "sums", shape), counts, maxima, strict=True)]
        totals = [WeightTotals(*of_peer) for of_peer in zip(counts, sums, maxima, strict=True)]
    else:
        totals = [WeightTotals.of_equal_rows(of_peer) for of_peer in counts]
    return [PeerDescription(name, of_peer) for name, of_peer in zip(names, totals, strict=True)]


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
    if not 1 <= weight <= MAX_NUMBERED or (deviations < 0).any():
        raise MessageError(f"moments must be of 1 to {MAX_NUMBERED} rows, and sums of squares must not be negative")
    return Moments(weight, mean, deviations)


def _targets(message, n_outputs):
    mean, variance = (message.array(name, np.float64, (n_outputs,)) for name in ("target_mean", "target_variance"))
    if (variance < 0).any():
        raise MessageError("variances must not be negative")
    return Moments(1.0, mean, variance)
