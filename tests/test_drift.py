"""Drift correction: against a plain reference, its invariants, and that nothing loses it on the way."""

import pickle
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.datasets import load_iris, make_regression
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier, FusedMLPRegressor, _kernels
from skfusion._training.drift import Drift
from skfusion._training.peers import Bundle, aligned
from skfusion._training.problem import Data, Problem
from skfusion.partition import PredefinedPartitioner
from skfusion.topology import AverageTopology, HypercubeTopology, RandomTopology, RingTopology, round_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ENDLESS = {"n_iter_no_change": 10**6}
X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
CORRECTED = [{"drift_correction": "tracking"}, {"fusion_momentum": 0.8}]
CORRECTED.append(CORRECTED[0] | CORRECTED[1])
TOPOLOGIES = {
    "average": "average",
    "random": RandomTopology(),
    "hypercube": HypercubeTopology(each_edge_once=True),
    "metropolis": RingTopology("metropolis"),
}


def small(**params):
    """Peers that each see one class, and fuse after every fourth of their steps."""
    defaults = {"partitioner": "class", "n_networks": 3, "fusion_unit": "step", "fusion_frequency": 4, "batch_size": 5}
    defaults |= {"max_iter": 3, "random_state": 0, "learning_rate_init": 0.05}
    return FusedMLPClassifier((6,), **defaults | ENDLESS | params)


def linear_peers(n_networks=4, n_rows=24, seed=0):
    """Rows of peers whose least squares differ, side by side; and the linear regression that fits all."""
    X, y = make_regression(n_networks * n_rows, 3, noise=5, random_state=seed)
    peer_of_row = np.repeat(np.arange(n_networks), n_rows)
    y = StandardScaler().fit_transform(y[:, None])[:, 0] + np.sin(7 * peer_of_row)
    X = X * (1 + peer_of_row[:, None] % 3) / 2
    solution, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(len(y))]), y, rcond=None)
    return X, y, peer_of_row, solution


def linear_model(peer_of_row, **params):
    defaults = {"n_networks": int(peer_of_row.max()) + 1, "partitioner": PredefinedPartitioner(peer_of_row)}
    defaults |= {"fusion_unit": "step", "shuffle": False, "alpha": 0, "random_state": 0}
    return FusedMLPRegressor((), **defaults | ENDLESS | params)


def reference(X, y, peer_of_row, weights, mixing, *, n_steps, K, batch_size, rate, tracking, beta):
    """K-GT and quasi-global momentum as loops over peers, for a linear regression."""
    n_networks = len(weights)
    rows = [np.flatnonzero(peer_of_row == peer) for peer in range(n_networks)]
    ones = np.column_stack([X, np.ones(len(y))])
    w, c, m = weights.copy(), np.zeros_like(weights), np.zeros_like(weights)
    start, fusion_round = w.copy(), 0
    for step in range(n_steps):
        for peer in range(n_networks):
            batch = np.resize(rows[peer], (step + 1) * batch_size)[-batch_size:]
            gradient = ones[batch].T @ (ones[batch] @ w[peer] - y[batch]) / batch_size
            w[peer] -= rate * (gradient + c[peer] + beta * m[peer])
        if (step + 1) % K == 0:
            M = mixing(fusion_round)
            z = (start - w) / (K * rate)
            if tracking:
                c += M @ z - z
            w = M @ w
            m = beta * m + (1 - beta) * (start - w) / (K * rate)
            start, fusion_round = w.copy(), fusion_round + 1
    return w


@settings(max_examples=25)
@given(
    topology=st.sampled_from(["average", "hypercube", "ring", "exponential", RingTopology("metropolis")]),
    rate=st.sampled_from([0.5, 0.4]),
    K=st.integers(1, 5),
    batch_size=st.sampled_from([1, 4, 6]),
    tracking=st.booleans(),
    beta=st.sampled_from([0, 0.7]),
)
def test_training_agrees_with_the_reference(topology, rate, K, batch_size, tracking, beta):
    X, y, peer_of_row, _ = linear_peers()
    X[peer_of_row == 1, 0] = 0  # so that steps of one peer are exactly 0, which counts like any other number
    params = {"topology": topology, "fusion_rate": rate, "fusion_frequency": K, "batch_size": batch_size}
    params |= {"drift_correction": "tracking" if tracking else None, "fusion_momentum": beta}
    model = linear_model(peer_of_row, max_iter=2, learning_rate_init=0.02, **params).fit(X, y)
    n_parameters = X.shape[1] + 1
    start = linear_model(peer_of_row, max_iter=1, learning_rate_init=1e-300, fusion_rate=0).fit(X, y).weights_
    assert start.shape == (4, n_parameters)
    w = reference(
        X,
        y,
        peer_of_row,
        start,
        lambda t: model.topology_.mixing_matrix(4, rate, "simultaneous", t),
        n_steps=2 * 24 // batch_size,
        K=K,
        batch_size=batch_size,
        rate=0.02,
        tracking=tracking,
        beta=beta,
    )
    np.testing.assert_allclose(model.weights_, w, rtol=1e-9, atol=1e-11)


def test_with_exact_mixing_after_each_step_tracking_is_sgd_on_the_mean_gradient():
    shared = {"max_iter": 15, "batch_size": 50, "fusion_frequency": 1, "shuffle": False, "alpha": 0}
    peers = small(partitioner=PredefinedPartitioner(Y), topology="average", drift_correction="tracking", **shared)
    peers.fit(X, Y)
    one = small(n_networks=1, partitioner="random", **shared | {"batch_size": 150}).fit(X, Y)
    np.testing.assert_allclose(peers.weights_, one.weights_[[0, 0, 0]], rtol=1e-9, atol=1e-12)


@settings(max_examples=20)
@given(
    topology=st.sampled_from(list(TOPOLOGIES.values())),
    rate=st.sampled_from([0.2, 0.5]),
    frequency=st.integers(1, 7),
    momentum=st.sampled_from([0, 0.8]),
)
def test_corrections_sum_to_zero_under_doubly_stochastic_mixing(topology, rate, frequency, momentum):
    params = {"topology": topology, "fusion_rate": rate, "fusion_frequency": frequency, "fusion_momentum": momentum}
    model = small(drift_correction="tracking", **params).fit(X, Y)
    corrections = model._ensemble.drift.corrections
    assert np.abs(corrections).max() > 1e-3
    np.testing.assert_allclose(corrections.sum(axis=0), 0, atol=1e-12 * len(model.history_) + 1e-10)


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_different_optima_are_reconciled_by_tracking_alone(topology):
    X, y, peer_of_row, solution = linear_peers()
    params = {"topology": topology, "fusion_frequency": 6, "batch_size": 24, "learning_rate_init": 0.1}
    tracked = linear_model(peer_of_row, max_iter=1000, drift_correction="tracking", **params).fit(X, y)
    plain = linear_model(peer_of_row, max_iter=1000, **params).fit(X, y)
    np.testing.assert_allclose(tracked.weights_, np.tile(solution, (4, 1)), atol=1e-6)
    assert np.abs(plain.weights_.mean(axis=0) - solution).max() > 1e-2


# A round by itself


def drift_and_state(weights, tracking, momentum):
    params = SimpleNamespace(drift_correction="tracking" if tracking else None, fusion_momentum=momentum)
    return Drift.of(params, weights), SimpleNamespace(weights=weights, drift=aligned(np.zeros_like(weights)))


def fuse(drift, state, fusion_round, momentum):
    """All that a round at a rate of 0.5 does to weights and drift."""

    def mix(columns):
        fusion_round.fuse(columns, 0.5, "simultaneous", zero_rule=False)

    drift.before_round(state, mix)
    fusion_round.fuse(state.weights, 0.5, "simultaneous")
    drift.after_round(state, mix, momentum)


@pytest.mark.parametrize("tracking, momentum", [(True, 0), (False, 0.8), (True, 0.8)])
@pytest.mark.parametrize("n_parameters", [1, 37, 20000], ids="{} parameters".format)
@pytest.mark.parametrize("topology", TOPOLOGIES, ids=str)
def test_rounds_of_peers_that_step_at_rates_and_as_often_as_they_like(topology, n_parameters, tracking, momentum):
    rng, n_networks = np.random.default_rng(0), 5
    topology = AverageTopology() if topology == "average" else TOPOLOGIES[topology]
    drift, state = drift_and_state(aligned(rng.normal(size=(n_networks, n_parameters))), tracking, momentum)
    w, start = state.weights.copy(), state.weights.copy()
    c, v = np.zeros_like(w), np.zeros_like(w)
    for number in range(4):
        fusion_round = round_of(topology, n_networks, number, np.random.RandomState(number))
        M = fusion_round.mixing_matrix(0.5, "simultaneous")
        moved, rates, n_steps = rng.normal(size=w.shape), rng.uniform(0.01, 0.1, 5), rng.integers(1, 9, 5)
        state.weights += moved
        drift.count(n_steps, rates)
        fuse(drift, state, fusion_round, momentum)
        w += moved
        summed = (n_steps * rates)[:, None]
        z = (start - w) / summed
        c += tracking * (M @ z - z)
        w = M @ w
        v = momentum * v + (1 - momentum) * (start - w) / (M @ summed)
        start = w.copy()
        np.testing.assert_allclose(state.weights, w, rtol=0, atol=1e-13)
        np.testing.assert_allclose(state.drift, c + momentum * v, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(drift.starts, state.weights)
        assert not drift.rates.any()


def test_a_peer_that_took_no_step_moves_with_the_others():
    drift, state = drift_and_state(np.ones((3, 2)), True, 0.5)
    average = round_of(AverageTopology(), 3)
    state.weights[:2] -= [[0.3], [0.6]]
    drift.count(np.array([1, 2, 0]), np.full(3, 0.1))
    fuse(drift, state, average, 0.5)
    # Mean steps of 3, 3 and none: their mean is 2.  All have moved by 0.3, at rates of 0.1 on average.
    np.testing.assert_allclose(drift.corrections, [[-1, -1], [-1, -1], [2, 2]], rtol=1e-13)
    np.testing.assert_allclose(drift.velocities, 1.5, rtol=1e-13)
    fuse(drift, state, average, 0.5)
    # Without any step, all have the mean of what each would do: 0.75 by the velocity, and corrections of 0.
    np.testing.assert_allclose(drift.velocities, 1.5, rtol=1e-13)
    np.testing.assert_allclose(state.drift, 0.75, rtol=1e-13)


def test_arrays_unlike_the_weights_are_refused():
    weights = np.ones((3, 4))
    with pytest.raises(ValueError, match=r"must have these too, got \(3, 5\) and float64"):
        _kernels.track(weights, np.ones((3, 5)), np.ones(3), weights, weights, None)
    with pytest.raises(ValueError, match=r"must have these too, got \(3, 4\) and float32"):
        _kernels.follow(weights, weights, np.ones(3), np.ones(3), np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match=r"must have these too, got \(2, 4\) and float64"):
        _kernels.write_drift(weights, np.ones((2, 4)), 0.9, weights)
    with pytest.raises(ValueError, match="rates must have 3 entries, got 2"):
        _kernels.track(weights, weights, np.ones(2), weights, weights, None)
    with pytest.raises(ValueError, match="keep and gain must have 3 entries, got 3 and 4"):
        _kernels.follow(weights, weights, np.ones(3), np.ones(4), weights)


# What carries the corrections


def assert_same(one, other):
    np.testing.assert_array_equal(one.weights_, other.weights_)
    for name in ("corrections", "velocities", "starts", "rates"):
        np.testing.assert_array_equal(getattr(one._ensemble.drift, name), getattr(other._ensemble.drift, name))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("params", CORRECTED, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_and_processes_change_no_bit(params, dtype):
    alone = small(topology="random", **params).fit(X.astype(dtype), Y)
    for backend in ("threading", "loky"):
        with joblib.parallel_config(backend, n_jobs=2):
            assert_same(small(topology="random", **params).fit(X.astype(dtype), Y), alone)


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_peers_that_go_round_their_rows_again_may_do_so_anywhere(backend):
    few = PredefinedPartitioner(np.minimum(np.arange(len(Y)), 12) // 12)  # 12 rows of one peer, the rest of the other
    params = dict(partitioner=few, n_networks=2, fusion_unit="step", fusion_frequency=5)
    alone = small(**params).fit(X, Y).weights_
    with joblib.parallel_config(backend, n_jobs=2):
        np.testing.assert_array_equal(small(**params).fit(X, Y).weights_, alone)


@pytest.mark.parametrize("params", CORRECTED, ids=str)
def test_partial_fits_of_the_same_rows_are_epochs_of_fit(params):
    params = params | {"partitioner": PredefinedPartitioner(Y), "topology": "random", "fusion_frequency": 3}
    whole = small(**params).fit(X, Y)
    portions = small(**params)
    for _ in range(3):
        portions.partial_fit(X, Y, [0, 1, 2])
        portions = pickle.loads(pickle.dumps(portions))
    assert_same(portions, whole)


@pytest.mark.parametrize("params", CORRECTED, ids=str)
def test_warm_starts_keep_the_corrections(params):
    model = small(warm_start=True, learning_rate_init=1e-12, topology="average", **params)
    model.set_params(learning_rate_init=0.05).fit(X, Y)
    before = model._ensemble.drift
    model.set_params(max_iter=1, fusion_frequency=10**6).fit(X, Y)
    for name in ("corrections", "velocities", "starts"):
        np.testing.assert_array_equal(getattr(model._ensemble.drift, name), getattr(before, name))
    added = 0 if before.corrections is None else before.corrections
    added = added + (0 if before.velocities is None else params["fusion_momentum"] * before.velocities)
    np.testing.assert_allclose(model._ensemble.state.drift, added, rtol=1e-12)


def test_a_correction_that_is_switched_off_is_gone_and_on_begins_with_none():
    model = small().partial_fit(X, Y, [0, 1, 2])
    assert model._ensemble.drift is None
    model.set_params(drift_correction="tracking").partial_fit(X, Y)
    assert model._ensemble.drift.velocities is None
    assert np.any(model._ensemble.drift.corrections)
    plain = pickle.loads(pickle.dumps(model)).set_params(drift_correction=None).partial_fit(X, Y)
    assert plain._ensemble.drift is None
    assert plain._ensemble.state.drift is None


def test_steps_count_at_the_rate_that_they_were_taken_at():
    model = small(drift_correction="tracking", learning_rate="invscaling", fusion_frequency=10**6, max_iter=1)
    drift = model.fit(X, Y)._ensemble.drift
    np.testing.assert_allclose(drift.rates, 10 * 0.05)  # those of the next epoch are lower


@pytest.mark.parametrize("params", CORRECTED, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [1e-30, 1e-40, 1e-310])
def test_rates_that_move_nothing_leave_finite_corrections(rate, dtype, params):
    model = small(learning_rate_init=rate, topology="random", **params).fit(X.astype(dtype), Y)
    drift = model._ensemble.drift
    assert all(np.isfinite(each).all() for each in (drift.corrections, drift.velocities) if each is not None)
    start = small(learning_rate_init=rate, fusion_rate=0).fit(X.astype(dtype), Y)
    np.testing.assert_allclose(model.weights_, start.weights_, rtol=1e-6)


def test_weights_that_are_replaced_count_as_no_step():
    model = small(drift_correction="tracking", fusion_frequency=7).fit(X, Y)
    model.weights_ = model.weights_ + 1
    np.testing.assert_array_equal(model._ensemble.drift.starts, model.weights_)
    assert not model._ensemble.drift.rates.any()


def test_weights_of_the_best_epoch_count_as_no_step():
    params = dict(early_stopping=True, validation_fraction=0.3, learning_rate_init=0.5, max_iter=8)
    model = small(drift_correction="tracking", fusion_frequency=4, **params).fit(X, Y)
    assert np.argmax(model.validation_scores_) < 7  # else there is nothing to go back to
    np.testing.assert_array_equal(model._ensemble.drift.starts, model.weights_)
    assert not model._ensemble.drift.rates.any()


@pytest.mark.parametrize("container", [csr_array, np.asarray], ids=["sparse", "dense"])
@pytest.mark.parametrize("params", CORRECTED, ids=str)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_rows_of_any_kind_train_alike(container, params, batch_size):
    rows = np.where(np.abs(X) < 1, 0, X)
    rows[:, 0] += 2.5  # so that dense rows have a background
    dense = small(batch_size=batch_size, **params).fit(rows + 1e-300, Y)
    other = small(batch_size=batch_size, **params).fit(container(rows), Y)
    np.testing.assert_allclose(other.weights_, dense.weights_, rtol=1e-8, atol=1e-10)


def test_a_peer_without_rows_counts_as_one_without_a_gradient():
    model = small(drift_correction="tracking", topology="average").partial_fit(X, Y, [0, 1, 2])
    model.partial_fit(X[Y < 2], Y[Y < 2])
    assert np.isfinite(model.weights_).all()
    np.testing.assert_allclose(model._ensemble.drift.corrections.sum(axis=0), 0, atol=1e-10)


# What is sent, what is refused


def test_a_tracked_round_sends_twice_as_much():
    plain, tracked, momentum = (small(**params).fit(X, Y) for params in ({}, CORRECTED[0], CORRECTED[1]))
    sent = [np.array(model.history_[-1]["numbers_sent"]) for model in (plain, tracked, momentum)]
    np.testing.assert_array_equal(sent[1], 2 * sent[0])
    np.testing.assert_array_equal(sent[2], sent[0])


@pytest.mark.parametrize("params", CORRECTED[:2], ids=str)
@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"solver": "adam"}, "solver must be 'sgd' with {}=.*got 'adam'"),
        ({"momentum": 0.9}, "momentum must be 0 with {}=.*got 0.9"),
        ({"l1_ratio": 0.5}, "l1_ratio must be 0 with {}=.*got 0.5"),
    ],
    ids=str,
)
def test_what_cannot_be_combined_is_refused_by_name(params, other, match):
    with pytest.raises(ValueError, match=match.format(*params)):
        small(**params, **other).fit(X, Y)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"drift_correction": "scaffold"}, ValueError, "drift_correction must be 'tracking' or None, got 'scaffold'"),
        ({"drift_correction": True}, ValueError, "drift_correction must be 'tracking' or None, got True"),
        ({"fusion_momentum": 1}, ValueError, r"fusion_momentum must be in \[0, 1\), got 1"),
        ({"fusion_momentum": None}, TypeError, "fusion_momentum must be a number"),
    ],
)
def test_wrong_parameters_are_named(params, error, match):
    with pytest.raises(error, match=match):
        small(**params).fit(X, Y)


# Equal steps


def test_with_rounds_counted_in_steps_all_peers_take_as_many():
    peer_of_row = np.repeat([0, 1, 2], [100, 40, 10])
    model = small(partitioner=PredefinedPartitioner(peer_of_row), batch_size=8, max_iter=2).fit(X, Y)
    assert model._ensemble.state.n_steps.tolist() == [26, 26, 26]
    assert model._ensemble.state.samples_seen.tolist() == [200, 208, 208]
    assert np.isfinite(model.history_[-1]["losses"]).all()


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_peer_that_goes_round_again_takes_each_of_its_rows_about_as_often(batch_size):
    peer_of_row = np.repeat([0, 1, 2], [100, 40, 10])
    model = small(partitioner=PredefinedPartitioner(peer_of_row), batch_size=batch_size, fusion_rate=0).fit(X, Y)
    parts = [np.flatnonzero(peer_of_row == peer) for peer in range(3)]
    data = Data(X, Y.astype(np.int32), None, parts)
    problem = Problem(model._ensemble.network, model._ensemble.settings, RingTopology(), np.array([100, 40, 10]))
    bundle = Bundle(problem, data, model._ensemble.state.copy(), [0, 1, 2])
    orders = []
    for _ in range(2):
        bundle.begin_epoch()
        orders.append(np.split(bundle.rows.copy(), bundle.ends[1:-1]))
    for part, first, second in zip(parts, *orders, strict=True):
        counts = np.bincount(first, minlength=150)
        assert set(np.flatnonzero(counts)) <= set(part)
        assert counts[part].max() - counts[part].min() <= 1
        assert not np.array_equal(first, second)
