"""FusedMLPClassifier as a user meets it: scikit-learn's conventions, what is learnt from whom, and what is refused."""

import copy
import json
import pickle
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import Future
from itertools import permutations

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy.sparse import coo_array, csc_array, csr_array, csr_matrix
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

from skfusion import FusedMLPClassifier, fuse
from skfusion._training import engine
from skfusion.partition import DirichletPartitioner, GroupPartitioner, PredefinedPartitioner
from skfusion.topology import BaseTopology, GraphTopology, HypercubeTopology, RandomTopology, RingTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TOPOLOGIES = ["ring", "random", "hypercube"]
LOSSES = ["log_loss", "squared_error"]
NO_STEP = 1e-30  # a learning rate that is lost in rounding


def standardised(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


X, Y = standardised(load_iris)
X2, Y2 = standardised(load_breast_cancer)
GROUPS = np.resize(["york", "bath", "hull", "bath"], len(Y))


def model(hidden_layer_sizes=(6,), **params):
    """A small network that trains for a few epochs."""
    defaults = {"n_networks": 4, "max_iter": 3, "tol": 0, "n_iter_no_change": 10**6, "random_state": 0}
    return FusedMLPClassifier(hidden_layer_sizes, **defaults | params)


def parts_of(*sizes):
    """A partitioner of rows in order into parts of the given sizes."""
    return PredefinedPartitioner(np.repeat(np.arange(len(sizes)), sizes))


def without_seconds(history):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history]


def assert_same_training(one, other):
    """Two models went the same way, to the last bit."""
    np.testing.assert_array_equal(one.weights_, other.weights_)
    assert without_seconds(one.history_) == without_seconds(other.history_)
    assert one.n_iter_ == other.n_iter_
    assert all(map(np.array_equal, one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_))


# scikit-learn's checks

SPLIT = "a row repeated takes several steps, and its copies may go to several peers: equal in expectation, see below"


@parametrize_with_checks(
    [
        FusedMLPClassifier(),
        FusedMLPClassifier(n_networks=1),
        FusedMLPClassifier(topology="ring", momentum=0.9, batch_size=32),
        FusedMLPClassifier(topology="hypercube", solver="adam"),
        FusedMLPClassifier(topology=HypercubeTopology(each_edge_once=True), solver="adam", batch_size=32),
        FusedMLPClassifier(topology=RandomTopology(replacement=True), batch_size="auto", learning_rate_init=0.1),
        FusedMLPClassifier(loss="squared_error"),
        FusedMLPClassifier(loss="squared_error", activation="relu", solver="adam", batch_size=32, init="independent"),
        FusedMLPClassifier(partitioner="class", n_networks=None, fusion_unit="step", fusion_frequency=3),
        FusedMLPClassifier(partitioner="stratified", fusion_rule="simultaneous", prediction="vote", l1_ratio=0.5),
    ],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": SPLIT,
        "check_sample_weight_equivalence_on_sparse_data": SPLIT,
    },
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


# Sample and class weights


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


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (np.ones(149), r"sample_weight.*\(150,\)"),
        (np.ones((150, 2)), "sample_weight"),
        (np.zeros(150), "sample_weight must contain at least one non-zero number"),
        (np.r_[-1.0, np.ones(149)], "sample_weight must not be negative|[Nn]egative"),
        (np.r_[np.nan, np.ones(149)], "sample_weight contains NaN"),
        (np.r_[np.inf, np.ones(149)], "sample_weight contains inf"),
    ],
    ids=["short", "two columns", "zeros", "negative", "NaN", "inf"],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_sample_weights_that_are_none_are_refused(method, weight, match):
    kwargs = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
    with pytest.raises(ValueError, match=match):
        getattr(model(), method)(X, Y, sample_weight=weight, **kwargs)


def test_peer_scores_take_weights():
    fitted = model().fit(X, Y)
    weight = np.arange(len(Y)) % 4
    expected = [peer.score(X, Y, sample_weight=weight) for peer in fitted.peers_]
    np.testing.assert_allclose(fitted.peer_scores(X, Y, sample_weight=weight), expected)


# What peers see: their own rows


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 15])
def test_each_epoch_passes_once_over_each_row(batch_size, shuffle):
    # Of the steps that small ones come to, those of a row are in its own column.
    rate, params = 1e-7, {"n_networks": 1, "batch_size": batch_size, "shuffle": shuffle, "alpha": 0, "max_iter": 3}
    start = model((), **params, learning_rate_init=NO_STEP).fit(np.eye(len(Y)), Y)
    fitted = model((), **params, learning_rate_init=rate).fit(np.eye(len(Y)), Y)
    moved = (fitted.coefs_[0] - start.coefs_[0]) / rate
    expected = 3 * (np.eye(3)[Y] - start.predict_proba(np.eye(len(Y)))) / batch_size
    np.testing.assert_allclose(moved, expected, atol=1e-4)


def first_layers_changed(fitted, start):
    """With the identity as X, each column is one row's own: which rows each peer has trained on."""
    first = start.peers_[0].coefs_[0]
    return [np.flatnonzero((peer.coefs_[0] != first).any(axis=1)) for peer in fitted.peers_]


@pytest.mark.parametrize("params", [{}, {"batch_size": 7}, {"fusion_unit": "step", "fusion_frequency": 2}], ids=str)
@pytest.mark.parametrize("partitioner", ["random", "stratified", "class", "dirichlet", "group"])
def test_without_fusion_no_peer_learns_of_a_row_that_is_not_its_own(partitioner, params):
    params = {"n_networks": 3, "partitioner": partitioner, "fusion_rate": 0, "alpha": 0, **params}
    rows = np.eye(len(Y))
    fitted = model(**params).fit(rows, Y, groups=GROUPS)
    start = model(**params, learning_rate_init=NO_STEP).fit(rows, Y, groups=GROUPS)
    for trained_on, part in zip(first_layers_changed(fitted, start), fitted.partition_, strict=True):
        assert set(trained_on) == set(part)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_with_fusion_a_peer_learns_of_rows_that_are_not_its_own(topology):
    params = {"n_networks": 2, "topology": topology, "alpha": 0, "max_iter": 1}
    fitted = model(**params).fit(np.eye(len(Y)), Y)
    start = model(**params, learning_rate_init=NO_STEP).fit(np.eye(len(Y)), Y)
    for trained_on in first_layers_changed(fitted, start):
        assert len(trained_on) == len(Y)


@pytest.mark.parametrize(
    "params", [{}, {"solver": "adam"}, {"momentum": 0.9}, {"alpha": 1.0, "l1_ratio": 1.0}], ids=str
)
def test_without_fusion_each_peer_is_a_network_trained_alone(params):
    # All parts have all classes; the order of rows is fixed and the start is shared, so that nothing else differs.
    partitioner = PredefinedPartitioner(np.resize([0, 1, 2, 3, 1], len(Y)))
    fitted = model(partitioner=partitioner, fusion_rate=0, shuffle=False, **params).fit(X, Y)
    for peer, part in enumerate(fitted.partition_):
        alone = model(n_networks=1, shuffle=False, **params).fit(X[part], Y[part])
        np.testing.assert_array_equal(fitted.weights_[peer], alone.weights_[0])
        losses = [record["losses"][peer] for record in fitted.history_]
        assert losses == [record["losses"][0] for record in alone.history_]


@pytest.mark.parametrize("rule", ["sequential", "simultaneous"])
@pytest.mark.parametrize(
    ("unit", "frequency"), [("epoch", 1), ("epoch", 2), ("step", 1), ("step", 7), ("step", 30), ("step", 47)]
)
def test_training_is_training_alone_with_fusions_in_between(unit, frequency, rule):
    sizes, epochs = (30, 10, 25, 10), 4
    partitioner = parts_of(*sizes)
    order = np.random.default_rng(0).permutation(len(Y))[:75]
    rows, labels = X[order], Y[order]
    schedule = {"fusion_frequency": frequency, "fusion_unit": unit, "fusion_rule": rule, "max_iter": epochs}
    params = {"topology": "ring", "fusion_rate": 0.3, "shuffle": False}
    fitted = model(partitioner=partitioner, **params, **schedule).fit(rows, labels)

    alone = [model(n_networks=1, shuffle=False) for _ in sizes]
    parts = np.split(np.arange(75), np.cumsum(sizes)[:-1])
    step = 0
    for _ in range(epochs):
        for k in range(max(sizes)):
            for network, part in zip(alone, parts, strict=True):
                if k < len(part):
                    network.partial_fit(rows[part[[k]]], labels[part[[k]]], classes=[0, 1, 2])
            step += 1
            if step % (frequency if unit == "step" else frequency * max(sizes)) == 0:
                weights = np.vstack([network.weights_ for network in alone])
                for network, fused in zip(alone, fuse(weights, RingTopology().pairs(4), 0.3, rule), strict=True):
                    network.weights_[0] = fused
    expected = np.vstack([network.weights_ for network in alone])
    np.testing.assert_allclose(fitted.weights_, expected, rtol=1e-10, atol=1e-13)


# The schedule of fusion


class CountingTopology(BaseTopology):
    """A third party's topology that remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        self.asked.append((n_networks, fusion_round))
        return np.array([(0, 1)])


@pytest.mark.parametrize(
    ("unit", "frequency", "rounds"),
    [
        ("epoch", 1, 10),
        ("epoch", 3, 3),
        ("epoch", 11, 0),
        ("step", 1, 80),
        ("step", 3, 26),  # of 8 steps an epoch, those of the largest part
        ("step", 8, 10),
        ("step", 20, 4),
        ("step", 81, 0),
    ],
)
def test_rounds_come_at_the_frequency_in_its_unit(unit, frequency, rounds):
    params = {"fusion_unit": unit, "fusion_frequency": frequency, "topology": CountingTopology()}
    params |= {"batch_size": 4, "partitioner": parts_of(5, 12, 30), "n_networks": None}
    rows = np.arange(0, 141, 3)
    fitted = model(**params, max_iter=10).fit(X[rows], Y[rows])
    assert fitted.topology_.asked == [(3, k) for k in range(rounds)]
    # An epoch at a time makes no difference.
    incremental = model(**params)
    for _ in range(10):
        incremental.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
    n_parameters = fitted.weights_.shape[1]
    for either in (fitted, incremental):
        sent = np.sum([record["numbers_sent"] for record in either.history_], axis=0)
        assert sent.tolist() == [rounds * n_parameters, rounds * n_parameters, 0]


@pytest.mark.parametrize("params", [{"n_networks": 1}, {"fusion_rate": 0}, {"fusion_frequency": 10**6}], ids=str)
def test_there_is_nothing_to_send_without_fusion(params):
    fitted = model(**params).fit(X, Y)
    assert all(not any(record["numbers_sent"]) for record in fitted.history_)


class BrokenTopology(BaseTopology):
    def __init__(self, broken):
        self.broken = broken

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return np.array(self.broken)


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        ([(0, 1), (2, 4)], r"indices from 0 to 3.*got the pair \(2, 4\)"),
        ([(-1, 1)], r"got the pair \(-1, 1\)"),
        ([(0, 1, 2)], "pairs must be integers of shape"),
        ([(0.0, 1.0)], "pairs must be integers of shape"),
    ],
)
def test_a_topology_that_names_networks_that_are_not_there_is_refused(pairs, match):
    with pytest.raises(ValueError, match=match):
        model(topology=BrokenTopology(pairs)).fit(X, Y)


@pytest.mark.parametrize(
    ("topology", "match"),
    [
        (HypercubeTopology(incomplete="raise"), "n_networks must be a power of two .* got 3"),
        (HypercubeTopology(incomplete="yes"), "incomplete must be one of 'skip', 'raise'; got 'yes'"),
        (GraphTopology([(0, 3)]), "graph must have nodes from 0 to 2, .* got the node 3"),
        (BrokenTopology([(0, 3)]), r"got the pair \(0, 3\)"),
    ],
    ids=repr,
)
def test_a_topology_that_does_not_suit_is_refused_before_any_training(topology, match):
    recorder = Recorder()
    params = {"n_networks": 3, "topology": topology, "fusion_frequency": 10**6}
    with pytest.raises(ValueError, match=match):
        model(**params).set_callbacks(recorder).fit(X, Y)
    assert not any("begin" in event for event in recorder.events)
    with pytest.raises(ValueError, match=match):
        model(**params).partial_fit(X, Y, classes=[0, 1, 2])
    model(**params | {"fusion_rate": 0}).fit(X, Y)
    model(**params | {"n_networks": 1}).fit(X, Y)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_name_stands_for_a_topology(name):
    kinds = {"ring": RingTopology, "random": RandomTopology, "hypercube": HypercubeTopology}
    fitted = model(topology=name).fit(X, Y)
    assert type(fitted.topology_) is kinds[name]
    assert_same_training(fitted, model(topology=kinds[name]()).fit(X, Y))


@pytest.mark.parametrize("topology", ["grid", RingTopology, None, 3])
def test_what_is_no_topology_is_refused_with_the_choices(topology):
    with pytest.raises((ValueError, TypeError), match="topology must be one of 'ring', 'random', 'hypercube'"):
        model(topology=topology).fit(X, Y)


def test_parameters_of_topology_and_partitioner_can_be_searched():
    grid = {"topology__replacement": [False, True], "partitioner__alpha": [0.5, 5.0]}
    search = GridSearchCV(
        model(topology=RandomTopology(), partitioner=DirichletPartitioner(), n_networks=2), grid, cv=2
    )
    assert len(search.fit(X, Y).cv_results_["params"]) == 4
    assert search.best_estimator_.partitioner_.alpha == search.best_params_["partitioner__alpha"]


# Disagreement


@pytest.mark.parametrize(
    ("topology", "rule", "factor"),
    [
        (RingTopology(), "sequential", 0.8328),
        (RingTopology(), "simultaneous", 0.7131),
        (HypercubeTopology(), "sequential", 0.0457),
        (HypercubeTopology(each_edge_once=True), "simultaneous", 0.1000),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_disagreement_shrinks_as_the_topology_promises(topology, rule, factor, dtype):
    def disagreement(weights):
        weights = weights.astype(float)
        return np.sqrt(((weights - weights.mean(axis=0)) ** 2).sum(axis=1).mean())

    params = {"n_networks": 8, "init": "independent", "learning_rate_init": NO_STEP, "max_iter": 5, "alpha": 0}
    weights = model(**params, fusion_rate=0).fit(X.astype(dtype), Y).weights_.copy()
    fitted = model(**params, topology=topology, fusion_rule=rule, fusion_rate=0.55).fit(X.astype(dtype), Y)
    rtol = 1e-4 if dtype == np.float32 else 1e-10
    for record in fitted.history_:
        before = disagreement(weights)
        topology.fuse(weights, 0.55, rule)
        assert record["disagreement_before_fusion"] == pytest.approx(before, rel=rtol)
        assert record["disagreement_after_fusion"] == pytest.approx(disagreement(weights), rel=rtol)
        assert record["disagreement_after_fusion"] <= (factor + 5e-5) * record["disagreement_before_fusion"]
    np.testing.assert_array_equal(fitted.weights_, weights)


@pytest.mark.parametrize("params", [{"fusion_rate": 0}, {"fusion_frequency": 2, "max_iter": 1}], ids=str)
def test_without_a_round_disagreement_is_the_same_before_and_after(params):
    record = model(**params).fit(X, Y).history_[-1]
    assert record["disagreement_before_fusion"] == record["disagreement_after_fusion"] > 0


# What is kept of the training


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"fusion_unit": "step"}, {"n_networks": 1}], ids=str)
def test_history_is_plain_data_with_an_entry_per_epoch(params, dtype):
    fitted = model(**params).fit(X.astype(dtype), Y)
    assert json.loads(json.dumps(fitted.history_)) == fitted.history_
    assert [record["epoch"] for record in fitted.history_] == [1, 2, 3]
    for record in fitted.history_:
        assert len(record["losses"]) == len(record["numbers_sent"]) == len(fitted.weights_)
        assert {type(number) for number in record["losses"]} == {float}
        assert {type(number) for number in record["numbers_sent"]} == {int}
        assert record["seconds"] >= 0
        assert ("validation_scores" in record) == ("early_stopping" in params)
    scores = [record["validation_score"] for record in fitted.history_ if "early_stopping" in params]
    assert getattr(fitted, "validation_scores_", []) == scores
    n_rows = np.array([len(part) for part in fitted.partition_])
    n_rows = n_rows - np.ceil(0.1 * n_rows) if "early_stopping" in params else n_rows
    means = [np.average(record["losses"], weights=n_rows) for record in fitted.history_]
    assert fitted.loss_curve_ == [record["loss"] for record in fitted.history_] == pytest.approx(means, rel=1e-12)
    assert fitted.loss_ == fitted.loss_curve_[-1]
    assert fitted.best_loss_ == min(fitted.loss_curve_)
    assert fitted.n_iter_ == 3


@pytest.mark.parametrize(
    ("topology", "fusions"),
    [
        (RingTopology(), [2, 2, 2, 2]),
        (RandomTopology(), [1, 1, 1, 1]),
        (HypercubeTopology(), [4, 4, 4, 4]),
        (HypercubeTopology(each_edge_once=True), [2, 2, 2, 2]),
        (BrokenTopology([(0, 1), (2, 2), (0, 3)]), [2, 1, 0, 1]),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(("unit", "rounds"), [("epoch", 1), ("step", 38)])
def test_numbers_sent_are_the_parameters_times_the_fusions(topology, fusions, unit, rounds):
    fitted = model(topology=topology, fusion_unit=unit).fit(X, Y)
    n_parameters = sum(array.size for array in fitted.coefs_ + fitted.intercepts_)
    for record in fitted.history_:
        assert record["numbers_sent"] == [n_parameters * count * rounds for count in fusions]
        assert record["fusion_rounds"] == rounds


@pytest.mark.parametrize(
    ("params", "rounds"),
    [
        ({"fusion_frequency": 2}, [0, 1, 0]),
        ({"fusion_frequency": 50, "fusion_unit": "step"}, [0, 1, 1]),
        ({"fusion_rate": 0}, [0, 0, 0]),
        ({"n_networks": 1}, [0, 0, 0]),
    ],
    ids=str,
)
def test_fusion_rounds_are_counted_by_epoch(params, rounds):
    assert [record["fusion_rounds"] for record in model(**params).fit(X, Y).history_] == rounds


def test_fitted_attributes_have_scikit_learns_shapes():
    fitted = model((5, 4)).fit(X, Y)
    mlp = MLPClassifier((5, 4), max_iter=1).fit(X, Y)
    for name in ("coefs_", "intercepts_"):
        assert [array.shape for array in getattr(fitted, name)] == [array.shape for array in getattr(mlp, name)]
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(fitted, name) == getattr(mlp, name)
    np.testing.assert_array_equal(fitted.classes_, mlp.classes_)
    assert fitted.weights_.shape == (4, sum(array.size for array in mlp.coefs_ + mlp.intercepts_))


def test_coefficients_are_the_consensus_of_the_peers():
    fitted = model((5, 4), init="independent").fit(X, Y)
    for name in ("coefs_", "intercepts_"):
        of_peers = zip(*(getattr(peer, name) for peer in fitted.peers_), strict=True)
        for consensus, layer in zip(getattr(fitted, name), of_peers, strict=True):
            np.testing.assert_allclose(consensus, np.mean(layer, axis=0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_and_probabilities_have_the_floats_of_the_input(dtype):
    fitted = model().fit(X.astype(dtype), Y)
    assert fitted.weights_.dtype == fitted.coefs_[0].dtype == dtype
    assert fitted.predict_proba(X.astype(dtype)).dtype == dtype


def test_rows_too_large_for_the_weights_floats_are_refused():
    fitted = model().fit(X.astype(np.float32), Y)
    for method in (fitted.predict, fitted.predict_proba, lambda rows: fitted.peer_scores(rows, Y)):
        refused = pytest.raises(ValueError, match=r"Input X contains .* too large for dtype\('float32'\)")
        with refused, np.errstate(all="ignore"):
            method(1e300 * X)


def test_integer_input_becomes_double_precision():
    fitted = model().fit((10 * X).astype(int), Y)
    assert fitted.weights_.dtype == np.float64
    assert_same_training(fitted, model().fit((10 * X).astype(int).astype(float), Y))


@pytest.mark.parametrize("verbose", [False, True])
def test_verbose_prints_a_line_per_epoch(verbose, capsys):
    fitted = model(verbose=verbose).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (3 if verbose else 0)
    if verbose:
        assert f"{fitted.loss_:.4f}"[:-1] in lines[-1]


# Initial weights


def initial_weights(hidden=(40, 30), **params):
    return model(hidden, learning_rate_init=NO_STEP, fusion_rate=0, alpha=0, max_iter=1, **params).fit(X, Y)


def test_peers_start_equal_or_different_as_asked():
    shared = initial_weights(init="shared").weights_
    independent = initial_weights(init="independent").weights_
    assert (shared == shared[0]).all()
    assert (np.abs(np.corrcoef(independent) - np.eye(4)) < 0.1).all()


@pytest.mark.parametrize(("activation", "numerator"), [("tanh", 6), ("relu", 6), ("identity", 6), ("logistic", 2)])
def test_weights_start_as_those_of_mlp_classifier(activation, numerator):
    peer = initial_weights(activation=activation).peers_[0]
    for coef, intercept in zip(peer.coefs_, peer.intercepts_, strict=True):
        bound = np.sqrt(numerator / sum(coef.shape))
        assert np.abs(np.append(coef, intercept)).max() <= bound
        assert np.abs(coef).max() > 0.9 * bound
        assert coef.std() == pytest.approx(bound / np.sqrt(3), rel=0.15)


def test_weights_start_as_the_papers_with_its_loss():
    peer = initial_weights((40, 60), loss="squared_error", init="independent").peers_[0]
    for coef, intercept in zip(peer.coefs_, peer.intercepts_, strict=True):
        spread = max(0.03, 1 / len(coef))
        both = np.append(coef, intercept)
        assert both.mean() == pytest.approx(0, abs=4 * spread / np.sqrt(both.size))
        assert both.std() == pytest.approx(spread, rel=4 / np.sqrt(2 * both.size))
        assert np.abs(both).max() > 2 * spread


# Prediction


def predictors(fitted):
    return ["consensus", "vote", *range(len(fitted.weights_))]


@pytest.mark.parametrize("data", [(X, Y), (X2, Y2)], ids=["three classes", "two classes"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_are_probabilities_and_agree_with_the_labels(loss, data, dtype):
    rows, labels = data[0].astype(dtype), data[1]
    fitted = model(loss=loss).fit(rows, labels)
    for prediction in predictors(fitted):
        fitted.set_params(prediction=prediction)
        for some in (rows, 100 * rows, rows[:1]):
            probabilities = fitted.predict_proba(some)
            assert probabilities.shape == (len(some), len(fitted.classes_))
            assert (probabilities >= 0).all()
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=8 * np.finfo(dtype).eps)
            np.testing.assert_array_equal(fitted.predict(some), fitted.classes_[probabilities.argmax(axis=1)])
        with np.errstate(divide="ignore"):
            np.testing.assert_array_equal(fitted.predict_log_proba(rows), np.log(fitted.predict_proba(rows)))


def test_predictions_are_by_the_consensus_the_vote_or_one_peer():
    fitted = model(init="independent", fusion_rate=0.1).fit(X, Y)
    of_peers = np.array([peer.predict_proba(X) for peer in fitted.peers_])
    consensus = copy.deepcopy(fitted.peers_[0])
    consensus.coefs_, consensus.intercepts_ = fitted.coefs_, fitted.intercepts_
    expected = {"consensus": consensus.predict_proba(X), "vote": of_peers.mean(axis=0), **dict(enumerate(of_peers))}
    found = {prediction: fitted.set_params(prediction=prediction).predict_proba(X) for prediction in expected}
    for prediction, probabilities in expected.items():
        np.testing.assert_allclose(found[prediction], probabilities, rtol=1e-9, atol=1e-12)
    assert not np.allclose(found["consensus"], found["vote"], atol=1e-3)


@pytest.mark.parametrize("prediction", [-1, 4, "mean", None, 1.0, True, np.arange(3)])
def test_predictions_by_whom_there_is_not_are_refused(prediction):
    with pytest.raises((TypeError, ValueError), match="prediction must be"):
        model(prediction=prediction).fit(X, Y)
    fitted = model().fit(X, Y).set_params(prediction=prediction)
    with pytest.raises((TypeError, ValueError), match="prediction must be"):
        fitted.predict(X)


@pytest.mark.parametrize("data", [(X, Y), (X2, Y2)], ids=["three classes", "two classes"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_peers_are_stock_mlp_classifiers_that_predict_and_score_alike(activation, loss, data):
    fitted = model(activation=activation, loss=loss, init="independent").fit(*data)
    scores = fitted.peer_scores(*data)
    assert scores.shape == (4,)
    for index, peer in enumerate(fitted.peers_):
        assert type(peer) is MLPClassifier
        np.testing.assert_array_equal(peer.predict(data[0]), fitted.set_params(prediction=index).predict(data[0]))
        if loss == "log_loss":
            np.testing.assert_allclose(peer.predict_proba(data[0]), fitted.predict_proba(data[0]), rtol=1e-6, atol=1e-9)
        assert scores[index] == peer.score(*data) == fitted.score(*data)
        assert peer.loss_curve_ == [record["losses"][index] for record in fitted.history_]
        assert peer.n_iter_ == 3


def test_a_peer_goes_where_any_mlp_classifier_goes():
    fitted = model().fit(X, Y)
    before = fitted.weights_.copy()
    peer = pickle.loads(pickle.dumps(fitted.peers_[0]))
    assert peer.get_params()["hidden_layer_sizes"] == (6,)
    assert clone(peer).fit(X, Y).score(X, Y) > 1 / 3
    score = peer.score(X, Y)
    for _ in range(20):
        peer.partial_fit(X, Y)
    assert peer.score(X, Y) > score
    fitted.peers_[1].partial_fit(X, Y)
    np.testing.assert_array_equal(fitted.weights_, before)  # peers_ are copies


@pytest.mark.parametrize(
    "attribute", ["predict", "predict_proba", "predict_log_proba", "peer_scores", "peers_", "score"]
)
def test_before_fit_there_is_nothing_to_predict_with(attribute):
    args = (X, Y) if "score" in attribute else (X,)
    with pytest.raises(NotFittedError):
        getattr(model(), attribute)(*args)


# Input: sparse, frames, labels, groups


@pytest.mark.parametrize("container", [csr_array, csr_matrix, csc_array, coo_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("params", [{}, {"batch_size": 16, "solver": "adam"}, {"loss": "squared_error"}], ids=str)
def test_sparse_input_is_equal_to_dense(params, dtype, container):
    rows, labels = load_digits(return_X_y=True)
    rows, labels = (rows[:300] / 16).astype(dtype), labels[:300]
    dense = model((12,), **params).fit(rows, labels)
    sparse = model((12,), **params).fit(container(rows), labels)
    rtol = 2e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(sparse.weights_, dense.weights_, rtol=rtol, atol=rtol / 1e2)
    for fitted in (dense, sparse):
        np.testing.assert_allclose(fitted.predict_proba(container(rows)), fitted.predict_proba(rows), rtol=rtol)
        np.testing.assert_allclose(fitted.peer_scores(container(rows), labels), fitted.peer_scores(rows, labels))


def test_csr_input_need_not_be_canonical():
    data, indices, indptr = [1.0, 2.0, 0.0, 3.0, -1.0, 1.0], [2, 0, 1, 1, 1, 2], [0, 3, 5, 6]
    messy = csr_array((data, np.array(indices, np.int32), np.array(indptr, np.int32)), shape=(3, 3))
    tidy = np.array([[2.0, 0, 1], [0, 2, 0], [0, 0, 1]])
    np.testing.assert_array_equal(messy.toarray(), tidy)
    one, other = (model(n_networks=1, shuffle=False, max_iter=20).fit(rows, [0, 1, 0]) for rows in (messy, tidy))
    np.testing.assert_allclose(one.weights_, other.weights_, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(one.predict_proba(messy), other.predict_proba(tidy), rtol=1e-12)


@pytest.mark.parametrize("order", ["C", "F", "strided", "list", "read-only"])
def test_the_memory_order_of_input_does_not_matter(order):
    rows = {
        "C": X,
        "F": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "list": X.tolist(),
        "read-only": X.copy(),
    }[order]
    if order == "read-only":
        rows.flags.writeable = False
    fitted = model().fit(rows, Y)
    assert_same_training(fitted, model().fit(X, Y))
    np.testing.assert_array_equal(fitted.predict_proba(rows), fitted.predict_proba(X))


NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


def pandas_frame(rows, names=NAMES):
    return pd.DataFrame(rows, columns=names)


def polars_frame(rows, names=NAMES):
    return pl.DataFrame(rows, schema=names)


@pytest.mark.parametrize(("frame", "series"), [(pandas_frame, pd.Series), (polars_frame, pl.Series)])
def test_frames_are_equal_to_arrays_and_their_names_are_kept(frame, series):
    labels = np.array(["setosa", "versicolor", "virginica"])[Y]
    weight = np.linspace(1, 2, len(Y))
    of_frame = model(n_networks=3).fit(frame(X), series(labels), sample_weight=series(weight), groups=series(GROUPS))
    of_array = model(n_networks=3).fit(X, labels, sample_weight=weight, groups=GROUPS)
    assert_same_training(of_frame, of_array)
    assert of_frame.feature_names_in_.tolist() == NAMES
    assert not hasattr(of_array, "feature_names_in_")
    np.testing.assert_array_equal(of_frame.predict(frame(X)), of_array.predict(X))
    np.testing.assert_array_equal(of_frame.peer_scores(frame(X), series(labels)), of_array.peer_scores(X, labels))
    assert of_frame.peers_[0].feature_names_in_.tolist() == NAMES


@pytest.mark.parametrize("frame", [pandas_frame, polars_frame])
def test_frames_of_other_names_are_refused(frame):
    fitted = model().fit(frame(X), Y)
    renamed = frame(X, [*NAMES[:3], "colour"])
    turned = frame(X[:, ::-1], NAMES[::-1])
    for use in (fitted.predict, fitted.predict_proba, lambda rows: fitted.peer_scores(rows, Y)):
        with pytest.raises(ValueError, match=r"(?s)feature names should match.*unseen at fit time:\n- colour"):
            use(renamed)
        with pytest.raises(ValueError, match="must be in the same order"):
            use(turned)
    with pytest.raises(ValueError, match="colour"):
        fitted.partial_fit(renamed, Y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["w", "a", "b"]),
        np.array(["w", "a", "b"], object),
        np.array([10, -3, 7]),
        np.array([2.0, 0.0, 1.0]),
        pd.Series(["w", "a", "b"], dtype="category"),
        pd.Series(["w", "a", "b"], dtype="string"),
    ],
    ids=lambda names: f"{type(names).__name__} {names.dtype}",
)
def test_labels_may_be_of_any_kind(names):
    labels = names[Y] if isinstance(names, np.ndarray) else names.iloc[Y]
    fitted = model(max_iter=20, n_networks=2).fit(X, labels)
    assert fitted.classes_.tolist() == sorted(set(names))
    assert set(fitted.predict(X)) <= set(names)
    assert fitted.score(X, labels) > 0.8
    np.testing.assert_allclose(fitted.peer_scores(X, labels), [peer.score(X, labels) for peer in fitted.peers_])


def test_boolean_labels_are_two_classes():
    fitted = model(max_iter=20).fit(X, Y == 0)
    assert fitted.predict(X).dtype == bool
    assert fitted.score(X, Y == 0) == 1


def test_peers_know_classes_that_none_of_their_rows_has():
    fitted = model(partitioner="class", n_networks=None).fit(X, Y)
    assert all(len(np.unique(Y[part])) == 1 for part in fitted.partition_)
    assert all(peer.classes_.tolist() == [0, 1, 2] for peer in fitted.peers_)
    assert fitted.peers_[0].predict_proba(X).shape == (150, 3)


@pytest.mark.parametrize(
    "groups", [GROUPS, GROUPS.tolist(), pd.Series(GROUPS), pl.Series(GROUPS), np.resize([3, 1, 2, 1], len(Y))]
)
def test_groups_make_a_peer_each(groups):
    fitted = model(n_networks=None).fit(X, Y, groups=groups)
    assert isinstance(fitted.partitioner_, GroupPartitioner)
    held = [set(np.asarray(groups)[part].tolist()) for part in fitted.partition_]
    assert held == [{name} for name in sorted(set(np.asarray(groups).tolist()))]


@pytest.mark.parametrize("n_groups", [149, 151])
@pytest.mark.parametrize("partitioner", [None, "random", StratifiedKFold(4)], ids=str)
def test_groups_of_wrong_length_are_refused(partitioner, n_groups):
    groups = np.resize(GROUPS, n_groups)
    with pytest.raises(ValueError, match=f"groups must have one label for each of the 150 rows, got {n_groups}"):
        model(partitioner=partitioner).fit(X, Y, groups=groups)
    with pytest.raises(ValueError, match=f"groups must have one label for each of the 150 rows, got {n_groups}"):
        model(partitioner=partitioner).partial_fit(X, Y, classes=[0, 1, 2], groups=groups)


# Metadata routing


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def pipeline(**params):
    network = model(n_networks=None, **params).set_fit_request(groups=True, sample_weight=True)
    return make_pipeline(StandardScaler().set_fit_request(sample_weight=False), network)


@pytest.mark.usefixtures("routing")
def test_a_pipeline_routes_groups_and_weights():
    weight = np.linspace(1, 2, len(Y))
    fitted = pipeline().fit(X, Y, groups=GROUPS, sample_weight=weight)[-1]
    rows = StandardScaler().fit_transform(X)
    assert_same_training(fitted, model(n_networks=None).fit(rows, Y, sample_weight=weight, groups=GROUPS))
    assert len(fitted.weights_) == 3


@pytest.mark.usefixtures("routing")
def test_cross_validation_routes_groups_to_network_and_splitter():
    result = cross_validate(
        pipeline(), X, Y, params={"groups": GROUPS}, cv=GroupKFold(3), return_estimator=True, return_indices=True
    )
    for fitted, train in zip(result["estimator"], result["indices"]["train"], strict=True):
        held = [set(GROUPS[train][part]) for part in fitted[-1].partition_]
        assert held == [{name} for name in sorted(set(GROUPS[train]))]
        assert len(held) == 2


@pytest.mark.usefixtures("routing")
def test_a_grid_search_routes_groups():
    search = GridSearchCV(pipeline(), {"fusedmlpclassifier__topology": TOPOLOGIES}, cv=3)
    search.fit(X, Y, groups=GROUPS)
    assert len(search.best_estimator_[-1].weights_) == 3
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.usefixtures("routing")
def test_groups_that_nobody_asked_for_are_refused():
    with pytest.raises((TypeError, ValueError), match="groups"):
        make_pipeline(StandardScaler(), model()).fit(X, Y, groups=GROUPS)


# Going on: partial_fit and warm_start


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
    fitted = model().partial_fit(X[:100], Y[:100], classes=[2, 0, 1])
    assert fitted.classes_.tolist() == [0, 1, 2]
    fitted.partial_fit(X[100:], Y[100:]).partial_fit(X, Y, classes=[0, 1, 2])
    before = fitted.weights_.copy()
    with pytest.raises(ValueError, match="classes must stay"):
        fitted.partial_fit(X, Y, classes=[0, 1, 3])
    with pytest.raises(ValueError, match=r"y must have labels of .*\[0, 1, 2\].* got .*7"):
        fitted.partial_fit(X, np.where(Y == 2, 7, Y))
    with pytest.raises(ValueError, match="3 features"):
        fitted.partial_fit(X[:, :3], Y)
    np.testing.assert_array_equal(fitted.weights_, before)


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


def test_a_constant_learning_rate_may_change_between_partial_fits():
    slow, fast = (model(learning_rate_init=0.01).fit(X, Y) for _ in range(2))
    start = slow.weights_.copy()
    slow.partial_fit(X, Y)
    fast.set_params(learning_rate_init=1e-9).partial_fit(X, Y)
    assert np.abs(slow.weights_ - start).max() > 1e-3
    np.testing.assert_allclose(fast.weights_, fast.weights_.mean(axis=0, keepdims=True).repeat(4, axis=0), atol=1e-6)


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
    [(np.random.default_rng(0), TypeError), ("0", TypeError), (-1, ValueError), (True, TypeError)],
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
        ({3: 1}, ValueError, "classes, .* are not in class_weight"),
    ],
    ids=str,
)
def test_wrong_class_weights_are_named_with_their_value(class_weight, error, match):
    with pytest.raises(error, match=match):
        model(class_weight=class_weight).fit(X, Y)


def test_a_portion_of_classes_without_weight_is_refused():
    with pytest.raises(ValueError, match="class_weight must not be 0 for all classes of y"):
        model(class_weight={0: 0}).partial_fit(X[:50], Y[:50], classes=[0, 1, 2])


def test_a_dict_of_class_weights_does_for_partial_fit():
    weights = {0: 5.0, 1: 1.0, 2: 1.0}
    weighted = model(class_weight=weights).partial_fit(X, Y, classes=[0, 1, 2])
    assert not np.allclose(weighted.weights_, model().partial_fit(X, Y, classes=[0, 1, 2]).weights_)


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
    fitted = model(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"y must have labels of .* only, got .*5"):
        fitted.fit(X, np.where(Y == 0, 5, Y))
    with pytest.raises(ValueError, match="2 features"):
        fitted.fit(X[:, :2], Y)


# Early stopping


def test_each_peer_holds_out_rows_of_its_own_and_is_scored_on_these():
    params = {"partitioner": parts_of(15, 31, 104), "n_networks": None, "fusion_rate": 0, "alpha": 0, "max_iter": 1}
    params |= {"early_stopping": True, "validation_fraction": 0.2}
    labels = np.random.default_rng(0).permutation(Y)
    fitted = model((), **params, learning_rate_init=3.0, prediction=1).fit(np.eye(len(Y)), labels)
    start = model((), **params, learning_rate_init=NO_STEP).fit(np.eye(len(Y)), labels)
    assert [len(part) for part in fitted.partition_] == [15, 31, 104]
    correct = fitted.predict(np.eye(len(Y))) == labels
    scores = []
    for trained_on, part in zip(first_layers_changed(fitted, start), fitted.partition_, strict=True):
        assert set(trained_on) < set(part)
        held_out = sorted(set(part) - set(trained_on))
        scores.append(correct[held_out].mean())
        assert len(held_out) == {15: 3, 31: 7, 104: 21}[len(part)]
    assert fitted.history_[0]["validation_scores"] == pytest.approx(scores)
    assert correct[first_layers_changed(fitted, start)[1]].mean() > scores[1] + 0.3  # it has learnt those by heart


def test_a_peer_whose_held_out_rows_have_no_weight_has_no_score_of_its_own():
    params = {"early_stopping": True, "partitioner": "class", "n_networks": None}
    fitted = model(**params, class_weight={0: 0}).fit(X, Y)
    scores = np.array([record["validation_scores"] for record in fitted.history_])
    np.testing.assert_array_equal(np.isnan(scores), [[True, False, False]] * 3)
    np.testing.assert_allclose(fitted.validation_scores_, scores[:, 1:].mean(axis=1))
    with pytest.raises(ValueError, match=r"early_stopping needs .* class_weight .* validation_fraction=0\.1 .*higher"):
        model(early_stopping=True, class_weight={1: 0, 2: 0}, n_networks=1, random_state=1).fit(X[49:], Y[49:])


@pytest.mark.parametrize("prediction", ["consensus", "vote", 2])
def test_validation_scores_are_those_of_the_peers_held_out_rows(prediction):
    params = {"early_stopping": True, "validation_fraction": 0.2, "prediction": prediction}
    fitted = model(**params, partitioner=parts_of(15, 31, 104), n_networks=None, max_iter=8).fit(X, Y)
    held_out = np.array([3, 7, 21])
    assert len(fitted.validation_scores_) == len(fitted.history_) == 8
    for record, score in zip(fitted.history_, fitted.validation_scores_, strict=True):
        correct = held_out * record["validation_scores"]
        np.testing.assert_allclose(correct, np.round(correct), atol=1e-9)
        assert score == pytest.approx(correct.sum() / held_out.sum())
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)


class Recorder:
    """A callback that keeps each epoch's weights, and does what it is told after one of them."""

    def __init__(self, after=None, then=None):
        self.after, self.then = after, then
        self.estimators, self.weights, self.predicted, self.events = [], [], [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.events.append(f"end {context.task_name}")
        if context.task_name != "fit":
            self.estimators.append(fitted_estimator)
            self.weights.append(fitted_estimator.weights_.copy())
            self.predicted.append(fitted_estimator.predict_proba(X))
            if len(self.weights) == self.after:
                return self.then()
        return None


def interrupt():
    raise KeyboardInterrupt


def test_the_weights_of_the_best_epoch_are_restored():
    recorder = Recorder()
    fitted = model(early_stopping=True, learning_rate_init=0.5, max_iter=12, n_networks=2).set_callbacks(recorder)
    fitted.fit(X, Y)
    best = int(np.argmax(fitted.validation_scores_))
    assert best < 11  # else there is nothing to restore
    np.testing.assert_array_equal(fitted.weights_, recorder.weights[best])
    np.testing.assert_array_equal(fitted.predict_proba(X), recorder.predicted[best])
    np.testing.assert_array_equal(np.mean(fitted.weights_, axis=0)[: 4 * 6].reshape(4, 6), fitted.coefs_[0])


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("patience", [1, 4])
def test_training_without_progress_stops_as_that_of_mlp_classifier(patience, early_stopping):
    params = {"learning_rate_init": NO_STEP, "n_iter_no_change": patience, "tol": 1e-4, "max_iter": 50}
    params |= {"early_stopping": early_stopping, "solver": "sgd", "alpha": 0, "shuffle": False}
    reference = MLPClassifier((6,), **params).fit(X, Y)
    fitted = model(**params, fusion_rate=0).fit(X, Y)
    assert fitted.n_iter_ == reference.n_iter_ < 50
    assert len(fitted.history_) == fitted.n_iter_


def test_only_training_that_has_not_converged_warns():
    with pytest.warns(ConvergenceWarning, match=r"max_iter=3"):
        model().fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(learning_rate_init=NO_STEP, n_iter_no_change=1, max_iter=20).fit(X, Y)


def test_peers_too_small_to_hold_rows_out_are_named():
    with pytest.raises(ValueError, match=r"early_stopping .*peer 1 has 1 in all.*validation_fraction=0.1.*n_networks"):
        model(early_stopping=True, partitioner=parts_of(149, 1), n_networks=2).fit(X, Y)


# Callbacks


def test_a_callback_sees_each_epoch_as_if_training_had_ended_there():
    recorder = Recorder()
    model(max_iter=4).set_callbacks(recorder).fit(X, Y)
    epochs = ["begin epoch", "end epoch"] * 4
    assert recorder.events == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    for k in range(4):
        until = model(max_iter=k + 1).fit(X, Y)
        np.testing.assert_array_equal(recorder.weights[k], until.weights_)
        np.testing.assert_array_equal(recorder.predicted[k], until.predict_proba(X))
        # And what it saw then has not changed since.
        np.testing.assert_array_equal(recorder.estimators[k].weights_, until.weights_)
        np.testing.assert_array_equal(recorder.estimators[k].predict_proba(X), until.predict_proba(X))
        assert without_seconds(recorder.estimators[k].history_) == without_seconds(until.history_)


@pytest.mark.parametrize(
    "params", [{}, {"early_stopping": True}, {"prediction": "vote"}, {"loss": "squared_error"}], ids=str
)
def test_callbacks_change_nothing(params):
    watched = model(**params).set_callbacks(Recorder(), ScoringMonitor(scoring="accuracy"))
    assert_same_training(watched.fit(X, Y), model(**params).fit(X, Y))


def test_a_callback_that_returns_true_stops_the_training():
    stopped = model(max_iter=10).set_callbacks(Recorder(after=4, then=lambda: True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was asked to stop, and so there is nothing to warn of
        stopped.fit(X, Y)
    assert_same_training(stopped, model(max_iter=4).fit(X, Y))


def test_a_keyboard_interrupt_keeps_what_has_been_learnt():
    recorder = Recorder(after=4, then=interrupt)
    with pytest.warns(UserWarning) as caught:
        interrupted = model(max_iter=10).set_callbacks(recorder).fit(X, Y)
    assert ["interrupted" in str(warning.message) for warning in caught] == [True]
    assert_same_training(interrupted, model(max_iter=4).fit(X, Y))
    np.testing.assert_array_equal(interrupted.predict_proba(X), recorder.predicted[-1])
    assert recorder.events[-1] == "teardown"
    interrupted.partial_fit(X, Y)


def test_a_keyboard_interrupt_with_early_stopping_restores_the_best_epoch():
    recorder = Recorder(after=6, then=interrupt)
    params = {"early_stopping": True, "learning_rate_init": 0.5, "max_iter": 12, "n_networks": 2}
    with pytest.warns(UserWarning, match="interrupted"):
        interrupted = model(**params).set_callbacks(recorder).fit(X, Y)
    best = int(np.argmax(interrupted.validation_scores_))
    np.testing.assert_array_equal(interrupted.weights_, recorder.weights[best])


class Impatient(Recorder):
    """A callback that interrupts before the first epoch."""

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch":
            raise KeyboardInterrupt


def test_an_interrupt_before_anything_has_been_learnt_is_passed_on():
    interrupted = model().set_callbacks(Impatient())
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(X, Y)
    with pytest.raises(NotFittedError):
        interrupted.predict(X)


BROKEN = {"topology": BrokenTopology([(0, 9)])}
DIVERGING = {"activation": "relu", "learning_rate_init": 1e8}


@pytest.mark.parametrize("params", [BROKEN, DIVERGING], ids=["topology", "divergence"])
def test_a_fit_that_fails_leaves_no_model_half_fitted(params):
    fitted = model().fit(X, Y).set_params(**params)
    with pytest.raises(ValueError):
        fitted.fit(X2, Y2)
    with pytest.raises(NotFittedError):
        fitted.predict(X2)
    fresh = model(**params)
    with pytest.raises(ValueError):
        fresh.fit(X2, Y2)
    assert set(vars(fitted)) == set(vars(fresh))


@pytest.mark.parametrize(
    ("params", "spoil"),
    [
        ({"warm_start": True, **BROKEN}, lambda fitted: fitted.fit(X, Y)),
        ({"warm_start": True, "learning_rate_init": 1e300}, lambda fitted: fitted.fit(1e300 * X, Y)),
        (BROKEN, lambda fitted: fitted.partial_fit(X, Y)),
        ({"learning_rate_init": 1e300}, lambda fitted: fitted.partial_fit(1e300 * X, Y)),
        ({"n_networks": 200}, lambda fitted: fitted.partial_fit(X, Y)),
    ],
    ids=["warm start", "divergence", "partial fit", "divergence of partial fit", "empty peers"],
)
def test_a_failure_to_go_on_leaves_what_was_learnt_before(params, spoil):
    fitted = model(activation="relu").fit(X, Y)
    before = copy.deepcopy(fitted)
    with pytest.raises(ValueError):
        spoil(fitted.set_params(**params))
    fitted.set_params(**before.get_params())
    assert_same_training(fitted, before)
    np.testing.assert_array_equal(fitted.predict_proba(X), before.predict_proba(X))
    assert_same_training(fitted.partial_fit(X, Y), before.partial_fit(X, Y))


def test_what_a_callback_keeps_goes_on_from_where_it_was():
    recorder = Recorder()
    model(max_iter=3, momentum=0.9).set_callbacks(recorder).fit(X, Y)
    kept = recorder.estimators[0]
    assert_same_training(kept.partial_fit(X, Y), model(max_iter=1, momentum=0.9).fit(X, Y).partial_fit(X, Y))


def test_callbacks_see_the_peers_as_stock_estimators():
    recorder = Recorder()
    model(max_iter=3).set_callbacks(recorder).fit(X, Y)
    for epoch, (estimator, weights) in enumerate(zip(recorder.estimators, recorder.weights, strict=True), start=1):
        for peer, own in zip(estimator.peers_, weights, strict=True):
            np.testing.assert_array_equal(peer.coefs_[0].ravel(), own[: peer.coefs_[0].size])
            assert peer.n_iter_ == len(peer.loss_curve_) == epoch


def test_an_error_in_a_callback_is_raised():
    def fail():
        raise RuntimeError("no more disk")

    recorder = Recorder(after=2, then=fail)
    with pytest.raises(RuntimeError, match="no more disk"):
        model().set_callbacks(recorder).fit(X, Y)
    assert recorder.events[-1] == "teardown"


@pytest.mark.filterwarnings("error:X does not have valid feature names")
@pytest.mark.parametrize(
    "rows", [X, pd.DataFrame(X, columns=list("abcd")), csr_array(X)], ids=["array", "frame", "csr"]
)
def test_scoring_monitor_logs_the_score_of_each_epoch(rows):
    monitor = ScoringMonitor(scoring="accuracy")
    fitted = model(max_iter=5).set_callbacks(monitor).fit(rows, Y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert scores == [model(max_iter=k + 1).fit(X, Y).score(X, Y) for k in range(5)]
    assert scores[-1] == fitted.score(rows, Y)


def test_scoring_monitor_passes_on_sample_weights():
    weight = np.where(Y == 0, 10.0, 1.0)
    monitor = ScoringMonitor(scoring="neg_log_loss")
    fitted = model().set_callbacks(monitor).fit(X, Y, sample_weight=weight)
    last = [row["neg_log_loss"] for row in monitor.get_logs().data if row["task_name"] == "epoch"][-1]
    assert last == pytest.approx(-log_loss(Y, fitted.predict_proba(X), sample_weight=weight))


def test_scoring_monitor_works_within_a_pipeline_and_a_grid_search():
    monitor = ScoringMonitor(scoring="accuracy")
    make_pipeline(StandardScaler(), model(max_iter=4).set_callbacks(monitor)).fit(X, Y)
    assert sum(row["task_name"] == "epoch" for row in monitor.get_logs().data) == 4
    monitor = ScoringMonitor(scoring="accuracy")
    network = model(max_iter=4).set_callbacks(monitor)
    GridSearchCV(network, {"topology": ["ring", "random"]}, cv=3, refit=False).fit(X, Y)
    logs = monitor.get_logs(select="all")
    assert sum(row["task_name"] == "epoch" for log in logs for row in log.data) == 2 * 3 * 4


def test_progress_bar_counts_epochs_alone_and_within_a_pipeline_and_a_grid_search(capsys):
    network = model(max_iter=4)
    for fit in (
        network.set_callbacks(ProgressBar()),
        make_pipeline(StandardScaler(), model(max_iter=4)).set_callbacks(ProgressBar(max_propagation_depth=None)),
        GridSearchCV(model(max_iter=4), {"topology": ["ring"]}, cv=2).set_callbacks(ProgressBar(None)),
    ):
        fit.fit(X, Y)
        assert "FusedMLPClassifier - fit" in capsys.readouterr().out


# Threads, processes, and what they must not change

PARALLEL = [
    {},
    {"solver": "adam", "batch_size": 8},
    {"fusion_unit": "step", "fusion_frequency": 3},
    {"fusion_unit": "step", "fusion_frequency": 5, "solver": "adam", "topology": "hypercube", "batch_size": 2},
    {"fusion_rule": "simultaneous", "momentum": 0.9, "topology": "ring", "init": "independent", "n_networks": 3},
    {"early_stopping": True, "validation_fraction": 0.2, "n_networks": 2},
    {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.1, "shuffle": False},
    {"alpha": 0.5, "l1_ratio": 0.5, "loss": "squared_error"},
]
SHAPE = (13, 7)  # so that the number of parameters is no multiple of a vector's or a cache line's


@pytest.fixture
def parallel_always(monkeypatch):
    """Threads however small the data, which would otherwise be too little work for them."""
    monkeypatch.setattr(engine, "_PARALLEL_ROUND", 0)
    monkeypatch.setattr(engine, "_PARALLEL_FIT", 0)


def without_deadlock(function):
    """Return function() or, if it does not return at all, fail."""
    future = Future()

    def run():
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=120)


@pytest.fixture(scope="module")
def in_one_thread():
    """Models trained with n_jobs=None, by parameters, data type and whether rows are weighted."""
    known = {}

    def fitted(params, dtype, weight=None):
        key = repr((params, dtype, weight is None))
        if key not in known:
            known[key] = model(SHAPE, **params).fit(X.astype(dtype), Y, sample_weight=weight)
        return known[key]

    return fitted


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_jobs", [1, 2, 3, -1, 9])
@pytest.mark.parametrize("params", PARALLEL, ids=str)
def test_the_number_of_threads_does_not_change_a_bit(params, n_jobs, dtype, in_one_thread):
    threaded = without_deadlock(lambda: model(SHAPE, **params, n_jobs=n_jobs).fit(X.astype(dtype), Y))
    assert_same_training(threaded, in_one_thread(params, dtype))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("backend", ["threading", "loky", "sequential"])
@pytest.mark.parametrize("params", PARALLEL, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_backend_does_not_change_a_bit(params, backend, dtype, in_one_thread):
    weight = np.linspace(0.5, 1.5, len(Y))

    def fit():
        with joblib.parallel_config(backend, n_jobs=1 if backend == "sequential" else 2):
            return model(SHAPE, **params).fit(X.astype(dtype), Y, sample_weight=weight)

    assert_same_training(without_deadlock(fit), in_one_thread(params, dtype, weight))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_sparse_rows_train_in_parallel_as_they_do_alone(backend):
    rows, labels = load_digits(return_X_y=True)
    rows, labels = csr_array(rows[:200] / 16), labels[:200]
    params = {"n_networks": 3, "fusion_unit": "step", "fusion_frequency": 30}

    def fit():
        with joblib.parallel_config(backend, n_jobs=2):
            return model(SHAPE, **params).fit(rows, labels)

    assert_same_training(without_deadlock(fit), model(SHAPE, **params).fit(rows, labels))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_partial_fits_in_parallel_go_as_they_do_alone(backend):
    alone, parallel = model(solver="adam"), model(solver="adam")

    def fit():
        with joblib.parallel_config(backend, n_jobs=2):
            for _ in range(3):
                parallel.partial_fit(X, Y, classes=[0, 1, 2])

    without_deadlock(fit)
    for _ in range(3):
        alone.partial_fit(X, Y, classes=[0, 1, 2])
    assert_same_training(parallel, alone)


def test_large_networks_train_in_processes():
    rows, labels = load_digits(return_X_y=True)
    params = {"n_networks": 2, "max_iter": 1, "batch_size": 64, "solver": "adam"}

    def fit():
        with joblib.parallel_config("loky", n_jobs=2):
            return model((700, 200), **params).fit(rows, labels)

    fitted = without_deadlock(fit)
    assert fitted.weights_[0].nbytes > 1e6
    assert_same_training(fitted, model((700, 200), **params).fit(rows, labels))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("inner", [2, -1])
@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
def test_fits_within_parallel_calls_neither_deadlock_nor_change(backend, inner):
    def fit():
        with joblib.parallel_config(backend):
            search = GridSearchCV(model(n_jobs=inner), {"topology": ["ring", "random"]}, cv=2, n_jobs=2)
            return search.fit(X, Y)

    search = without_deadlock(fit)
    reference = GridSearchCV(model(), {"topology": ["ring", "random"]}, cv=2).fit(X, Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], reference.cv_results_["mean_test_score"])
    assert_same_training(search.best_estimator_, reference.best_estimator_)


@pytest.mark.usefixtures("parallel_always")
def test_threads_nested_in_threads_neither_deadlock_nor_change():
    def fit():
        with joblib.parallel_config("threading", n_jobs=3):
            networks = [model(n_jobs=3, random_state=seed) for seed in range(6)]
            return joblib.Parallel()(joblib.delayed(network.fit)(X, Y) for network in networks)

    for seed, fitted in enumerate(without_deadlock(fit)):
        assert_same_training(fitted, model(random_state=seed).fit(X, Y))


def test_n_jobs_of_zero_is_refused():
    with pytest.raises(ValueError, match="n_jobs"):
        model(n_jobs=0).fit(X, Y)


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_threads_end_with_the_fit_that_began_them_whatever_happens(n_jobs):
    before = threading.active_count()
    without_deadlock(lambda: model(n_jobs=n_jobs).fit(X, Y))
    with pytest.raises(ValueError, match="got the pair"):
        without_deadlock(lambda: model(n_jobs=n_jobs, topology=BrokenTopology([(0, 9)])).fit(X, Y))
    with pytest.warns(UserWarning, match="interrupted"):
        recorder = Recorder(after=2, then=interrupt)
        without_deadlock(lambda: model(n_jobs=n_jobs).set_callbacks(recorder).fit(X, Y))
    with pytest.raises(ValueError, match="learning_rate_init"):
        without_deadlock(lambda: diverging(n_jobs=n_jobs).fit(1e3 * X, Y))
    for _ in range(100):  # joblib's own threads take a moment to end
        if threading.active_count() <= before:
            break
        time.sleep(0.05)
    assert threading.active_count() <= before


# Divergence


def diverging(**params):
    return model(activation="relu", learning_rate_init=1e8, max_iter=30, **params)


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "params", [{}, {"n_jobs": 2}, {"batch_size": 16}, {"fusion_unit": "step"}, {"momentum": 0.9}], ids=str
)
def test_training_that_diverges_names_peer_epoch_and_learning_rate(params, dtype):
    with pytest.raises(ValueError, match=r"peer \d .*epoch \d+.*learning_rate_init=1e\+08"):
        without_deadlock(lambda: diverging(**params).fit((1e3 * X).astype(dtype), Y))


def test_the_peer_that_diverges_is_the_one_named():
    rows = X.copy()
    rows[120:] *= 1e200
    params = {"partitioner": parts_of(60, 60, 30), "n_networks": 3, "activation": "relu"}
    with pytest.raises(ValueError, match=r"peer 2 .*epoch 1\b.*learning_rate_init=0\.01"):
        model(**params).fit(rows, Y)


# Copies: pickle, joblib, clone


def by_joblib(fitted, path, **kwargs):
    joblib.dump(fitted, path / "model.joblib")
    return joblib.load(path / "model.joblib", **kwargs)


COPIES = {
    "pickle": lambda fitted, _: pickle.loads(pickle.dumps(fitted)),
    "joblib": by_joblib,
    "deepcopy": lambda fitted, _: copy.deepcopy(fitted),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize(
    "params", [{}, {"solver": "adam"}, {"momentum": 0.9, "fusion_unit": "step", "fusion_frequency": 7}], ids=str
)
def test_a_copy_predicts_and_learns_on_as_the_original_does(params, way, tmp_path):
    original = model(**params).fit(pandas_frame(X), Y)
    other = COPIES[way](original, tmp_path)
    np.testing.assert_array_equal(other.predict_proba(pandas_frame(X)), original.predict_proba(pandas_frame(X)))
    assert other.history_ == original.history_
    assert other.feature_names_in_.tolist() == NAMES
    before = original.predict_proba(pandas_frame(X))
    for _ in range(2):
        other.partial_fit(pandas_frame(X), Y)
    assert not np.array_equal(other.predict_proba(pandas_frame(X)), before)
    np.testing.assert_array_equal(original.predict_proba(pandas_frame(X)), before)
    for _ in range(2):
        original.partial_fit(pandas_frame(X), Y)
    assert_same_training(other, original)


def test_a_model_loaded_as_a_file_predicts(tmp_path):
    fitted = model().fit(X, Y)
    loaded = by_joblib(fitted, tmp_path, mmap_mode="r")
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(loaded.peer_scores(X, Y), fitted.peer_scores(X, Y))


CRASHES = """
import os, sys, warnings
import joblib, numpy as np
from sklearn.datasets import load_iris
from skfusion import FusedMLPClassifier, fuse

warnings.simplefilter("ignore")
X, y = load_iris(return_X_y=True)
params = dict(hidden_layer_sizes=(5,), n_networks=3, max_iter=2, warm_start=True, random_state=0)
fitted = FusedMLPClassifier(**params).fit(X, y)
joblib.dump(fitted, sys.argv[1])


def loaded():
    return joblib.load(sys.argv[1], mmap_mode="r")


attempts = {
    "fuse read-only file": lambda: fuse(loaded().weights_, [(0, 1)], 0.5),
    "warm start from read-only file": lambda: loaded().fit(X, y),
    "partial_fit of read-only file": lambda: loaded().partial_fit(X, y),
    "momentum later": lambda: fitted.set_params(momentum=0.9).partial_fit(X, y),
    "adam later": lambda: fitted.set_params(solver="adam").partial_fit(X, y),
    "adam later, warm": lambda: fitted.set_params(solver="adam").fit(X, y),
    "larger batches later": lambda: fitted.set_params(batch_size=64).partial_fit(X, y),
    "double precision, then single": lambda: fitted.partial_fit(X.astype(np.float32), y),
}
for name, attempt in attempts.items():
    child = os.fork()
    if child == 0:
        try:
            attempt()
        except ValueError:
            pass
        except BaseException as error:
            print(name, repr(error), flush=True)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) < 0:
        print(name, "crashed", flush=True)
"""


def test_nothing_crashes_the_process(tmp_path):
    # Each either works or is refused with a ValueError.
    command = [sys.executable, "-c", CRASHES, str(tmp_path / "model.joblib")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.splitlines() == []


def test_a_clone_is_not_fitted_and_has_equal_parameters():
    fitted = model(topology=HypercubeTopology(each_edge_once=True), partitioner=StratifiedKFold(4)).fit(X, Y)
    copied = clone(fitted)
    assert repr(copied) == repr(fitted)
    assert not hasattr(copied, "weights_")
    assert_same_training(copied.fit(X, Y), fitted)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"topology": RandomTopology(), "partitioner": DirichletPartitioner(5.0)},
        {"topology": CountingTopology(), "partitioner": StratifiedKFold(4, shuffle=True, random_state=0)},
        {"hidden_layer_sizes": [4, 3], "class_weight": {0: 2.0, 1: 1.0, 2: 1.0}},
        {"n_networks": None, "partitioner": "class"},
    ],
    ids=str,
)
def test_fit_leaves_its_parameters_alone(params):
    estimator = model(**params)
    before = estimator.get_params()
    shown = {name: repr(value) for name, value in before.items()}
    first = estimator.fit(X, Y).weights_.copy()
    after = estimator.get_params()
    assert all(after[name] is value for name, value in before.items())
    assert {name: repr(value) for name, value in after.items()} == shown
    assert estimator.topology_ is not estimator.topology
    if isinstance(estimator.topology, CountingTopology):
        assert estimator.topology.asked == []
    # And so the second time is as the first.
    np.testing.assert_array_equal(estimator.fit(X, Y).weights_, first)


def test_training_follows_the_random_state():
    assert_same_training(model(random_state=5).fit(X, Y), model(random_state=5).fit(X, Y))
    assert not np.array_equal(model(random_state=5).fit(X, Y).weights_, model(random_state=6).fit(X, Y).weights_)
    rng = np.random.RandomState(5)
    first, second = (model(random_state=rng).fit(X, Y) for _ in range(2))
    assert_same_training(first, model(random_state=5).fit(X, Y))
    assert not np.array_equal(first.weights_, second.weights_)
    assert not np.array_equal(*(model(random_state=None).fit(X, Y).weights_ for _ in range(2)))


def test_the_global_random_state_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    model().fit(X, Y).partial_fit(X, Y).predict(X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# Bad input


def with_value(value):
    rows = X.copy()
    rows[3, 2] = value
    return rows


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("container", [np.asarray, csr_array])
def test_input_that_is_not_finite_is_refused(value, container):
    fitted = model().fit(X, Y)
    bad = container(with_value(value))
    for use in (
        lambda: model().fit(bad, Y),
        lambda: model().partial_fit(bad, Y, classes=[0, 1, 2]),
        lambda: fitted.predict(bad),
        lambda: fitted.predict_proba(bad),
        lambda: fitted.peer_scores(bad, Y),
    ):
        with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
            use()


def test_labels_that_are_missing_or_continuous_are_refused():
    with pytest.raises(ValueError, match="Input y contains NaN"):
        model().fit(X, np.where(Y == 0, np.nan, Y))
    days = np.datetime64("2017-12-18") + Y.astype("timedelta64[D]")
    with pytest.raises(ValueError, match="y must have a label for each row, got NaT"):
        model().fit(X, np.where(Y == 0, np.datetime64("NaT"), days))
    with pytest.raises(ValueError, match="Unknown label type"):
        model().fit(X, Y + 0.5)
    with pytest.raises(ValueError):
        model().fit(X, np.eye(3)[Y])


@pytest.mark.parametrize("width", [3, 5])
def test_input_of_another_width_is_refused(width):
    fitted = model().fit(X, Y)
    other = np.ones((10, width))
    for use in (fitted.predict, fitted.predict_proba, lambda rows: fitted.peer_scores(rows, Y[:10])):
        with pytest.raises(ValueError, match=f"X has {width} features, but FusedMLPClassifier is expecting 4 features"):
            use(other)


def test_input_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model().fit(X, Y[:-1])
    fitted = model().fit(X, Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.peer_scores(X, Y[:-1])


def test_one_class_is_refused_as_there_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match="at least 2 classes, got 1 class"):
        model().fit(X, np.zeros(len(Y)))
    with pytest.raises(ValueError, match=r"^classes must have at least 2 classes, got 1 class: 0"):
        model().partial_fit(X, np.zeros(len(Y)), classes=[0])
    with pytest.raises(ValueError, match=r"^classes must have at least 2 classes, got none"):
        model().partial_fit(X, Y, classes=[])
    with pytest.raises(ValueError, match="y, apart from rows of sample_weight 0, must have at least 2 classes, got 1"):
        model().fit(X, Y, sample_weight=Y == 1)


def test_fewer_rows_than_peers_are_refused():
    for n_rows in (2, 7):
        rows = np.linspace(0, 149, n_rows).astype(int)
        with pytest.raises(ValueError, match=rf"n_networks must be at most .*n_samples = {n_rows}\b.*got 8"):
            model(n_networks=8).fit(X[rows], Y[rows])
    assert len(model(n_networks=8).fit(X[::19], Y[::19]).partition_) == 8


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("hidden_layer_sizes", [0, -3, (5, 0), (5, -1)], ValueError),
        ("hidden_layer_sizes", [2.5, (5, 2.5), None, True, {5, 4}, {5: 4}, "5", b"5"], TypeError),
        ("n_networks", [0, -1], ValueError),
        ("n_networks", [2.0, "8", True], TypeError),
        ("fusion_rate", [-0.1, 1.1, np.nan], ValueError),
        ("fusion_rate", ["0.5", None, True], TypeError),
        ("fusion_frequency", [0, -1], ValueError),
        ("fusion_frequency", [1.5, "1", None], TypeError),
        ("fusion_unit", ["epochs", None, 1], ValueError),
        ("fusion_rule", ["both", None], ValueError),
        ("init", ["zeros", None], ValueError),
        ("activation", ["softmax", None, np.tanh], ValueError),
        ("loss", ["hinge", None], ValueError),
        ("solver", ["lbfgs", None], ValueError),
        ("learning_rate", ["fast", 0.1], ValueError),
        ("learning_rate_init", [0, -0.1, np.nan, np.inf], ValueError),
        ("learning_rate_init", ["constant", None], TypeError),
        ("power_t", [-1, np.inf], ValueError),
        ("momentum", [-0.1, 1.1], ValueError),
        ("nesterovs_momentum", ["yes", 1], TypeError),
        ("beta_1", [-0.1, 1.0], ValueError),
        ("beta_2", [-0.1, 1.0], ValueError),
        ("epsilon", [0, -1e-8], ValueError),
        ("alpha", [-1e-4, np.inf, np.nan], ValueError),
        ("l1_ratio", [-0.1, 1.1], ValueError),
        ("batch_size", [0, -1], ValueError),
        ("batch_size", [1.5, "all", None], TypeError),
        ("max_iter", [0, -1], ValueError),
        ("max_iter", [1.5, None], TypeError),
        ("tol", [-1e-4, np.nan], ValueError),
        ("n_iter_no_change", [0], ValueError),
        ("n_iter_no_change", [1.5, -np.inf, np.nan, pd.NA, np.array([1, 2])], TypeError),
        ("shuffle", ["yes", 1, None], TypeError),
        ("early_stopping", ["yes", 1], TypeError),
        ("validation_fraction", [0, 1, -0.1, 1.1], ValueError),
        ("warm_start", ["yes", 1], TypeError),
        ("verbose", ["loud", None, 0.5], TypeError),
        ("verbose", [-1], ValueError),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value(name, values, error):
    for value in values:
        estimator = model().set_params(**{name: value})  # kept verbatim until it is used
        wrong = value[-1] if isinstance(value, tuple) else value
        for method, kwargs in (("fit", {}), ("partial_fit", {"classes": [0, 1, 2]})):
            with pytest.raises(error, match=name) as caught:
                getattr(estimator, method)(X, Y, **kwargs)
            assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": 5},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": [5, 4]},
        {"hidden_layer_sizes": np.array([5, 4])},
        {"fusion_rate": 1},
        {"fusion_rate": np.float32(0.5)},
        {"n_networks": np.int64(3)},
        {"batch_size": 10**6},
        {"batch_size": "auto"},
        {"n_networks": 150, "max_iter": 1},
        {"momentum": 1.0, "nesterovs_momentum": False},
        {"beta_1": 0, "beta_2": 0, "solver": "adam"},
        {"tol": 0},
        {"n_iter_no_change": np.inf},
        {"verbose": 2},
        {"alpha": 0},
        {"prediction": np.int64(1)},
    ],
    ids=str,
)
def test_parameters_at_the_edge_of_what_is_right_are_accepted(params):
    fitted = model(**params).fit(X, Y)
    assert np.isfinite(fitted.weights_).all()
    assert fitted.predict(X).shape == (150,)


def test_unknown_parameters_are_refused():
    with pytest.raises(TypeError, match="topolgy"):
        FusedMLPClassifier(topolgy="ring")
    with pytest.raises(ValueError, match="topolgy"):
        FusedMLPClassifier().set_params(topolgy="ring")
    with pytest.raises(TypeError):
        FusedMLPClassifier((5,), 8)  # all but the first by name
