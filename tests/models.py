"""Small models, their data, and what tests ask of them."""

import threading
from concurrent.futures import Future

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier, FusedMLPRegressor
from skfusion.partition import PredefinedPartitioner
from skfusion.topology import BaseTopology

TOPOLOGIES = ["ring", "random", "hypercube"]
LOSSES = ["log_loss", "squared_error"]
NO_STEP = 1e-30  # a learning rate that is lost in rounding


def standardised(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


X, Y = standardised(load_iris)
X2, Y2 = standardised(load_breast_cancer)
GROUPS = np.resize(["york", "bath", "hull", "bath"], len(Y))


DEFAULTS = {"n_networks": 4, "max_iter": 3, "tol": 0, "n_iter_no_change": 10**6, "random_state": 0}


def model(hidden_layer_sizes=(6,), **params):
    """A small classifier that trains for a few epochs."""
    return FusedMLPClassifier(hidden_layer_sizes, **DEFAULTS | params)


def regressor(hidden_layer_sizes=(6,), **params):
    """A small regressor that trains for a few epochs."""
    return FusedMLPRegressor(hidden_layer_sizes, **DEFAULTS | params)


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


REPEATED_ROWS = {f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")}


def assert_check_passes(estimator, check):
    """One of scikit-learn's checks passes, or if it is of repeated rows, fails.

    A row repeated takes several steps, and its copies may go to several peers: equal to a weight in expectation alone.
    """
    if check.func.__name__ in REPEATED_ROWS:
        with pytest.raises(AssertionError):
            check(estimator)
    else:
        check(estimator)


def first_layers_changed(fitted, start):
    """With the identity as X, each column is one row's own: which rows each peer has trained on."""
    first = start.peers_[0].coefs_[0]
    return [np.flatnonzero((peer.coefs_[0] != first).any(axis=1)) for peer in fitted.peers_]


class CountingTopology(BaseTopology):
    """A third party's topology that remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        self.asked.append((n_networks, fusion_round))
        return np.array([(0, 1)])


class BrokenTopology(BaseTopology):
    def __init__(self, broken):
        self.broken = broken

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return np.array(self.broken)


class LaterTopology(BaseTopology):
    """A third party's topology, which has no first round."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        if fusion_round == 0:
            raise ValueError("the first round is past")
        return [(0, 1)]


NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


def pandas_frame(rows, names=NAMES):
    return pd.DataFrame(rows, columns=names)


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


class AtEpoch:
    """A callback that calls a function as an epoch, counted from 0, begins."""

    def __init__(self, epoch, function):
        self.epoch, self.function = epoch, function

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch" and context.task_id == self.epoch:
            self.function()

    def on_fit_task_end(self, estimator, context): ...


def interrupt():
    raise KeyboardInterrupt


def without_deadlock(function):
    """Return function() or, if it does not return at all, fail."""
    future = Future()

    def run():
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=500)


def diverging(**params):
    return model(activation="relu", learning_rate_init=1e8, max_iter=30, **params)
