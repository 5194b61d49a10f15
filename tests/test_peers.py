"""What peers see: their own rows, and through fusion what others were shown."""

import numpy as np
import pytest
from models import GROUPS, NO_STEP, TOPOLOGIES, X, Y, first_layers_changed, model, parts_of

from skfusion import fuse
from skfusion.partition import PredefinedPartitioner
from skfusion.topology import RingTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 15])
def test_each_epoch_passes_once_over_each_row(batch_size, shuffle):
    # Of the steps that small ones come to, those of a row are in its own column.
    rate, params = 1e-7, {"n_networks": 1, "batch_size": batch_size, "shuffle": shuffle, "alpha": 0, "max_iter": 3}
    start = model((), **params, learning_rate_init=NO_STEP).fit(np.eye(len(Y)), Y)
    fitted = model((), **params, learning_rate_init=rate).fit(np.eye(len(Y)), Y)
    moved = (fitted.coefs_[0] - start.coefs_[0]) / rate
    expected = 3 * (np.eye(3)[Y] - start.predict_proba(np.eye(len(Y)))) / batch_size
    np.testing.assert_allclose(moved, expected, atol=1e-4)


@pytest.mark.parametrize("params", [{}, {"batch_size": 7}, {"fusion_unit": "step", "fusion_frequency": 2}], ids=str)
@pytest.mark.parametrize("partitioner", ["random", "stratified", "class", "dirichlet", "group"])
def test_without_fusion_no_peer_learns_of_a_row_that_is_not_its_own(partitioner, params):
    params = {"n_networks": 3, "partitioner": partitioner, "fusion_rate": 0, "alpha": 0, **params}
    rows = np.eye(len(Y))
    groups = GROUPS if partitioner == "group" else None
    fitted = model(**params).fit(rows, Y, groups=groups)
    start = model(**params, learning_rate_init=NO_STEP).fit(rows, Y, groups=groups)
    for trained_on, part in zip(first_layers_changed(fitted, start), fitted.partition_, strict=True):
        assert set(trained_on) == set(part)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_with_fusion_a_peer_learns_of_rows_that_are_not_its_own(topology):
    params = {"n_networks": 2, "topology": topology, "alpha": 0, "max_iter": 1}
    fitted = model(**params).fit(np.eye(len(Y)), Y)
    start = model(**params, learning_rate_init=NO_STEP).fit(np.eye(len(Y)), Y)
    for trained_on in first_layers_changed(fitted, start):
        assert len(trained_on) == len(Y)


@pytest.mark.parametrize(
    "params", [{}, {"solver": "adam"}, {"momentum": 0.9}, {"alpha": 1.0, "l1_ratio": 1.0}], ids=str
)
def test_without_fusion_each_peer_is_a_network_trained_alone(params):
    # All parts have all classes; the order of rows is fixed and the start is shared, so that nothing else differs.
    partitioner = PredefinedPartitioner(np.resize([0, 1, 2, 3, 1], len(Y)))
    fitted = model(partitioner=partitioner, fusion_rate=0, shuffle=False, **params).fit(X, Y)
    for peer, part in enumerate(fitted.partition_):
        alone = model(n_networks=1, shuffle=False, **params).fit(X[part], Y[part])
        np.testing.assert_array_equal(fitted.weights_[peer], alone.weights_[0])
        losses = [record["losses"][peer] for record in fitted.history_]
        assert losses == [record["losses"][0] for record in alone.history_]


@pytest.mark.parametrize("rule", ["sequential", "simultaneous"])
@pytest.mark.parametrize(
    ("unit", "frequency"), [("epoch", 1), ("epoch", 2), ("step", 1), ("step", 5), ("step", 12), ("step", 19)]
)
def test_training_is_training_alone_with_fusions_in_between(unit, frequency, rule):
    sizes, epochs = (12, 4, 10, 4), 2
    partitioner = parts_of(*sizes)
    order = np.random.default_rng(0).permutation(len(Y))[:30]
    rows, labels = X[order], Y[order]
    schedule = {"fusion_frequency": frequency, "fusion_unit": unit, "fusion_rule": rule, "max_iter": epochs}
    params = {"topology": "ring", "fusion_rate": 0.3, "shuffle": False}
    fitted = model(partitioner=partitioner, **params, **schedule).fit(rows, labels)

    alone = [model(n_networks=1, shuffle=False) for _ in sizes]
    parts = np.split(np.arange(30), np.cumsum(sizes)[:-1])
    step = 0
    for _ in range(epochs):
        for k in range(max(sizes)):
            for network, part in zip(alone, parts, strict=True):
                if unit == "step" or k < len(part):
                    row = part[[k % len(part)]]
                    network.partial_fit(rows[row], labels[row], classes=[0, 1, 2])
            step += 1
            if step % (frequency if unit == "step" else frequency * max(sizes)) == 0:
                weights = np.vstack([network.weights_ for network in alone])
                for network, fused in zip(alone, fuse(weights, RingTopology().pairs(4), 0.3, rule), strict=True):
                    network.weights_[0] = fused
    expected = np.vstack([network.weights_ for network in alone])
    np.testing.assert_allclose(fitted.weights_, expected, rtol=1e-10, atol=1e-13)
