"""Weights of rows, relative to their mean: the same, bit for bit, in whatever order and groups the rows come."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from skfusion._checks import shown

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
        """Return the totals of some rows.

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
        """Return the totals of rows of weight 1, ``counts`` of them in each class."""
        return cls(counts, [Fraction(count) for count in counts.tolist()], np.sign(counts).astype(np.float64))

    def __add__(self, other):
        sums = [mine + theirs for mine, theirs in zip(self.sums, other.sums, strict=True)]
        return WeightTotals(self.counts + other.counts, sums, np.maximum(self.maxima, other.maxima))

    def scale(self, class_weight, classes):
        """Return what makes rows' weights, times their classes', relative to the mean of all.

        Parameters
        ----------
        class_weight : dict, "balanced" or None
        classes : ndarray of shape (n_classes,)

        Returns
        -------
        WeightScale

        Raises
        ------
        ValueError
            If class_weight names what is not a class, or is 0 for all classes.
        """
        of_class = self._class_weights(class_weight, classes)
        if not any(of_class):
            raise ValueError(f"class_weight must not be 0 for all classes of y, got {shown(class_weight)}")
        total = sum(weight * of_rows for weight, of_rows in zip(of_class, self.sums, strict=True))
        mean = Fraction(total, int(self.counts.sum())) or 1  # a portion may have rows of classes of weight 0 alone
        pairs = zip(of_class, self.maxima.tolist(), strict=True)
        return WeightScale(self.maxima, np.array([float(weight * Fraction(most) / mean) for weight, most in pairs]))

    def _class_weights(self, class_weight, classes):
        if class_weight is None:
            return [Fraction(1)] * len(self.counts)
        if isinstance(class_weight, str):  # scikit-learn's formula, and no weight for a class without rows
            share = sum(self.sums) / np.count_nonzero(self.counts)
            return [share / of_rows if of_rows else Fraction(0) for of_rows in self.sums]
        # Not by scikit-learn's compute_class_weight: version 1.9 looks for the label "1" under the key 1.
        labels = classes.tolist()
        of_label = {key.item() if isinstance(key, np.generic) else key: w for key, w in class_weight.items()}
        if set(of_label) - set(labels) and set(labels) - set(of_label):
            raise ValueError(
                f"class_weight must have keys among the classes of y, {shown(labels)}, got {shown(class_weight)}"
            )
        return [Fraction(float(of_label.get(label, 1))) for label in labels]


@dataclass(frozen=True)
class WeightScale:
    """What makes weights relative to the mean over all rows there are.

    Attributes
    ----------
    maxima, relative_maxima : float64 ndarray of shape (n_classes,)
        Each class's largest weight, as it was and as it becomes.
    """

    maxima: np.ndarray
    relative_maxima: np.ndarray

    def relative(self, sample_weight, codes):
        """Return rows' weights, times their classes', relative to the mean.

        Parameters
        ----------
        sample_weight : float64 ndarray of shape (n_samples,) or None
        codes : int ndarray of shape (n_samples,)

        Returns
        -------
        float64 ndarray of shape (n_samples,)
        """
        return (1.0 if sample_weight is None else sample_weight) / self.maxima[codes] * self.relative_maxima[codes]


def relative_weight(sample_weight, class_weight, codes, classes, dtype):
    """Return the rows' weights, times their classes', relative to their mean; None if all are alike.

    Parameters
    ----------
    sample_weight : float64 ndarray of shape (n_samples,) or None
    class_weight : dict, "balanced" or None
    codes : int ndarray of shape (n_samples,)
        Class indices, which count for class_weight alone.
    classes : ndarray of shape (n_classes,) or None
    dtype : dtype

    Returns
    -------
    ndarray of shape (n_samples,) or None
    """
    if sample_weight is None and class_weight is None:
        return None
    if class_weight is None:
        codes, classes = np.zeros_like(codes), [0]
    scale = WeightTotals.of(sample_weight, codes, len(classes)).scale(class_weight, classes)
    return scale.relative(sample_weight, codes).astype(dtype)
