"""Callbacks around each epoch, and interrupts."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from models import (
    X2,
    Y2,
    AtEpoch,
    BrokenTopology,
    Recorder,
    X,
    Y,
    assert_same_training,
    interrupt,
    model,
    without_seconds,
)
from scipy.sparse import csr_array
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion.topology import BaseTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    "params", [{}, {"early_stopping": True, "learning_rate_init": 0.3, "validation_fraction": 0.3}], ids=str
)
def test_a_callback_sees_each_epoch_as_if_training_had_ended_there(params):
    """With early stopping, that is with the weights of the best epoch so far."""
    recorder = Recorder()
    model(max_iter=4, **params).set_callbacks(recorder).fit(X, Y)
    epochs = ["begin epoch", "end epoch"] * 4
    assert recorder.events == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    for k in range(4):
        until = model(max_iter=k + 1, **params).fit(X, Y)
        np.testing.assert_array_equal(recorder.weights[k], until.weights_)
        np.testing.assert_array_equal(recorder.predicted[k], until.predict_proba(X))
        # And what it saw then has not changed since.
        np.testing.assert_array_equal(recorder.estimators[k].weights_, until.weights_)
        np.testing.assert_array_equal(recorder.estimators[k].predict_proba(X), until.predict_proba(X))
        assert without_seconds(recorder.estimators[k].history_) == without_seconds(until.history_)
        assert set(vars(until)) <= set(vars(recorder.estimators[k]))


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


def test_an_interrupt_while_a_trained_model_is_judged_keeps_it(monkeypatch):
    monkeypatch.setattr("skfusion._training.outcome.Yardstick.judge", lambda *_: interrupt())
    with pytest.warns(UserWarning, match="interrupted"):
        interrupted = model().fit(X, Y)
    monkeypatch.undo()
    assert_same_training(interrupted, model().fit(X, Y))


def test_an_interrupt_before_anything_has_been_learnt_is_passed_on():
    interrupted = model().set_callbacks(AtEpoch(0, interrupt))
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(X, Y)
    with pytest.raises(NotFittedError):
        interrupted.predict(X)


BROKEN = {"topology": BrokenTopology([(0, 9)])}


class EndingTopology(BaseTopology):
    """A third party's topology, which draws, and has three rounds alone."""

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        first = random_state.randint(n_networks)
        return [(first, 0 if fusion_round < 3 else n_networks)]


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
        ({"warm_start": True, "topology": EndingTopology()}, lambda fitted: fitted.fit(X, Y)),
        ({"warm_start": True, "learning_rate_init": 1e300}, lambda fitted: fitted.fit(1e300 * X, Y)),
        (BROKEN, lambda fitted: fitted.partial_fit(X, Y)),
        ({"learning_rate_init": 1e300}, lambda fitted: fitted.partial_fit(1e300 * X, Y)),
        ({"n_networks": 200}, lambda fitted: fitted.partial_fit(X, Y)),
    ],
    ids=["warm start", "a later round", "divergence", "partial fit", "divergence of partial fit", "empty peers"],
)
def test_a_failure_to_go_on_leaves_what_was_learnt_before(params, spoil):
    fitted = model(activation="relu", topology="random").fit(X, Y)
    before = copy.deepcopy(fitted)
    with pytest.raises(ValueError):
        spoil(fitted.set_params(**params))
    fitted.set_params(**before.get_params())
    assert_same_training(fitted, before)
    np.testing.assert_array_equal(fitted.predict_proba(X), before.predict_proba(X))
    assert_same_training(fitted.partial_fit(X, Y), before.partial_fit(X, Y))


@pytest.mark.parametrize(
    "params",
    [{"momentum": 0.9}, {"drift_correction": "tracking", "fusion_momentum": 0.8, "fusion_frequency": 2}],
    ids=str,
)
def test_what_a_callback_keeps_goes_on_from_where_it_was(params):
    recorder = Recorder()
    model(max_iter=3, **params).set_callbacks(recorder).fit(X, Y)
    kept, other = recorder.estimators[0], model(max_iter=1, **params).fit(X, Y)
    for each in (kept, other):
        each.partial_fit(X, Y).partial_fit(X, Y)
    assert_same_training(kept, other)


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
