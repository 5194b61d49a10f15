"""Means and squared deviations of columns, to which those of other rows can be added."""

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import gen_batches
from sklearn.utils.sparsefuncs import mean_variance_axis

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Moments:
    """How some rows' columns are distributed; add those of other rows for the moments of all.

    Attributes
    ----------
    weight : float
        Of all rows; their number if each counts as 1.
    mean : float64 ndarray of shape (n_columns,)
    squared_deviations : float64 ndarray of shape (n_columns,)
        Sum of the squared deviations from the mean.

    References
    ----------
    T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for Computing the Sample Variance", The American
    Statistician 37 (1983), equation 1.5.
    """

    weight: float
    mean: np.ndarray
    squared_deviations: np.ndarray

    @classmethod
    def of(cls, values, sample_weight=None):
        """Return the moments of rows that fit into memory twice.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
        sample_weight : ndarray of shape (n_samples,) or None
        """
        rows = values.astype(np.float64)
        weight = np.ones((len(rows), 1)) if sample_weight is None else sample_weight.astype(np.float64)[:, None]
        total = float(weight.sum())
        if total == 0:
            return cls(0.0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1]))
        first = rows[0].copy()  # deviations from it are exactly 0 where all rows are alike
        rows -= first
        mean = (weight * rows).sum(axis=0) / total
        rows -= mean
        return cls(total, first + mean, (weight * rows**2).sum(axis=0))

    def __add__(self, other):
        weight = self.weight + other.weight
        if weight == 0:
            return self
        share, step = other.weight / weight, other.mean - self.mean
        between = step**2 * (self.weight * share)
        return Moments(weight, self.mean + step * share, self.squared_deviations + other.squared_deviations + between)


def moments_of_rows(X):
    """Return the moments of any number of rows.

    Parameters
    ----------
    X : {ndarray, CSR} of shape (n_samples, n_features)

    Returns
    -------
    Moments
    """
    if issparse(X):
        mean, variance = mean_variance_axis(X.astype(np.float64), axis=0)
        return Moments(float(X.shape[0]), mean, variance * X.shape[0])
    return reduce(add, (Moments.of(X[rows]) for rows in gen_batches(len(X), _ROWS_AT_ONCE)))
