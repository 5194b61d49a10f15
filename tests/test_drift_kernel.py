"""A drift that is added to each step's gradient: lazy steps on sparse rows against eager ones in plain numpy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.special import softmax
from test_kernels import (
    DTYPES,
    N_FEATURES,
    eps,
    is_coef,
    make_data,
    make_network,
    make_plan,
    make_trainer,
    make_weights,
    soft_threshold,
    unpack,
)

from skfusion._training.network import Network

KINDS = ["dense", "csr", "offset"]
OPTIMIZERS = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterovs_momentum": True},
    "adam": {"solver": "adam"},
    "l1": {"l1": 0.01},
}
OFFSET = np.linspace(-1, 2, N_FEATURES)


def make_drift(network, seed=7, scale=0.1):
    return np.random.default_rng(seed).normal(scale=scale, size=network.n_parameters)


# A plain reference: tanh units, softmax outputs, all in float64


def mean_gradient(network, weights, X, y):
    """By backpropagation, as one flat vector."""
    layers, inputs = unpack(network, weights), [X]
    for coefs, intercepts in layers[:-1]:
        inputs.append(np.tanh(inputs[-1] @ coefs + intercepts))
    coefs, intercepts = layers[-1]
    delta = (softmax(inputs[-1] @ coefs + intercepts, axis=1) - np.eye(coefs.shape[1])[y]) / len(y)
    gradients = []
    for (coefs, _), a in zip(layers[::-1], inputs[::-1], strict=True):
        gradients += [delta.sum(axis=0), (a.T @ delta).ravel()]
        delta = (delta @ coefs.T) * (1 - a**2)
    return np.concatenate(gradients[::-1])


def reference(network, weights, X, y, drifts, *, batch_size, rate, l2=0.0, l1=0.0, solver="sgd", momentum=0.0, **rest):
    """Weights after an epoch for each drift, whose steps follow the gradient, the penalty's included, and the drift."""
    weights, first, second, n_steps = weights.astype(np.float64), 0, 0, 0
    for drift in drifts:
        for start in range(0, len(y), batch_size):
            batch, target = X[start : start + batch_size], y[start : start + batch_size]
            slope = mean_gradient(network, weights, batch, target) + drift
            slope = slope + np.where(is_coef(network), l2 / len(target) * weights, 0)
            n_steps += 1
            if solver == "adam":
                first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
                size = rate * np.sqrt(1 - 0.999**n_steps) / (1 - 0.9**n_steps)
                weights = weights - size * first / (np.sqrt(second) + 1e-8)
            else:
                first = momentum * first - rate * slope
                weights = weights + (momentum * first - rate * slope if rest.get("nesterovs_momentum") else first)
            shrunk = soft_threshold(weights, rate * l1 / len(target))
            weights = np.where(is_coef(network), shrunk, weights)
    return weights


def train(network, weights, X, y, drifts, kind="dense", *, steps=(3, 3, 100), **kwargs):
    """Weights after an epoch for each drift by the kernel, each in segments that end after so many steps."""
    weights, drift = weights[None].copy(), np.empty((1, len(weights)), weights.dtype)
    rows, options = {"dense": X, "csr": csr_array(X)}.get(kind), {"drift": drift, "buffer_rows": 40}
    if kind == "offset":
        offset = OFFSET.astype(weights.dtype)
        rows, options = csr_array(X - offset), options | {"offset": offset}
    trainer, _ = make_trainer(network, weights, rows, y, options=options, **kwargs)
    for values in drifts:
        drift[:] = values
        for start, stop in zip((0, *steps), steps, strict=False):
            trainer.train(start, stop)
    return weights[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 3, 4, 8])
@pytest.mark.parametrize("hidden", [(), (33,), (5, 4)], ids=str)
def test_a_drift_is_added_to_each_gradient(hidden, batch_size, kind, optimizer):
    network = make_network(hidden)
    (X, y), weights = make_data(27), make_weights(network)
    drifts = [make_drift(network, seed) for seed in range(2)]  # which the caller changes between epochs
    kwargs = {"batch_size": batch_size, "rate": 0.05, "l2": 0.1} | optimizer
    after = train(network, weights, X, y, drifts, kind, **kwargs)
    expected = reference(network, weights, X, y, drifts, **kwargs)
    assert np.abs(expected - reference(network, weights, X, y, 2 * [0], **kwargs)).max() > 0.02
    assert_allclose(after, expected, rtol=0, atol=2000 * eps(float))


@pytest.mark.parametrize("decay", [1, 0.9999, 0.9, 0.02, 0.0, -0.5])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_drift_decays_with_the_weights(batch_size, kind, decay):
    """On sparse rows both are pending, the drift of each earlier step by a power of the decay."""
    network, rate = make_network((5,)), 0.1
    (X, y), weights, drift = make_data(24), make_weights(network), make_drift(network)
    kwargs = {"batch_size": batch_size, "rate": rate, "l2": (1 - decay) * batch_size / rate}
    after = train(network, weights, X, y, 4 * [drift], kind, **kwargs)
    assert_allclose(after, reference(network, weights, X, y, 4 * [drift], **kwargs), rtol=0, atol=2000 * eps(float))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 40])
@pytest.mark.parametrize("decay", [1, 0.5])
def test_coefficients_of_a_feature_that_no_row_has(decay, batch_size):
    """They owe the drift alone: r d (1 + decay + decay^2 + ...) after steps of rate r."""
    network, rate, n_steps = make_network((4,)), 0.25, 5
    (X, y), weights, drift = make_data(batch_size * n_steps), make_weights(network), make_drift(network)
    X[:, 2] = 0
    kwargs = {"batch_size": batch_size, "rate": rate, "l2": (1 - decay) * batch_size / rate}
    untouched = slice(2 * 4, 3 * 4)
    expected = decay**n_steps * weights - rate * drift * sum(decay**k for k in range(n_steps))
    after = train(network, weights, X, y, [drift], "csr", **kwargs)
    assert_allclose(after[untouched], expected[untouched], rtol=0, atol=10 * eps(float))


@pytest.mark.parametrize("batch_size", [1, 8])
def test_lazy_steps_are_as_exact_as_eager_ones(batch_size):
    """In float32 over a thousand rows in one segment, without a decay that would let what is pending fade."""
    network, drifts = make_network((5,)), [make_drift(make_network((5,)), scale=0.02)]
    (X, y), weights = make_data(1000), make_weights(network, np.float32)
    kwargs = {"batch_size": batch_size, "rate": 0.01}
    expected = reference(network, weights, X, y, drifts, **kwargs)
    errors = {}
    for kind in KINDS:
        after = train(network, weights, X.astype(np.float32), y, drifts, kind, steps=(1000,), **kwargs)
        assert after.dtype == np.float32
        errors[kind] = np.abs(after - expected).max()
    assert errors["dense"] < 1e-3
    assert max(errors["csr"], errors["offset"]) < 3 * errors["dense"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_where_training_is_cut_makes_no_difference_but_rounding(batch_size, kind):
    network = make_network((5,))
    (X, y), weights, drift = make_data(48), make_weights(network), make_drift(network)
    kwargs = {"batch_size": batch_size, "rate": 0.1, "l2": 0.1}
    whole = train(network, weights, X, y, [drift], kind, steps=(48,), **kwargs)
    for steps in [range(1, 49), (1, 2, 48), (7, 20, 48)]:
        assert_allclose(train(network, weights, X, y, [drift], kind, steps=steps, **kwargs), whole, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_each_peer_has_a_drift_of_its_own(batch_size, kind):
    network = make_network((5,))
    X, y = make_data(40)
    start = np.stack([make_weights(network, seed=seed) for seed in range(3)])
    drift = np.stack([make_drift(network, seed) for seed in range(3)])
    weights, orders = start.copy(), [np.random.default_rng(seed).permutation(40) for seed in range(2)]
    plan = make_plan([2, 0], orders, [batch_size, batch_size])
    trainer, _ = make_trainer(
        network, weights, X if kind == "dense" else csr_array(X), y, plan=plan, options={"drift": drift}
    )
    trainer.train(0, 40)
    for peer, rows in zip([2, 0], orders, strict=True):
        alone = train(network, start[peer], X[rows], y[rows], [drift[peer]], kind, steps=(40,), batch_size=batch_size)
        assert_array_equal(weights[peer], alone)
    assert_array_equal(weights[1], start[1])


# Sums of few powers of two, so that each step is exact
@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_worked_by_hand(dtype, kind):
    """Inputs of 0 leave the coefficients to the penalty and the drift; rate and l2 are 1/2 and 1.

    So each coefficient halves and loses half its drift: 1 with drift 1 becomes 0 and then -1/2, with drift -1 it stays
    1.  Intercepts of 0 give both classes the probability 1/2, so that for class 0 their derivatives are -1/2 and 1/2:
    the second becomes -1/4, and the first, whose drift is 1/4, 1/4 - 1/8.
    """
    network = Network((2, 2), "tanh", "softmax")
    weights = np.array([1, 1, 1, 1, 0, 0], dtype)
    X, y = np.zeros((2, 2), dtype), np.zeros(2, np.int32)
    drift = np.array([1, 0, 0, -1, 0.25, 0])
    kwargs = {"batch_size": 1, "rate": 0.5, "l2": 1.0}
    once = train(network, weights, X[:1], y[:1], [drift], kind, steps=(1,), **kwargs)
    assert_array_equal(once, [0, 0.5, 0.5, 1, 0.25 - 0.125, -0.25])
    twice = train(network, weights, X, y, [drift], kind, steps=(2,), **kwargs)
    assert_array_equal(twice[:4], [-0.5, 0.25, 0.25, 1])


# Refusals


def broken(name, drift):
    return {
        "shape": drift[:, :-1].copy(),
        "dtype": drift.astype(np.float32),
        "strides": np.repeat(drift, 2, axis=1)[:, ::2],
        "layout": np.hstack([drift, drift])[:, : drift.shape[1]],
    }[name]


@pytest.mark.parametrize(
    "name, message", [("shape", "shape"), ("dtype", "dtype"), ("strides", "alike"), ("layout", "alike")]
)
def test_a_drift_unlike_the_weights_is_refused(name, message):
    network = make_network()
    weights = np.stack([make_weights(network, seed=seed) for seed in range(2)])
    with pytest.raises(ValueError, match=message):
        make_trainer(network, weights, *make_data(5), options={"drift": broken(name, np.zeros_like(weights))})


def test_a_drift_may_be_read_only():
    network = make_network()
    X, y = make_data(5)
    drift = np.ones((1, network.n_parameters))
    drift.flags.writeable = False
    weights = make_weights(network)[None]
    trainer, _ = make_trainer(network, weights, X, y, options={"drift": drift})
    trainer.train(0, 5)
    assert_allclose(
        weights[0], reference(network, make_weights(network), X, y, drift, batch_size=1, rate=0.1), rtol=1e-12
    )
