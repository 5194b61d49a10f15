"""One peer is scikit-learn's MLPClassifier: same weights after the same steps, same losses, same stops."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csc_array, csr_array, csr_matrix
from sklearn.datasets import load_digits, load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from skfusion import FusedMLPClassifier, FusedMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

OPTIMIZERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    "momentum": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False, "learning_rate_init": 0.02},
    "nesterov": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": True, "learning_rate_init": 0.02},
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
}
# Of the 50 rows: 50, 2 (the second smaller) and 1 step an epoch; epochs for 100 steps.
EPOCHS = {1: 2, 32: 50, "auto": 100}
ENDLESS = {"tol": 0.0, "n_iter_no_change": 10**6}


def make_data(n_classes, dtype=np.float64):
    """50 rows of iris in random order, all species or versicolor against virginica, with columns of variance 1."""
    X, y = load_iris(return_X_y=True)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(y >= 3 - n_classes))[:50]
    return scale(X[rows]).astype(dtype), np.array(["setosa", "versicolor", "virginica"])[y[rows]]


def make_pair(X, y, **params):
    """A fused estimator of one peer and scikit-learn's, of equal weights, which have seen the same rows once.

    They are regressors where y holds floats, else classifiers.
    """
    regression = y.dtype.kind == "f"
    Fused, MLP = (FusedMLPRegressor, MLPRegressor) if regression else (FusedMLPClassifier, MLPClassifier)
    known = {} if regression else {"classes": np.unique(y)}
    params = {"hidden_layer_sizes": (6, 5), "activation": "tanh", "warm_start": True, "shuffle": False} | params
    fused = Fused(n_networks=1, random_state=0, **params).partial_fit(X, y, **known)
    mlp = MLP(**params).partial_fit(X, y, **known)
    mlp.coefs_ = [coefs.copy() for coefs in fused.coefs_]
    mlp.intercepts_ = [intercepts.copy() for intercepts in fused.intercepts_]
    mlp.loss_curve_, mlp.best_loss_ = [], np.inf
    return fused, mlp


def fit_pair(X, y, sample_weight=None, **params):
    """Both after ``fit``, which goes on from equal weights with a new optimiser; and the fused one's loss curve."""
    return fit_both(*make_pair(X, y, **params), X, y, sample_weight)


def fit_both(fused, mlp, X, y, sample_weight=None):
    """The same of a pair that has been made."""
    fused.fit(X, y, sample_weight), mlp.fit(X, y, sample_weight)
    assert fused.n_iter_ == mlp.n_iter_
    return fused, mlp, fused.loss_curve_[-fused.n_iter_ :]


def flat(estimator):
    layers = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    return np.concatenate([part.ravel() for layer in layers for part in layer])


def assert_same_weights(fused, mlp, n_steps):
    """Equal to one rounding error of eps in each step; the weights are about 1 and the losses nearly convex."""
    for mine, theirs in zip(fused.coefs_ + fused.intercepts_, mlp.coefs_ + mlp.intercepts_, strict=True):
        assert mine.shape == theirs.shape
        assert mine.dtype == theirs.dtype
        assert_allclose(mine, theirs, rtol=0, atol=n_steps * np.finfo(mine.dtype).eps)


# Steps


@pytest.mark.parametrize(("n_classes", "dtype"), [(2, np.float32), (3, np.float64)])
@pytest.mark.parametrize("activation", ["identity", "tanh", "logistic", "relu"])
@pytest.mark.parametrize("batch_size", EPOCHS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_hundred_steps_give_the_same_weights(optimizer, batch_size, activation, n_classes, dtype):
    X, y = make_data(n_classes, dtype)
    params = OPTIMIZERS[optimizer] | ENDLESS | {"activation": activation, "alpha": 0.05, "batch_size": batch_size}
    fused, mlp = make_pair(X, y, max_iter=EPOCHS[batch_size], **params)
    start = flat(fused)
    fit_both(fused, mlp, X, y)
    assert_same_weights(fused, mlp, 100)
    assert np.abs(flat(fused) - start).max() > 0.1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_alpha_matters_and_means_the_same(optimizer):
    X, y = make_data(3)
    params = OPTIMIZERS[optimizer] | ENDLESS | {"batch_size": 32, "max_iter": 20}
    fits = [fit_pair(X, y, alpha=alpha, **params) for alpha in (0, 1)]
    for fused, mlp, _ in fits:
        assert_same_weights(fused, mlp, 40)
    without, with_penalty = (np.linalg.norm(flat(fused)) for fused, _, _ in fits)
    assert with_penalty < 0.95 * without


@pytest.mark.parametrize("hidden_layer_sizes", [(), 7, (100,), (3, 4, 3)])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_any_hidden_layers_give_the_same_weights(batch_size, hidden_layer_sizes):
    X, y = make_data(3)
    params = OPTIMIZERS["nesterov"] | ENDLESS | {"hidden_layer_sizes": hidden_layer_sizes, "batch_size": batch_size}
    fused, mlp, _ = fit_pair(X, y, max_iter=EPOCHS[batch_size], **params)
    assert_same_weights(fused, mlp, 100)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_wide_layers_give_the_same_weights(optimizer, dtype):
    X, y = load_digits(return_X_y=True)
    params = OPTIMIZERS[optimizer] | ENDLESS | {"hidden_layer_sizes": (70, 33), "batch_size": 50, "max_iter": 25}
    fused, mlp, _ = fit_pair((X[:200] / 16).astype(dtype), y[:200], **params)
    assert_same_weights(fused, mlp, 100)


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("power_t", [0.5, 0.1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_learning_rate_schedules_give_the_same_weights(optimizer, power_t, learning_rate):
    X, y = make_data(3)
    params = OPTIMIZERS[optimizer] | ENDLESS | {"batch_size": 20, "max_iter": 20}
    fused, mlp, _ = fit_pair(X, y, learning_rate=learning_rate, power_t=power_t, **params)
    assert_same_weights(fused, mlp, 60)
    if learning_rate == "invscaling" and optimizer != "adam":
        constant, _, _ = fit_pair(X, y, **params)
        assert np.abs(flat(fused) - flat(constant)).max() > 0.01


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_partial_fit_goes_on_with_the_optimisers_state(optimizer):
    X, y = make_data(3)
    fused, mlp, _ = fit_pair(X, y, batch_size=20, max_iter=5, **OPTIMIZERS[optimizer] | ENDLESS)
    for rows in (slice(0, 30), slice(10, 50), slice(0, 50)):
        fused.partial_fit(X[rows], y[rows]), mlp.partial_fit(X[rows], y[rows])
    assert_same_weights(fused, mlp, 22)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sample_weights_in_one_full_batch_mean_the_same(optimizer):
    X, y = make_data(3)
    weight = np.random.default_rng(0).integers(4, size=len(y)).astype(float)
    assert (weight == 0).any()
    params = OPTIMIZERS[optimizer] | ENDLESS | {"batch_size": "auto", "max_iter": 50, "alpha": 0}
    fused, mlp, losses = fit_pair(X, y, weight, **params)
    assert_same_weights(fused, mlp, 50)
    assert_allclose(losses, mlp.loss_curve_, rtol=1e-13)


# Input


@cache
def fit_positive_pair(optimizer, batch_size):
    """Rows without negative values, their labels, parameters, and a pair fitted to them, which stays as it is."""
    X, y = make_data(3)
    X = np.maximum(X, 0)
    params = OPTIMIZERS[optimizer] | ENDLESS | {"batch_size": batch_size, "max_iter": EPOCHS[batch_size], "alpha": 0.05}
    return X, y, params, fit_pair(X, y, **params)


@pytest.mark.parametrize("container", [csr_array, csr_matrix, csc_array, np.asfortranarray])
@pytest.mark.parametrize("batch_size", EPOCHS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_any_container_of_x_gives_the_same_weights(optimizer, batch_size, container):
    X, y, params, (dense, mlp, _) = fit_positive_pair(optimizer, batch_size)
    fused, _ = make_pair(X, y, **params)
    fused.fit(container(X), y)
    assert_same_weights(fused, mlp, 100)
    assert_same_weights(fused, dense, 100)
    assert_allclose(fused.predict_proba(container(X)), fused.predict_proba(X), rtol=0, atol=1e-15)
    assert_array_equal(fused.predict(container(X)), fused.predict(X))


@pytest.mark.parametrize("batch_size", EPOCHS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_dense_input_of_few_nonzeros_gives_the_same_weights(optimizer, batch_size):
    """Such input trains as CSR inside."""
    X, y = make_data(3)
    X = np.where(np.abs(X) > 1.3, X, 0)
    assert 0.2 < np.count_nonzero(X) / X.size < 0.3
    params = OPTIMIZERS[optimizer] | ENDLESS | {"batch_size": batch_size, "max_iter": EPOCHS[batch_size], "alpha": 0.05}
    fused, mlp, _ = fit_pair(X, y, **params)
    assert_same_weights(fused, mlp, 100)


# Losses and stops


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("batch_size", [1, 20, "auto"])
def test_loss_curves_are_equal_without_a_penalty(batch_size, n_classes):
    X, y = make_data(n_classes)
    params = ENDLESS | {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.01, "alpha": 0}
    fused, mlp, losses = fit_pair(X, y, batch_size=batch_size, max_iter=20, **params)
    assert_allclose(losses, mlp.loss_curve_, rtol=20 * 50 * np.finfo(float).eps)
    assert fused.loss_ == losses[-1]
    assert losses[-1] < losses[0]


def test_the_loss_counts_the_penalty_to_within_its_change_in_an_epoch():
    """MLPClassifier's is a mean over the epoch's steps."""
    X, y = make_data(3)
    params = OPTIMIZERS["sgd"] | {"alpha": 1, "batch_size": 20, "max_iter": 1}
    start, _ = make_pair(X, y, **params)
    fused, mlp, losses = fit_pair(X, y, **params)
    n_steps, n_rows = 3, 50
    before, after = (n_steps / n_rows / 2 * sum((w**2).sum() for w in fit.coefs_) for fit in (start, fused))
    assert 0 < before - after < 0.1 * after
    assert abs(mlp.loss_curve_[0] - losses[0]) < before - after


@pytest.mark.parametrize("tol", [1e-3, 1e-2])
@pytest.mark.parametrize("n_iter_no_change", [1, 4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_stops_at_the_same_epoch(optimizer, n_iter_no_change, tol):
    X, y = make_data(3)
    params = OPTIMIZERS[optimizer] | {"alpha": 0, "batch_size": 20, "tol": tol, "n_iter_no_change": n_iter_no_change}
    fused, mlp, losses = fit_pair(X, y, max_iter=400, **params)
    assert fused.n_iter_ < 400
    assert_same_weights(fused, mlp, 3 * fused.n_iter_)
    assert fused.best_loss_ == min(losses) == pytest.approx(mlp.best_loss_, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov"])
def test_an_adaptive_learning_rate_is_lowered_and_ends_at_the_same_epoch(optimizer):
    X, y = make_data(3)
    params = OPTIMIZERS[optimizer] | {"alpha": 0, "batch_size": 20, "tol": 1e-3, "n_iter_no_change": 2}
    constant, _, _ = fit_pair(X, y, max_iter=400, **params)
    fused, mlp, _ = fit_pair(X, y, learning_rate="adaptive", max_iter=400, **params)
    # A rate is lowered to a fifth after 3 epochs without improvement, until it is below 1e-6.
    n_rates = 1 + np.ceil(np.log(params["learning_rate_init"] / 1e-6) / np.log(5))
    assert constant.n_iter_ + 3 * (n_rates - 1) <= fused.n_iter_ < 400
    assert_same_weights(fused, mlp, 3 * fused.n_iter_)


def epochs_until_stop(scores, tol, n_iter_no_change):
    """Stop after more than ``n_iter_no_change`` epochs in a row whose score is not ``tol`` above the best before."""
    best, n_without = -np.inf, 0
    for epoch, score in enumerate(scores, 1):
        n_without = n_without + 1 if score < best + tol else 0
        best = max(best, score)
        if n_without > n_iter_no_change:
            return epoch
    return None


@pytest.mark.parametrize("n_iter_no_change", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_early_stopping_follows_the_same_rule_and_restores_the_best_weights(seed, n_iter_no_change):
    """Which rows are held out differs, so each is held to the rule by its own scores."""
    X, y = load_iris(return_X_y=True)
    params = {"early_stopping": True, "validation_fraction": 0.3, "tol": 1e-3, "n_iter_no_change": n_iter_no_change}
    params |= {"hidden_layer_sizes": (5,), "learning_rate_init": 0.01, "batch_size": 8, "random_state": seed}
    fused = FusedMLPClassifier(n_networks=1, max_iter=300, **params).fit(scale(X), y)
    mlp = MLPClassifier(max_iter=300, solver="sgd", **params).fit(scale(X), y)
    for fit in (fused, mlp):
        assert (
            fit.n_iter_
            == len(fit.validation_scores_)
            == epochs_until_stop(fit.validation_scores_, 1e-3, n_iter_no_change)
        )
        assert fit.best_validation_score_ == max(fit.validation_scores_)
    best_epoch = 1 + int(np.argmax(fused.validation_scores_))
    assert best_epoch < fused.n_iter_ < 300
    until_best = FusedMLPClassifier(n_networks=1, max_iter=best_epoch, **params).fit(scale(X), y)
    assert_array_equal(fused.weights_, until_best.weights_)


# Peers


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_peers_go_on_with_partial_fit_as_we_do_with_a_new_optimiser(optimizer, batch_size, n_classes):
    X, y = make_data(n_classes)
    params = OPTIMIZERS[optimizer] | ENDLESS | {"hidden_layer_sizes": (6,), "shuffle": False, "batch_size": batch_size}
    fused = FusedMLPClassifier(n_networks=3, fusion_rate=0, max_iter=5, random_state=0, **params).fit(X, y)
    peers = fused.peers_
    fused.set_params(warm_start=True, max_iter=1).fit(X, y)
    for peer, part, after in zip(peers, fused.partition_, fused.peers_, strict=True):
        peer.partial_fit(X[part], y[part])
        assert_same_weights(after, peer, len(part))
