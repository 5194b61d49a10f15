"""When peers fuse, and how far they disagree before and after."""

import numpy as np
import pytest
from models import (
    NO_STEP,
    TOPOLOGIES,
    BrokenTopology,
    CountingTopology,
    Recorder,
    X,
    Y,
    assert_same_training,
    model,
    parts_of,
)
from sklearn.model_selection import GridSearchCV
from test_topology import CONTRACTIONS

from skfusion.partition import DirichletPartitioner
from skfusion.topology import GraphTopology, HypercubeTopology, RandomTopology, RingTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    ("unit", "frequency", "rounds"),
    [
        ("epoch", 1, 10),
        ("epoch", 3, 3),
        ("epoch", 11, 0),
        ("step", 1, 80),
        ("step", 3, 26),  # of 8 steps an epoch, those of the largest part
        ("step", 8, 10),
        ("step", 20, 4),
        ("step", 81, 0),
    ],
)
def test_rounds_come_at_the_frequency_in_its_unit(unit, frequency, rounds):
    params = {"fusion_unit": unit, "fusion_frequency": frequency, "topology": CountingTopology()}
    params |= {"batch_size": 4, "partitioner": parts_of(5, 12, 30), "n_networks": None}
    rows = np.arange(0, 141, 3)
    fitted = model(**params, max_iter=10).fit(X[rows], Y[rows])
    assert fitted.topology_.asked == [(3, k) for k in range(rounds)]
    # An epoch at a time makes no difference.
    incremental = model(**params)
    for _ in range(10):
        incremental.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
    n_parameters = fitted.weights_.shape[1]
    for either in (fitted, incremental):
        sent = np.sum([record["numbers_sent"] for record in either.history_], axis=0)
        assert sent.tolist() == [rounds * n_parameters, rounds * n_parameters, 0]
    assert params["topology"].asked == []  # it stays as it was passed


@pytest.mark.parametrize("params", [{"n_networks": 1}, {"fusion_rate": 0}, {"fusion_frequency": 10**6}], ids=str)
def test_there_is_nothing_to_send_without_fusion(params):
    fitted = model(**params).fit(X, Y)
    assert all(not any(record["numbers_sent"]) for record in fitted.history_)


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        ([(0, 1), (2, 4)], r"indices from 0 to 3.*got the pair \(2, 4\)"),
        ([(-1, 1)], r"got the pair \(-1, 1\)"),
        ([(0, 1, 2)], "pairs must be integers of shape"),
        ([(0.0, 1.0)], "pairs must be integers of shape"),
    ],
)
def test_a_topology_that_names_networks_that_are_not_there_is_refused(pairs, match):
    with pytest.raises(ValueError, match=match):
        model(topology=BrokenTopology(pairs)).fit(X, Y)


@pytest.mark.parametrize(
    ("topology", "match"),
    [
        (HypercubeTopology(incomplete="raise"), "n_networks must be a power of two .* got 3"),
        (HypercubeTopology(incomplete="yes"), "incomplete must be one of 'skip', 'raise'; got 'yes'"),
        (GraphTopology([(0, 3)]), "graph must have nodes from 0 to 2, .* got the node 3"),
        (BrokenTopology([(0, 3)]), r"got the pair \(0, 3\)"),
    ],
    ids=repr,
)
def test_a_topology_that_does_not_suit_is_refused_before_any_training(topology, match):
    recorder = Recorder()
    params = {"n_networks": 3, "topology": topology, "fusion_frequency": 10**6}
    with pytest.raises(ValueError, match=match):
        model(**params).set_callbacks(recorder).fit(X, Y)
    assert not any("begin" in event for event in recorder.events)
    with pytest.raises(ValueError, match=match):
        model(**params).partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=match):
        model(**params | {"fusion_rate": 0}).fit(X, Y)
    model(**params | {"n_networks": 1}).fit(X, Y)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_name_stands_for_a_topology(name):
    kinds = {"ring": RingTopology, "random": RandomTopology, "hypercube": HypercubeTopology}
    fitted = model(topology=name).fit(X, Y)
    assert type(fitted.topology_) is kinds[name]
    assert_same_training(fitted, model(topology=kinds[name]()).fit(X, Y))


@pytest.mark.parametrize("topology", ["grid", RingTopology, None, 3])
def test_what_is_no_topology_is_refused_with_the_choices(topology):
    with pytest.raises((ValueError, TypeError), match="topology must be one of 'ring', 'random', 'hypercube'"):
        model(topology=topology).fit(X, Y)


def test_parameters_of_topology_and_partitioner_can_be_searched():
    grid = {"topology__replacement": [False, True], "partitioner__alpha": [0.5, 5.0]}
    search = GridSearchCV(
        model(topology=RandomTopology(), partitioner=DirichletPartitioner(), n_networks=2), grid, cv=2
    )
    assert len(search.fit(X, Y).cv_results_["params"]) == 4
    assert search.best_estimator_.partitioner_.alpha == search.best_params_["partitioner__alpha"]


def disagreement(weights):
    weights = weights.astype(float)
    return np.sqrt(((weights - weights.mean(axis=0)) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize(("topology", "rule", "factor"), CONTRACTIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_disagreement_shrinks_as_the_topology_promises(topology, rule, factor, dtype):
    params = {"n_networks": 8, "init": "independent", "learning_rate_init": NO_STEP, "max_iter": 5, "alpha": 0}
    weights = model(**params, fusion_rate=0).fit(X.astype(dtype), Y).weights_.copy()
    fitted = model(**params, topology=topology, fusion_rule=rule, fusion_rate=0.55).fit(X.astype(dtype), Y)
    rtol = 1e-4 if dtype == np.float32 else 1e-10
    atol = np.finfo(dtype).eps * np.linalg.norm(weights)
    for record in fitted.history_:
        before = disagreement(weights)
        topology.fuse(weights, 0.55, rule)
        assert record["disagreement_before_fusion"] == pytest.approx(before, rel=rtol)
        assert record["disagreement_after_fusion"] == pytest.approx(disagreement(weights), rel=rtol)
        assert record["disagreement_after_fusion"] <= factor * record["disagreement_before_fusion"] + atol
    np.testing.assert_array_equal(fitted.weights_, weights)


def test_disagreement_is_that_around_the_last_round_of_an_epoch():
    params = {"topology": "ring", "fusion_unit": "step", "fusion_frequency": 19}  # half the steps of an epoch
    fitted = model(**params).fit(X, Y)
    last = fitted.history_[-1]
    assert last["fusion_rounds"] == 2
    assert last["disagreement_after_fusion"] == pytest.approx(disagreement(fitted.weights_), rel=1e-10)


@pytest.mark.parametrize("params", [{"fusion_rate": 0}, {"fusion_frequency": 2, "max_iter": 1}], ids=str)
def test_without_a_round_disagreement_is_the_same_before_and_after(params):
    record = model(**params).fit(X, Y).history_[-1]
    assert record["disagreement_before_fusion"] == record["disagreement_after_fusion"] > 0
