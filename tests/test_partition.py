"""Partitioners: every row to exactly one peer, in the manner that each promises."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, RepeatedKFold, ShuffleSplit, StratifiedKFold

from skfusion import FusedMLPClassifier
from skfusion.partition import (
    BasePartitioner,
    ClassPartitioner,
    DirichletPartitioner,
    GroupPartitioner,
    PredefinedPartitioner,
    RandomPartitioner,
    StratifiedPartitioner,
)

DRAWING = [RandomPartitioner(), StratifiedPartitioner(), ClassPartitioner(2), DirichletPartitioner(1.0)]
EVERY = [*DRAWING, GroupPartitioner(), PredefinedPartitioner([0, 1, 1, 0])]


def assert_partition(parts, n_samples, n_networks):
    assert isinstance(parts, list)
    assert len(parts) == n_networks
    for part in parts:
        assert isinstance(part, np.ndarray)
        assert part.dtype.kind == "i"
        assert part.ndim == 1
        assert len(part) > 0
    assert sorted(np.concatenate(parts)) == list(range(n_samples))


def class_counts(parts, y):
    """Rows of each class (column) that each peer (row) sees."""
    codes = np.unique(y, return_inverse=True)[1]
    return np.array([np.bincount(codes[part], minlength=codes.max() + 1) for part in parts])


def same(first, second):
    return len(first) == len(second) and all(map(np.array_equal, first, second))


seeds = st.integers(0, 2**31)


@st.composite
def labels_and_number(draw, max_classes=5):
    """Labels, and a number of peers that all of them can fill."""
    classes = draw(st.integers(1, max_classes))
    y = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=80))
    return np.array(y), draw(st.integers(1, min(len(y), 9)))


# Random


@settings(max_examples=40)
@given(labels_and_number(), seeds)
def test_random_shares_are_equal_to_one_row(case, seed):
    y, n_networks = case
    parts = RandomPartitioner().partition(None, y, n_networks=n_networks, random_state=seed)
    assert_partition(parts, len(y), n_networks)
    assert np.ptp([len(part) for part in parts]) <= 1


def test_random_shares_are_random():
    # Each of 6 rows, in 3 shares of two, meets each other row equally often, and each peer sees it equally often.
    rng = np.random.RandomState(0)
    met, seen = np.zeros((6, 6)), np.zeros((3, 6))
    for _ in range(2000):
        for peer, part in enumerate(RandomPartitioner().partition(None, np.zeros(6), n_networks=3, random_state=rng)):
            met[part[0], part[1]] += 1
            seen[peer, part] += 1
    met = (met + met.T)[np.triu_indices(6, 1)]
    assert np.abs(met / 2000 - 1 / 5).max() < 4 * np.sqrt(0.2 * 0.8 / 2000)
    assert np.abs(seen / 2000 - 1 / 3).max() < 4 * np.sqrt(1 / 3 * 2 / 3 / 2000)


# Stratified


@settings(max_examples=40)
@given(labels_and_number(), seeds)
def test_stratified_shares_are_equal_to_one_row_as_a_whole_and_by_class(case, seed):
    y, n_networks = case
    parts = StratifiedPartitioner().partition(None, y, n_networks=n_networks, random_state=seed)
    assert_partition(parts, len(y), n_networks)
    assert np.ptp([len(part) for part in parts]) <= 1
    assert (np.ptp(class_counts(parts, y), axis=0) <= 1).all()


def test_stratified_shares_have_the_proportions_of_the_whole():
    y = np.repeat(["a", "b", "c"], [80, 16, 8])
    counts = class_counts(StratifiedPartitioner().partition(None, y, n_networks=8, random_state=0), y)
    np.testing.assert_array_equal(counts, np.tile([10, 2, 1], (8, 1)))


# By class


@settings(max_examples=40)
@given(n_classes=st.integers(1, 6), seed=seeds)
def test_by_default_each_peer_sees_one_class_in_sorted_order(n_classes, seed):
    y = np.random.default_rng(seed).permutation(np.resize(np.arange(n_classes) * 10, 4 * n_classes + 1))
    parts = ClassPartitioner().partition(None, y, random_state=seed)
    assert_partition(parts, len(y), n_classes)
    assert [set(y[part].tolist()) for part in parts] == [{10 * code} for code in range(n_classes)]


@settings(max_examples=40)
@given(data=st.data(), n_classes=st.integers(1, 6), seed=seeds)
def test_peers_take_their_classes_in_turn_and_share_equally(data, n_classes, seed):
    per_network = data.draw(st.integers(1, n_classes))
    n_networks = data.draw(st.integers(-(-n_classes // per_network), 9))
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(n_classes), 11))
    parts = ClassPartitioner(per_network).partition(None, y, n_networks=n_networks, random_state=seed)
    assert_partition(parts, len(y), n_networks)
    counts = class_counts(parts, y)
    for peer in range(n_networks):
        expected = {(peer * per_network + k) % n_classes for k in range(per_network)}
        assert set(np.flatnonzero(counts[peer])) == expected
    for by_class in counts.T:
        assert np.ptp(by_class[by_class > 0]) <= 1


def test_classes_per_network_with_labels_that_are_strings():
    y = np.array(["d", "a", "c", "b"] * 3)
    parts = ClassPartitioner(classes_per_network=2).partition(None, y, n_networks=2, random_state=0)
    assert [sorted(set(y[part])) for part in parts] == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("partitioner", "n_networks", "error", "match"),
    [
        (ClassPartitioner(), 2, ValueError, "n_networks=2 .*classes_per_network=1 leave .*3 classes.* at least 3"),
        (ClassPartitioner(4), 3, ValueError, "classes_per_network must be at most 3.*got 4"),
        (ClassPartitioner(0), 3, ValueError, "classes_per_network must be at least 1, got 0"),
        (ClassPartitioner(1.5), 3, TypeError, "classes_per_network must be an integer .*got 1.5"),
        (ClassPartitioner(), 7, ValueError, "n_networks must be at most .* n_samples = 6, .*got 7"),
    ],
)
def test_class_partitions_that_cannot_be_are_refused(partitioner, n_networks, error, match):
    with pytest.raises(error, match=match):
        partitioner.partition(None, [0, 0, 1, 1, 2, 2], n_networks=n_networks)


# Dirichlet


@settings(max_examples=30)
@given(n_networks=st.integers(1, 6), alpha=st.floats(0.5, 1e3), seed=seeds)
def test_dirichlet_shares_are_a_partition(n_networks, alpha, seed):
    y = np.resize([0, 1, 2], 120)
    parts = DirichletPartitioner(alpha).partition(None, y, n_networks=n_networks, random_state=seed)
    assert_partition(parts, len(y), n_networks)


def test_the_smaller_alpha_the_fewer_classes_a_peer_sees():
    y = np.resize(np.arange(5), 5000)
    largest_share = []
    for alpha in (0.05, 0.5, 5, 500):
        shares = []
        for seed in range(10):
            parts = DirichletPartitioner(alpha).partition(None, y, n_networks=5, random_state=seed)
            counts = class_counts(parts, y)
            shares.append((counts.max(axis=1) / counts.sum(axis=1)).mean())
        largest_share.append(np.mean(shares))
    assert largest_share[0] > 0.8
    assert largest_share[-1] < 0.25  # of an even mix, .2
    assert all(np.diff(largest_share) < -0.05)


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_proportions_of_a_class_follow_the_dirichlet_law(alpha):
    # Two peers, one large class: a peer's share is Beta(alpha, alpha), of variance 1 / (4 (2 alpha + 1)).
    rng = np.random.RandomState(0)
    y = np.zeros(400)
    share = [
        len(DirichletPartitioner(alpha).partition(None, y, n_networks=2, random_state=rng)[0]) / 400
        for _ in range(1500)
    ]
    assert np.mean(share) == pytest.approx(0.5, abs=0.04)
    assert np.var(share) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_a_peer_has_any_row_of_a_class_as_often_as_any_other():
    rng = np.random.RandomState(0)
    n_seen = np.zeros(10)
    for _ in range(1000):
        rows, _ = DirichletPartitioner(1e3).partition(None, np.zeros(10), n_networks=2, random_state=rng)
        n_seen[rows] += 1
    assert np.abs(n_seen / 1000 - 0.5).max() < 4 * np.sqrt(0.25 / 1000)


@pytest.mark.parametrize("alpha", [1e-3, 1e-5, 1e-300])
def test_as_alpha_goes_to_zero_each_class_goes_to_one_peer_whichever(alpha):
    y = np.repeat(np.arange(300), 3)
    parts = DirichletPartitioner(alpha).partition(None, y, n_networks=2, random_state=0)
    classes = [set(y[part]) for part in parts]
    assert len(classes[0] & classes[1]) <= 3
    assert len(classes[0]) == pytest.approx(150, abs=5 * np.sqrt(75))


@pytest.mark.parametrize("alpha", [1e300, np.finfo(float).max])
def test_as_alpha_grows_each_peer_gets_as_much_of_each_class(alpha):
    y = np.repeat([0, 1], 30)
    for part in DirichletPartitioner(alpha).partition(None, y, n_networks=10, random_state=0):
        np.testing.assert_array_equal(y[part], [0, 0, 0, 1, 1, 1])


def test_proportions_that_leave_a_peer_without_rows_are_drawn_anew():
    y = np.resize([0, 1], 40)
    for seed in range(20):
        parts = DirichletPartitioner(0.3).partition(None, y, n_networks=4, random_state=seed)
        assert_partition(parts, 40, 4)


@pytest.mark.parametrize(
    ("alpha", "error", "match"),
    [
        (0, ValueError, r"alpha must be in \(0, inf\), got 0"),
        (-1.0, ValueError, "alpha must be in"),
        (np.inf, ValueError, "alpha must be in"),
        (np.nan, ValueError, "alpha must be in"),
        ("much", TypeError, "alpha must be a number"),
    ],
)
def test_dirichlet_refuses_an_alpha_that_is_not_positive_and_finite(alpha, error, match):
    with pytest.raises(error, match=match):
        DirichletPartitioner(alpha).partition(None, [0, 1] * 9, n_networks=2)


def test_dirichlet_names_the_peer_that_stays_empty():
    with pytest.raises(ValueError, match=r"peer \d of 6 would be empty .*alpha=0.001; set alpha higher or n_networks"):
        DirichletPartitioner(0.001).partition(None, [0, 0, 1, 1, 1, 1], n_networks=6, random_state=0)


# Groups


@pytest.mark.filterwarnings("ignore:there are . groups for n_networks")
@settings(max_examples=40)
@given(st.lists(st.sampled_from(["york", "bath", "hull", "ely", "wells"]), min_size=1, max_size=60), st.data())
def test_groups_stay_whole_and_bundles_are_of_about_equal_size(groups, data):
    names, sizes = np.unique(groups, return_counts=True)
    n_networks = data.draw(st.integers(1, len(names)))
    parts = GroupPartitioner().partition(None, np.zeros(len(groups)), groups=groups, n_networks=n_networks)
    assert_partition(parts, len(groups), n_networks)
    held = [set(np.array(groups)[part]) for part in parts]
    assert sum(map(len, held)) == len(names)
    assert np.ptp([len(part) for part in parts]) <= sizes.max()


def test_without_a_number_there_is_one_peer_per_group_in_sorted_order():
    groups = np.array([7, 3, 7, 5, 3, 3])
    parts = GroupPartitioner().partition(None, np.zeros(6), groups=groups)
    assert [set(groups[part].tolist()) for part in parts] == [{3}, {5}, {7}]
    assert same(parts, GroupPartitioner().partition(None, np.zeros(6), groups=groups, n_networks=3))


def test_the_largest_groups_are_bundled_with_the_smallest():
    groups = np.repeat(list("abcd"), [40, 30, 20, 10])
    with pytest.warns(UserWarning, match=r"4 groups for n_networks=2.*peer 0, for example, has 'a', 'd' \("):
        parts = GroupPartitioner().partition(None, np.zeros(100), groups=groups, n_networks=2)
    assert {frozenset(groups[part]) for part in parts} == {frozenset("ad"), frozenset("bc")}


@pytest.mark.filterwarnings("ignore:there are 50 groups for n_networks")
def test_groups_of_equal_size_are_dealt_in_their_order():
    groups = np.repeat(np.arange(50), [1, 3] * 25)
    parts = GroupPartitioner().partition(None, np.zeros(100), groups=groups, n_networks=5)
    for peer, part in enumerate(parts):
        assert set(groups[part]) == {*range(2 * peer + 1, 50, 10), *range(2 * peer, 50, 10)}


def test_more_peers_than_groups_are_refused():
    with pytest.raises(ValueError, match=r"peer 2 of 4 would be empty, since there are 2 groups; set n_networks=None"):
        GroupPartitioner().partition(None, np.zeros(4), groups=[0, 0, 1, 1], n_networks=4)


def test_group_partitioner_without_groups_says_where_to_pass_them():
    with pytest.raises(ValueError, match=r"no groups reached GroupPartitioner: pass them by fit\(X, y, groups="):
        GroupPartitioner().partition(None, np.zeros(4), n_networks=2)


# Predefined


@settings(max_examples=40)
@given(n_networks=st.integers(1, 6), n_samples=st.integers(6, 40), seed=seeds)
def test_predefined_parts_are_as_given(n_networks, n_samples, seed):
    peer_of_row = np.random.default_rng(seed).permutation(np.resize(np.arange(n_networks), n_samples))
    parts = PredefinedPartitioner(peer_of_row.tolist()).partition(None, np.zeros(n_samples))
    assert_partition(parts, n_samples, n_networks)
    for peer, part in enumerate(parts):
        assert (peer_of_row[part] == peer).all()


@pytest.mark.parametrize(
    ("peer_of_row", "n_networks", "match"),
    [
        ([0, 1, 0], None, "peer_of_row must hold the index of a peer, from 0, for each of the 4 rows"),
        ([0, 1, 0, 1, 0], None, "for each of the 4 rows"),
        ([0, 1, -1, 0], None, "for each of the 4 rows"),
        ([0.0, 1.0, 1.0, 0.0], None, "for each of the 4 rows"),
        (["a", "b", "a", "b"], None, "for each of the 4 rows"),
        ([[0, 1, 1, 0]], None, "for each of the 4 rows"),
        ([0, 2, 2, 0], None, "peer 1 of 3 would be empty"),
        ([0, 1, 1, 0], 3, "peer 2 of 3 would be empty"),
        ([0, 1, 2, 0], 2, "n_networks=2, got 2; set n_networks=3 or None"),
    ],
)
def test_predefined_parts_that_do_not_fit_are_refused(peer_of_row, n_networks, match):
    with pytest.raises(ValueError, match=match):
        PredefinedPartitioner(peer_of_row).partition(None, np.zeros(4), n_networks=n_networks)


# All of them


@pytest.mark.parametrize("partitioner", DRAWING, ids=repr)
def test_partitions_follow_the_random_state(partitioner):
    y = np.resize([0, 1, 2], 60)

    def draw(random_state):
        return partitioner.partition(None, y, n_networks=4, random_state=random_state)

    assert same(draw(3), draw(3))
    assert not same(draw(3), draw(4))
    rng = np.random.RandomState(3)
    assert same(draw(rng), draw(3))
    assert not same(draw(rng), draw(3))
    assert_partition(draw(None), 60, 4)


@pytest.mark.parametrize("partitioner", EVERY, ids=repr)
def test_partitioners_clone_show_and_set_their_parameters(partitioner):
    copy = clone(partitioner)
    assert copy is not partitioner
    assert copy.get_params() == partitioner.get_params()
    assert repr(copy) == repr(partitioner)
    assert type(partitioner).__name__ in repr(partitioner)
    assert isinstance(partitioner, BaseEstimator)


@pytest.mark.parametrize(
    ("partitioner", "name", "value"),
    [
        (ClassPartitioner(), "classes_per_network", 3),
        (DirichletPartitioner(), "alpha", 2),
        (PredefinedPartitioner([0]), "peer_of_row", np.array([0, 1])),
    ],
)
def test_parameters_are_kept_verbatim(partitioner, name, value):
    assert getattr(partitioner.set_params(**{name: value}), name) is value
    assert getattr(type(partitioner)(**{name: value}), name) is value


@pytest.mark.parametrize(
    "partitioner", [RandomPartitioner(), StratifiedPartitioner(), DirichletPartitioner()], ids=repr
)
def test_without_a_natural_number_one_must_be_given(partitioner):
    with pytest.raises(ValueError, match=f"n_networks must be an integer for {re.escape(repr(partitioner))}.*got None"):
        partitioner.partition(None, [0, 1, 0, 1])


@pytest.mark.parametrize("partitioner", EVERY, ids=repr)
@pytest.mark.parametrize(
    ("n_networks", "error"), [(0, ValueError), (-2, ValueError), (2.0, TypeError), ("2", TypeError)]
)
def test_a_number_of_networks_that_is_no_positive_integer_is_refused(partitioner, n_networks, error):
    with pytest.raises(error, match="n_networks must be"):
        partitioner.partition(None, [0, 1, 0, 1], groups=[0, 0, 1, 1], n_networks=n_networks)


@pytest.mark.parametrize("partitioner", EVERY, ids=repr)
@pytest.mark.parametrize("n_groups", [3, 5])
def test_groups_of_wrong_length_are_refused(partitioner, n_groups):
    with pytest.raises(ValueError, match=f"groups must have one label for each of the 4 rows, got {n_groups}"):
        partitioner.partition(None, [0, 1, 0, 1], groups=np.arange(n_groups), n_networks=2)


@pytest.mark.parametrize(
    ("groups", "got"),
    [
        (["a", None, "b", "a"], "labels of type NoneType, str"),
        (("a", np.nan, "b", "a"), "labels of type float, str"),
        ([None] * 4, "labels of type NoneType"),
        (pd.Series(["a", pd.NA, "b", "a"], dtype="string"), "labels of type NAType, str"),
        (np.array([1, "a", 2, "b"], dtype=object), "labels of type int, str"),
        ([1.0, np.nan, 2.0, np.nan], "nan"),
        (np.array([1.0, np.nan, 2.0, 1.0], dtype=object), "nan"),
        (pd.to_datetime(pd.Series(["2020-01-01", None, "2020-01-02", None])), "NaT"),
        (np.array([("a",), ("b",), ("a",), ("b",)], dtype=[("site", "U1")]), "labels of type void"),
        (np.array(["a", None, "b", "a"], dtype=np.dtypes.StringDType(na_object=None)), "labels of type NoneType, str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_groups_that_are_missing_or_cannot_be_sorted_are_refused(groups, got):
    match = f"groups must be labels that can be sorted.* none may be missing; got {got}"
    with pytest.raises(ValueError, match=match):
        GroupPartitioner().partition(None, [0, 1, 0, 1], groups=groups)
    with pytest.raises(ValueError, match=match):
        FusedMLPClassifier(n_networks=None).fit(np.ones((4, 1)), [0, 1, 0, 1], groups=groups)


@pytest.mark.parametrize(
    ("y", "got"),
    [
        ([1.0, np.nan, 2.0, np.nan], "nan"),
        (["a", np.nan, "b", "a"], "labels of type float, str"),
        (np.array(["2020-01-01", "NaT", "2020-01-02", "NaT"], dtype="M8[D]"), "NaT"),
        (np.array(["a", None, "b", "a"], dtype=object), "labels of type NoneType, str"),
        (pd.Series(["a", pd.NA, "b", "a"], dtype="string"), "labels of type NAType, str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("partitioner", [StratifiedPartitioner(), ClassPartitioner(), DirichletPartitioner()], ids=repr)
def test_classes_that_are_missing_or_cannot_be_sorted_are_refused(partitioner, y, got):
    with pytest.raises(ValueError, match=f"^y must be labels that can be sorted.* none may be missing; got {got}"):
        partitioner.partition(None, y, n_networks=2)


@pytest.mark.parametrize("partitioner", EVERY, ids=repr)
def test_targets_that_are_no_rows_and_seeds_that_are_none_are_refused(partitioner):
    for y in (None, 1):
        with pytest.raises(ValueError, match=r"^y (must be an array with an entry for each row|should be a 1d array)"):
            partitioner.partition(None, y, n_networks=2)
    with pytest.raises(ValueError, match=r"^y must be an array with an entry for each row, got 'target'"):
        partitioner.partition(None, "target", n_networks=2)
    with pytest.raises(ValueError, match=r"^y must have at least one row, got \[\]"):
        partitioner.partition(None, [])
    with pytest.raises(TypeError, match=r"^random_state must be None, an integer or .*, got Generator"):
        partitioner.partition(None, [0, 1, 0, 1], n_networks=2, random_state=np.random.default_rng(0))


@pytest.mark.parametrize("partitioner", EVERY, ids=repr)
@pytest.mark.parametrize("n_networks", [5, 10**15])
def test_more_peers_than_rows_are_refused_before_anything_is_done_for_each(partitioner, n_networks):
    with pytest.raises(ValueError, match=f"n_networks must be at most .* n_samples = 4, .* got {n_networks}"):
        partitioner.partition(None, [0, 1, 0, 1], groups=[0, 0, 1, 1], n_networks=n_networks)


def test_a_peer_of_ones_own_beyond_the_rows_is_refused():
    with pytest.raises(ValueError, match=f"peer_of_row must name peers from 0 to 3.* of the 4 rows; got {10**15}"):
        PredefinedPartitioner([0, 1, 10**15, 2]).partition(None, [0, 1, 0, 1])


@pytest.mark.parametrize("partitioner", EVERY, ids=repr)
def test_x_may_be_sparse_or_a_list_but_of_the_length_of_y(partitioner):
    y = [0, 1, 0, 1]
    given = dict(groups=y if isinstance(partitioner, GroupPartitioner) else None, n_networks=2, random_state=0)
    expected = partitioner.partition(None, y, **given)
    for X in (np.ones((4, 3)), csr_array(np.ones((4, 3))), [[1], [2], [3], [4]]):
        assert same(partitioner.partition(X, y, **given), expected)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        partitioner.partition(np.ones((5, 3)), y, **given)


# In the classifier

X, Y = load_iris(return_X_y=True)
GROUPS = np.resize([4, 2, 9, 2], len(Y))


def fitted(partitioner=None, groups=None, **params):
    params = {"n_networks": None, "max_iter": 1, "tol": 0.0, "random_state": 0} | params
    model = FusedMLPClassifier((3,), partitioner=partitioner, **params)
    with pytest.warns(UserWarning, match="Maximum number of epochs"):
        return model.fit(X, Y, groups=groups)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("random", RandomPartitioner),
        ("stratified", StratifiedPartitioner),
        ("class", ClassPartitioner),
        ("dirichlet", DirichletPartitioner),
        ("group", GroupPartitioner),
    ],
)
def test_names_stand_for_partitioners(name, kind):
    model = fitted(name, GROUPS if name == "group" else None, n_networks=3)
    assert type(model.partitioner_) is kind
    assert_partition(model.partition_, len(Y), 3)


def test_none_stands_for_groups_where_there_are_some_and_else_for_random():
    assert isinstance(fitted(groups=GROUPS).partitioner_, GroupPartitioner)
    assert isinstance(fitted(n_networks=3).partitioner_, RandomPartitioner)


@pytest.mark.parametrize(
    ("partitioner", "groups", "number"),
    [
        (GroupPartitioner(), GROUPS, 3),
        (None, GROUPS, 3),
        (ClassPartitioner(), None, 3),
        (PredefinedPartitioner(np.resize(np.arange(5), len(Y))), None, 5),
        (StratifiedKFold(4), None, 4),
    ],
)
def test_without_a_number_there_is_one_network_per_natural_part(partitioner, groups, number):
    model = fitted(partitioner, groups)
    assert len(model.weights_) == len(model.partition_) == number


@pytest.mark.parametrize(
    ("splitter", "groups"),
    [
        (StratifiedKFold(4), None),
        (StratifiedKFold(4, shuffle=True, random_state=1), None),
        (KFold(3), None),
        (GroupKFold(3), GROUPS),
        (LeaveOneGroupOut(), GROUPS),
    ],
    ids=str,
)
def test_the_test_folds_of_a_splitter_are_the_partition(splitter, groups):
    folds = [test for _, test in splitter.split(X, Y, groups)]
    model = fitted(splitter, groups)
    assert [set(part) for part in model.partition_] == [set(fold) for fold in folds]
    assert_partition(model.partition_, len(Y), len(folds))


@pytest.mark.parametrize(
    ("splitter", "groups"),
    [
        (KFold(3, shuffle=True), None),
        (GroupKFold(3, shuffle=True), np.arange(150)),
        (RepeatedKFold(n_splits=3, n_repeats=1), None),
    ],
    ids=str,
)
def test_a_splitter_that_shuffles_follows_the_random_state_unless_it_has_its_own(splitter, groups):
    def partition(splitter, seed):
        return [set(part) for part in fitted(splitter, groups, random_state=seed).partition_]

    assert partition(splitter, 0) == partition(splitter, 0) != partition(splitter, 1)
    own = clone(splitter, safe=False)
    for own.random_state in (5, np.random.RandomState(5)):  # whose state stays as it is
        assert partition(own, 0) == partition(own, 1)
    assert splitter.random_state is None


@pytest.mark.parametrize(
    ("splitter", "what"),
    [
        (ShuffleSplit(4, test_size=0.5, random_state=0), "given more than once"),
        (ShuffleSplit(2, test_size=0.1, random_state=0), "left out|given more than once"),
        (ShuffleSplit(1, test_size=0.5, random_state=0), "75 of 150 rows are left out"),
    ],
    ids=str,
)
def test_a_splitter_whose_test_folds_overlap_or_leave_rows_out_is_refused(splitter, what):
    with pytest.raises(ValueError, match=f"each row to exactly one peer.* ({what})"):
        FusedMLPClassifier(n_networks=None, partitioner=splitter).fit(X, Y)


def test_a_splitter_of_another_number_of_folds_says_which_to_set():
    with pytest.raises(ValueError, match=r"4 parts but n_networks=8; set n_networks=4 or None"):
        FusedMLPClassifier(partitioner=StratifiedKFold(4)).fit(X, Y)


def test_a_splitter_that_would_do_with_no_number_of_networks_is_not_told_to_set_another():
    with pytest.raises(ValueError, match="more than once"):
        FusedMLPClassifier(partitioner=RepeatedKFold(n_splits=4, n_repeats=2)).fit(X, Y)


class TurnPartitioner(BasePartitioner):
    """A third party's partitioner: one method."""

    def __init__(self, start=0):
        self.start = start

    def partition(self, X, y, groups=None, n_networks=None, random_state=None):
        return [np.arange((peer + self.start) % n_networks, len(y), n_networks) for peer in range(n_networks)]


class GivenParts:
    """A partitioner that is no estimator, and gives what it was given."""

    def __init__(self, parts):
        self.parts = parts

    def partition(self, X, y, groups=None, n_networks=None, random_state=None):
        return self.parts


def test_a_subclass_needs_partition_alone():
    model = fitted(TurnPartitioner(start=1), n_networks=3)
    assert same(model.partition_, TurnPartitioner(start=1).partition(X, Y, n_networks=3))
    assert model.partitioner_ is not model.partitioner
    assert FusedMLPClassifier(partitioner=TurnPartitioner()).set_params(partitioner__start=2).partitioner.start == 2


def test_a_third_partys_partitioner_gets_the_rows_and_draws_from_the_random_state():
    class Cut(BasePartitioner):
        def partition(self, X, y, groups=None, n_networks=None, random_state=None):
            return np.split(np.argsort(X[:, 0]), [random_state.randint(1, len(y))])

    first, again, other = (fitted(Cut(), n_networks=2, random_state=seed).partition_ for seed in (0, 0, 1))
    assert X[first[0], 0].max() <= X[first[1], 0].min()
    assert same(first, again) and not same(first, other)


def test_a_third_partys_partitioner_is_not_asked_for_more_peers_than_rows():
    with pytest.raises(ValueError, match=r"n_networks must be at most .* n_samples = 150, .* got 151"):
        FusedMLPClassifier(n_networks=151, partitioner=TurnPartitioner()).fit(X, Y)


def test_a_subclass_without_partition_cannot_be_made():
    class Unfinished(BasePartitioner):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()


def test_anything_with_the_method_will_do():
    parts = [list(range(100)), list(range(100, 150))]
    assert_partition(fitted(GivenParts(parts)).partition_, 150, 2)
    assert_partition(fitted(SimpleNamespace(partition=GivenParts(parts).partition)).partition_, 150, 2)


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ([np.arange(100), np.arange(90, 150)], "exactly one peer; 10 of 150 rows are given more than once.*row 90"),
        ([np.arange(150), [3, 3]], "1 of 150 rows are given more than once, the first of them row 3"),
        ([np.r_[np.arange(70), np.arange(70)], np.arange(70, 150)], "70 of 150 rows are given more than once"),
        ([np.arange(149), [[149], [1, 2]]], "row indices from 0 to 149; that of peer 1"),
        ([np.arange(5, 100), np.arange(100, 150)], "5 of 150 rows are left out, the first of them row 0"),
        ([np.arange(150), np.array([], int)], "peer 1 of 2 would be empty"),
        ([], "left out"),
        ([np.arange(149), [150]], "row indices from 0 to 149; that of peer 1"),
        ([np.arange(149), [-1]], "row indices from 0 to 149; that of peer 1"),
        ([np.arange(150) < 70, np.arange(150) >= 70], "row indices from 0 to 149; that of peer 0"),
        ([np.arange(150.0)], "row indices from 0 to 149; that of peer 0"),
        ([np.arange(150).reshape(15, 10)], "1-D arrays"),
    ],
)
def test_a_third_partys_partition_that_is_none_is_refused(parts, match):
    with pytest.raises(ValueError, match=match):
        FusedMLPClassifier(n_networks=None, partitioner=GivenParts(parts)).fit(X, Y)


def test_a_third_partys_partition_that_is_not_returned_is_refused():
    with pytest.raises(TypeError, match=r"a partition must be a list with an array of row indices .*, got None"):
        FusedMLPClassifier(n_networks=None, partitioner=GivenParts(None)).fit(X, Y)


def test_a_third_partys_partition_of_another_number_is_refused():
    with pytest.raises(ValueError, match="made 1 parts but n_networks=2; set n_networks=1 or None"):
        FusedMLPClassifier(n_networks=2, partitioner=GivenParts([np.arange(150)])).fit(X, Y)


@pytest.mark.parametrize(
    ("partitioner", "error"),
    [
        ("shuffled", ValueError),
        (RandomPartitioner, TypeError),
        (StratifiedKFold, TypeError),
        (5, TypeError),
        (b"random", TypeError),
        (np.resize([0, 1], 150), TypeError),
    ],
)
def test_what_is_no_partitioner_is_refused_with_the_choices(partitioner, error):
    with pytest.raises(error, match=r"partitioner must be .*'random', 'stratified', 'class', 'dirichlet', 'group'"):
        FusedMLPClassifier(partitioner=partitioner).fit(X, Y)


def test_rows_of_weight_zero_are_dropped_before_the_partition():
    weight = np.ones(len(Y))
    weight[::5] = 0
    with pytest.warns(UserWarning, match="Maximum number of epochs"):
        model = FusedMLPClassifier((3,), n_networks=4, max_iter=1, random_state=0).fit(X, Y, sample_weight=weight)
    assert sorted(np.concatenate(model.partition_)) == np.flatnonzero(weight).tolist()
    assert np.ptp([len(part) for part in model.partition_]) <= 1
