"""Going on from earlier training: partial_fit and warm_start."""

import copy
import pickle
from itertools import permutations

import numpy as np
import pytest
from models import (
    GROUPS,
    NO_STEP,
    X2,
    Y2,
    LaterTopology,
    X,
    Y,
    assert_same_training,
    model,
    pandas_frame,
    parts_of,
    without_seconds,
)
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier
from skfusion.partition import PredefinedPartitioner

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"solver": "adam"},
        {"momentum": 0.9, "batch_size": 8},
        {"fusion_unit": "step", "fusion_frequency": 17},
        {"fusion_frequency": 2},
        {"learning_rate": "invscaling"},
        {"topology": "hypercube", "init": "independent"},
        {"n_networks": 1},
    ],
    ids=str,
)
def test_partial_fits_of_the_same_rows_are_epochs_of_fit(params):
    # A predefined partition, since partial_fit divides its rows anew at each call.
    n_networks = params.get("n_networks", 4)
    params = {"partitioner": PredefinedPartitioner(np.resize(np.arange(n_networks), len(Y))), **params}
    whole = model(**params, max_iter=4).fit(X, Y)
    bit_by_bit = model(**params).partial_fit(X, Y, classes=[0, 1, 2])
    for _ in range(3):
        assert bit_by_bit.partial_fit(X, Y) is bit_by_bit
    np.testing.assert_array_equal(bit_by_bit.weights_, whole.weights_)
    assert without_seconds(bit_by_bit.history_) == without_seconds(whole.history_)
    assert bit_by_bit.n_iter_ == 1
    assert bit_by_bit.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(bit_by_bit.predict_proba(X), whole.predict_proba(X))


def test_partial_fit_goes_on_from_fit():
    fitted = model(max_iter=2).fit(X, Y)
    before = fitted.weights_.copy()
    losses = list(fitted.loss_curve_)
    fitted.partial_fit(X, Y)
    assert len(fitted.history_) == 3
    assert fitted.loss_curve_[:2] == losses
    assert fitted.loss_ < losses[0]
    assert 0 < np.abs(fitted.weights_ - before).max() < 1


def test_losses_and_scores_are_those_of_the_history_after_each_call_and_stay_as_they_were():
    fitted = model(early_stopping=True).fit(X, Y)
    for _ in range(2):
        fitted.set_params(early_stopping=False).partial_fit(X, Y)
    before, losses, copied = fitted.history_, fitted.loss_curve_, copy.deepcopy(fitted)
    fitted.set_params(early_stopping=True, warm_start=True).fit(X, Y)
    fitted.consensus_.loss_curve_.append(0.0)
    for one, n_epochs, n_scores in ((copied, 5, 3), (fitted, 8, 6)):
        assert [record["loss"] for record in one.history_] == one.loss_curve_
        assert [
            record["validation_score"] for record in one.history_ if "validation_score" in record
        ] == one.validation_scores_
        assert (len(one.loss_curve_), len(one.validation_scores_)) == (n_epochs, n_scores)
        assert (one.loss_, one.best_loss_) == (one.loss_curve_[-1], min(one.loss_curve_))
    assert (len(before), len(losses)) == (5, 5)


def test_partial_fit_learns_from_rows_in_portions_and_divides_each_among_the_peers():
    fitted = model(learning_rate_init=0.05)
    rng = np.random.default_rng(0)
    for _ in range(15):
        for rows in np.array_split(rng.permutation(len(Y)), 5):
            fitted.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
            assert sorted(np.concatenate(fitted.partition_)) == list(range(len(rows)))
    assert fitted.score(X, Y) > 0.9


def test_partial_fit_needs_all_classes_at_first_and_no_others_later():
    with pytest.raises(ValueError, match="classes must be passed to the first call"):
        model().partial_fit(X, Y)
    fitted = model().partial_fit(X[:100], Y[:100], classes=[2, 0, 1, 2])
    assert fitted.classes_.tolist() == [0, 1, 2]
    fitted.partial_fit(X[100:], Y[100:]).partial_fit(X, Y, classes=[0, 1, 2])
    before = fitted.weights_.copy()
    with pytest.raises(ValueError, match="classes must stay"):
        fitted.partial_fit(X, Y, classes=[0, 1, 3])
    with pytest.raises(ValueError, match=r"y must have only labels in .*\[0, 1, 2\].* got .*7"):
        fitted.partial_fit(X, np.where(Y == 2, 7, Y))
    with pytest.raises(ValueError, match="3 features"):
        fitted.partial_fit(X[:, :3], Y)
    np.testing.assert_array_equal(fitted.weights_, before)


@pytest.mark.filterwarnings("error:The number of unique classes")
def test_a_portion_with_about_as_many_classes_as_rows_is_not_taken_for_regression():
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    rows = np.random.default_rng(0).normal(size=(len(letters), 3))
    streamed = model(warm_start=True).partial_fit(rows, letters, classes=letters)
    assert streamed.partial_fit(rows, letters).fit(rows, letters).classes_.tolist() == letters.tolist()
    for go_on in (streamed.partial_fit, streamed.fit):
        with pytest.raises(ValueError, match=r"y must have only labels in \['a', .* got 0\.5"):
            go_on(rows, np.arange(len(rows)) + 0.5)


@pytest.mark.parametrize("later", [{"solver": "adam"}, {"momentum": 0.9}, {"batch_size": 32}, {"n_jobs": 2}], ids=str)
def test_the_optimiser_may_change_between_partial_fits(later):
    fitted = model(max_iter=5).fit(X, Y)
    loss = fitted.loss_
    fitted.set_params(**later)
    for _ in range(5):
        fitted.partial_fit(X, Y)
    assert fitted.loss_ < loss


SOLVERS = {"sgd": {}, "momentum": {"momentum": 0.9}, "adam": {"solver": "adam"}}


@pytest.mark.parametrize("before, after", list(permutations(SOLVERS, 2)))
def test_another_solver_starts_without_moments(before, after):
    """They mean something else to each: a velocity points downhill, Adam's first moment uphill."""
    changed = model(shuffle=False, partitioner=parts_of(40, 40, 30, 40), **SOLVERS[before]).fit(X, Y)
    changed.set_params(**{"solver": "sgd", "momentum": 0.0} | SOLVERS[after])
    restarted = copy.deepcopy(changed).set_params(warm_start=True, max_iter=1).fit(X, Y)
    np.testing.assert_array_equal(changed.partial_fit(X, Y).weights_, restarted.weights_)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
def test_the_learning_rate_may_change_between_partial_fits(schedule, solver):
    fast, slow = (model(learning_rate_init=0.01, learning_rate=schedule, **SOLVERS[solver]) for _ in range(2))
    start = fast.fit(X, Y).weights_.copy()
    fast.partial_fit(X, Y)
    slow.fit(X, Y).set_params(learning_rate_init=1e-9, momentum=0).partial_fit(X, Y)
    assert np.abs(fast.weights_ - start).max() > 1e-3
    np.testing.assert_allclose(slow.weights_, start, atol=1e-6)  # which were equal, so that fusion moves none


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_that_goes_on_asks_a_topology_for_no_round_that_is_past(method):
    fitted = model(max_iter=1, warm_start=True).fit(X, Y).set_params(topology=LaterTopology())
    getattr(fitted, method)(X, Y)
    assert [record["fusion_rounds"] for record in fitted.history_] == [1, 1]


@pytest.mark.parametrize("schedule", ["invscaling", "adaptive"])
def test_adam_takes_over_no_rate_of_a_schedule_that_it_ignores(schedule):
    stalled = dict(tol=10, n_iter_no_change=1, max_iter=4, shuffle=False, partitioner=parts_of(40, 40, 30, 40))
    scheduled = model(learning_rate=schedule, **stalled).fit(X, Y)
    constant = copy.deepcopy(scheduled).set_params(learning_rate="constant")
    for fitted in (scheduled, constant):
        fitted.set_params(solver="adam").partial_fit(X, Y)
    np.testing.assert_array_equal(scheduled.weights_, constant.weights_)


def test_an_adaptive_rate_takes_over_none_of_another_schedule():
    adaptive = model(learning_rate="invscaling").fit(X, Y)
    constant = copy.deepcopy(adaptive).set_params(learning_rate="constant")
    for fitted in (adaptive.set_params(learning_rate="adaptive"), constant):
        fitted.partial_fit(X, Y)
    np.testing.assert_array_equal(adaptive.weights_, constant.weights_)


@pytest.mark.parametrize("partitioner", ["random", "class", "dirichlet"])
@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_large_labels_are_known_by_their_value_whatever_their_dtype(dtype, partitioner):
    """The common dtype of signed and unsigned integers is float64, in which these classes are equal."""
    classes = (2**60 + np.arange(3)).astype(dtype)
    small, large = (
        model(n_networks=3, partitioner=partitioner).partial_fit(X, labels[Y], classes=labels)
        for labels in (np.arange(3), classes)
    )
    other = classes.astype("uint64" if dtype == "int64" else "int64")[Y]
    large.partial_fit(X, other)
    assert_same_training(large, small.partial_fit(X, Y))
    assert large.score(X, other) == small.score(X, Y)


def test_partial_fit_leaves_an_adaptive_learning_rate_as_it_is():
    constant, adaptive = (model(learning_rate=name, tol=10, n_iter_no_change=1) for name in ("constant", "adaptive"))
    for _ in range(4):  # of which none improves by tol
        for fitted in (constant, adaptive):
            fitted.partial_fit(X, Y, classes=[0, 1, 2])
    assert_same_training(adaptive, constant)


@pytest.mark.parametrize("topology", ["random", "exponential"])
def test_short_warm_starts_mix_all_peers(topology):
    """A topology that changes over time goes on from round to round rather than to start anew with each fit."""
    params = dict(topology=topology, n_networks=8, warm_start=True, max_iter=1, learning_rate_init=1e-12, alpha=0)
    fitted = model(**params).fit(X, Y)
    start = np.random.default_rng(0).normal(size=fitted.weights_.shape)
    fitted.weights_ = start
    for _ in range(12):
        fitted.fit(X, Y)
    assert fitted.weights_.std(axis=0).max() < 0.2 * start.std(axis=0).min()


def test_warm_starts_go_on_counting_steps():
    step = dict(fusion_unit="step", fusion_frequency=3 * len(Y) // 4, batch_size=1, max_iter=1)
    fitted = model(warm_start=True, **step).fit(X, Y)
    for _ in range(5):
        fitted.fit(X, Y)
    assert sum(record["fusion_rounds"] for record in fitted.history_) > 0


def test_warm_starts_go_on_with_all_curves():
    fitted = model(warm_start=True, early_stopping=True).fit(X, Y)
    fitted.fit(X, Y)
    assert len(fitted.validation_scores_) == len(fitted.loss_curve_) == len(fitted.history_) == 6


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_the_consensus_is_read_only_after_a_copy_too(copied):
    fitted = copied(model().fit(X, Y))
    for array in fitted.coefs_ + fitted.intercepts_:
        assert not array.flags.writeable


@pytest.mark.parametrize(
    ("random_state", "error"),
    [(np.random.default_rng(0), TypeError), ("0", TypeError), (-1, ValueError), (2**32, ValueError), (True, TypeError)],
)
def test_a_random_state_that_is_none_is_refused_before_all_else(random_state, error):
    fitted = model().fit(X, Y)
    with pytest.raises(error, match=r"^random_state must be"):
        fitted.set_params(random_state=random_state).fit(X, Y)
    assert fitted.predict(X).shape == Y.shape


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"early_stopping": True}, "early_stopping must be False for partial_fit"),
        ({"class_weight": "balanced"}, "class_weight must be a dict or None for partial_fit"),
    ],
)
def test_partial_fit_refuses_what_needs_all_rows(params, match):
    with pytest.raises(ValueError, match=match):
        model(**params).partial_fit(X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize(
    ("class_weight", "error", "match"),
    [
        ("balance", ValueError, "class_weight must be a dict, 'balanced' or None, got 'balance'"),
        (np.ones(3), ValueError, "class_weight must be a dict, 'balanced' or None, got array"),
        ({0: 1, 2: "heavy"}, TypeError, r"class_weight\[2\] must be a number in \[0, inf\), got 'heavy'"),
        ({0: 1, 2: -1}, ValueError, r"class_weight\[2\] must be in \[0, inf\), got -1"),
        ({0: np.nan}, ValueError, r"class_weight\[0\] must be in \[0, inf\), got nan"),
        ({0: 0, 1: 0, 2: 0}, ValueError, "class_weight must not be 0 for all classes of y, got {0: 0, 1: 0, 2: 0}"),
        ({3: 1}, ValueError, r"class_weight must have keys among the classes of y, .*, got {3: 1}"),
    ],
    ids=str,
)
def test_wrong_class_weights_are_named_with_their_value(class_weight, error, match):
    with pytest.raises(error, match=match):
        model(class_weight=class_weight).fit(X, Y)


@pytest.mark.parametrize("sample_weight", [None, np.linspace(1, 2, 50)], ids=["alike", "weighted"])
def test_a_portion_of_classes_without_weight_teaches_nothing(sample_weight):
    learner = model(class_weight={0: 0}, alpha=0).partial_fit(X, Y, classes=[0, 1, 2])
    before = learner.weights_.copy()
    learner.set_params(fusion_rate=0.0).partial_fit(X[:50], Y[:50], sample_weight=sample_weight)
    np.testing.assert_array_equal(learner.weights_, before)
    assert learner.loss_ == 0


def test_a_dict_of_class_weights_does_for_partial_fit():
    weights = {0: 5.0, 1: 1.0, 2: 1.0}
    weighted = model(class_weight=weights).partial_fit(X, Y, classes=[0, 1, 2])
    assert not np.allclose(weighted.weights_, model().partial_fit(X, Y, classes=[0, 1, 2]).weights_)


def test_weights_in_a_portion_are_relative_to_their_mean_there():
    one = model(class_weight={0: 5.0}).partial_fit(X[:1], Y[:1], classes=[0, 1, 2], sample_weight=[3.0])
    np.testing.assert_array_equal(one.weights_, model().partial_fit(X[:1], Y[:1], classes=[0, 1, 2]).weights_)


def test_fit_starts_anew_unless_warm():
    fitted = model().fit(X, Y)
    first = copy.deepcopy(fitted)
    assert_same_training(fitted.fit(X, Y), first)
    fitted.fit(X2, Y2)
    assert fitted.n_features_in_ == X2.shape[1]
    assert_same_training(fitted, model().fit(X2, Y2))


def test_fit_leaves_nothing_of_an_earlier_fit():
    again = model(early_stopping=True, n_networks=3).fit(pandas_frame(X), Y, groups=GROUPS)
    again.set_params(early_stopping=False, n_networks=4).fit(X2, Y2)
    fresh = model().fit(X2, Y2)
    assert set(vars(again)) == set(vars(fresh))
    assert_same_training(again, fresh)


class Scaled(FusedMLPClassifier):
    """A user's subclass, which fits something of its own beforehand."""

    def fit(self, X, y):
        self.scaler_ = StandardScaler().fit(X)
        return super().fit(self.scaler_.transform(X), y)

    def predict(self, X):
        return super().predict(self.scaler_.transform(X))


def test_what_a_subclass_has_fitted_of_its_own_stays(tmp_path):
    rows, params = 10 * X + 5, model().get_params()
    scaled, expected = Scaled(**params), model().fit(X, Y).predict(X)
    for _ in range(2):
        np.testing.assert_array_equal(scaled.fit(rows, Y).predict(rows), expected)
    scaled.save_weights(tmp_path / "weights.npz")
    loaded = Scaled(**params)
    loaded.scaler_ = scaled.scaler_
    np.testing.assert_array_equal(loaded.load_weights(tmp_path / "weights.npz").predict(rows), expected)


def test_a_warm_start_goes_on_from_the_weights():
    fitted = model(warm_start=True, max_iter=5).fit(X, Y)
    weights, losses = fitted.weights_.copy(), list(fitted.loss_curve_)
    fitted.set_params(learning_rate_init=NO_STEP, fusion_rate=0, alpha=0, max_iter=1).fit(X, Y)
    np.testing.assert_array_equal(fitted.weights_, weights)
    assert fitted.n_iter_ == 1
    assert fitted.loss_ < losses[0]
    assert fitted.loss_curve_[:5] == losses
    assert len(fitted.loss_curve_) == len(fitted.history_) == 6


def test_a_warm_start_leaves_read_only_weights_alone():
    # As they come from joblib.load(mmap_mode="r"), or from joblib's processes.
    fitted = model(warm_start=True).fit(X, Y)
    reference = copy.deepcopy(fitted).fit(X, Y)
    fitted.weights_.flags.writeable = False
    old, copied = fitted.weights_, fitted.weights_.copy()
    fitted.fit(X, Y)
    np.testing.assert_array_equal(old, copied)
    np.testing.assert_array_equal(fitted.weights_, reference.weights_)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_networks": 3}, "n_networks must stay 4"),
        ({"hidden_layer_sizes": (7,)}, "hidden_layer_sizes must stay as it was"),
        ({"hidden_layer_sizes": (6, 2)}, "hidden_layer_sizes must stay as it was"),
        ({"activation": "relu"}, "activation must stay as it was.*'tanh' into 'relu'"),
        ({"loss": "squared_error"}, "loss must stay as it was.*'softmax' into 'tanh'"),
    ],
    ids=str,
)
def test_kept_weights_must_fit_the_parameters(method, params, match):
    fitted = model(warm_start=True).fit(X, Y).set_params(**params)
    with pytest.raises(ValueError, match=match):
        getattr(fitted, method)(X, Y)


def test_a_network_of_as_many_weights_but_another_shape_is_not_taken_for_the_same():
    # Two shapes of hidden layers with equal numbers of parameters.
    sizes = {}
    for first in range(1, 15):
        for second in range(1, 15):
            sizes.setdefault(5 * first + (first + 1) * second + 3 * (second + 1), []).append((first, second))
    one, other = next(shapes[:2] for shapes in sizes.values() if len(shapes) > 1)
    fitted = model(one, warm_start=True).fit(X, Y).set_params(hidden_layer_sizes=other)
    with pytest.raises(ValueError, match="hidden_layer_sizes must stay as it was"):
        fitted.fit(X, Y)


def test_a_warm_start_refuses_other_classes_and_widths():
    fitted = model(warm_start=True).fit(X, 2 * Y)
    for label in (1, 5):  # between classes and above all
        with pytest.raises(ValueError, match=rf"y must have only labels in .*, got .*{label}"):
            fitted.fit(X, np.where(Y == 0, label, 2 * Y))
    with pytest.raises(ValueError, match="2 features"):
        fitted.fit(X[:, :2], 2 * Y)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("labels", "others"),
    [
        (np.arange(3), np.array(["a", "b", "c"], object)),
        (np.array(["a", "b", "c"], object), np.arange(3)),
        (np.arange(3), np.arange(3).astype("M8[D]")),
    ],
    ids=["strings", "numbers", "dates"],
)
def test_labels_of_another_kind_are_refused_as_unknown(labels, others, method):
    fitted = model(warm_start=True).fit(X, labels[Y])
    with pytest.raises(ValueError, match=r"^y must have only labels in \["):
        getattr(fitted, method)(X, others[Y])
    with pytest.raises(ValueError, match=r"^y must have only labels in \["):
        model().partial_fit(X, others[Y], classes=labels.tolist())


def test_a_label_that_looks_like_a_class_is_told_apart_from_it():
    known, looks_alike = np.array(["bösartig", "gutartig"]), np.array(["bo\u0308sartig", "gutartig"])
    match = r"only labels in \['b\\xf6sartig', 'gutartig'\], got 'bo\\u0308sartig'"
    with pytest.raises(ValueError, match=match):
        model().partial_fit(X, looks_alike[Y % 2], classes=known)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_row_without_weight_has_no_other_class_either(method):
    fitted = model(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"y must have only labels in \[0, 1, 2\], got 7"):
        getattr(fitted, method)(X, np.append(Y[:-1], 7), sample_weight=np.arange(150)[::-1])
