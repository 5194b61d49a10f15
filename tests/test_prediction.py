"""Predictions of the consensus, the vote and the peers, themselves stock estimators."""

import copy
import pickle

import numpy as np
import pytest
from models import LOSSES, X2, Y2, X, Y, model
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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


@pytest.mark.parametrize("container", [np.asarray, np.asfortranarray, csr_array])
def test_rows_are_answered_alike_in_portions(container, monkeypatch):
    fitted = model().fit(X, Y)
    expected = fitted.predict_proba(X)
    monkeypatch.setattr("skfusion._training.network._ROWS_AT_ONCE", 40)
    np.testing.assert_allclose(fitted.predict_proba(container(X)), expected, rtol=1e-12)


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


def test_a_vote_of_tanh_outputs_is_the_mean_of_the_peers_probabilities():
    fitted = model(loss="squared_error", init="independent", fusion_rate=0.1).fit(X, Y)
    of_peers = [fitted.set_params(prediction=peer).predict_proba(X) for peer in range(4)]
    vote = fitted.set_params(prediction="vote").predict_proba(X)
    np.testing.assert_allclose(vote, np.mean(of_peers, axis=0), rtol=0, atol=1e-15)
    assert np.ptp(of_peers, axis=0).max() > 0.1


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
