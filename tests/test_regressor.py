"""FusedMLPRegressor: what it shares with the classifier is tested there; here is what has numbers as targets."""

import copy
import json
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import NO_STEP, assert_check_passes, assert_same_training, without_seconds
from models import regressor as model
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csc_array, csr_array
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import scale
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_kernels import ACTIVATIONS, make_weights, numerical_gradient, pack, train, unpack
from test_parity import (
    ENDLESS,
    EPOCHS,
    OPTIMIZERS,
    assert_same_weights,
    epochs_until_stop,
    fit_both,
    fit_pair,
    flat,
    make_pair,
)

from skfusion import FusedMLPClassifier, FusedMLPRegressor
from skfusion._training.network import Network
from skfusion.partition import (
    ClassPartitioner,
    DirichletPartitioner,
    GroupPartitioner,
    PredefinedPartitioner,
    RandomPartitioner,
    StratifiedPartitioner,
)
from skfusion.topology import RingTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DTYPES = [np.float32, np.float64]
N_OUTPUTS = [1, 3]
GROUPS = np.resize(["york", "bath", "hull", "bath"], 100)


def make_data(n_outputs, dtype=np.float64, n_rows=100):
    """Patients and one or three measurements of theirs, 1-D if one, in columns of variance 1."""
    X, progression = load_diabetes(return_X_y=True)
    X, y = X[:n_rows], np.column_stack([progression[:n_rows], X[:n_rows, 4:6] ** 2])
    y = scale(y)[:, :n_outputs].astype(dtype)
    return scale(X).astype(dtype), y.ravel() if n_outputs == 1 else y


X, Y = make_data(1)
_, Y3 = make_data(3)


# scikit-learn's checks

SMALL = {"hidden_layer_sizes": (10,), "learning_rate_init": 0.05, "max_iter": 30}


@parametrize_with_checks(
    [
        FusedMLPRegressor(max_iter=50),
        FusedMLPRegressor(n_networks=1, momentum=0.9, batch_size=32, **SMALL),
        FusedMLPRegressor(
            topology="hypercube", solver="adam", batch_size="auto", prediction="vote", l1_ratio=0.5, **SMALL
        ),
    ]
)
def test_scikit_learns_checks_pass(estimator, check):
    assert_check_passes(estimator, check)


def test_parameters_are_those_of_the_classifier_but_for_two_and_have_the_same_defaults():
    of_classifier = FusedMLPClassifier().get_params()
    assert set(of_classifier) - set(FusedMLPRegressor().get_params()) == {"loss", "class_weight"}
    assert FusedMLPRegressor().get_params().items() <= of_classifier.items()


# The gradient and the loss


def squared_errors(network, weights, X, y):
    """Half the squared error of each row and output, in plain numpy."""
    *hidden, (coefs, intercepts) = unpack(network, weights)
    for hidden_coefs, hidden_intercepts in hidden:
        X = ACTIVATIONS[network.activation](X @ hidden_coefs + hidden_intercepts)
    return 0.5 * (X @ coefs + intercepts - y) ** 2


@pytest.mark.parametrize("momentum", [0, 0.9], ids=["sgd", "momentum"])
@pytest.mark.parametrize("container", [np.asarray, csr_array])
@pytest.mark.parametrize("n_rows", [1, 3, 8])
@pytest.mark.parametrize("hidden", [(), (5,), (4, 3)], ids=str)
@pytest.mark.parametrize("n_outputs", N_OUTPUTS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_step_follows_the_numerical_gradient(activation, n_outputs, hidden, n_rows, container, momentum):
    rng = np.random.default_rng(0)
    network = Network((6, *hidden, n_outputs), activation, "identity")
    rows, y = rng.normal(size=(n_rows, 6)), rng.normal(scale=2, size=(n_rows, n_outputs))
    weights, row_weight = make_weights(network), rng.uniform(0.5, 2, n_rows)

    def objective(w):  # summed over outputs, while the loss that is reported is their mean: both as MLPRegressor's
        return row_weight @ squared_errors(network, w, rows, y).sum(axis=1) / n_rows

    options = {"batch_size": n_rows, "rate": 1, "sample_weight": row_weight, "momentum": momentum}
    after, loss = train(network, weights, container(rows), y, **options)
    # Central differences err by some eps / h = 1e-10 times the objective, which is a few tens.
    assert_allclose(weights - after, numerical_gradient(objective, weights), rtol=0, atol=1e-8)
    assert loss / n_rows == pytest.approx(objective(weights) / n_outputs, rel=1e-13)


@pytest.mark.parametrize("container", [np.asarray, csr_array])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_worked_by_hand(dtype, container):
    # x = (1, 2) gives x W + b = (2, -3) where (1, 1) was right: errors (1, -4), half whose squares are 8.5 in all and
    # 4.25 in the mean.  At rate 1/4 the coefficients move by -1/4 times input times error.
    network = Network((2, 2), "tanh", "identity")
    weights = pack([[2, -1], [0, -1]], [0, 0]).astype(dtype)
    x, y = container(np.array([[1, 2]], dtype)), np.ones((1, 2), dtype)
    after, loss = train(network, weights, x, y, batch_size=1, rate=0.25)
    assert_array_equal(after, pack([[2 - 0.25, -1 + 1], [0 - 0.5, -1 + 2]], [-0.25, 1]))
    assert loss == 4.25


def reference_fit(weights, parts, X, y, *, sizes, rate, batch_size, epochs, fusion_rate, alpha):
    """Tanh networks on a ring, trained and fused in plain numpy."""
    weights = weights.copy()
    for _ in range(epochs):
        for peer, part in enumerate(parts):
            for start in range(0, len(part), batch_size):
                rows = part[start : start + batch_size]
                W, b, V, c = (weights[peer, k].reshape(shape) for k, shape in layer_slices(sizes))
                hidden = np.tanh(X[rows] @ W + b)
                error = (hidden @ V + c - y[rows]) / len(rows)
                back = error @ V.T * (1 - hidden**2)
                gradients = X[rows].T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)
                penalties = alpha / len(rows) * W, 0, alpha / len(rows) * V, 0
                for values, gradient, penalty in zip((W, b, V, c), gradients, penalties, strict=True):
                    values[:] -= rate * (gradient + penalty)
        for first in range(len(parts)):
            second = (first + 1) % len(parts)
            weights[first] = (1 - fusion_rate) * weights[first] + fusion_rate * weights[second]
            weights[second] = (1 - fusion_rate) * weights[second] + fusion_rate * weights[first]
    return weights


def layer_slices(sizes):
    n, h, k = sizes
    ends = np.cumsum([0, n * h, h, h * k, k])
    return zip(map(slice, ends, ends[1:]), [(n, h), (h,), (h, k), (k,)], strict=False)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("n_outputs", N_OUTPUTS)
def test_training_follows_plain_numpy(n_outputs, batch_size):
    rows, y = make_data(n_outputs)
    params = {"topology": "ring", "shuffle": False, "init": "independent", "alpha": 0.1, "batch_size": batch_size}
    start = model(**params, learning_rate_init=NO_STEP, fusion_rate=0, max_iter=1).fit(rows, y)
    fusion = {"fusion_rate": 0.3, "fusion_rule": "sequential"}
    fitted = model(**params, **fusion, learning_rate_init=0.02, max_iter=10).fit(rows, y)
    options = {"sizes": (10, 6, n_outputs), "rate": 0.02, "batch_size": batch_size, "epochs": 10}
    expected = reference_fit(
        start.weights_, fitted.partition_, rows, y.reshape(100, -1), **options, fusion_rate=0.3, alpha=0.1
    )
    assert_allclose(fitted.weights_, expected, rtol=0, atol=1e-13)
    assert np.abs(fitted.weights_ - start.weights_).max() > 0.1


def test_a_linear_network_finds_the_least_squares():
    rows = X[:, :4]
    design = np.column_stack([rows, np.ones(100)])
    expected = np.linalg.lstsq(design, Y3, rcond=None)[0]
    params = {"n_networks": 1, "alpha": 0, "batch_size": "auto", "momentum": 0.9, "learning_rate_init": 0.1}
    fitted = model((), **params, max_iter=1000).fit(rows, Y3)
    assert_allclose(np.vstack([fitted.coefs_[0], fitted.intercepts_[0]]), expected, rtol=0, atol=1e-10)


@settings(max_examples=15)
@given(
    n_outputs=st.integers(2, 9),
    batch_size=st.sampled_from([1, 3, 50]),
    seed=st.integers(0, 2**16),
    sparse=st.booleans(),
)
def test_without_hidden_layers_each_output_trains_as_it_does_alone(n_outputs, batch_size, seed, sparse):
    rows = csr_array(X[:20]) if sparse else X[:20]
    y = np.random.default_rng(seed).normal(size=(20, n_outputs))
    params = {"n_networks": 1, "warm_start": True, "shuffle": False, "batch_size": batch_size, "alpha": 0.1}

    def from_zero(y):
        fitted = model((), **params).fit(rows, y)
        fitted.weights_[:] = 0
        return fitted.fit(rows, y)

    alone = [from_zero(column) for column in y.T]
    together = from_zero(y)
    assert_allclose(together.predict(rows), np.column_stack([one.predict(rows) for one in alone]), rtol=0, atol=1e-13)


# Parity with MLPRegressor


def calm(optimizer):
    """The optimiser with a rate at which errors of any size do no harm."""
    return OPTIMIZERS[optimizer] | {"learning_rate_init": 0.005}


@pytest.mark.parametrize(("n_outputs", "dtype"), list(zip(N_OUTPUTS, DTYPES, strict=True)))
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("batch_size", EPOCHS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_hundred_steps_give_the_same_weights(optimizer, batch_size, activation, n_outputs, dtype):
    rows, y = make_data(n_outputs, dtype, 50)
    params = calm(optimizer) | ENDLESS | {"activation": activation, "alpha": 0.05, "batch_size": batch_size}
    fused, mlp = make_pair(rows, y, max_iter=EPOCHS[batch_size], **params)
    start = flat(fused)
    fit_both(fused, mlp, rows, y)
    assert_same_weights(fused, mlp, 100)
    assert np.abs(flat(fused) - start).max() > 0.02


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("container", [csr_array, csc_array, np.asfortranarray])
def test_any_container_of_x_gives_the_same_weights(container, optimizer):
    rows, y = np.maximum(X[:50], 0), Y3[:50]
    params = calm(optimizer) | ENDLESS | {"batch_size": 20, "max_iter": 30, "alpha": 0.05}
    dense, mlp, _ = fit_pair(rows, y, **params)
    fused = make_pair(rows, y, **params)[0].fit(container(rows), y)
    assert_same_weights(fused, mlp, 90)
    assert_same_weights(fused, dense, 90)
    assert_allclose(fused.predict(container(rows)), mlp.predict(rows), rtol=0, atol=1e-13)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_partial_fit_goes_on_with_the_optimisers_state(optimizer):
    fused, mlp, _ = fit_pair(X, Y3, batch_size=20, max_iter=5, **calm(optimizer) | ENDLESS)
    for rows in (slice(0, 30), slice(10, 50), slice(0, 100)):
        fused.partial_fit(X[rows], Y3[rows]), mlp.partial_fit(X[rows], Y3[rows])
    assert_same_weights(fused, mlp, 34)


@pytest.mark.parametrize("n_outputs", N_OUTPUTS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sample_weights_in_one_full_batch_mean_the_same(optimizer, n_outputs):
    rows, y = make_data(n_outputs)
    weight = np.random.default_rng(0).integers(4, size=100).astype(float)
    params = calm(optimizer) | ENDLESS | {"batch_size": "auto", "max_iter": 50, "alpha": 0}
    fused, mlp, losses = fit_pair(rows, y, weight, **params)
    assert_same_weights(fused, mlp, 50)
    assert_allclose(losses, mlp.loss_curve_, rtol=1e-13)


@pytest.mark.parametrize("n_outputs", N_OUTPUTS)
@pytest.mark.parametrize("batch_size", [1, 20, "auto"])
def test_loss_curves_are_equal_without_a_penalty(batch_size, n_outputs):
    rows, y = make_data(n_outputs)
    params = ENDLESS | calm("sgd") | {"alpha": 0}
    _, mlp, losses = fit_pair(rows, y, batch_size=batch_size, max_iter=20, **params)
    assert_allclose(losses, mlp.loss_curve_, rtol=20 * 100 * np.finfo(float).eps)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
def test_training_stops_at_the_same_epoch(learning_rate):
    params = OPTIMIZERS["sgd"] | {"alpha": 0, "batch_size": 20, "tol": 1e-3, "n_iter_no_change": 3}
    fused, mlp, _ = fit_pair(X, Y, max_iter=400, learning_rate=learning_rate, **params | {"learning_rate_init": 0.01})
    assert 5 < fused.n_iter_ < 400
    assert_same_weights(fused, mlp, 5 * fused.n_iter_)
    assert fused.best_loss_ == pytest.approx(mlp.best_loss_, rel=1e-12)


@pytest.mark.parametrize(("activation", "numerator"), [("tanh", 6), ("relu", 6), ("identity", 6), ("logistic", 2)])
def test_weights_start_as_those_of_mlp_regressor(activation, numerator):
    fitted = model((40, 30), activation=activation, learning_rate_init=NO_STEP, max_iter=1, alpha=0).fit(X, Y3)
    for coef, intercept in zip(fitted.peers_[0].coefs_, fitted.peers_[0].intercepts_, strict=True):
        bound = np.sqrt(numerator / sum(coef.shape))
        assert np.abs(np.append(coef, intercept)).max() <= bound
        assert np.abs(coef).max() > 0.9 * bound


# Prediction and peers


@pytest.mark.parametrize("n_outputs", N_OUTPUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_peers_are_stock_mlp_regressors_that_predict_and_score_alike(dtype, n_outputs):
    rows, y = make_data(n_outputs, dtype)
    fitted = model((6, 5), init="independent").fit(rows, y)
    for number, peer in enumerate(fitted.peers_):
        assert type(peer) is MLPRegressor
        predicted = fitted.set_params(prediction=number).predict(rows)
        assert predicted.shape == peer.predict(rows).shape == y.shape
        assert predicted.dtype == peer.predict(rows).dtype == dtype
        assert_allclose(peer.predict(rows), predicted, rtol=0, atol=32 * np.finfo(dtype).eps)
        assert_array_equal(flat(peer), fitted.weights_[number])
        assert peer.score(rows, y) == pytest.approx(fitted.peer_scores(rows, y)[number], abs=1e-4)
        assert peer.loss_curve_ == [record["losses"][number] for record in fitted.history_]
        assert (peer.n_iter_, peer.n_outputs_, peer.out_activation_) == (3, n_outputs, "identity")
    assert clone(peer).fit(rows, y).predict(rows).shape == y.shape


@pytest.mark.parametrize("y", [Y, Y3], ids=["one output", "three"])
def test_predictions_are_by_the_consensus_the_vote_or_one_peer(y):
    fitted = model(init="independent", fusion_rate=0.1).fit(X, y)
    of_peers = np.array([peer.predict(X) for peer in fitted.peers_])
    consensus = copy.deepcopy(fitted.peers_[0])
    consensus.coefs_, consensus.intercepts_ = fitted.coefs_, fitted.intercepts_
    expected = {"consensus": consensus.predict(X), "vote": of_peers.mean(axis=0), **dict(enumerate(of_peers))}
    for prediction, values in expected.items():
        assert_allclose(fitted.set_params(prediction=prediction).predict(X), values, rtol=0, atol=1e-13)
        assert fitted.score(X, y) == pytest.approx(r2_score(y, values))
    assert not np.allclose(expected["consensus"], expected["vote"], atol=1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_peers_go_on_with_partial_fit_as_we_do_with_a_new_optimiser(optimizer):
    params = calm(optimizer) | ENDLESS | {"shuffle": False, "batch_size": 8}
    fused = model(fusion_rate=0, **params).fit(X, Y3)
    peers = fused.peers_
    fused.set_params(warm_start=True, max_iter=1).fit(X, Y3)
    for peer, part, after in zip(peers, fused.partition_, fused.peers_, strict=True):
        peer.partial_fit(X[part], Y3[part])
        assert_same_weights(after, peer, len(part))


def test_a_column_of_targets_is_taken_as_a_vector_with_mlp_regressors_warning():
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        fitted = model().fit(X, Y[:, None])
    assert_same_training(fitted, model().fit(X, Y))
    assert fitted.predict(X).shape == (100,)
    assert_allclose(fitted.peer_scores(X, Y[:, None]), fitted.peer_scores(X, Y))


@pytest.mark.parametrize(
    "container",
    [list, pd.Series, pl.Series, lambda y: y.astype(object), np.asfortranarray],
    ids=["list", "pandas", "polars", "object", "fortran"],
)
def test_targets_come_in_any_container(container):
    y = np.arange(100) % 7
    assert_same_training(model().fit(X, container(y)), model().fit(X, y.astype(float)))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, np.asfortranarray])
def test_several_targets_come_in_any_container(frame):
    assert_same_training(model().fit(X, frame(Y3)), model().fit(X, Y3))


def test_before_fit_there_is_nothing_to_predict_with():
    for use in (lambda fresh: fresh.predict(X), lambda fresh: fresh.peer_scores(X, Y), lambda fresh: fresh.peers_):
        with pytest.raises(NotFittedError):
            use(model())


# Who sees what


def test_peers_learn_what_only_others_were_shown():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-1, 1, size=(400, 1)), axis=0)
    y = np.column_stack([np.sin(3 * x[:, 0]), x[:, 0] ** 2])
    params = {"partitioner": PredefinedPartitioner(np.repeat(range(4), 100)), "learning_rate_init": 0.02}
    params |= {"fusion_unit": "step", "fusion_frequency": 2, "max_iter": 100}
    assert model((20,), **params).fit(x, y).peer_scores(x, y).min() > 0.95
    assert model((20,), **params, fusion_rate=0).fit(x, y).peer_scores(x, y).max() < 0.5


@pytest.mark.parametrize("y", [Y, Y3], ids=["one output", "three"])
@pytest.mark.parametrize(
    ("partitioner", "kind"),
    [
        (None, GroupPartitioner),
        ("group", GroupPartitioner),
        (GroupKFold(3), None),
        ("random", RandomPartitioner),
        (KFold(5, shuffle=True, random_state=1), None),
        (PredefinedSplit(np.arange(100) // 30), None),
        (PredefinedPartitioner(np.arange(100) // 40), PredefinedPartitioner),
    ],
    ids=str,
)
def test_partitioners_and_splitters_that_need_no_labels_divide_the_rows(partitioner, kind, y):
    n_networks = 4 if partitioner == "random" else None
    groups = GROUPS if kind is GroupPartitioner or isinstance(partitioner, GroupKFold) else None
    fitted = model(partitioner=partitioner, n_networks=n_networks, max_iter=1).fit(X, y, groups=groups)
    assert kind is None or type(fitted.partitioner_) is kind
    assert sorted(np.concatenate(fitted.partition_)) == list(range(100))
    if partitioner is None:
        assert [set(GROUPS[part]) for part in fitted.partition_] == [{"bath"}, {"hull"}, {"york"}]
    assert fitted.predict(X).shape == y.shape


@pytest.mark.parametrize(
    "partitioner",
    ["stratified", "class", "dirichlet", StratifiedPartitioner(), ClassPartitioner(), DirichletPartitioner(2.0)],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_partitioners_that_go_by_labels_are_refused(method, partitioner):
    match = f"partitioner must not go by class labels.*such as KFold; got {re.escape(repr(partitioner))}"
    whole_numbers = np.arange(100) % 4  # which might be labels, but are not to a regressor
    for y in (Y, Y3, whole_numbers):
        with pytest.raises(ValueError, match=match):
            getattr(model(partitioner=partitioner), method)(X, y)


# Weights of rows, portions of rows, warm starts


@pytest.mark.parametrize("y", [Y, Y3], ids=["one output", "three"])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True, "validation_fraction": 0.2}], ids=str)
def test_a_row_of_weight_zero_is_as_if_it_were_not_there(params, y):
    weight = np.random.default_rng(1).uniform(1, 2, size=100) * (np.arange(100) % 3 > 0)
    kept = weight > 0
    params = {"n_networks": 3, **params}
    absent = model(**params).fit(X[kept], y[kept], sample_weight=weight[kept], groups=GROUPS[kept])
    assert_same_training(model(**params).fit(X, y, sample_weight=weight, groups=GROUPS), absent)


def test_weights_are_relative_and_matter():
    weight = np.random.default_rng(0).uniform(0.2, 2, size=100)
    fitted = model().fit(X, Y, sample_weight=weight)
    assert_same_training(model().fit(X, Y, sample_weight=4 * weight), fitted)
    assert not np.allclose(model().fit(X, Y).weights_, fitted.weights_, rtol=1e-2)
    expected = [peer.score(X, Y, sample_weight=weight) for peer in fitted.peers_]
    assert_allclose(fitted.peer_scores(X, Y, sample_weight=weight), expected)


@pytest.mark.parametrize("params", [{}, {"solver": "adam"}, {"fusion_unit": "step", "fusion_frequency": 17}], ids=str)
def test_partial_fits_of_the_same_rows_are_epochs_of_fit(params):
    params = {"partitioner": PredefinedPartitioner(np.arange(100) % 4), **params}
    whole, bit_by_bit = model(**params).fit(X, Y3), model(**params)
    for _ in range(3):
        assert bit_by_bit.partial_fit(X, Y3) is bit_by_bit
    assert_array_equal(bit_by_bit.weights_, whole.weights_)
    assert without_seconds(bit_by_bit.history_) == without_seconds(whole.history_)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("first", "then"), [(Y3, Y), (Y, Y3), (Y3, Y3[:, :2])])
def test_the_number_of_outputs_must_stay_where_weights_are_kept(method, first, then):
    fitted = model(warm_start=True).fit(X, first)
    before = fitted.weights_.copy()
    n_first, n_then = (1 if y.ndim == 1 else y.shape[1] for y in (first, then))
    with pytest.raises(ValueError, match=f"y must have {n_first} outputs.*weights are kept; got {n_then}"):
        getattr(fitted, method)(X, then)
    assert_array_equal(fitted.weights_, before)
    assert fitted.set_params(warm_start=False).fit(X, then).n_outputs_ == n_then


def test_a_warm_start_goes_on_from_the_weights():
    fitted = model(warm_start=True, max_iter=5).fit(X, Y)
    losses = list(fitted.loss_curve_)
    fitted.set_params(learning_rate_init=NO_STEP, alpha=0, fusion_rate=0, max_iter=1).fit(X, Y)
    assert fitted.loss_curve_[:5] == losses
    assert fitted.loss_ < losses[-1]


@pytest.mark.parametrize("y", [Y, Y3], ids=["one output", "three"])
def test_a_copy_predicts_and_learns_on_as_the_original_does(y):
    original = model(solver="adam").fit(X, y)
    other = pickle.loads(pickle.dumps(original))
    assert_array_equal(other.predict(X), original.predict(X))
    assert_same_training(other.partial_fit(X, y), original.partial_fit(X, y))


@pytest.mark.parametrize("y", [Y, Y3], ids=["one output", "three"])
@pytest.mark.parametrize("fitted", [False, True])
def test_weights_go_to_another_site_as_a_file(fitted, y, tmp_path):
    here, there = model().fit(X, y), model(random_state=1)
    here.save_weights(tmp_path / "weights.npz")
    if fitted:
        there.fit(X, 2 * y)
    assert_array_equal(there.load_weights(tmp_path / "weights.npz").predict(X), here.predict(X))
    assert_array_equal(there.consensus_.predict(X), here.consensus_.predict(X))
    assert there.partial_fit(X, y).predict(X).shape == y.shape


def test_weights_of_another_number_of_outputs_or_of_a_classifier_are_refused(tmp_path):
    regressor, classifier = model().fit(X, Y3), FusedMLPClassifier((6,), n_networks=4, max_iter=3).fit(X, Y > 0)
    regressor.save_weights(tmp_path / "regressor.npz")
    classifier.save_weights(tmp_path / "classifier.npz")
    with pytest.raises(ValueError, match=r"'layer_sizes' of .*regressor.npz must be \[10, 6, 1\].*got \[10, 6, 3\]"):
        model().fit(X, Y).load_weights(tmp_path / "regressor.npz")
    for site in (regressor, model()):
        with pytest.raises(ValueError, match=r"'output' of .* must be that of a regressor, got 'logistic'"):
            site.load_weights(tmp_path / "classifier.npz")
    for site in (classifier, FusedMLPClassifier((6,))):
        with pytest.raises(ValueError, match=r"'output' of .* must be that of a classifier, got 'identity'"):
            site.load_weights(tmp_path / "regressor.npz")


# Early stopping


@pytest.mark.parametrize("y", [Y, Y3], ids=["one output", "three"])
@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 2, 100)], ids=["unweighted", "weighted"])
def test_validation_scores_are_r2_of_held_out_rows(y, weight):
    params = {"early_stopping": True, "validation_fraction": 0.2, "alpha": 0, "max_iter": 1, "partitioner": KFold(4)}
    eye = np.eye(100)  # of which each column belongs to one row, and tells whether the row was trained on
    fitted = model((), **params).fit(eye, y, sample_weight=weight)
    start = model((), **params, learning_rate_init=NO_STEP).fit(eye, y, sample_weight=weight)
    held_out = (fitted.coefs_[0] == start.coefs_[0]).all(axis=1)

    def score(rows):
        chosen = None if weight is None else weight[rows]
        return r2_score(y[rows], fitted.predict(eye)[rows], sample_weight=chosen)

    of_peers = [part[held_out[part]] for part in fitted.partition_]
    assert [len(rows) for rows in of_peers] == [5, 5, 5, 5]
    assert fitted.history_[0]["validation_scores"] == pytest.approx([score(rows) for rows in of_peers])
    assert fitted.validation_scores_ == [pytest.approx(score(np.flatnonzero(held_out)))]


@pytest.mark.parametrize("n_iter_no_change", [1, 5])
@pytest.mark.parametrize("seed", range(2))
def test_early_stopping_follows_mlp_regressors_rule_and_restores_the_best_weights(seed, n_iter_no_change):
    params = {"early_stopping": True, "validation_fraction": 0.3, "tol": 1e-3, "n_iter_no_change": n_iter_no_change}
    params |= {"hidden_layer_sizes": (5,), "learning_rate_init": 0.05, "batch_size": 8, "random_state": seed}
    fused = FusedMLPRegressor(n_networks=1, max_iter=300, **params).fit(X, Y)
    mlp = MLPRegressor(max_iter=300, solver="sgd", **params).fit(X, Y)
    for fit in (fused, mlp):
        assert fit.n_iter_ == epochs_until_stop(fit.validation_scores_, 1e-3, n_iter_no_change)
        assert fit.best_validation_score_ == max(fit.validation_scores_)
    best_epoch = 1 + int(np.argmax(fused.validation_scores_))
    assert best_epoch < fused.n_iter_ < 300
    until_best = FusedMLPRegressor(n_networks=1, max_iter=best_epoch, **params).fit(X, Y)
    assert_array_equal(fused.weights_, until_best.weights_)


def test_a_peer_with_one_row_held_out_has_no_score_of_its_own_but_counts_in_the_common_one():
    fitted = model(early_stopping=True, n_networks=10).fit(X, Y)  # of ten rows each
    assert np.isnan([record["validation_scores"] for record in fitted.history_]).all()
    assert np.isfinite(fitted.validation_scores_).all()
    assert json.dumps(fitted.history_)


def test_a_single_row_held_out_is_too_few():
    with pytest.raises(ValueError, match=r"early_stopping needs at least 2 .*validation_fraction=0.1 takes 1"):
        model(early_stopping=True, n_networks=1).fit(X[:10], Y[:10])


def test_callbacks_score_each_epoch_and_change_nothing():
    monitor = ScoringMonitor(scoring="r2")
    fitted = model().set_callbacks(monitor).fit(X, Y3)
    scores = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert scores == [model(max_iter=k + 1).fit(X, Y3).score(X, Y3) for k in range(3)]
    assert_same_training(fitted, model().fit(X, Y3))


# Threads and processes

PARALLEL = [
    {},
    {"solver": "adam", "batch_size": 8, "fusion_unit": "step", "fusion_frequency": 3, "topology": "hypercube"},
    {"early_stopping": True, "validation_fraction": 0.2, "momentum": 0.9, "topology": RingTopology()},
]


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_outputs", N_OUTPUTS)
@pytest.mark.parametrize("params", PARALLEL, ids=str)
def test_neither_threads_nor_processes_change_a_bit(params, n_outputs, dtype):
    rows, y = make_data(n_outputs, dtype)
    weight = np.linspace(0.5, 1.5, 100)
    alone = model((13, 7), **params).fit(rows, y, sample_weight=weight)
    for n_jobs in (2, 3):
        assert_same_training(model((13, 7), **params, n_jobs=n_jobs).fit(rows, y, sample_weight=weight), alone)
    with joblib.parallel_config("loky", n_jobs=2):
        assert_same_training(model((13, 7), **params).fit(rows, y, sample_weight=weight), alone)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("container", [csr_array, csc_array])
def test_sparse_input_is_equal_to_dense(container, dtype):
    rows, y = make_data(3, dtype)
    rows = np.where(rows > 0.5, rows, 0)
    dense, sparse = model((12,)).fit(rows, y), model((12,)).fit(container(rows), y)
    atol = 1e-4 if dtype == np.float32 else 1e-12
    assert_allclose(sparse.weights_, dense.weights_, rtol=0, atol=atol)
    assert_allclose(sparse.predict(container(rows)), sparse.predict(rows), rtol=0, atol=atol)


# Bad targets


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (np.resize(["cat", "dog"], 100), ValueError, "y must hold numbers, got 'cat'; FusedMLPClassifier takes labels"),
        (np.resize(["1", "2"], 100), ValueError, "y must hold numbers, got '1'; FusedMLPClassifier takes labels"),
        (np.resize([1.0, "dog"], 100).astype(object), ValueError, "y must hold numbers, .*'dog'"),
        (
            np.resize(np.array(["2020-01-01"], dtype="M8[D]"), 100),
            TypeError,
            "y must hold numbers, .*2020-01-01.*; turn dates",
        ),
        (np.resize([1.0, 2j], 100).astype(object), TypeError, r"y must hold numbers, got \(1\+0j\)"),
        (pd.Series([1.0, pd.NA] * 50, dtype=object), TypeError, "y must hold numbers, got <NA>; .* or impute it"),
        (
            np.array([1, 10**400] * 50, dtype=object),
            ValueError,
            "y must hold numbers within the range of float64, got 10{50}",
        ),
        (np.resize([1.0, np.nan], 100), ValueError, "Input y contains NaN"),
        (np.resize([1.0, np.inf], (100, 2)), ValueError, "Input y contains infinity"),
        (np.resize([1.0, np.nan], 100).astype(object), ValueError, "y must hold finite numbers.*got nan|contains NaN"),
        (
            np.resize([1.0, 1e300], 100),
            ValueError,
            r"y must hold finite numbers within the range of float32.*got 1e\+300",
        ),
        (csr_array(Y3), TypeError, r"y must be a dense array.*pass y.toarray\(\)"),
        (np.zeros((100, 0)), ValueError, "Found array with 0 feature"),
        (np.zeros((100, 2, 2)), ValueError, "Found array with dim 3"),
        (Y[:-1], ValueError, "inconsistent numbers of samples"),
        (None, ValueError, "requires y to be passed"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_targets_that_are_no_numbers_are_refused(method, y, error, match):
    fresh = model()
    with pytest.raises(error, match=match):
        getattr(fresh, method)(X.astype(np.float32), y)
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_targets_out_of_scale_that_make_training_diverge_are_suspected():
    rows, y = load_linnerud(return_X_y=True)
    with pytest.raises(ValueError, match=r"peer \d stopped being finite in epoch \d+.*or X or y is not scaled"):
        model(activation="relu", max_iter=100, n_networks=2).fit(scale(rows), 1e3 * y)


@pytest.mark.parametrize(
    ("name", "value"), [("learning_rate_init", -1.0), ("prediction", 9), ("solver", "lbfgs"), ("early_stopping", 1)]
)
def test_a_wrong_parameter_is_named_with_its_value(name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name} must .*{value}"):
        model(**{name: value}).fit(X, Y)


def test_partial_fit_refuses_early_stopping():
    with pytest.raises(ValueError, match="early_stopping must be False for partial_fit"):
        model(early_stopping=True).partial_fit(X, Y)
