"""Who a peer is: the groups, classes and rows that are its own stay so from call to call."""

import copy
import pickle
import warnings
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skfusion import FusedMLPClassifier, FusedMLPRegressor
from skfusion.partition import (
    BasePartitioner,
    ClassPartitioner,
    DirichletPartitioner,
    GroupPartitioner,
    PredefinedPartitioner,
)

X, Y = load_iris(return_X_y=True)
X = scale(X)
CLASSES = [0, 1, 2]
SITES = np.resize(["Bath", "Leeds", "York"], len(Y))

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(**params):
    return FusedMLPClassifier((4,), **{"max_iter": 2, "random_state": 0, **params})


def regressor(**params):
    return FusedMLPRegressor((4,), **{"max_iter": 2, "random_state": 0, **params})


def rows_of(groups):
    """Rows of iris, cycling through it, one for each group label."""
    rows = np.arange(len(groups)) * 7 % len(Y)
    return X[rows], Y[rows]


def learn(model, groups):
    """Hand over a portion of rows of these groups."""
    return model.partial_fit(*rows_of(groups), CLASSES, groups=groups)


def held(model, labels):
    """The labels of the rows that each peer had in the last call."""
    return [set(np.asarray(labels)[part].tolist()) for part in model.partition_]


def owned(model):
    return [labels.tolist() for labels in model.ownership_.by_peer]


# Groups


def test_groups_stay_with_their_peers_whatever_the_sizes_of_a_portion():
    model = classifier(n_networks=2)
    with pytest.warns(UserWarning, match="there are 3 groups for n_networks=2"):
        learn(model, np.repeat(["a", "b", "c"], [70, 40, 40]))
    assert owned(model) == [["a"], ["b", "c"]]
    groups = np.repeat(["a", "b", "c"], [40, 40, 70])
    assert held(learn(model, groups), groups) == [{"a"}, {"b", "c"}]


@settings(max_examples=25)
@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12), min_size=1, max_size=5), st.data())
def test_no_group_ever_changes_its_peer(portions, data):
    model = classifier(n_networks=data.draw(st.integers(1, 4)), fusion_rate=0)
    peer_of_group = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for groups in portions:
            taken, new = set(peer_of_group.values()), {*groups} - {*peer_of_group}
            learn(model, groups)
            for peer, held_by_it in enumerate(held(model, groups)):
                assert all(peer_of_group.setdefault(group, peer) == peer for group in held_by_it)
            free = model.n_networks - len(taken)
            assert len({peer_of_group[group] for group in new} - taken) == min(len(new), free)
    assert {group: peer for peer, own in enumerate(owned(model)) for group in own} == peer_of_group


def test_a_warm_start_keeps_groups_with_their_peers_and_a_new_one_joins_the_least_loaded():
    model = classifier(n_networks=None, warm_start=True)
    first = np.resize(["a", "b"], 60)
    model.fit(*rows_of(first), groups=first)
    then = np.resize(["b", "c"], 60)
    with pytest.warns(UserWarning, match="there are 3 groups for n_networks=2.* peer 0, for example, has 'a', 'c'"):
        model.fit(*rows_of(np.resize(CLASSES, 60)), groups=then)
    assert held(model, then) == [{"c"}, {"b"}]
    assert owned(model) == [["a", "c"], ["b"]]


@pytest.mark.parametrize("name", ["class", "dirichlet"])
def test_a_partitioner_whose_peers_have_their_classes_already_is_checked_all_the_same(name):
    wrong = {"class": ClassPartitioner(classes_per_network=0), "dirichlet": DirichletPartitioner(alpha=0)}[name]
    model = classifier(n_networks=3, partitioner=name, warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"classes_per_network must be|alpha must be"):
        model.set_params(partitioner=wrong).fit(X, Y)


def test_in_a_warm_start_a_new_group_joins_who_has_fewest_rows_in_it_and_later_who_has_seen_least():
    first, then = np.repeat(["a", "b"], [80, 20]), np.repeat(["a", "b", "c"], [2, 10, 4])
    model = classifier(n_networks=2, warm_start=True).fit(*rows_of(first), groups=first)
    again = copy.deepcopy(model)
    with pytest.warns(UserWarning, match="some share a peer"):
        again.fit(*rows_of(then), groups=then)
    assert owned(again) == [["a", "c"], ["b"]]
    with pytest.warns(UserWarning, match="some share a peer"):
        learn(model, then)
    assert owned(model) == [["a"], ["b", "c"]]


def test_new_groups_get_free_peers_in_their_order_and_then_join_who_has_seen_least():
    model = classifier(n_networks=4)
    learn(model, ["m"] * 30)
    learn(model, ["z"] * 9 + ["k"] * 12)
    assert owned(model) == [["m"], ["k"], ["z"], []]
    learn(model, ["q"] * 20)
    assert owned(model)[3] == ["q"]
    with pytest.warns(UserWarning, match="there are 5 groups for n_networks=4"):
        learn(model, ["b"] * 2)
    assert owned(model) == [["m"], ["k"], ["z", "b"], ["q"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(model, ["b", "c", "z"])  # announced once
    assert owned(model) == [["m"], ["k", "c"], ["z", "b"], ["q"]]


@pytest.mark.parametrize(
    ("large", "later"),
    [(2**60, np.array([2**60 + 1, 2**60], "uint64")), (2**60, np.array([0.5, 2.0])), (-(2**60), np.array([0.5, 2.0]))],
    ids=["unsigned", "float", "negative"],
)
def test_groups_of_large_integers_are_told_apart_beside_those_of_another_dtype(large, later):
    """NumPy's common dtype is float64, in which the first two are equal."""
    first = np.array([large, large + 1])
    model = learn(learn(classifier(n_networks=5), first), later)
    assert owned(model)[:2] == [[large], [large + 1]]
    assert held(learn(model, first), first)[:2] == [{large}, {large + 1}]


@pytest.mark.parametrize("kind", ["datetime64", "timedelta64"])
@pytest.mark.parametrize(("first", "later"), list(permutations(["D", "us", "ns"], 2)))
def test_dates_are_told_apart_whatever_their_unit(kind, first, later):
    days = np.arange(3).astype(f"{kind}[D]")
    before, after = days.astype(f"{kind}[{first}]"), days.astype(f"{kind}[{later}]")
    by_group = learn(learn(classifier(n_networks=3), before), after[[2, 2, 0]])
    assert [part.tolist() for part in by_group.partition_] == [[2], [], [0, 1]]
    by_class = classifier(n_networks=3, partitioner="class").fit(X, before[Y]).partial_fit(X[90:110], after[Y[90:110]])
    assert [len(part) for part in by_class.partition_] == [0, 10, 10]
    assert len(by_group.ownership_.labels) == len(by_class.ownership_.labels) == 3


def test_peers_have_what_they_had_after_pickling_copying_and_a_failure():
    model = learn(classifier(n_networks=3), ["b", "a"])
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        learn(other, ["c", "b"])
        assert owned(other) == [["a"], ["b"], ["c"]]
    with pytest.raises(ValueError, match=r"groups must be labels that can be sorted.*int, str"):
        learn(model, [1, 2])
    assert owned(model) == [["a"], ["b"], []]
    with pytest.raises(ValueError, match="n_networks must be at most"):
        model.set_params(n_networks=200).fit(X, Y)
    assert not hasattr(model, "ownership_")


def test_labels_of_groups_keep_their_length_and_type():
    model = learn(classifier(n_networks=3), ["a", "bb"])
    learn(model, ["a long name", "bb"])
    assert owned(model) == [["a"], ["bb"], ["a long name"]]
    numbered = learn(classifier(n_networks=3), [3, 1])
    assert owned(learn(numbered, [2])) == [[1], [3], [2]]


def test_rows_without_groups_are_refused_where_peers_have_groups():
    model = learn(classifier(n_networks=2), ["a", "b"])
    with pytest.raises(ValueError, match=r"groups must be given, as in earlier calls.*STEP__groups"):
        model.partial_fit(X, Y)
    with pytest.raises(ValueError, match="groups must be given, as in earlier calls"):
        model.set_params(warm_start=True).fit(X, Y)
    assert model.set_params(partitioner="random").partial_fit(X, Y).ownership_.kind == "groups"
    assert owned(model) == [["a"], ["b"]]


def test_peers_that_learnt_from_rows_of_no_group_can_be_given_groups():
    model = classifier(n_networks=3).fit(X, Y)
    assert model.ownership_ is None
    assert held(model.partial_fit(X, Y, groups=SITES), SITES) == [{"Bath"}, {"Leeds"}, {"York"}]


# Classes


def test_classes_stay_with_their_peers_where_a_portion_lacks_some():
    model = classifier(partitioner="class", n_networks=None)
    model.partial_fit(X[Y != 0], Y[Y != 0], CLASSES)
    assert owned(model) == [[0], [1], [2]]
    for lacking in (1, 0, 2):
        portion = Y[lacking != Y]
        model.partial_fit(X[lacking != Y], portion)
        assert held(model, portion) == [{code} - {lacking} for code in CLASSES]
    assert model.ownership_.kind == "classes"


def test_classes_of_several_peers_stay_with_these_and_single_rows_take_turns():
    model = classifier(partitioner=ClassPartitioner(2), n_networks=3)
    model.fit(X, Y)
    before, seen = owned(model), {code: set() for code in CLASSES}
    assert before == [[0, 1], [0, 2], [1, 2]]
    assert model.ownership_.shares.tolist() == [0.5] * 6
    for row in np.random.default_rng(0).permutation(len(Y))[:60]:
        model.partial_fit(X[[row]], Y[[row]])
        (peer,) = [peer for peer, part in enumerate(model.partition_) if len(part)]
        seen[Y[row]].add(peer)
    assert seen == {0: {0, 1}, 1: {0, 2}, 2: {1, 2}}
    assert owned(model) == before
    own = np.intersect1d(model.partial_fit(X, Y).partition_[0], np.flatnonzero(Y == 0))
    assert len(own) == 25 < np.ptp(own)  # not the first, nor the last


def test_a_class_that_peers_share_is_a_load_to_each_by_its_share():
    model = classifier(partitioner="class", n_networks=3, warm_start=True)
    model.fit(X, Y, sample_weight=(Y != 2).astype(float))
    assert owned(model) == [[0], [1], [0]]
    some = np.r_[:80, 100:110]  # 25, 30 and 25 rows of classes 0 and 1
    with pytest.warns(UserWarning, match="some share a peer"):
        model.fit(X[some], Y[some])
    assert owned(model) == [[0, 2], [1], [0]]


def test_a_class_whose_rows_all_had_weight_zero_joins_a_peer_when_it_comes():
    model = classifier(partitioner="class", n_networks=None)
    model.fit(X, Y, sample_weight=(Y != 1).astype(float))
    assert owned(model) == [[0], [2]]
    with pytest.warns(UserWarning, match="there are 3 classes for n_networks=2"):
        model.partial_fit(X, Y)
    assert sorted(map(len, owned(model))) == [1, 2]


def test_dirichlet_shares_of_a_class_stay_the_same():
    y = np.resize(CLASSES, 6000)
    rows = np.zeros((len(y), 2))
    model = classifier(partitioner=DirichletPartitioner(0.5), n_networks=4).fit(rows, y)

    def counts():
        return np.array([np.bincount(y[part], minlength=3) for part in model.partition_])

    first, table = counts(), model.ownership_
    for _ in range(3):
        model.partial_fit(rows, y)
        assert np.abs(counts() - first).max() <= 1
    assert table.kind == "classes"
    for code in CLASSES:
        assert table.shares[table.labels == code].sum() == pytest.approx(1)
    single = np.zeros(4)
    for _ in range(400):
        model.partial_fit(rows[:1], y[:1])
        single += [len(part) for part in model.partition_]
    np.testing.assert_allclose(single / 400, first[:, 0] / 2000, atol=4 * 0.5 / 20)


# Portions


@pytest.mark.parametrize(
    ("partitioner", "groups"),
    [
        (None, None),
        ("stratified", None),
        ("class", None),
        ("dirichlet", None),
        (None, SITES),
        (KFold(8), None),
        (StratifiedKFold(8), None),
        (PredefinedPartitioner(np.resize(np.arange(8), len(Y))), None),
    ],
    ids=repr,
)
@pytest.mark.parametrize("n_rows", [1, 5])
@pytest.mark.parametrize("first", [True, False])
def test_a_portion_may_be_short(partitioner, groups, n_rows, first):
    model = classifier(n_networks=8, partitioner=partitioner)
    if not first:
        model.partial_fit(X, Y, CLASSES, groups=groups)
    if isinstance(partitioner, PredefinedPartitioner):
        model.set_params(partitioner=PredefinedPartitioner(np.full(n_rows, 5)))
    some = slice(100, 100 + n_rows)
    weights = None if first else model.weights_.copy()
    groups = None if groups is None else groups[some]
    model.set_params(fusion_rate=0).partial_fit(X[some], Y[some], CLASSES, groups=groups)
    assert sorted(np.concatenate(model.partition_)) == list(range(n_rows))
    lengths = np.array([len(part) for part in model.partition_])
    assert len(lengths) == len(model.weights_) == 8
    record = model.history_[-1]
    np.testing.assert_array_equal(np.isnan(record["losses"]), lengths == 0)
    assert record["loss"] == pytest.approx(np.average(np.nan_to_num(record["losses"]), weights=lengths))
    if not first:
        np.testing.assert_array_equal((model.weights_ != weights).any(axis=1), lengths > 0)


@pytest.mark.parametrize("kind", [classifier, regressor])
@pytest.mark.parametrize("params", [{}, {"solver": "adam"}, {"learning_rate": "invscaling", "batch_size": 4}], ids=str)
def test_single_rows_go_round_the_peers(kind, params):
    model, rest = kind(n_networks=3, **params), ([CLASSES] if kind is classifier else [])
    for row in range(9):
        model.partial_fit(X[[row]], Y[[row]], *rest)
        assert [len(part) for part in model.partition_] == [int(row % 3 == peer) for peer in range(3)]
    assert np.isfinite(model.weights_).all()
    assert [peer.t_ for peer in model.peers_] == [3, 3, 3]
    assert [len(peer.loss_curve_) for peer in model.peers_] == [3, 3, 3]
    assert np.isfinite([[peer.loss_, peer.best_loss_] for peer in model.peers_]).all()
    assert np.isfinite(model.loss_curve_).all()


@pytest.mark.parametrize("partitioner", ["random", "stratified"])
def test_rows_left_over_go_to_who_has_seen_least(partitioner):
    model = classifier(n_networks=3, partitioner=partitioner)
    for n_rows, lengths in ((4, [2, 1, 1]), (1, [0, 1, 0]), (4, [1, 1, 2])):
        model.partial_fit(X[:n_rows], Y[:n_rows], CLASSES)
        assert [len(part) for part in model.partition_] == lengths


def test_who_sits_out_still_fuses():
    model = classifier(n_networks=2, init="independent", partitioner="group")
    learn(model, ["a", "b"] * 9)
    learn(model, ["a"] * 9)
    assert model.history_[-1]["fusion_rounds"] == 1
    assert min(model.history_[-1]["numbers_sent"]) > 0
    np.testing.assert_allclose(*model.weights_)


def test_the_curve_of_who_sits_out_is_drawn_through_its_own_epochs():
    plt = pytest.importorskip("matplotlib.pyplot")
    from skfusion.display import FusionCurveDisplay

    model = classifier(n_networks=2)
    for groups in (["a", "b"], ["a"], ["a", "b"], ["b"]):
        learn(model, groups)
    lines = FusionCurveDisplay.from_estimator(model).peer_lines_
    plt.close()
    assert [line.get_xdata().tolist() for line in lines] == [[1, 2, 3], [1, 3, 4]]
    for peer, line in zip(model.peers_, lines, strict=True):
        assert line.get_ydata().tolist() == peer.loss_curve_


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_who_sits_out_does_so_in_other_workers(backend):
    import joblib

    alone, parallel = classifier(n_networks=4), classifier(n_networks=4, n_jobs=2)
    with joblib.parallel_config(backend):
        for rows in (slice(None), slice(1), slice(3)):
            alone.partial_fit(X[rows], Y[rows], CLASSES)
            parallel.partial_fit(X[rows], Y[rows], CLASSES)
    np.testing.assert_array_equal(alone.weights_, parallel.weights_)


@pytest.mark.parametrize("kind", [classifier, regressor])
def test_a_learning_curve_by_increments(kind):
    sizes = [2, 3, 20, 22, 90]
    curve = learning_curve(
        kind(n_networks=8), X, Y, train_sizes=sizes, cv=StratifiedKFold(3, shuffle=True, random_state=0),
        exploit_incremental_learning=True, error_score="raise",
    )  # fmt: skip
    assert curve[0].tolist() == sizes
    assert np.isfinite(curve[1]).all() and np.isfinite(curve[2]).all()


def test_in_a_warm_start_too_peers_may_lack_rows_and_hold_none_out():
    model = classifier(n_networks=None, warm_start=True, early_stopping=True).fit(X, Y, groups=SITES)
    some = SITES != "Leeds"
    model.fit(X[some], Y[some], groups=SITES[some])
    record = model.history_[-1]
    for of_peers in (record["losses"], record["validation_scores"]):
        np.testing.assert_array_equal(np.isnan(of_peers), [False, True, False])
    assert np.isfinite([model.loss_, model.best_validation_score_]).all()


def test_a_first_fit_gives_each_peer_rows_as_ever():
    for partitioner, match in [(None, "n_networks must be at most"), (PredefinedPartitioner([0, 2, 2]), "peer 1 of 3")]:
        with pytest.raises(ValueError, match=match):
            classifier(n_networks=8 if partitioner is None else None, partitioner=partitioner).fit(X[48:51], Y[48:51])
    with pytest.raises(ValueError, match="peer 3 of 4 would be empty, since there are 3 groups"):
        classifier(n_networks=4).fit(X, Y, groups=SITES)


def test_a_regressors_groups_stay_with_their_peers():
    model = regressor(n_networks=3)
    model.partial_fit(X[:60], Y[:60], groups=["b"] * 30 + ["a"] * 30).partial_fit(X[:2], Y[:2], groups=["c", "b"])
    assert owned(model) == [["a"], ["b"], ["c"]]
    assert [len(part) for part in model.partition_] == [0, 1, 1]


# Groups that reach fit


@pytest.mark.parametrize(
    "partitioner",
    [
        "random",
        "stratified",
        "class",
        "dirichlet",
        PredefinedPartitioner(np.resize(CLASSES, len(Y))),
        KFold(3),
        StratifiedKFold(3),
        PredefinedSplit(np.resize(CLASSES, len(Y))),
    ],
    ids=repr,
)
def test_groups_that_a_partitioner_makes_no_use_of_are_refused(partitioner):
    model = classifier(n_networks=3, partitioner=partitioner).fit(X, Y)
    for call in (model.partial_fit, model.fit):
        with pytest.raises(ValueError, match=r"\w+ makes no use of groups.*partitioner=None or 'group'"):
            call(X, Y, groups=SITES)


@pytest.mark.parametrize("splitter", [GroupKFold(3), LeaveOneGroupOut(), StratifiedGroupKFold(3)], ids=repr)
def test_groups_that_a_splitter_divides_stay_where_they_are(splitter):
    model = classifier(n_networks=3, partitioner=splitter).fit(X, Y, groups=SITES)
    before = owned(model)
    assert sorted(before) == [["Bath"], ["Leeds"], ["York"]]
    some = SITES != "Leeds"
    model.partial_fit(X[some], Y[some], groups=SITES[some])
    assert held(model, SITES[some]) == [set(own) - {"Leeds"} for own in before]
    with pytest.raises(ValueError, match=rf"no groups reached {type(splitter).__name__}\(.*STEP__groups"):
        model.partial_fit(X, Y)


def test_a_first_portion_of_fewer_groups_than_a_splitter_has_folds():
    model = classifier(n_networks=3, partitioner=GroupKFold(3))
    model.partial_fit(X, Y, CLASSES, groups=np.resize(["b", "a"], len(Y)))
    assert owned(learn(model, ["c"])) == [["a"], ["b"], ["c"]]


def test_a_splitter_that_cannot_divide_numbers_says_so_in_every_call():
    model = regressor(n_networks=3, partitioner=StratifiedKFold(3))
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="Supported target types"):
            call(X, np.linspace(0, 1, len(X)))


def test_a_portion_with_enough_rows_but_few_of_each_class_is_dealt_to_all():
    rows = np.arange(0, len(Y), 15)
    model = classifier(n_networks=8, partitioner=StratifiedKFold(8)).partial_fit(X[rows], Y[rows], CLASSES)
    assert [len(part) for part in model.partition_] == [2, 2, 1, 1, 1, 1, 1, 1]


class BrokenSplitter:
    """A third party's splitter, which fails whatever the rows."""

    def get_n_splits(self, X=None, y=None, groups=None):
        return 3

    def split(self, X, y=None, groups=None):
        raise ValueError("these rows cannot be split")


def test_the_errors_of_a_third_partys_splitter_are_passed_on_in_a_short_portion_too():
    with pytest.raises(ValueError, match="these rows cannot be split"):
        classifier(n_networks=3, partitioner=BrokenSplitter()).partial_fit(X[:2], Y[:2], CLASSES)


class TurnPartitioner(BasePartitioner):
    """A third party's partitioner, which does not look at groups."""

    def partition(self, X, y, groups=None, n_networks=None, random_state=None):
        return [np.arange(peer, len(y), n_networks) for peer in range(n_networks)]


class ReversePartitioner(BasePartitioner):
    """A third party's partitioner, which goes by groups, in an order of its own."""

    def partition(self, X, y, groups=None, n_networks=None, random_state=None):
        return [np.flatnonzero(np.asarray(groups) == name) for name in sorted(set(groups), reverse=True)]


def test_a_third_partys_partitioner_keeps_what_it_gave():
    model = classifier(n_networks=None, partitioner=ReversePartitioner()).fit(X, Y, groups=SITES)
    assert owned(model) == [["York"], ["Leeds"], ["Bath"]]
    assert held(learn(model, ["Leeds", "Bath"]), ["Leeds", "Bath"]) == [set(), {"Leeds"}, {"Bath"}]


def test_a_third_partys_partitioner_that_spreads_groups_is_told_on():
    model = classifier(n_networks=2, partitioner=TurnPartitioner())
    with pytest.warns(UserWarning, match=r"TurnPartitioner\(\) got groups, but spreads the rows of 'Bath' over"):
        model.fit(X, Y, groups=SITES)
    assert model.ownership_ is None
    model.partial_fit(X[:1], Y[:1])
    assert [len(part) for part in model.partition_] == [1, 0]


def test_a_third_partys_subclass_of_ours_needs_partition_alone():
    class Backwards(GroupPartitioner):
        def partition(self, X, y, groups=None, n_networks=None, random_state=None):
            return super().partition(X, y, groups, n_networks, random_state)[::-1]

    model = classifier(n_networks=None, partitioner=Backwards()).fit(X, Y, groups=SITES)
    assert owned(model) == [["York"], ["Leeds"], ["Bath"]]


def test_a_third_partys_subclass_of_ours_keeps_what_it_gave():
    class ByCountry(GroupPartitioner):
        def partition(self, X, y, groups=None, n_networks=None, random_state=None):
            return super().partition(X, y, [group[:2] for group in groups], n_networks, random_state)

    model = learn(classifier(n_networks=None, partitioner=ByCountry()), ["DE Kiel", "DE Ulm", "UK Bath", "UK York"])
    assert owned(model) == [["DE Kiel", "DE Ulm"], ["UK Bath", "UK York"]]
    for later in (["UK Bath"], ["UK Bath", "US Reno"]):
        assert held(learn(model, later), later)[1] == {"UK Bath"}


def test_without_groups_none_of_their_peers_can_be_made():
    for model in (classifier(n_networks=None), regressor(n_networks=None)):
        with pytest.raises(ValueError, match=r"no groups reached fit.*STEP__groups.*Sites as groups"):
            model.fit(X, Y)


def test_a_search_by_groups_without_routing_is_refused_with_no_number_of_peers():
    search = GridSearchCV(classifier(n_networks=None), {"fusion_frequency": [1]}, cv=GroupKFold(3))
    with pytest.raises(ValueError, match="no groups reached fit"):
        search.fit(X, Y, groups=SITES)


def test_a_pipeline_takes_groups_for_its_step_without_routing():
    pipeline = make_pipeline(StandardScaler(), classifier(n_networks=None))
    pipeline.fit(X, Y, fusedmlpclassifier__groups=SITES)
    assert owned(pipeline[-1]) == [["Bath"], ["Leeds"], ["York"]]


def test_merging_is_announced_with_its_remedy():
    sites = np.resize([f"site {k:02}" for k in range(20)], len(Y))
    match = r"there are 20 groups for n_networks=8.*peer \d, for example, has 'site .*ownership_.* n_networks=None"
    with pytest.warns(UserWarning, match=match):
        model = classifier().fit(X, Y, groups=sites)
    assert sorted(model.ownership_.labels) == sorted(set(sites))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.partial_fit(X, Y, groups=sites)
        classifier(n_networks=None).fit(X, Y, groups=sites)
