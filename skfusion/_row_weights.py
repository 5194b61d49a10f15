"""Weights of rows, relative to their mean: the same, bit for bit, in whatever order and groups the rows come."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

_MANTISSA_BITS = 53
_HALF = 32


def exact_sum(values):
    """Add finite floats without rounding.

    Parameters
    ----------
    values : float64 ndarray of shape (n,)

    Returns
    -------
    Fraction
    """
    mantissas, exponents = np.frexp(values)
    integers = np.ldexp(mantissas, _MANTISSA_BITS).astype(np.int64)
    total = Fraction(0)
    for exponent in np.unique(exponents).tolist():
        alike = integers[exponents == exponent]
        # In halves, whose sums fit 64 bits.
        upper, lower = int((alike >> _HALF).sum()), int((alike & (2**_HALF - 1)).sum())
        total += ((upper << _HALF) + lower) * Fraction(2) ** (exponent - _MANTISSA_BITS)
    return total


@dataclass(frozen=True)
class WeightTotals:
    """What the weights of some rows come to, class by class; add those of other rows for the totals of all.

    Attributes
    ----------
    counts : int64 ndarray of shape (n_classes,)
        Rows.
    sums : list of Fraction
    maxima : float64 ndarray of shape (n_classes,)
        0 for a class without rows.
    """

    counts: np.ndarray
    sums: list
    maxima: np.ndarray

    @classmethod
    def of(cls, sample_weight, codes, n_classes):
        """Sum up rows.

        Parameters
        ----------
        sample_weight : float64 ndarray of shape (n_samples,) or None
            Positive; None stands for ones.
        codes : int ndarray of shape (n_samples,)
            Class indices.
        n_classes : int
        """
        counts = np.bincount(codes, minlength=n_classes).astype(np.int64)
        if sample_weight is None:
            return cls.of_equal_rows(counts)
        by_class = np.split(sample_weight[np.argsort(codes, kind="stable")], counts.cumsum()[:-1])
        maxima = np.array([weights.max(initial=0.0) for weights in by_class])
        return cls(counts, [exact_sum(weights) for weights in by_class], maxima)

    @classmethod
    def of_equal_rows(cls, counts):
        """Of so many rows of weight 1 in each class."""
        return cls(counts, [Fraction(count) for count in counts.tolist()], np.sign(counts).astype(np.float64))

    def __add__(self, other):
        sums = [mine + theirs for mine, theirs in zip(self.sums, other.sums, strict=True)]
        return WeightTotals(self.counts + other.counts, sums, np.maximum(self.maxima, other.maxima))

    def relative_maxima(self, class_weight, classes):
        """Return each class's largest weight, times the class's own, relative to the mean of all rows.

        Parameters
        ----------
        class_weight : dict, "balanced" or None
        classes : ndarray of shape (n_classes,)

        Returns
        -------
        float64 ndarray of shape (n_classes,)

        Raises
        ------
        ValueError
            If class_weight names what is no class, or is 0 for all classes that have rows.
        """
        of_class = self._class_weights(class_weight, classes)
        total = sum(weight * of_rows for weight, of_rows in zip(of_class, self.sums, strict=True))
        if total == 0:
            raise ValueError(f"class_weight must not be 0 for all classes of y, got {class_weight!r}")
        mean = Fraction(total, int(self.counts.sum()))
        return np.array([float(w * Fraction(m) / mean) for w, m in zip(of_class, self.maxima.tolist(), strict=True)])

    def _class_weights(self, class_weight, classes):
        if class_weight is None:
            return [Fraction(1)] * len(self.counts)
        if isinstance(class_weight, str):  # scikit-learn's formula, and no weight for a class without rows
            share = sum(self.sums) / np.count_nonzero(self.counts)
            return [share / of_rows if of_rows else Fraction(0) for of_rows in self.sums]
        return [Fraction(weight) for weight in compute_class_weight(class_weight, classes=classes, y=classes).tolist()]


def relative_to_mean(sample_weight, codes, maxima, relative_maxima):
    """Weights of rows, times their classes', relative to the mean over all rows.

    Parameters
    ----------
    sample_weight : float64 ndarray of shape (n_samples,) or None
    codes : int ndarray of shape (n_samples,)
    maxima, relative_maxima : float64 ndarray of shape (n_classes,)
        Of all rows there are.

    Returns
    -------
    float64 ndarray of shape (n_samples,)
    """
    return (1.0 if sample_weight is None else sample_weight) / maxima[codes] * relative_maxima[codes]
