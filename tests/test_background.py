"""Peers agree on the background of their rows by votes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skfusion._background import Votes, elect, vote

columns = arrays(np.float64, st.tuples(st.integers(10, 30), st.integers(1, 3)), elements=st.sampled_from([-1, 0, 0.5]))


def vote_of(X, n_peers=1):
    return vote(X, np.arange(len(X)), n_peers)


@given(columns)
def test_a_vote_is_what_more_than_half_of_the_rows_have_or_what_most_columns_share_if_a_quarter_has_it(X):
    votes, expected = vote_of(X), {}
    for j, column in enumerate(X.T):
        value, count = Counter(column.tolist()).most_common(1)[0]
        if 2 * count > len(X):
            expected[j] = value, count
    if expected:
        shared = min(Counter(value for value, _ in expected.values()).items(), key=lambda item: (-item[1], item[0]))[0]
        for j, column in enumerate(X.T):
            if j not in expected and 4 * (count := column.tolist().count(shared)) >= len(X):
                expected[j] = shared, count
    assert list(zip(votes.values, votes.counts, strict=True)) == [expected.get(j, (0, 0)) for j in range(X.shape[1])]
    assert votes.n_rows == len(X)


@pytest.mark.parametrize(
    ("n_rows", "n_peers", "n_sampled"), [(9, 1, 0), (10, 50, 10), (2000, 1, 101), (2000, 4, 25), (2000, 99, 10)]
)
def test_peers_share_the_work_and_small_ones_abstain(n_rows, n_peers, n_sampled):
    votes = vote_of(np.ones((n_rows, 2), np.float32), n_peers)
    assert votes.n_rows == n_sampled
    assert votes.counts.tolist() == [n_sampled] * 2
    assert votes.values.tolist() == [float(n_sampled > 0)] * 2
    assert votes.values.dtype == np.float32


def test_no_zero_is_negative():
    assert not np.signbit(vote_of(np.full((20, 1), -0.0)).values).any()


ballots = st.lists(
    st.tuples(
        arrays(np.float32, 3, elements=st.sampled_from([-2, 0, 3])), arrays(np.int64, 3, elements=st.integers(0, 9))
    ),
    min_size=1,
    max_size=6,
)


@given(ballots, st.randoms(use_true_random=False))
def test_election_counts_votes_whatever_their_order(ballots, random):
    votes = [Votes(np.where(counts, values, 0), counts, 12) for values, counts in ballots]
    background, density = elect(votes)
    expected, n_background = [], 0
    for column in range(3):
        totals = Counter()
        for one in votes:
            totals[float(one.values[column])] += int(one.counts[column])
        most = max(totals.values())
        expected.append(min(value for value, total in totals.items() if total == most) if most else 0)
        n_background += most
    assert background.tolist() == expected
    assert background.dtype == votes[0].values.dtype
    assert density == pytest.approx(1 - n_background / (len(votes) * 12 * 3))
    random.shuffle(votes)
    np.testing.assert_array_equal(elect(votes)[0], background)


def test_peers_look_at_their_own_rows():
    X = np.repeat([[1.0], [2]], 20, axis=0)
    assert [vote(X, rows, 2).values.tolist() for rows in (np.arange(20), np.arange(20, 40))] == [[1], [2]]


def test_without_voters_nothing_is_background():
    background, density = elect([vote_of(np.ones((3, 2))), vote_of(np.ones((4, 2)))])
    assert background.tolist() == [0, 0]
    assert density == 1
