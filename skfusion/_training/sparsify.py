"""Rows that mostly equal one background row, as sparse deviations from it."""

import numpy as np
from scipy.sparse import csr_array

from skfusion import _kernels
from skfusion._background import elect, vote

# Dense input with a smaller share of nonzeros than this trains faster as CSR.
_SPARSE_DENSITY = 0.3
MAX_NONZEROS = np.iinfo(np.int32).max


def sparsified(X, parts):
    """Return X as CSR deviations from one row, if so few of them are not 0 that this trains faster.

    The row holds what the peers take for each column's commonest value: the background of an image, the value of a
    standardised one-hot column where it is not hot.

    Parameters
    ----------
    X : {ndarray, CSR} of shape (n_samples, n_features)
    parts : list of int ndarray
        For each peer the indices of its rows.

    Returns
    -------
    X : {ndarray, CSR}
        As it was if it is sparse already, or not sparse enough.
    offset : ndarray of shape (n_features,) or None
        The row, None if it is 0.
    """
    if not isinstance(X, np.ndarray):
        return X, None
    background, density = elect([vote(X, part, len(parts)) for part in parts])
    if not may_be_sparse(density):
        return X, None
    counts, rows = _kernels.count_deviations(X, background), np.concatenate(parts)
    if not is_sparse(counts[rows].sum(), len(rows) * X.shape[1]) or counts.sum() > MAX_NONZEROS:
        return X, None
    return deviations(X, background, counts)


def may_be_sparse(density):
    """Whether rows of which a sample has that density are worth a look at all."""
    return density <= 2 * _SPARSE_DENSITY


def is_sparse(n_deviations, size):
    """Whether that many deviations, among ``size`` values, are few enough."""
    return n_deviations < _SPARSE_DENSITY * size


def deviations(X, background, counts):
    """Return X as CSR deviations from a background, ``counts`` of them in each row, and the offset to add."""
    ends = np.append(0, counts.cumsum())
    values, columns = _kernels.deviations(X, background, ends[-1])
    rows = csr_array((values, columns, ends.astype(np.int32)), shape=X.shape)
    return rows, background if background.any() else None
