"""Learning that fails says so: warnings of training that is no use, and training that diverged is refused."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from models import NO_STEP
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine, make_circles, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.preprocessing import scale

from skfusion import FusedMLPClassifier, FusedMLPRegressor
from skfusion._training import outcome
from skfusion._training.problem import Data
from skfusion.topology import RingTopology

WINE, CANCER, IRIS = (load(return_X_y=True) for load in (load_wine, load_breast_cancer, load_iris))
AREA = np.delete(CANCER[0], 3, axis=1), CANCER[0][:, 3]
SUDDEN = {"n_iter_no_change": 1, "learning_rate_init": NO_STEP}  # converges at once, having learned nothing


def said(model, X, y, **fit_params):
    """Fit, and return the texts of the ConvergenceWarnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, **fit_params)
    assert all(warning.category is ConvergenceWarning for warning in caught)
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


# Raw and scaled


@pytest.mark.parametrize("data", [WINE, CANCER], ids=["wine", "breast cancer"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_networks": 1},
        {"loss": "squared_error"},
        {"class_weight": "balanced"},
        {"partitioner": "class", "n_networks": None},
        {"partitioner": "class", "n_networks": None, "fusion_unit": "step", "fusion_frequency": 10},
        {"prediction": 0},
    ],
    ids=str,
)
def test_rows_that_are_not_scaled_are_warned_of_and_scaled_ones_are_not(data, params):
    X, y = data
    model = FusedMLPClassifier(tol=1e-3, random_state=0, **params)
    [text] = said(model, X, y)
    assert text.startswith("Training is hardly better than a constant answer")
    assert "scale X" in text
    assert "learning_rate_init lower than 0.01" in text
    assert model.score(X, y) < 0.66  # 0.627 and 0.399 are the largest classes' shares
    assert said(model, scale(X), y) == []
    assert model.score(scale(X), y) > 0.9


def test_targets_that_are_not_scaled_are_warned_of_and_scaled_ones_are_not():
    X, y = AREA
    model = FusedMLPRegressor(tol=1e-3, random_state=0)
    [text] = said(model, X, y)
    assert "the mean of y" in text
    assert "scale X and y" in text
    assert model.score(X, y) < 0.01
    assert said(model, scale(X), scale(y)) == []
    assert model.score(scale(X), scale(y)) > 0.9


def test_an_output_that_larger_ones_drown_is_named():
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(400, 4)), rng.normal(size=400)
    y = np.column_stack([3 * X[:, 0], 0.02 * X[:, 1], np.full(400, 3), X[:, 2] + noise])
    model = FusedMLPRegressor((20,), n_networks=2, random_state=0)
    [text] = said(model, X, y)
    assert text.startswith("Training predicts columns [1] of y worse than their means do; scale y, as StandardScaler")
    assert said(model, X, scale(y)) == []
    weight = np.repeat([1, 1e-9], 400)  # so that rows which contradict the others count for nothing
    assert said(model, np.vstack([X, X]), np.vstack([scale(y), -scale(y)]), sample_weight=weight) == []


@pytest.mark.parametrize("kind", [FusedMLPClassifier, FusedMLPRegressor])
@pytest.mark.parametrize("l1_ratio", [0, 1])
def test_a_penalty_that_takes_all_coefficients_to_0_is_named(kind, l1_ratio):
    X, y = scale(WINE[0]), WINE[1]
    for alpha, rows in ((10, X), (1e-4, 1e-10 * X)):  # of rows as small as these, nothing is learned either
        [text] = said(kind((10,), n_networks=2, alpha=alpha, l1_ratio=l1_ratio, random_state=0), rows, y)
        assert text.startswith("Training is hardly better than a constant answer")
        assert ("; set alpha lower than 10, since the penalty" in text) == (alpha == 10)


def test_training_that_stops_on_a_plateau_is_told_how_to_get_across():
    X, y = make_circles(300, noise=0.05, factor=0.5, random_state=0)
    model = FusedMLPClassifier(n_networks=2, random_state=0)
    [text] = said(model, X, y)
    assert "or n_iter_no_change higher, to get across a plateau" in text
    assert model.score(X, y) < 0.6
    [text] = said(model.set_params(n_iter_no_change=50), X, y)
    assert "constant answer" not in text
    assert model.score(X, y) > 0.7


# What is compared


def constants(y, weight):
    """The loss of class frequencies, by scikit-learn."""
    frequencies = np.bincount(y, weights=weight) / weight.sum()
    return log_loss(y, np.tile(frequencies, (len(y), 1)), sample_weight=weight)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_losses_named_are_those_of_the_answers_and_of_the_class_frequencies(weighted):
    X, y = WINE
    weight = (
        np.random.default_rng(0).uniform(size=len(y)) * (np.arange(len(y)) % 5 > 0) if weighted else np.ones(len(y))
    )
    model = FusedMLPClassifier(**SUDDEN, random_state=0)
    [text] = said(model, X, y, sample_weight=weight)
    loss = log_loss(y, np.maximum(model.predict_proba(X), 1e-300), sample_weight=weight)
    assert f"a loss of {loss:.4g} against {constants(y, weight):.4g} for the class frequencies" in text


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_the_losses_named_are_those_of_the_answers_and_of_the_mean(n_outputs, weighted):
    X, y = make_regression(60, 4, n_targets=n_outputs, random_state=0)
    weight = np.random.default_rng(0).uniform(size=60) if weighted else None
    model = FusedMLPRegressor(**SUDDEN, random_state=0)
    [text] = said(model, X, y, sample_weight=weight)
    y = y.reshape(60, n_outputs)

    def half_squared(answers):
        return np.average(((y - answers) ** 2).mean(axis=1), weights=weight) / 2

    loss = half_squared(model.predict(X).reshape(60, n_outputs))
    constant = half_squared(np.average(y, axis=0, weights=weight))
    assert f"a loss of {loss:.4g} against {constant:.4g} for the mean of y" in text


@pytest.mark.parametrize("n_classes", [2, 3])
def test_squared_errors_are_compared_with_the_class_frequencies(n_classes):
    X, y = WINE[0][:120], np.arange(120) % n_classes
    model = FusedMLPClassifier(**SUDDEN, loss="squared_error", random_state=0)
    [text] = said(model, X, y)
    probabilities = model.predict_proba(X)
    errors = (probabilities - np.eye(n_classes)[y]) ** 2
    loss = 0.5 * errors[:, n_classes == 2 :].sum(axis=1).mean()  # of two classes there is one output
    constant = {2: 0.125, 3: 1 / 3}[n_classes]
    assert f"a loss of {loss:.4g} against {constant:.4g}" in text


def test_peers_with_a_class_each_are_judged_by_what_they_know_together():
    X, y = IRIS[0], IRIS[1]
    alone = FusedMLPClassifier((5,), n_networks=None, partitioner="class", fusion_rate=0, prediction=2, random_state=0)
    [text] = said(alone, scale(X), y)
    assert alone.loss_ < 0.05  # on the rows of its own class
    assert "fuse more" in text
    assert said(alone.set_params(fusion_rate=0.5, fusion_unit="step", prediction="vote", tol=1e-3), scale(X), y) == []
    assert alone.score(scale(X), y) > 0.9


def test_a_class_without_weight_or_targets_all_alike_are_no_reason_to_warn():
    X = scale(load_diabetes().data)
    assert said(FusedMLPRegressor(random_state=0, tol=1e-2), X, np.full(len(X), 0.1)) == []
    weights = FusedMLPClassifier((5,), random_state=0, tol=1e-2, class_weight={0: 1, 1: 0, 2: 0})
    assert said(weights, scale(IRIS[0]), IRIS[1]) == []


def test_a_sample_of_many_rows_is_enough(monkeypatch):
    monkeypatch.setattr(outcome, "_MAX_ROWS", 40)
    X, y = WINE
    assert len(said(FusedMLPClassifier(random_state=0), X, y)) == 1
    assert said(FusedMLPClassifier(random_state=0, tol=1e-3), scale(X), y) == []
    monkeypatch.setattr(outcome, "_MAX_ROWS", 2)  # which are the first and the last that have a weight
    weights = FusedMLPClassifier((5,), n_networks=1, random_state=0, tol=1e-2, class_weight={0: 0, 2: 0})
    assert said(weights, scale(IRIS[0]), IRIS[1]) == []


def test_fusion_that_drives_the_peers_apart_is_warned_of_until_it_is_refused():
    X, y = scale(IRIS[0]), IRIS[1]
    apart = FusedMLPClassifier((4,), topology=RingTopology(mixing="metropolis"), fusion_rate=1, random_state=0)
    [text] = said(apart.set_params(tol=1e-2), X, y)  # the consensus stays where it is, so the loss tells nothing
    last = apart.history_[-1]
    before, after = last["disagreement_before_fusion"], last["disagreement_after_fusion"]
    assert text.startswith("Training has driven the peers apart")
    assert f"from {before:.3g} to {after:.3g}: set fusion_rate lower than 1" in text
    [text] = said(copy.deepcopy(apart).set_params(fusion_rate=0, warm_start=True, max_iter=2), X, y)
    assert "fusion_rate" not in text  # which cannot be lower than 0
    assert said(apart.set_params(fusion_rate=0.7), X, y) == []
    with pytest.raises(ValueError, match=r"(diverged|stopped being finite).*; fusion increases the peers' disag"):
        apart.set_params(fusion_rate=1, fusion_unit="step", n_iter_no_change=np.inf).fit(X, y)


def test_corrections_that_rounds_do_not_keep_in_balance_are_blamed_on_the_rule():
    X, y = scale(IRIS[0]), IRIS[1]
    tracking = FusedMLPClassifier((4,), n_networks=2, topology="random", drift_correction="tracking", random_state=0)
    tracking.set_params(fusion_unit="step", max_iter=40, n_iter_no_change=np.inf)
    [text] = said(tracking.set_params(fusion_rule="sequential"), X, y)
    assert "raised the loss" in text or "hardly better" in text
    assert "where pairs fuse, set fusion_rule='simultaneous', since drift_correction='tracking' needs rounds" in text
    [text] = said(tracking.set_params(fusion_rule="simultaneous"), X, y)
    assert "fusion_rule" not in text
    assert tracking.loss_ < tracking.loss_curve_[0]


# When


def test_reaching_max_iter_is_told_once_with_what_to_change():
    X, y = scale(IRIS[0]), IRIS[1]
    [text] = said(FusedMLPClassifier(max_iter=3, random_state=0), X, y)
    assert "max_iter=3" in text
    assert "set max_iter higher" in text
    assert "constant" not in text
    [text] = said(FusedMLPClassifier(max_iter=3, random_state=0, learning_rate_init=NO_STEP), X, y)
    assert "set max_iter higher" in text
    assert "hardly better than a constant answer" in text


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("patience", [1, 3, np.inf])
@pytest.mark.parametrize("max_iter", [4, 5])
def test_what_is_to_be_changed_after_max_iter_would_have_ended_training(max_iter, patience, early_stopping):
    X, y = scale(IRIS[0]), IRIS[1]
    model = FusedMLPClassifier(
        learning_rate_init=0.05, max_iter=max_iter, random_state=0, early_stopping=early_stopping
    )
    [text] = said(model.set_params(n_iter_no_change=patience, tol=0), X, y)
    stalled = "validation score hardly rises" if early_stopping else "loss hardly falls"
    advised = {name: f"or {name} if the {stalled} any more" in text for name in ("tol", "n_iter_no_change lower")}
    assert sum(advised.values()) == 1
    ended = said(model.set_params(tol=10), X, y) == []
    assert advised["tol"] == ended
    assert said(model.set_params(n_iter_no_change=1), X, y) == []


def test_a_warm_start_that_spoils_what_was_learned_is_warned_of():
    X, y = scale(load_diabetes().data), scale(load_diabetes().target)
    model = FusedMLPRegressor(n_networks=1, warm_start=True, tol=1e-2, random_state=0).fit(X, y)
    assert said(model, X, y) == []
    [text] = said(model.set_params(learning_rate_init=0.09, n_iter_no_change=2), X, y)
    assert "raised the loss" in text or "hardly better" in text


def test_partial_fit_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FusedMLPClassifier(random_state=0).partial_fit(*WINE, classes=[0, 1, 2])


# Divergence


@pytest.mark.parametrize("alpha", [1e-4, 0])
def test_a_regression_whose_loss_grew_beyond_all_bounds_is_refused(alpha):
    model = FusedMLPRegressor(activation="relu", alpha=alpha, random_state=0, max_iter=20)
    with pytest.raises(
        ValueError, match=r"loss diverged.*rose from .* to .*e\+.*learning_rate_init=0.01.*X or y is not scaled"
    ):
        model.fit(*AREA)
    assert not hasattr(model, "weights_")


def test_a_regression_that_diverges_in_partial_fit_is_refused_and_changes_nothing():
    model = FusedMLPRegressor(activation="relu", random_state=0)
    with pytest.raises(ValueError, match="diverged"):
        model.partial_fit(*AREA)
    model.partial_fit(scale(AREA[0]), scale(AREA[1]))
    before = pickle.dumps(model.weights_)
    with pytest.raises(ValueError, match=r"diverged|stopped being finite"):
        model.partial_fit(1e3 * AREA[0], AREA[1])
    assert pickle.dumps(model.weights_) == before


def test_a_loss_that_is_all_penalty_is_not_taken_for_divergence():
    model = FusedMLPClassifier(**SUDDEN, alpha=1e9, l1_ratio=0.5, random_state=0)
    [text] = said(model, *WINE)
    assert "hardly better than a constant answer" in text
    assert model.loss_ > 1e8


def test_high_losses_that_fall_are_not_taken_for_divergence():
    X, y = scale(load_diabetes().data), 1e9 + scale(load_diabetes().target)  # the loss begins at 1e18 of the constant's
    model = FusedMLPRegressor((), max_iter=1, activation="identity", learning_rate_init=1e-4, random_state=0)
    [text] = said(model, X, y)
    assert "max_iter" in text
    assert model.loss_ > 1e12


# Weights so large that answers are not finite, although training ended before a loss told

ROWS, TARGETS = (scale(part) for part in make_regression(200, 10, random_state=0))
LAST_EPOCH = dict(hidden_layer_sizes=(8, 8), activation="identity", batch_size=25, random_state=0)


@pytest.mark.filterwarnings("ignore:Maximum number of epochs")
@pytest.mark.parametrize("rate", [1.0, 1.54])
@pytest.mark.parametrize("partial", [False, True], ids=["fit", "partial_fit"])
def test_training_that_diverges_in_its_last_epoch_is_refused(monkeypatch, rate, partial):
    def train():
        model = FusedMLPRegressor(**LAST_EPOCH, learning_rate_init=rate, max_iter=5)
        if not partial:
            return model.fit(ROWS, TARGETS)
        for _ in range(5):
            model.partial_fit(ROWS, TARGETS)
        return model

    with pytest.raises(ValueError, match=r"predictions of peer \d stopped being finite|diverged"):
        train()
    monkeypatch.setattr(outcome.Yardstick, "judge", lambda *_, **__: None)
    unchecked = train()
    assert np.isfinite(unchecked.weights_).all()
    assert np.isfinite(unchecked.loss_curve_).all()
    assert not np.isfinite(unchecked.predict(ROWS)).all()


def fitted_to_iris(**params):
    """A fitted model, and a yardstick for it."""
    X, y = scale(IRIS[0]), IRIS[1]
    model = FusedMLPClassifier(n_networks=3, random_state=0, **params).fit(X, y)
    data = Data(X, y.astype(np.int32), None, model.partition_)
    return model, outcome.Yardstick(copy.copy(model._ensemble), data)


@pytest.mark.parametrize("activation", ["identity", "relu"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_each_peer_is_checked_at_the_end(value, activation):
    model, yardstick = fitted_to_iris(hidden_layer_sizes=(4, 4), activation=activation, prediction=0, tol=1)
    ensemble = model._ensemble
    yardstick.judge(ensemble, model.n_iter_)
    weights = model.weights_.copy()
    weights[2] *= np.where(weights[2] == 0, 1, value)
    with pytest.raises(ValueError, match=r"peer 2 stopped being finite"):
        yardstick.judge(ensemble.with_weights(weights), model.n_iter_)


@pytest.mark.parametrize(
    ("model", "target", "slopes"),
    [
        (FusedMLPRegressor(), 0, [-1, 1]),
        (FusedMLPClassifier(), 1, [0, 200]),
        (FusedMLPClassifier(loss="squared_error"), 0, [-2, -2]),  # where less than 0 is as sure as 0
    ],
    ids=["regression", "log_loss", "squared_error"],
)
def test_peers_that_still_learn_what_they_predict_together_do_not_diverge(model, target, slopes):
    rows, targets = np.ones((2, 1)), np.full(2, target)
    classes = {"classes": [0, 1]} if isinstance(model, FusedMLPClassifier) else {}
    model.set_params(hidden_layer_sizes=(), n_networks=2, alpha=0, random_state=0).partial_fit(rows, targets, **classes)
    model.weights_ = np.column_stack([slopes, np.zeros(2)])
    assert (model.predict(rows) == target).all()
    model.partial_fit(rows, targets)
    assert model.loss_ > 0.1


def test_a_loss_that_came_down_again_is_no_divergence():
    model, yardstick = fitted_to_iris(hidden_layer_sizes=(4,), tol=1)
    model.history_[0]["loss"] = 1e30
    assert yardstick.judge(model._ensemble, model.n_iter_) is None
    spoilt = model._ensemble.with_weights(np.zeros_like(model.weights_))
    with pytest.raises(ValueError, match=r"the loss diverged: it rose from .* to 1e\+30"):
        yardstick.judge(spoilt, model.n_iter_)
    complaint = yardstick.judge(spoilt, model.n_iter_ - 1)  # if the first epoch was of an earlier call
    assert complaint.startswith("is hardly better than a constant answer")


def test_answers_that_are_far_off_in_the_end_are_divergence_although_no_loss_was():
    model = FusedMLPRegressor((4,), activation="identity", n_networks=2, max_iter=2, random_state=0)
    [_] = said(model, ROWS, TARGETS)
    yardstick = outcome.Yardstick(copy.copy(model._ensemble), Data(ROWS, TARGETS[:, None], None, model.partition_))
    with pytest.raises(ValueError, match=r"the loss diverged: it rose from .*e\+\d+ by epoch 2"):
        yardstick.judge(model._ensemble.with_weights(1e6 * model.weights_), 2)


@pytest.mark.parametrize(("before", "after", "blamed"), [(2, 2.01, False), (2, 2.1, True), (0.2, 0.9, False)])
def test_fusion_is_blamed_for_what_it_increases_beyond_rounding_and_the_consensus(before, after, blamed):
    model, yardstick = fitted_to_iris(hidden_layer_sizes=(4,), tol=1)
    length = np.linalg.norm(model.weights_.mean(axis=0))
    around_round = {"disagreement_before_fusion": before * length, "disagreement_after_fusion": after * length}
    model.history_[-1] |= around_round
    complaint = yardstick.judge(model._ensemble, model.n_iter_)
    assert (complaint is not None) == blamed
    assert not blamed or complaint.startswith("has driven the peers apart; fusion increases")
    model.history_.append(model.history_[-1] | dict.fromkeys(around_round, np.inf))  # which tells nothing
    assert yardstick.judge(model._ensemble, model.n_iter_) == complaint


def test_a_loss_that_rose_a_little_is_none_that_training_has_raised():
    model, yardstick = fitted_to_iris(hidden_layer_sizes=(4,), tol=1)
    model.weights_ = 0.9 * model.weights_
    assert log_loss(IRIS[1], model.predict_proba(scale(IRIS[0]))) > yardstick.start
    assert yardstick.judge(model._ensemble, model.n_iter_) is None


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_early_stopping_refuses_answers_that_are_not_finite():
    refused = 0
    for rate in np.arange(0.8, 1.8, 0.2):
        model = FusedMLPRegressor(**LAST_EPOCH, early_stopping=True, learning_rate_init=rate)
        with pytest.raises(ValueError, match=r"stopped being finite|diverged") as caught:  # and not r2_score's error
            model.fit(ROWS, TARGETS)
        refused += "predictions of the peers stopped" in str(caught.value)
    assert refused
