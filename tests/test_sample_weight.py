"""Weights of rows and of classes."""

import numpy as np
import pytest
import sklearn
from models import GROUPS, NO_STEP, X, Y, assert_same_training, model, parts_of, regressor
from scipy.sparse import coo_array, csr_array
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("batch_size", [1, 4])
def test_integer_weights_are_repetitions_in_the_mean_over_seeds(batch_size):
    # Weights 1 and 3, of mean 2: twice as many epochs with half the rows make the same sum of gradients.
    rows = np.flatnonzero(Y > 0)
    points, labels = X[rows, :2], Y[rows]
    weight = np.where(labels == 1, 1, 3)
    assert weight.mean() == 2

    def probabilities(rows, weight, epochs):
        params = {"n_networks": 2, "topology": "ring", "learning_rate_init": 0.005, "batch_size": batch_size}
        params |= {"max_iter": epochs, "fusion_frequency": epochs // 10}
        return np.array(
            [
                model(**params, random_state=seed)
                .fit(points[rows], labels[rows], sample_weight=weight)
                .predict_proba(points)[:, 1]
                for seed in range(30)
            ]
        )

    every = np.arange(len(labels))
    weighted = probabilities(every, weight, 40)
    repeated = probabilities(np.repeat(every, weight), None, 20)
    unweighted = probabilities(every, None, 40)

    def z(first, second):
        error = np.sqrt((first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)) / len(first))
        return np.abs(first.mean(axis=0) - second.mean(axis=0)) / error

    assert z(weighted, repeated).max() < 4
    assert np.median(z(weighted, unweighted)) > 8


def test_weights_are_relative():
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(Y))
    fitted = model().fit(X, Y, sample_weight=weight)
    assert_same_training(model().fit(X, Y, sample_weight=4 * weight), fitted)
    np.testing.assert_allclose(model().fit(X, Y, sample_weight=0.1 * weight).weights_, fitted.weights_, rtol=1e-9)


def test_equal_weights_are_no_weights():
    assert_same_training(model().fit(X, Y, sample_weight=np.full(len(Y), 2.0)), model().fit(X, Y))


def test_unequal_weights_matter_at_a_batch_size_of_one():
    weight = np.where(Y == 0, 5.0, 1.0)
    assert not np.allclose(model().fit(X, Y, sample_weight=weight).weights_, model().fit(X, Y).weights_, rtol=1e-2)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_size": 8, "solver": "adam"},
        {"partitioner": "class", "n_networks": None},
        {"partitioner": "stratified", "early_stopping": True},
        {"class_weight": "balanced"},
    ],
    ids=str,
)
def test_a_row_of_weight_zero_is_as_if_it_were_not_there(params):
    weight = np.random.default_rng(1).uniform(1, 2, size=len(Y)) * (np.arange(len(Y)) % 3 > 0)
    kept = weight > 0
    params = {"n_networks": 3, **params}
    groups, kept_groups = (None, None) if "partitioner" in params else (GROUPS, GROUPS[kept])
    absent = model(**params).fit(X[kept], Y[kept], sample_weight=weight[kept], groups=kept_groups)
    assert_same_training(model(**params).fit(X, Y, sample_weight=weight, groups=groups), absent)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"loss": "squared_error"},
        {"class_weight": "balanced"},
        {"class_weight": {0: 2.0, 2: 3.0}},
        {"early_stopping": True},
        {"partitioner": "class", "n_networks": None},
    ],
    ids=str,
)
def test_a_class_whose_rows_all_weigh_zero_is_known_though_no_row_of_it_trains(params):
    fitted = model(**params, max_iter=20).fit(X, Y, sample_weight=Y > 0)
    assert fitted.classes_.tolist() == MLPClassifier(max_iter=1).fit(X, Y, sample_weight=Y > 0).classes_.tolist()
    assert sorted(np.concatenate(fitted.partition_)) == np.flatnonzero(Y).tolist()
    assert set(fitted.predict(X)) == {1, 2}
    elsewhere = np.where(Y[:, None] == 0, -X, X)
    assert_same_training(model(**params, max_iter=20).fit(elsewhere, Y, sample_weight=Y > 0), fitted)


def test_rows_of_weight_zero_are_checked_as_others_are():
    with pytest.raises(ValueError, match="NaN"):
        model().fit(np.where(Y[:, None] == 0, np.nan, X), Y, sample_weight=Y > 0)
    with pytest.raises(ValueError, match="NaN"):
        model().fit(X, np.where(Y == 0, np.nan, Y), sample_weight=Y > 0)


def test_the_loss_counts_rows_by_their_weights_whatever_peer_they_are_at():
    # No step is taken, so that all peers' losses are those of the network that they start with.
    weight = np.where(np.arange(len(Y)) < 75, 1e-6, 1.0) * np.random.default_rng(2).uniform(1, 2, size=len(Y))
    fitted = model(n_networks=2, partitioner=parts_of(75, 75), learning_rate_init=NO_STEP, alpha=0, max_iter=1)
    fitted.fit(X, Y, sample_weight=weight)
    assert fitted.loss_ == pytest.approx(log_loss(Y, fitted.predict_proba(X), sample_weight=weight))


@pytest.mark.parametrize(
    "class_weight", ["balanced", {0: 3.0, 1: 0.5, 2: 1.0}, {0: 2.0}], ids=["balanced", "dict", "a class alone"]
)
@pytest.mark.parametrize("sample_weight", [None, np.random.default_rng(0).uniform(0.5, 2, size=100)])
def test_class_weights_multiply_sample_weights(class_weight, sample_weight):
    rows = np.r_[:50, 60:80, 100:130]
    by_class = compute_sample_weight(class_weight, Y[rows])
    if class_weight == "balanced" and sample_weight is not None:  # as scikit-learn: the classes' weights are balanced
        totals = np.bincount(Y[rows], weights=sample_weight)
        by_class = (sample_weight.sum() / (3 * totals))[Y[rows]]
    product = by_class * (1 if sample_weight is None else sample_weight)
    fitted = model(class_weight=class_weight).fit(X[rows], Y[rows], sample_weight=sample_weight)
    expected = model().fit(X[rows], Y[rows], sample_weight=product)
    np.testing.assert_allclose(fitted.weights_, expected.weights_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("keys", [list, np.ndarray.tolist], ids=["NumPy", "Python"])
@pytest.mark.parametrize(
    "labels",
    [
        np.array(["01", "1", "b"]),
        np.array([1, 2**63, 2**64 - 1], np.uint64),
        np.array(["2017-12-18", "2017-12-19", "2018-01-01"], "datetime64[D]"),
    ],
    ids=["strings", "large numbers", "dates"],
)
def test_class_weights_go_by_the_label_as_it_is(labels, keys):
    weights = dict(zip(keys(labels), [3.0, 0.5, 1.0], strict=True))
    fitted = model(class_weight=weights).fit(X, labels[Y])
    expected = model(class_weight={0: 3.0, 1: 0.5, 2: 1.0}).fit(X, Y)
    np.testing.assert_array_equal(fitted.weights_, expected.weights_)


def test_a_number_is_no_key_for_a_label_that_is_a_string():
    with pytest.raises(ValueError, match=r"keys among the classes of y, \['0', '1', '2'\], got {0: 3, 1: 1, 2: 1}"):
        model(class_weight={0: 3, 1: 1, 2: 1}).fit(X, Y.astype(str))


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (np.ones(149), r"sample_weight.*\(150,\)"),
        (np.ones((150, 2)), "sample_weight"),
        (np.zeros(150), "sample_weight must contain at least one non-zero number"),
        (np.r_[-1.0, np.ones(149)], "sample_weight must not be negative|[Nn]egative"),
        (np.r_[np.nan, np.ones(149)], "sample_weight contains NaN"),
        (np.r_[np.inf, np.ones(149)], "sample_weight contains inf"),
        (np.ma.array(np.ones(150), mask=Y == 0), "sample_weight must hold no masked values"),
    ],
    ids=["short", "two columns", "zeros", "negative", "NaN", "inf", "masked"],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "peer_scores"])
def test_sample_weights_that_are_none_are_refused(method, weight, match):
    kwargs = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
    estimator = model().fit(X, Y) if method == "peer_scores" else model()
    with pytest.raises(ValueError, match=match):
        getattr(estimator, method)(X, Y, sample_weight=weight, **kwargs)


@pytest.mark.parametrize("weight", [csr_array(np.ones((1, 150))), coo_array(np.ones(150))])
def test_sparse_weights_are_refused(weight):
    with pytest.raises(TypeError, match="sample_weight, but dense data is required"):
        model().fit(X, Y, sample_weight=weight)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_where_finite_input_is_assumed(wrong):
    with sklearn.config_context(assume_finite=True), pytest.raises(ValueError, match="sample_weight must hold finite"):
        model().fit(X, Y, sample_weight=np.r_[wrong, np.ones(149)])


@pytest.mark.parametrize("weight", [2, np.float32(2), np.array(2.0)])
def test_one_weight_for_all_rows_is_no_weight(weight):
    fitted = model().fit(X, Y, sample_weight=weight)
    assert_same_training(fitted, model().fit(X, Y))
    np.testing.assert_array_equal(fitted.peer_scores(X, Y, weight), fitted.peer_scores(X, Y))


def test_peer_scores_take_weights():
    fitted = model().fit(X, Y)
    weight = np.arange(len(Y)) % 4
    expected = [peer.score(X, Y, sample_weight=weight) for peer in fitted.peers_]
    np.testing.assert_allclose(fitted.peer_scores(X, Y, sample_weight=weight), expected)


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_weight_for_a_class_whose_rows_have_none_is_not_enough(warm_start):
    learner = model(warm_start=warm_start).fit(X, Y).set_params(class_weight={0: 0, 1: 0})
    with pytest.raises(ValueError, match=r"rows to train on must have a weight, .* by class_weight=\{0: 0, 1: 0\} or"):
        learner.fit(X, Y, sample_weight=Y < 2)


@pytest.mark.parametrize("kind", [model, regressor])
def test_weights_that_a_held_out_row_outweighs_by_far_are_not_blamed_on_the_classes(kind):
    weight = np.where(np.arange(len(Y)) == 2, 1e300, 1e-300)  # a row that the seed holds out
    with pytest.raises(ValueError, match=r"rows to train on must have a weight, .* next to none, by sample_weight$"):
        kind(early_stopping=True).fit(X, Y, sample_weight=weight)
