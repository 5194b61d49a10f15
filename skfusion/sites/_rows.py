"""A site's rows, checked, and what the site reports of them."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import validate_data

from skfusion._checks import shown
from skfusion._inputs import (
    FOR_TEXT,
    check_dense,
    check_groups,
    check_numbers,
    check_object_labels,
    check_plain_numbers,
    check_rows,
    check_sample_weight,
    check_targets,
    columns_of,
    encode,
)
from skfusion._moments import Moments, moments_of_rows
from skfusion._row_weights import WeightTotals
from skfusion.sites._description import CHECKSUM_BYTES, Description, PeerDescription
from skfusion.sites._labels import LABEL_KINDS, NUMBER_DTYPES, unpack_labels
from skfusion.sites.message import RefusalError, check_name

_LARGEST = np.finfo(np.float64).max
_FEW = 20  # rows, each of which may well have a class of its own


class Site(BaseEstimator):
    """What scikit-learn's checks write the features' names to, and name in their messages."""


@dataclass(frozen=True)
class SiteRows:
    """A site's rows, and which of its peers has which.

    Attributes
    ----------
    X : {ndarray, CSR} of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : float64 ndarray of shape (n_samples,) or None
    feature_names : list of str or None
    output_names : list of str or None
        Of y's columns, where it has several.
    parts : dict of str to int ndarray
        By each peer's name its rows, except those of weight 0.
    """

    X: np.ndarray | csr_array
    y: np.ndarray
    sample_weight: np.ndarray | None
    feature_names: list[str] | None
    output_names: list[str] | None
    parts: dict[str, np.ndarray]

    @classmethod
    def check(cls, site, X, y, sample_weight, groups):
        """Check rows as an estimator's ``fit`` does, or raise TypeError or ValueError."""
        check_plain_numbers("X", X, FOR_TEXT)
        check_dense(y)
        check_targets(y)
        names_of_y, dtypes_of_y = columns_of(y)
        if len(dtypes_of_y) > 1:  # numbers, whereas dates in one column may be labels
            check_plain_numbers("y", y)
        check_object_labels(y)
        table = Site()
        options = dict(accept_sparse="csr", dtype=(np.float64, np.float32), order="C", multi_output=True)
        X, y = validate_data(table, X, y, ensure_all_finite=False, **options)
        check_rows(X)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y.ravel()
        groups, weight = check_groups(groups, len(y)), check_sample_weight(sample_weight, len(y))
        names = table.feature_names_in_.tolist() if hasattr(table, "feature_names_in_") else None
        _check_finite(X, names)
        parts = _parts(site, groups, np.ones(len(y)) if weight is None else weight)
        return cls(X, y, weight, names, _output_names(names_of_y), parts)

    def describe(self, site, question):
        """Report what the coordinator must know before it can plan.

        Raises
        ------
        RefusalError
            If y is not what it asks for.
        """
        classes = self._classes(question)
        by_class = classes is not None and question.by_class
        codes = self.encoded(classes) if by_class else np.zeros(len(self.y), np.int32)
        n_sums = len(classes) if by_class else 1
        return Description(
            site=site,
            dtype=self.X.dtype.name,
            sparse=issparse(self.X),
            n_features=self.X.shape[1],
            feature_names=self.feature_names,
            output_names=self.output_names,
            n_outputs=self.numbers().shape[1] if classes is None else 0,
            labels=classes if question.classes is None else None,
            weighted=self.sample_weight is not None,
            peers=[PeerDescription(name, self._totals(rows, codes, n_sums)) for name, rows in self.parts.items()],
            moments=self._moments() if question.moments else None,
            targets=self._targets() if classes is None else None,
            checksum=self.checksum,
        )

    @cached_property
    def checksum(self):
        """What changes with the rows, their order or their columns, in hexadecimal; too short to give them away."""
        X, y = self.X, self.y
        arrays = [X.indptr, X.indices, X.data] if issparse(X) else [X]
        arrays += [] if self.sample_weight is None else [self.sample_weight]
        others = [self.feature_names, list(self.parts)]
        if y.dtype.name in NUMBER_DTYPES:
            arrays.append(y)
        else:
            others.append(y.tolist())
        digest = blake2b(repr(others).encode(), digest_size=CHECKSUM_BYTES)
        for array in (*arrays, *self.parts.values()):
            digest.update(np.ravel(array))
        return digest.hexdigest()

    def labels(self):
        """Return y as class labels, or raise RefusalError."""
        labels = self.y
        if labels.dtype.kind not in LABEL_KINDS and all(isinstance(label, str) for label in labels):
            labels = labels.astype(str)
        if labels.dtype.kind not in LABEL_KINDS:
            raise RefusalError(
                "y must hold one label for each row, all numbers or all strings, and none may be missing; y has dtype "
                f"{labels.dtype}: convert it, as by astype(int) or astype(str)"
            )
        if type_of_target(labels) not in ("binary", "multiclass"):
            raise RefusalError("y must hold class labels, but has continuous numbers or several labels for each row")
        return labels

    def encoded(self, classes):
        """Return y as class indices, or raise RefusalError."""
        labels = self.labels()
        try:
            return encode(labels, classes)
        except ValueError as error:
            raise RefusalError(
                "y must have only labels among the classes given to fit_sites, but has others"
            ) from error

    def numbers(self):
        """Return y as numbers of shape (n_samples, n_outputs), or raise RefusalError."""
        try:
            return check_numbers(self.y, self.X.dtype).reshape(len(self.y), -1)
        except (TypeError, ValueError) as error:
            raise RefusalError(f"y must hold finite numbers within the range of {self.X.dtype}, X's dtype") from error

    def _classes(self, question):
        """Return the classes that are given, or that y has; None in regression."""
        if not question.labelled:
            return None
        if question.classes is None:
            return self._labels_to_report()
        classes = unpack_labels(question.classes)
        self.encoded(classes)
        return classes

    def _labels_to_report(self):
        """Return the labels that y has, or raise RefusalError where they tell rows apart, as numbers of patients do."""
        labels, n_rows = np.unique(self.labels()), len(self.y)
        if n_rows > _FEW and len(labels) > n_rows / 2:  # of which scikit-learn's classifiers warn
            raise RefusalError(
                f"y must have a few labels that rows share, since the site reports them, but has {len(labels)} in "
                f"{n_rows} rows; if they are classes, give fit_sites all of them; if numbers, a FusedMLPRegressor"
            )
        return labels

    def _moments(self):
        with np.errstate(over="ignore", invalid="ignore"):
            moments = moments_of_rows(self.X)
        if not np.isfinite(moments.squared_deviations).all():
            raise RefusalError("X must hold numbers so small that the scaler can square them in float64")
        return moments

    def _targets(self):
        weight = None if self.sample_weight is None else self.sample_weight / self.sample_weight.max()
        with np.errstate(over="ignore", invalid="ignore"):
            moments = Moments.of(self.numbers(), weight)
            variance = moments.squared_deviations / moments.weight
        finite = dict(nan=_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)  # of numbers so large that training diverges
        return Moments(1.0, np.nan_to_num(moments.mean, **finite), np.nan_to_num(variance, **finite))

    def _totals(self, rows, codes, n_classes):
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        return WeightTotals.of(weight, codes[rows], n_classes)


def _output_names(names):
    """Return the names of y's columns if there are several and all are strings, else None."""
    several = names is not None and len(names) > 1
    return [*names] if several and all(isinstance(name, str) for name in names) else None


def _check_finite(X, names):
    """Raise ValueError if a value is missing or infinite; scikit-learn's advice, an imputer, is none for a site."""
    finite = np.isfinite(X.data if issparse(X) else X)
    if not finite.all():
        places = np.unique(X.indices[~finite] if issparse(X) else np.flatnonzero(~finite.all(axis=0))).tolist()
        columns = places if names is None else [names[place] for place in places]
        raise ValueError(
            f"X must hold finite numbers, and none may be missing; got NaN or infinity in columns {shown(columns)}; "
            "fill gaps before you make a Site, at all sites alike"
        )


def _parts(site, groups, weight):
    """Return each peer's rows by its name."""
    if groups is None:
        return {site: np.flatnonzero(weight)}
    labels, codes = np.unique(groups, return_inverse=True)
    parts = {_peer_name(site, label): (codes == k) & (weight > 0) for k, label in enumerate(labels)}
    if len(parts) < len(labels):
        raise ValueError(
            "groups must hold labels that differ once their characters are composed (NFC), but some do not"
        )
    return {name: np.flatnonzero(rows) for name, rows in parts.items() if rows.any()}


def _peer_name(site, label):
    try:
        return f"{site}/{check_name(str(label))}"
    except ValueError as error:
        raise ValueError(f"groups must hold labels that could be sites' names: {error}") from None
