"""The compiled core against plain numpy: gradients, steps, penalties, the forward pass."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.special import expit, log_expit, log_softmax, softmax

from skfusion import _kernels, fuse
from skfusion._training.network import Network

ACTIVATIONS = {"identity": lambda z: z, "tanh": np.tanh, "logistic": expit, "relu": lambda z: np.maximum(z, 0)}
OUTPUTS = {"softmax": lambda z: softmax(z, axis=1), "logistic": expit, "tanh": np.tanh}
# The output function and the number of classes; two classes have one output unit, except under softmax.
LOSSES = {"log_loss": ("softmax", 3), "binary log_loss": ("logistic", 2)}
LOSSES |= {"squared_error": ("tanh", 3), "binary squared_error": ("tanh", 2)}
CONTAINERS = [pytest.param(np.asarray, id="dense"), pytest.param(csr_array, id="csr")]
DTYPES = [np.float32, np.float64]
N_FEATURES = 6


def eps(dtype):
    return float(np.finfo(dtype).eps)


# A plain reference


def unpack(network, weights):
    """(coefs, intercepts) of each layer: the flat vector holds them layer after layer, coefs in C order."""
    layers, start = [], 0
    for fan_in, fan_out in pairwise(network.layer_sizes):
        stop = start + fan_in * fan_out
        layers.append((weights[start:stop].reshape(fan_in, fan_out), weights[stop : stop + fan_out]))
        start = stop + fan_out
    assert start == len(weights)
    return layers


def pack(*arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def is_coef(network):
    """Which entries of the flat vector are coefficients rather than intercepts."""
    sizes = pairwise(network.layer_sizes)
    return np.concatenate([np.repeat([True, False], [fan_in * fan_out, fan_out]) for fan_in, fan_out in sizes])


def logits(network, weights, X):
    *hidden, (last_coefs, last_intercepts) = unpack(network, weights)
    for coefs, intercepts in hidden:
        X = ACTIVATIONS[network.activation](X @ coefs + intercepts)
    return X @ last_coefs + last_intercepts


def row_losses(network, weights, X, y):
    z = logits(network, weights, X)
    if network.output == "softmax":
        return -log_softmax(z, axis=1)[np.arange(len(y)), y]
    if network.output == "logistic":
        return -log_expit(np.where(y == 1, z[:, 0], -z[:, 0]))
    onehot = y[:, None] if z.shape[1] == 1 else np.eye(z.shape[1])[y]
    return 0.5 * ((onehot - np.tanh(z)) ** 2).sum(axis=1)


def numerical_gradient(function, weights, h=2e-6):
    return np.array([(function(weights + e) - function(weights - e)) / (2 * h) for e in h * np.eye(len(weights))])


def soft_threshold(w, threshold):
    return np.sign(w) * np.maximum(np.abs(w) - threshold, 0)


# The kernels


def make_network(hidden=(), activation="tanh", output="softmax", n_classes=3):
    n_outputs = 1 if n_classes == 2 and output != "softmax" else n_classes
    return Network((N_FEATURES, *hidden, n_outputs), activation, output)


def make_data(n_rows, n_classes=3, dtype=np.float64, seed=0):
    """Rows with zeros among their values, and all of them zeros in the last of several rows."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n_rows, N_FEATURES)) * (rng.random((n_rows, N_FEATURES)) < 0.6)).astype(dtype)
    if n_rows > 1:
        X[-1] = 0
    return X, rng.integers(n_classes, size=n_rows).astype(np.int32)


def make_weights(network, dtype=np.float64, scale=0.7, seed=1):
    return np.random.default_rng(seed).normal(scale=scale, size=network.n_parameters).astype(dtype)


def make_plan(peers, rows, batch_sizes):
    ends = np.cumsum([0, *map(len, rows)])
    peers, batch_sizes = (np.array(values, np.int64) for values in (peers, batch_sizes))
    return SimpleNamespace(peers=peers, rows=np.concatenate(rows).astype(np.int32), ends=ends, batch_sizes=batch_sizes)


def make_trainer(
    network, weights, X, y, sample_weight=None, *, batch_size=1, rate=0.1, plan=None, options=None, **optimizer
):
    """A trainer of the networks whose weights are the rows of ``weights``, and the state that it changes in place.

    All train on all rows in their order, unless a plan says otherwise.  The options are the trainer's own.
    """
    defaults = {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False, "l1": 0.0, "l2": 0.0}
    defaults |= {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
    n_networks = len(weights)
    state = SimpleNamespace(weights=weights, n_steps=np.zeros(n_networks, np.int64), losses=np.zeros(n_networks))
    state.first_moments, state.second_moments = np.zeros_like(weights), np.zeros_like(weights)
    state.learning_rates = np.full(n_networks, float(rate))
    plan = plan or make_plan(range(n_networks), [range(len(y))] * n_networks, [batch_size] * n_networks)
    optimizer = SimpleNamespace(**defaults | optimizer)
    options = {"buffer_rows": 8} | (options or {})
    return _kernels.Trainer(network, X, y, sample_weight, optimizer, state, plan, **options), state


def train(network, weights, X, y, *, batch_size, rate, sample_weight=None, epochs=1, **optimizer):
    """Weights after training on all rows in their order, and the last epoch's summed loss."""
    weights = weights[None].copy()
    settings = dict(batch_size=batch_size, rate=rate) | optimizer
    trainer, state = make_trainer(network, weights, X, y, sample_weight, **settings)
    for _ in range(epochs):
        state.losses[:] = 0
        trainer.train(0, len(y))
    return weights[0], state.losses[0]


def outputs(network, weights, X, **kwargs):
    return _kernels.Forward(network, X, **kwargs).outputs(weights)


# Gradients


# Central differences with h = 2e-6 err by h^2 / 6 = 7e-13 times the third derivative, which is some hundreds for the
# squared error of three layers, and by a few eps / h = 1e-10 times the loss.
@pytest.mark.parametrize("momentum", [0, 0.9], ids=["sgd", "momentum"])  # two ways to the weights, see update_layer
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("n_rows", [1, 3, 8])
@pytest.mark.parametrize("hidden", [(), (5,), (4, 3)], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_follows_the_numerical_gradient(activation, loss, hidden, n_rows, container, momentum):
    output, n_classes = LOSSES[loss]
    network = make_network(hidden, activation, output, n_classes)
    (X, y), weights = make_data(n_rows, n_classes), make_weights(network)
    row_weight = np.random.default_rng(2).uniform(0.5, 2, n_rows)

    def mean_loss(w):
        return row_weight @ row_losses(network, w, X, y) / n_rows

    after, summed_loss = train(
        network, weights, container(X), y, batch_size=n_rows, rate=1, sample_weight=row_weight, momentum=momentum
    )
    assert_allclose(weights - after, numerical_gradient(mean_loss, weights), rtol=0, atol=1e-9)
    assert summed_loss / n_rows == pytest.approx(mean_loss(weights), rel=1e-13)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("n_rows", [3, 8])
def test_no_row_weights_are_row_weights_of_one(solver, n_rows):
    network = make_network((5,))
    X, y = make_data(40)
    args, kwargs = (network, make_weights(network), X, y), {"batch_size": n_rows, "rate": 0.1, "solver": solver}
    without, loss_without = train(*args, **kwargs)
    ones, loss_of_ones = train(*args, sample_weight=np.ones(40), **kwargs)
    assert_array_equal(ones, without)
    assert loss_of_ones == loss_without


def test_the_loss_of_an_epoch_is_measured_before_each_step():
    network = make_network((5,))
    X, y = make_data(10)
    weights, expected = make_weights(network), 0
    for start in range(0, 10, 4):
        batch = X[start : start + 4], y[start : start + 4]
        expected += row_losses(network, weights, *batch).sum()
        weights, _ = train(network, weights, *batch, batch_size=4, rate=0.5)
    after, loss = train(network, make_weights(network), X, y, batch_size=4, rate=0.5)
    assert loss == pytest.approx(expected, rel=1e-13)
    assert_allclose(after, weights, rtol=1e-13)


@pytest.mark.parametrize("optimizer", [{}, {"momentum": 0.9}, {"solver": "adam"}], ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_peers_that_take_turns_train_as_each_does_alone(batch_size, container, optimizer):
    network = make_network((5,))
    X, y = make_data(40)
    weights = np.stack([make_weights(network, seed=seed) for seed in range(3)])
    alone = [train(network, w, container(X), y, batch_size=batch_size, rate=0.1, **optimizer) for w in weights]
    trainer, state = make_trainer(network, weights, container(X), y, batch_size=batch_size, **optimizer)
    for start, stop in [(0, 8), (8, 8), (8, 32), (32, 40)]:
        trainer.train(start // batch_size, stop // batch_size)
    # Without a penalty the input's factor stays 1, so that where an epoch is cut makes no difference at all.
    assert_array_equal(weights, [w for w, _ in alone])
    assert_allclose(state.losses, [loss for _, loss in alone], rtol=1e-14)


@pytest.mark.parametrize("container", CONTAINERS)
def test_each_peer_trains_on_rows_of_its_own(container):
    network = make_network((5,))
    X, y = make_data(40)
    start = np.stack([make_weights(network, seed=seed) for seed in range(3)])
    weights = start.copy()
    plan = make_plan([2, 0], [[3, 30, 8, 4, 9], [17, 2]], [2, 8])
    trainer, state = make_trainer(network, weights, container(X), y, plan=plan)
    penalties = np.empty(2)
    trainer.train(0, 3, penalties)
    for peer, rows, batch_size in [(2, [3, 30, 8, 4, 9], 2), (0, [17, 2], 8)]:
        alone, loss = train(network, start[peer], container(X[rows]), y[rows], batch_size=batch_size, rate=0.1)
        assert_array_equal(weights[peer], alone)
        assert state.losses[peer] == pytest.approx(loss, rel=1e-14)
    assert_array_equal(weights[1], start[1])
    assert_array_equal(penalties, [trainer.penalty(2), trainer.penalty(0)])
    assert state.n_steps.tolist() == [1, 0, 3]


@pytest.mark.parametrize("optimizer", [{}, {"momentum": 0.9}], ids=["sgd", "momentum"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_alone_trains_wide_layers_as_a_batch_of_copies_does(dtype, container, optimizer):
    """Row by row, layers wider than a page are taken some rows at a time; batches of dense rows are for BLAS."""
    network = Network((21, 1100, 1029, 3), "tanh", "softmax")
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(1, 21)) * (rng.random((1, 21)) < 0.9)).astype(dtype)
    weights = (0.05 * rng.normal(size=network.n_parameters)).astype(dtype)
    copies = np.repeat(X, 4, axis=0)
    kwargs = {"rate": 0.1, "l2": 0.01} | optimizer
    row, loss = train(network, weights, container(X), np.zeros(1, np.int32), batch_size=1, **kwargs)
    batch, losses = train(network, weights, copies, np.zeros(4, np.int32), batch_size=4, **kwargs | {"l2": 0.04})
    assert losses == pytest.approx(4 * loss, rel=100 * eps(dtype))
    assert np.abs(row - weights).max() > 0.01
    assert_allclose(row, batch, rtol=0, atol=50 * eps(dtype))


# Every number here is a sum of few powers of two, so that the dense step is exact.
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_worked_by_hand(dtype, container):
    network = Network((2, 3, 2), "relu", "softmax")
    W1, b1 = [[1, -1, 0.5], [0.5, -1, 1]], [0, 1, -0.5]
    W2, b2 = [[1, 0.5], [2, -1], [-1, 0.5]], [1, -1]
    # x = (1, 2) gives W1'x + b1 = (2, -2, 2), so the hidden layer is h = (2, 0, 2), and W2'h + b2 = (1, 1): both
    # classes have probability 1/2.  For class 1 the derivatives by the logits are (.5, -.5), and those by the hidden
    # layer's input W2 (.5, -.5) = (.25, 1.5, -.75), but 0 for the unit at rest.  With l2 = 1/2 and rate 1/2 each
    # coefficient shrinks to 3/4 and then moves by -1/2 times input times derivative.
    W1_after = [[0.75 - 0.125, -0.75, 0.375 + 0.375], [0.375 - 0.25, -0.75, 0.75 + 0.75]]
    b1_after = [-0.125, 1, -0.5 + 0.375]
    W2_after = [[0.75 - 0.5, 0.375 + 0.5], [1.5, -0.75], [-0.75 - 0.5, 0.375 + 0.5]]
    b2_after = [1 - 0.25, -1 + 0.25]

    x, y = container(np.array([[1, 2]], dtype)), np.array([1], np.int32)
    weights = pack(W1, b1, W2, b2).astype(dtype)
    after, loss = train(network, weights, x, y, batch_size=1, rate=0.5, l2=0.5)
    # On sparse input a step is divided by the common factor 3/4 and multiplied again: two roundings.
    rounding = 0 if container is np.asarray else 2 * eps(dtype)
    assert_allclose(after, pack(W1_after, b1_after, W2_after, b2_after), rtol=rounding, atol=rounding)
    assert loss == pytest.approx(np.log(2), rel=eps(dtype))


@pytest.mark.parametrize("n_rows", [1, 8])
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_step_of_the_papers_network_worked_by_hand(container, n_rows):
    network = Network((2, 2), "tanh", "tanh")
    # x = (1, -2) and coefficients (2, 1), (-4, -2) give the outputs tanh(0) = 0.  For class 1 the errors are (0, -1),
    # without a factor 2; so at rate 1/4 only the second unit moves, by 1/4 x, and its intercept by 1/4.
    X, y = np.tile([1.0, -2.0], (n_rows, 1)), np.ones(n_rows, np.int32)
    weights = pack([[2.0, -4.0], [1.0, -2.0]], [0.0, 0.0])
    after, loss = train(network, weights, container(X), y, batch_size=n_rows, rate=0.25)
    assert_array_equal(after, pack([[2, -3.75], [1, -2.5]], [0, 0.25]))
    assert loss == 0.5 * n_rows


# Penalties


@pytest.mark.parametrize("momentum", [0, 0.9], ids=["sgd", "momentum"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("n_rows", [1, 3, 8])
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_gradient_a_step_is_the_penalty_alone(dtype, n_rows, container, momentum):
    network = make_network((4, 3))
    (X, y), weights = make_data(n_rows, dtype=dtype), make_weights(network, dtype)
    rate, l1, l2 = 0.5, 0.4 * n_rows, 0.3 * n_rows
    kwargs = {"batch_size": n_rows, "rate": rate, "l1": l1, "l2": l2, "momentum": momentum}
    after, loss = train(network, weights, container(X), y, sample_weight=np.zeros(n_rows, dtype), **kwargs)
    shrunk = soft_threshold((1 - rate * 0.3) * weights, rate * 0.4)
    assert 0.1 < (shrunk == 0).mean() < 0.9
    assert_allclose(after, np.where(is_coef(network), shrunk, weights), rtol=0, atol=4 * eps(dtype))
    assert_array_equal(after[is_coef(network)] == 0, shrunk[is_coef(network)] == 0)
    assert loss == 0


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("n_rows", [1, 8])
def test_under_adam_too_the_threshold_is_that_of_the_learning_rate(n_rows, container):
    network = make_network((4, 3))
    (X, y), weights = make_data(3 * n_rows), make_weights(network)
    kwargs = {"batch_size": n_rows, "rate": 0.5, "l1": 0.2 * n_rows, "solver": "adam"}
    after, _ = train(network, weights, container(X), y, sample_weight=np.zeros(3 * n_rows), **kwargs)
    shrunk = soft_threshold(weights, 3 * 0.5 * 0.2)  # in three steps, none of which has a gradient
    assert 0.1 < (shrunk == 0).mean() < 0.9
    assert_allclose(after, np.where(is_coef(network), shrunk, weights), rtol=0, atol=8 * eps(float))


def train_linear_model(weights, X, y, *, batch_size, rate, l1, l2, epochs):
    """Softmax regression in plain numpy: shrink by l2, follow the gradient, then move towards 0 by l1."""
    W, b = weights[:-3].reshape(-1, 3).copy(), weights[-3:].copy()
    for _ in range(epochs):
        for start in range(0, len(y), batch_size):
            batch, target = X[start : start + batch_size], y[start : start + batch_size]
            n = len(target)
            delta = (softmax(batch @ W + b, axis=1) - np.eye(3)[target]) / n
            W = soft_threshold((1 - rate * l2 / n) * W - rate * batch.T @ delta, rate * l1 / n)
            b -= rate * delta.sum(axis=0)
    return pack(W, b)


@pytest.mark.parametrize("l1, l2", [(0, 0.05), (0.02, 0), (0.02, 0.05)], ids=["l2", "l1", "both"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_penalised_training_follows_plain_numpy_for_many_steps(batch_size, container, l1, l2):
    network = make_network()
    (X, y), weights = make_data(50), make_weights(network)
    kwargs = {"batch_size": batch_size, "rate": 0.1, "l1": l1, "l2": l2, "epochs": 400 * batch_size // 50 + 1}
    expected = train_linear_model(weights, X, y, **kwargs)
    after, _ = train(network, weights, container(X), y, **kwargs)
    # A rounding error of eps in each of the 400 steps, none of which widens a difference (the loss is convex).
    assert_allclose(after, expected, rtol=0, atol=400 * eps(float))
    assert_array_equal(after == 0, expected == 0)
    assert np.abs(after - weights).max() > 0.1


@pytest.mark.parametrize("l1", [0, 0.01], ids=["l2", "l1 and l2"])
@pytest.mark.parametrize("decay", [0.9999, 0.9, 0.02, 0.0, -0.5])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_dense_and_csr_train_alike(batch_size, decay, l1):
    """On CSR the decay is a common factor, folded into the weights now and then; a factor below 0 needs care."""
    network = make_network((5,))
    (X, y), weights, rate = make_data(48), make_weights(network), 0.1
    kwargs = {"batch_size": batch_size, "rate": rate, "l1": l1, "l2": (1 - decay) * batch_size / rate, "epochs": 8}
    dense, dense_loss = train(network, weights, X, y, **kwargs)
    sparse, sparse_loss = train(network, weights, csr_array(X), y, **kwargs)
    n_steps = 8 * 48 / batch_size
    assert_allclose(sparse, dense, rtol=0, atol=n_steps * eps(float))
    assert_array_equal(sparse == 0, dense == 0)
    assert sparse_loss == pytest.approx(dense_loss, rel=n_steps * eps(float))


def test_the_penalty_counts_coefficients_alone():
    network = make_network((4, 3))
    X, y = make_data(5)
    weights = np.stack([make_weights(network, seed=seed) for seed in range(2)])
    trainer, _ = make_trainer(network, weights, X, y, l1=0.3, l2=0.2)
    for peer, w in enumerate(weights[:, is_coef(network)]):
        assert trainer.penalty(peer) == pytest.approx(0.1 * (w**2).sum() + 0.3 * np.abs(w).sum(), rel=1e-13)


@pytest.mark.parametrize("rule", ["sequential", "simultaneous"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_l1_made_zero_revive_from_the_peer_that_has_them(dtype, rule):
    network = make_network((5,))
    X, y = make_data(50, dtype=dtype)
    kwargs = {"batch_size": 1, "rate": 0.1, "epochs": 5}
    thin, _ = train(network, make_weights(network, dtype), X, y, l1=0.1, **kwargs)
    full, _ = train(network, make_weights(network, dtype), X, y, **kwargs)
    lost = thin == 0
    assert 0.1 < lost.mean() < 0.9
    assert (full != 0).all()
    fused = fuse(np.stack([thin, full]), [(0, 1)], 0.25, rule=rule)
    assert_array_equal(fused[0, lost], full[lost])
    assert_array_equal(fused[1, lost], full[lost])
    assert_allclose(fused[0, ~lost], (0.75 * thin + 0.25 * full)[~lost], rtol=0, atol=2 * eps(dtype))


# Dtypes and memory


@pytest.mark.parametrize("optimizer", [{}, {"momentum": 0.9}, {"solver": "adam"}], ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_float32_stays_float32_and_near_float64(batch_size, container, optimizer):
    network = make_network((5,))
    after = {}
    for dtype in DTYPES:
        X, y = make_data(48, dtype=dtype)
        kwargs = {"batch_size": batch_size, "rate": 0.01, "l2": 0.01} | optimizer
        after[dtype], _ = train(network, make_weights(network, np.float32).astype(dtype), container(X), y, **kwargs)
        assert after[dtype].dtype == outputs(network, after[dtype], container(X)).dtype == dtype
    n_steps, largest = 48 / batch_size, np.abs(after[np.float64]).max()
    assert_allclose(after[np.float32], after[np.float64], rtol=0, atol=n_steps * eps(np.float32) * largest)


def test_input_of_another_dtype_than_the_weights_is_refused():
    network = make_network()
    X, y = make_data(5, dtype=np.float32)
    with pytest.raises(ValueError, match="dtype"):
        train(network, make_weights(network), X, y, batch_size=1, rate=0.1)
    with pytest.raises(ValueError, match="dtype"):
        outputs(network, make_weights(network), X)


def test_read_only_weights_are_refused():
    """They would be written to all the same, which ends the process where joblib has mapped them from a file."""
    network = make_network()
    X, y = make_data(5)
    weights = make_weights(network)[None]
    weights.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        make_trainer(network, weights, X, y)


def test_input_may_be_read_only():
    network = make_network()
    X, y = make_data(5)
    X.flags.writeable = y.flags.writeable = False
    after, _ = train(network, make_weights(network), X, y, batch_size=4, rate=0.1)
    assert_allclose(outputs(network, after, X), softmax(logits(network, after, X), axis=1))


# Weights that are no numbers


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_that_is_not_finite_shows_in_the_penalty(dtype, container, value):
    """Wherever it is: at a unit at rest, or at a feature that none of the rows has; even if there is no penalty."""
    network = make_network((4,), "relu")
    X, y = make_data(9, dtype=dtype)
    X[:, 2] = 0
    for position in range(network.n_parameters):
        weights = make_weights(network, dtype)
        weights[position] = value
        for batch_size in (1, 8):
            trained, _ = train(network, weights, container(X), y, batch_size=batch_size, rate=0.1)
            trainer, _ = make_trainer(network, trained[None], container(X), y)
            assert not np.isfinite(trainer.penalty(0)), f"weight {position}, batch size {batch_size}"


@pytest.mark.parametrize("optimizer", [{}, {"momentum": 0.9}], ids=["sgd", "momentum"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_divergence_shows_in_the_loss(container, optimizer):
    network = make_network((5,), "identity")
    X, y = make_data(50)
    _, loss = train(network, make_weights(network), container(X), y, batch_size=1, rate=1e100, **optimizer)
    assert not np.isfinite(loss)


# The forward pass


def layer_of(z, output):
    """The output function of each z, through a network whose one input is 1 and whose coefficients are z."""
    network = Network((1, len(z)), "identity", output)
    return outputs(network, np.concatenate([z, np.zeros_like(z)]), np.ones((1, 1), z.dtype))[0]


def wide_range(dtype):
    special = [0, 1e-30, 1e-8, 0.1, 0.6, 1, 20, 1000]
    positive = np.concatenate([special, np.geomspace(1e-9, 1e3, 4001), np.linspace(0, 25, 4001)])
    return np.concatenate([-positive, positive]).astype(dtype)


@pytest.mark.parametrize("output", ["tanh", "logistic"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_output_functions_are_accurate(dtype, output):
    z = wide_range(dtype)
    computed, exact = layer_of(z, output), OUTPUTS[output](z.astype(np.float64))
    assert_allclose(computed, exact, rtol=0, atol=2 * eps(dtype))
    near = np.abs(z) < 1
    assert_allclose(computed[near], exact[near], rtol=4 * eps(dtype))
    assert_array_equal(np.abs(computed) <= 1, True)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_accurate(dtype, activation):
    """Through a hidden unit, whose value the output layer, made tanh(a / 1024), tells of."""
    network = Network((1, 1, 1), activation, "tanh")
    z = wide_range(dtype)
    computed = outputs(network, np.array([1, 0, 2.0**-10, 0], dtype), z[:, None])[:, 0]
    exact = np.tanh(ACTIVATIONS[activation](z.astype(np.float64)) / 1024)
    assert_allclose(computed, exact, rtol=4 * eps(dtype), atol=4 * eps(dtype) / 1024)


@pytest.mark.parametrize("output", ["tanh", "logistic", "softmax"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_stays_nan_and_infinity_saturates(dtype, output):
    assert np.isnan(layer_of(np.array([np.nan] * 9, dtype), output)).all()
    if output != "softmax":
        ends = layer_of(np.array([-np.inf, np.inf], dtype), output)
        assert_allclose(ends, [-1 if output == "tanh" else 0, 1], rtol=0, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("scale", [1e-3, 1, 50, 1e3, 1e30])
@pytest.mark.parametrize("n_classes", [2, 3, 10, 33])
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_is_accurate_for_logits_of_any_size(dtype, n_classes, scale):
    rng = np.random.default_rng(0)
    for _ in range(20):
        z = (scale * rng.normal(size=n_classes)).astype(dtype)
        computed = layer_of(z, "softmax")
        assert_allclose(computed, softmax(z.astype(np.float64)), rtol=0, atol=4 * eps(dtype))
        assert computed.sum(dtype=np.float64) == pytest.approx(1, abs=4 * eps(dtype))


@pytest.mark.parametrize("output, n_classes", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("margin", [30, 700, 1e4])
def test_the_loss_of_a_hopeless_row_is_accurate(margin, output, n_classes):
    """Here log(p) of a rounded p would be infinite or badly off; squared error has no more to learn."""
    network = make_network((), "tanh", output, n_classes)
    X, y = np.zeros((1, N_FEATURES)), np.zeros(1, np.int32)
    weights = np.zeros(network.n_parameters)
    weights[-1] = margin
    _, loss = train(network, weights, X, y, batch_size=1, rate=0.1)
    assert loss == pytest.approx(row_losses(network, weights, X, y)[0], rel=1e-14)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("n_rows", [1, 3, 255, 256, 257, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_equal_numpys_for_any_number_of_rows(dtype, n_rows, container):
    network = make_network((5, 4), "logistic")
    X, _ = make_data(n_rows, dtype=dtype)
    weights = make_weights(network, dtype)
    expected = softmax(logits(network, weights.astype(np.float64), X.astype(np.float64)), axis=1)
    for kwargs in ({}, {"buffer_rows": 1}, {"buffer_rows": 7}):
        computed = outputs(network, weights, container(X), **kwargs)
        assert computed.shape == (n_rows, 3)
        assert_allclose(computed, expected, rtol=0, atol=8 * eps(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_without_any_value_answer_by_the_intercepts(dtype):
    network = make_network((4,))
    weights = make_weights(network, dtype)
    empty = csr_array((5, N_FEATURES), dtype=dtype)
    assert empty.nnz == 0
    computed = outputs(network, weights, empty)
    assert_allclose(computed, outputs(network, weights, np.zeros((5, N_FEATURES), dtype)), rtol=4 * eps(dtype))
    y = np.arange(5, dtype=np.int32) % 3
    after, _ = train(network, weights, empty, y, batch_size=2, rate=0.1)
    assert_array_equal(after[: 4 * N_FEATURES], weights[: 4 * N_FEATURES])
    assert (after[4 * N_FEATURES :] != weights[4 * N_FEATURES :]).all()


def test_csr_may_have_wide_indices_in_any_order_and_twice():
    network = make_network((4,))
    weights = make_weights(network)
    X = csr_array((np.array([1.0, 2.0, 3.0, 4.0]), np.array([5, 0, 3, 3]), np.array([0, 2, 4])), shape=(2, N_FEATURES))
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    dense = np.array([[2.0, 0, 0, 0, 0, 1], [0, 0, 0, 7, 0, 0]])
    assert_allclose(outputs(network, weights, X), softmax(logits(network, weights, dense), axis=1), rtol=1e-14)
    y = np.array([0, 2], np.int32)
    kwargs = {"batch_size": 2, "rate": 0.1, "l2": 0.1}
    after, expected = (train(network, weights, rows, y, **kwargs)[0] for rows in (X, dense))
    assert_allclose(after, expected, rtol=1e-14)


def with_stride(array):
    """The same numbers as every second of an array."""
    wide = np.full(2 * len(array), -1, array.dtype)
    wide[::2] = array
    return wide[::2]


def backwards(array):
    """The same numbers, which lie in memory from the last to the first."""
    return array[::-1].copy()[::-1]


def off_boundary(array):
    """The same numbers, which begin at an address that is no multiple of their size."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype)
    view[:] = array
    return view


@pytest.mark.parametrize("name", ["data", "indices", "indptr"])
@pytest.mark.parametrize("view", [with_stride, backwards, off_boundary])
@pytest.mark.parametrize("wide", [False, True], ids=["int32", "int64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_csr_may_be_made_of_views(dtype, wide, view, name):
    network = make_network((4,))
    (X, y), weights = make_data(9, dtype=dtype), make_weights(network, dtype)
    plain, views = csr_array(X), csr_array(X)
    if wide:
        views.indices, views.indptr = views.indices.astype(np.int64), views.indptr.astype(np.int64)
    setattr(views, name, view(getattr(views, name)))
    array = getattr(views, name)
    assert not (array.flags.c_contiguous and array.flags.aligned)
    assert_array_equal(outputs(network, weights, views), outputs(network, weights, plain))
    for optimizer in ({}, {"momentum": 0.9}):
        kwargs = {"batch_size": 4, "rate": 0.1, "l2": 0.1} | optimizer
        after, loss = train(network, weights, views, y, **kwargs)
        expected, expected_loss = train(network, weights, plain, y, **kwargs)
        assert_array_equal(after, expected)
        assert loss == expected_loss


# Bounds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("indptr", [0, 2, 1, 4]),
        ("indptr", [1, 2, 3, 4]),
        ("indptr", [0, 2, 3, 5]),
        ("indptr", [0, 2, 4]),
        ("indices", [0, 1, 2]),
        ("data", [1.0, 2.0, 3.0]),
        ("indices", [0, 1, 2, N_FEATURES]),
        ("indices", [0, 1, 2, -1]),
    ],
)
def test_csr_that_was_broken_after_it_was_made_is_refused(name, value):
    X = csr_array((np.ones(4), np.arange(4), np.array([0, 2, 3, 4])), shape=(3, N_FEATURES))
    setattr(X, name, np.array(value))
    with pytest.raises(ValueError, match=r"^X must "):
        outputs(make_network(), make_weights(make_network()), X)


@pytest.mark.parametrize("start, stop", [(-1, 3), (3, 2)])
def test_steps_out_of_order_are_refused(start, stop):
    network = make_network()
    trainer, _ = make_trainer(network, make_weights(network)[None], *make_data(5))
    with pytest.raises(ValueError, match="start and stop"):
        trainer.train(start, stop)


@pytest.mark.parametrize(
    "peers, rows, batch_sizes",
    [
        ([1], [[0]], [1]),
        ([-1], [[0]], [1]),
        ([0], [[0]], [0]),
        ([0], [[0]], [9]),
        ([0], [[0], [1]], [1]),
        ([0], [[0]], [1, 1]),
        ([0], [[5]], [1]),
        ([0], [[-1]], [1]),
    ],
)
def test_plans_out_of_range_are_refused(peers, rows, batch_sizes):
    network, plan = make_network(), make_plan(peers, rows, batch_sizes)
    with pytest.raises(ValueError, match="plan"):
        make_trainer(network, make_weights(network)[None], *make_data(5), plan=plan)
