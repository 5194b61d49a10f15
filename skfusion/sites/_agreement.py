"""Sites' reports merged into what all of them have, or refused with an error that names a site."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import zip_longest
from operator import add
from unicodedata import normalize

import numpy as np

from skfusion._checks import written_beside
from skfusion._moments import Moments
from skfusion._row_weights import WeightTotals
from skfusion.sites._description import Description, Question
from skfusion.sites._labels import unpack_labels

_log = logging.getLogger("skfusion.sites")


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
    targets : Moments or None
        Of y in regression, as if all rows together had the weight 1.
    checksums : dict of str to str
        By site.
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
    targets: Moments | None
    checksums: dict[str, str]

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
    sites = sorted(descriptions, key=lambda one: one.site)
    first = sites[0]
    for other in sites[1:]:
        _check_alike(first, other)
    classes = _classes(sites, question)
    found = sorted(((site, peer) for site in sites for peer in site.peers), key=lambda pair: pair[1].name)
    n_sums = len(classes) if classes is not None and question.by_class else 1
    _warn_of_the_same_rows(sites)
    with np.errstate(over="ignore", invalid="ignore"):  # checked before a scaler is made of them
        moments = reduce(add, (site.moments for site in sites)) if question.moments else None
    return Agreement(
        peers=[peer.name for _, peer in found],
        sites=[site.site for site, _ in found],
        lengths=[peer.n_rows for _, peer in found],
        dtype=first.dtype,
        sparse=first.sparse,
        n_features=first.n_features,
        feature_names=first.feature_names,
        n_outputs=first.n_outputs,
        classes=classes,
        weighted=any(site.weighted for site in sites),
        totals=reduce(add, (_spread(peer.totals, site.labels, classes, n_sums) for site, peer in found)),
        moments=moments,
        targets=None if question.labelled else _targets(sites),
        checksums={site.site: site.checksum for site in sites},
    )


def _check_alike(first, other):
    """Raise ValueError unless two sites' rows could stand in one table."""
    for what, ours, theirs in (
        ("features, in the same order", *_first_difference(first.feature_names, other.feature_names)),
        ("number of features", first.n_features, other.n_features),
        ("dtype of X", first.dtype, other.dtype),
        ("kind of X", *("sparse" if one.sparse else "dense" for one in (first, other))),
        ("number of outputs", first.n_outputs, other.n_outputs),
        ("outputs, in the same order", *_first_difference(first.output_names, other.output_names)),
        ("kind of labels", _kind(first.labels), _kind(other.labels)),
    ):
        if ours != theirs:
            raise ValueError(
                f"all sites must have the same {what}; site {first.site!r} has {ours}, site {other.site!r} {theirs}"
            )


def _first_difference(ours, theirs):
    """Return what two sites have where their columns' names first differ."""
    if ours == theirs:
        return "", ""
    if ours is None or theirs is None:
        return tuple("no names" if names is None else "names" for names in (ours, theirs))
    place = next(place for place, pair in enumerate(zip_longest(ours, theirs)) if len(set(pair)) > 1)
    both = [names[place] if place < len(names) else None for names in (ours, theirs)]
    write = written_beside(both[0], both[1:])
    ours, theirs = ("none" if name is None else write(name) for name in both)
    return f"{ours} at place {place}", theirs


def _kind(labels):
    return None if labels is None else "strings" if labels.dtype.kind == "U" else "numbers"


def _classes(sites, question):
    if question.classes is not None:
        return unpack_labels(question.classes)
    if not question.labelled:
        return None
    _warn_of_spellings(sites)
    classes = np.unique(np.concatenate([site.labels for site in sites]))
    for site in sites:
        if site.labels.astype(classes.dtype).tolist() != site.labels.tolist():
            raise ValueError(
                f"all sites must have labels that one dtype can hold; site {site.site!r} has labels of "
                f"{site.labels.dtype} that change when the labels of all become {classes.dtype}"
            )
    return classes


def _warn_of_spellings(sites):
    """Say which labels differ in no more than case, spaces at their ends or how their characters are composed."""
    spellings = {}
    for site in sites:
        for label in site.labels.tolist() if _kind(site.labels) == "strings" else ():
            spellings.setdefault(normalize("NFC", label).strip().casefold(), {}).setdefault(label, site.site)
    for alike in spellings.values():
        if len(alike) > 1:
            found = ", ".join(f"{label!a} at site {site!r}" for label, site in alike.items())
            _log.warning("labels that look alike are classes of their own: %s; let all sites spell them alike", found)


def _warn_of_the_same_rows(sites):
    """Say which sites report the same moments, as where one has read the other's file."""
    known = {}
    for site in sites:
        if site.moments is not None:
            moments = site.moments.mean.tobytes(), site.moments.squared_deviations.tobytes()
            other = known.setdefault(moments, site.site)
            if other != site.site:
                _log.warning("sites %r and %r report the same means; do they have the same rows?", other, site.site)


def _targets(sites):
    """Return the moments of all sites' y, by what their rows weigh."""
    weights = [sum(sum(peer.totals.sums) for peer in site.peers) for site in sites]
    total = sum(weights)
    shares = [float(weight / total) for weight in weights]
    with np.errstate(over="ignore", invalid="ignore"):
        return reduce(
            add,
            (
                Moments(share, site.targets.mean, share * site.targets.squared_deviations)
                for share, site in zip(shares, sites, strict=True)
            ),
        )


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
