"""The background of dense rows: the value that most rows have in a column, agreed on by peers that show no row."""

from dataclasses import dataclass

import numpy as np

MAX_SAMPLED = 101
# With fewer rows, a majority gives away too much about each, and says too little about all.
_MIN_ROWS = 10


@dataclass(frozen=True)
class Votes:
    """What a peer takes for the background.

    Attributes
    ----------
    values : ndarray of shape (n_features,)
        In each column the value that more than half of the sampled rows have. Of these values, the one that most
        columns share also stands in columns without a majority, if a quarter of their sampled rows have it.
    counts : int64 ndarray of shape (n_features,)
        How many have it; 0 where there is no such value.
    n_rows : int
        Rows sampled; 0 if there are too few.
    """

    values: np.ndarray
    counts: np.ndarray
    n_rows: int


def vote(X, rows, n_peers):
    """Vote for a background, by a sample of a peer's rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    rows : int ndarray of shape (n_rows,)
        Which of them are the peer's.
    n_peers : int
        How many peers vote: the more there are, the fewer rows each looks at.

    Returns
    -------
    Votes
    """
    n_rows = min(len(rows), max(MAX_SAMPLED // n_peers, _MIN_ROWS))
    if n_rows < _MIN_ROWS:
        return Votes(np.zeros(X.shape[1], X.dtype), np.zeros(X.shape[1], np.int64), 0)
    sample = X[rows[np.linspace(0, len(rows) - 1, n_rows).astype(int)]]
    values = np.sort(sample, axis=0)[n_rows // 2] + 0.0  # a majority holds the middle; no -0
    counts = (sample == values).sum(axis=0)
    voted = 2 * counts > n_rows
    if voted.any():
        shared = _commonest(values[voted])
        n_shared = (sample == shared).sum(axis=0)
        also = ~voted & (4 * n_shared >= n_rows)
        values, counts, voted = np.where(also, shared, values), np.where(also, n_shared, counts), voted | also
    return Votes(np.where(voted, values, 0), np.where(voted, counts, 0), n_rows)


def _commonest(values):
    """Return the most frequent value, the smallest of them if several tie."""
    distinct, counts = np.unique(values, return_counts=True)
    return distinct[counts.argmax()]


def elect(votes):
    """Agree on a background.

    Parameters
    ----------
    votes : list of Votes

    Returns
    -------
    background : ndarray of shape (n_features,)
        The values with the most votes, the smallest of them if several tie; 0 in a column without votes.
    density : float
        Which share of the sampled values is not known to be background; 1 if there are none.
    """
    values, counts = np.array([one.values for one in votes]), np.array([one.counts for one in votes])
    order = values.argsort(axis=0, kind="stable")
    values, counts = np.take_along_axis(values, order, axis=0), np.take_along_axis(counts, order, axis=0)
    run_ends = np.vstack([values[1:] != values[:-1], np.ones_like(values[:1], bool)])
    reached = counts.cumsum(axis=0)
    before = np.vstack([np.zeros_like(reached[:1]), np.maximum.accumulate(np.where(run_ends, reached, 0))[:-1]])
    totals = np.where(run_ends, reached - before, -1)
    chosen = totals.argmax(axis=0)[None]
    background = np.where(totals.max(axis=0) > 0, np.take_along_axis(values, chosen, axis=0)[0], 0)
    n_sampled = sum(one.n_rows for one in votes) * values.shape[1]
    density = 1 - totals.max(axis=0).sum() / n_sampled if n_sampled else 1.0
    return background.astype(values.dtype), float(density)
