"""Balanced loads: groups of rows spread over peers, and peers over workers."""

import numpy as np


def largest_first(sizes, loads):
    """Spread items over bins, the largest first and each into the bin that holds least.

    Parameters
    ----------
    sizes : array-like of shape (n_items,)
    loads : array-like of shape (n_bins,)
        What the bins hold already.

    Returns
    -------
    int ndarray of shape (n_items,)
        The bin of each item.

    References
    ----------
    R. L. Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM Journal on Applied Mathematics 17(2), 1969 (longest
    processing time first).
    """
    sizes, loads = np.asarray(sizes), np.array(loads)
    bins = np.empty(len(sizes), np.intp)
    for item in np.argsort(-sizes, kind="stable"):
        bins[item] = loads.argmin()
        loads[bins[item]] += sizes[item]
    return bins
