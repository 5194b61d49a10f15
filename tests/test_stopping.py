"""Held-out rows, patience, and the best weights."""

import warnings

import numpy as np
import pytest
from models import NO_STEP, Recorder, X, Y, first_layers_changed, model, parts_of, regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("prediction", [1, "consensus", "vote"])
def test_each_peer_holds_out_rows_of_its_own_and_is_scored_on_these(prediction):
    params = {"partitioner": parts_of(15, 31, 104), "n_networks": None, "fusion_rate": 0, "alpha": 0, "max_iter": 1}
    params |= {"early_stopping": True, "validation_fraction": 0.2}
    labels = np.random.default_rng(0).permutation(Y)
    fitted = model((), **params, learning_rate_init=3.0, prediction=prediction).fit(np.eye(len(Y)), labels)
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
    by_heart = first_layers_changed(fitted, start)[1]
    assert prediction != 1 or correct[by_heart].mean() > scores[1] + 0.3


def test_a_peer_whose_held_out_rows_have_no_weight_has_no_score_of_its_own():
    params = {"early_stopping": True, "partitioner": "class", "n_networks": None}
    fitted = model(**params, class_weight={0: 0}).fit(X, Y)
    scores = np.array([record["validation_scores"] for record in fitted.history_])
    np.testing.assert_array_equal(np.isnan(scores), [[True, False, False]] * 3)
    np.testing.assert_allclose(fitted.validation_scores_, scores[:, 1:].mean(axis=1))
    refused = r"early_stopping needs .* validation_fraction=0\.1 .* none, by {}sample_weight; .*higher"
    with pytest.raises(ValueError, match=refused.format(r"class_weight=\{1: 0, 2: 0\} or ")):
        model(early_stopping=True, class_weight={1: 0, 2: 0}, n_networks=1, random_state=1).fit(X[49:], Y[49:])
    weight = np.where(np.arange(len(Y)) == 70, 1e300, 1e-300)
    with pytest.raises(ValueError, match=refused.format("")):
        regressor(early_stopping=True).fit(X, Y, sample_weight=weight)


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
@pytest.mark.parametrize(("patience", "tol"), [(1, 1e-4), (4, 1e-4), (1, 0)])
def test_training_without_progress_stops_as_that_of_mlp_classifier(patience, tol, early_stopping):
    params = {"learning_rate_init": NO_STEP, "n_iter_no_change": patience, "tol": tol, "max_iter": 50}
    params |= {"early_stopping": early_stopping, "solver": "sgd", "alpha": 0, "shuffle": False}
    reference = MLPClassifier((6,), **params).fit(X, Y)
    fitted = model(**params, fusion_rate=0).fit(X, Y)
    assert fitted.n_iter_ == reference.n_iter_
    assert (fitted.n_iter_ < 50) == (tol > 0)  # with none, a loss that stays the same will do
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
