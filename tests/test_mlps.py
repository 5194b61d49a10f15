"""``peers_`` and ``consensus_``: stock MLPs, made without training, at the cost of a copy of the weights."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skfusion import FusedMLPClassifier, FusedMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(60, 5))
LETTERS = RNG.choice(["a", "b", "c"], size=60)
NUMBERS = RNG.normal(size=(60, 2))
KINDS = {
    "three classes": (FusedMLPClassifier, MLPClassifier, ROWS, LETTERS),
    "two classes": (FusedMLPClassifier, MLPClassifier, ROWS, LETTERS == "a"),
    "float32": (FusedMLPClassifier, MLPClassifier, ROWS.astype(np.float32), LETTERS.astype(object)),
    "a number": (FusedMLPRegressor, MLPRegressor, ROWS, NUMBERS[:, 0]),
    "two numbers": (FusedMLPRegressor, MLPRegressor, ROWS, NUMBERS),
}
PARAMS = {"hidden_layer_sizes": (7, 4), "activation": "tanh", "solver": "sgd", "max_iter": 3, "random_state": 0}


@pytest.fixture(params=KINDS)
def case(request):
    """A fitted estimator, the stock MLP of the same shape fitted on the same rows, and these."""
    fused, stock, X, y = KINDS[request.param]
    return fused(n_networks=3, **PARAMS).fit(X, y), stock(**PARAMS).fit(X, y), X, y


def test_they_have_what_a_stock_one_has(case):
    fitted, stock, _, _ = case
    public = ["n_features_in_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_"]
    for mlp in (*fitted.peers_, fitted.consensus_):
        assert type(mlp) is type(stock)
        assert set(vars(stock)) - set(vars(mlp)) == {"_optimizer"}
        assert [getattr(mlp, name) for name in public] == [getattr(stock, name) for name in public]
        assert [(w.shape, w.dtype) for w in mlp.coefs_] == [(w.shape, w.dtype) for w in stock.coefs_]
        assert [(w.shape, w.dtype) for w in mlp.intercepts_] == [(w.shape, w.dtype) for w in stock.intercepts_]
        ours = mlp.get_params()
        assert {name: ours[name] for name in PARAMS} == PARAMS
        if hasattr(stock, "classes_"):
            assert mlp.classes_.dtype == stock.classes_.dtype
            assert mlp.classes_.tolist() == stock.classes_.tolist()


def test_they_have_the_parameters_that_they_were_trained_with():
    params = dict(hidden_layer_sizes=(3,), activation="relu", solver="sgd", learning_rate="invscaling", power_t=0.3)
    params |= dict(learning_rate_init=0.02, momentum=0.5, nesterovs_momentum=False, beta_1=0.8, beta_2=0.99)
    params |= dict(epsilon=1e-7, alpha=0.01, batch_size=7, max_iter=2, tol=1e-3, n_iter_no_change=4, shuffle=False)
    fitted = FusedMLPClassifier(n_networks=2, random_state=3, **params).fit(ROWS, LETTERS)
    for mlp in (*fitted.peers_, fitted.consensus_):
        assert mlp.get_params().items() >= (params | {"random_state": 3}).items()


def test_the_best_loss_of_a_peer_is_its_lowest():
    fitted = FusedMLPClassifier(n_networks=2, **PARAMS).fit(ROWS, LETTERS)
    fitted.history_[-1]["losses"] = [8.0, 9.0]
    for peer, last in zip(fitted.peers_, (8, 9), strict=True):
        assert peer.loss_ == last > peer.best_loss_ == min(peer.loss_curve_)


def test_one_that_trains_on_leaves_the_others_alone(case):
    fitted, _, X, y = case
    peers = fitted.peers_
    before = [peer.predict(X) for peer in peers]
    trained = copy.deepcopy(peers[0])
    for _ in range(3):
        trained.partial_fit(X, y)
        peers[0].partial_fit(X, y)
    np.testing.assert_array_equal(trained.coefs_[0], peers[0].coefs_[0])
    assert not np.array_equal(trained.coefs_[0], fitted.peers_[0].coefs_[0])
    assert [len(peer.loss_curve_) for peer in peers] == [6, 3, 3]
    peers[1].fit(X, y)
    np.testing.assert_array_equal(peers[2].predict(X), before[2])
    np.testing.assert_array_equal(fitted.peers_[1].predict(X), before[1])


def test_one_that_trains_on_as_a_pickle_ends_where_it_would_have(case):
    fitted, _, X, y = case
    there = pickle.loads(pickle.dumps(fitted.peers_[1]))
    np.testing.assert_array_equal(there.predict(X), fitted.peers_[1].predict(X))
    here = fitted.peers_[1].partial_fit(X, y)
    np.testing.assert_array_equal(there.partial_fit(X, y).coefs_[0], here.coefs_[0])
    assert clone(here).fit(X, y).predict(X).shape == y.shape


def peak_of(make):
    """Bytes that are allocated at most while something is made."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = make()
        return made, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n_classes", [2, 500])
def test_they_cost_a_copy_of_the_weights(n_classes):
    X = RNG.normal(size=(8, 400))
    fitted = FusedMLPClassifier((200,), n_networks=4, partitioner="random", max_iter=1, random_state=0)
    fitted.partial_fit(X, np.arange(8) % n_classes, classes=np.arange(n_classes))
    size = fitted.weights_.nbytes
    peers, peak = peak_of(lambda: fitted.peers_)
    assert len(peers) == 4
    assert size < peak < 1.1 * size + 1e5
    _, peak = peak_of(lambda: fitted.consensus_)
    assert peak < 1.1 * size / 4 + 1e5


def test_those_that_are_asked_for_one_after_another_take_no_further_training(case, monkeypatch):
    fitted, stock, X, _ = case
    before = [peer.predict(X) for peer in fitted.peers_]
    changed = fitted.peers_[0]
    if hasattr(changed, "classes_"):
        changed.classes_[:] = changed.classes_[::-1].copy()

    def refuse(*_, **__):
        raise AssertionError("an MLP is trained")

    monkeypatch.setattr(type(stock), "partial_fit", refuse)
    for number in range(3):
        np.testing.assert_array_equal(fitted.peers_[number].predict(X), before[number])
    fitted.consensus_.predict(X)
