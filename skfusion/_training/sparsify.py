"""Rows that mostly equal one background row, as sparse deviations from it."""

import numpy as np
from scipy.sparse import csr_array

from skfusion import _kernels

# Dense input with a smaller share of nonzeros than this trains faster as CSR.
_SPARSE_DENSITY = 0.3
_MOST_NONZEROS = np.iinfo(np.int32).max


def sparsified(X):
    """X as CSR deviations from one row, where few enough are not 0 that this trains faster.

    The row holds each column's commonest value, or what a hundred rows take for it: the background of an image, the
    value of a standardised one-hot column where it is not hot.

    Parameters
    ----------
    X : {ndarray, CSR} of shape (n_samples, n_features)

    Returns
    -------
    X : {ndarray, CSR}
        As it was if it is sparse already, or not sparse enough.
    offset : ndarray of shape (n_features,) or None
        The row, None if it is 0.
    """
    if not isinstance(X, np.ndarray):
        return X, None
    sample = X[np.linspace(0, len(X) - 1, min(len(X), 101)).astype(int)]
    offset = _commonest(sample)
    if np.count_nonzero(sample != offset) > 2 * _SPARSE_DENSITY * sample.size:
        return X, None
    ends = np.append(0, _kernels.count_deviations(X, offset).cumsum())
    if not ends[-1] < min(_SPARSE_DENSITY * X.size, _MOST_NONZEROS):
        return X, None
    values, columns = _kernels.deviations(X, offset, ends[-1])
    return csr_array((values, columns, ends.astype(np.int32)), shape=X.shape), offset if offset.any() else None


def _commonest(sample):
    """Each column's commonest value, the smallest of several."""
    ordered, places = np.sort(sample, axis=0), np.arange(len(sample))[:, None]
    begins = np.vstack([np.ones_like(ordered[:1], bool), ordered[1:] != ordered[:-1]])
    run_lengths = places - np.maximum.accumulate(np.where(begins, places, 0), axis=0)
    return np.take_along_axis(ordered, run_lengths.argmax(axis=0)[None], axis=0)[0]
