"""What is kept of the training: history, fitted attributes, what verbose prints."""

import json

import numpy as np
import pytest
from models import BrokenTopology, X, Y, assert_same_training, model
from sklearn.neural_network import MLPClassifier

from skfusion.topology import HypercubeTopology, RandomTopology, RingTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"fusion_unit": "step"}, {"n_networks": 1}], ids=str)
def test_history_is_plain_data_with_an_entry_per_epoch(params, dtype):
    fitted = model(**params).fit(X.astype(dtype), Y)
    assert json.loads(json.dumps(fitted.history_)) == fitted.history_
    assert [record["epoch"] for record in fitted.history_] == [1, 2, 3]
    for record in fitted.history_:
        assert len(record["losses"]) == len(record["numbers_sent"]) == len(fitted.weights_)
        assert {type(number) for number in record["losses"]} == {float}
        assert {type(number) for number in record["numbers_sent"]} == {int}
        assert record["seconds"] >= 0
        assert ("validation_scores" in record) == ("early_stopping" in params)
    scores = [record["validation_score"] for record in fitted.history_ if "early_stopping" in params]
    assert getattr(fitted, "validation_scores_", []) == scores
    n_rows = np.array([len(part) for part in fitted.partition_])
    n_rows = n_rows - np.ceil(0.1 * n_rows) if "early_stopping" in params else n_rows
    means = [np.average(record["losses"], weights=n_rows) for record in fitted.history_]
    assert fitted.loss_curve_ == [record["loss"] for record in fitted.history_] == pytest.approx(means, rel=1e-12)
    assert fitted.loss_ == fitted.loss_curve_[-1]
    assert fitted.best_loss_ == min(fitted.loss_curve_)
    assert fitted.n_iter_ == 3


@pytest.mark.parametrize(
    ("topology", "fusions"),
    [
        (RingTopology(), [2, 2, 2, 2]),
        (RandomTopology(), [1, 1, 1, 1]),
        (HypercubeTopology(), [4, 4, 4, 4]),
        (HypercubeTopology(each_edge_once=True), [2, 2, 2, 2]),
        (BrokenTopology([(0, 1), (2, 2), (0, 3)]), [2, 1, 0, 1]),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(("unit", "rounds"), [("epoch", 1), ("step", 38)])
def test_numbers_sent_are_the_parameters_times_the_fusions(topology, fusions, unit, rounds):
    fitted = model(topology=topology, fusion_unit=unit).fit(X, Y)
    n_parameters = sum(array.size for array in fitted.coefs_ + fitted.intercepts_)
    for record in fitted.history_:
        assert record["numbers_sent"] == [n_parameters * count * rounds for count in fusions]
        assert record["fusion_rounds"] == rounds


@pytest.mark.parametrize(
    ("params", "rounds"),
    [
        ({"fusion_frequency": 2}, [0, 1, 0]),
        ({"fusion_frequency": 50, "fusion_unit": "step"}, [0, 1, 1]),
        ({"fusion_rate": 0}, [0, 0, 0]),
        ({"n_networks": 1}, [0, 0, 0]),
    ],
    ids=str,
)
def test_fusion_rounds_are_counted_by_epoch(params, rounds):
    assert [record["fusion_rounds"] for record in model(**params).fit(X, Y).history_] == rounds


def test_fitted_attributes_have_scikit_learns_shapes():
    fitted = model((5, 4)).fit(X, Y)
    mlp = MLPClassifier((5, 4), max_iter=1).fit(X, Y)
    for name in ("coefs_", "intercepts_"):
        assert [array.shape for array in getattr(fitted, name)] == [array.shape for array in getattr(mlp, name)]
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(fitted, name) == getattr(mlp, name)
    np.testing.assert_array_equal(fitted.classes_, mlp.classes_)
    assert fitted.weights_.shape == (4, sum(array.size for array in mlp.coefs_ + mlp.intercepts_))


def test_coefficients_are_the_consensus_of_the_peers():
    fitted = model((5, 4), init="independent").fit(X, Y)
    for name in ("coefs_", "intercepts_"):
        of_peers = zip(*(getattr(peer, name) for peer in fitted.peers_), strict=True)
        for consensus, layer in zip(getattr(fitted, name), of_peers, strict=True):
            np.testing.assert_allclose(consensus, np.mean(layer, axis=0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_and_probabilities_have_the_floats_of_the_input(dtype):
    fitted = model().fit(X.astype(dtype), Y)
    assert fitted.weights_.dtype == fitted.coefs_[0].dtype == dtype
    assert fitted.predict_proba(X.astype(dtype)).dtype == dtype


def test_rows_too_large_for_the_weights_floats_are_refused():
    fitted = model().fit(X.astype(np.float32), Y)
    for method in (fitted.predict, fitted.predict_proba, lambda rows: fitted.peer_scores(rows, Y)):
        refused = pytest.raises(ValueError, match=r"Input X contains .* too large for dtype\('float32'\)")
        with refused, np.errstate(all="ignore"):
            method(1e300 * X)


def test_integer_input_becomes_double_precision():
    fitted = model().fit((10 * X).astype(int), Y)
    assert fitted.weights_.dtype == np.float64
    assert_same_training(fitted, model().fit((10 * X).astype(int).astype(float), Y))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("verbose", [False, True])
def test_verbose_prints_a_line_per_epoch(verbose, early_stopping, capsys):
    fitted = model(verbose=verbose, early_stopping=early_stopping).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (3 if verbose else 0)
    if verbose:
        score = f", validation score = {fitted.validation_scores_[-1]:.6f}" if early_stopping else ""
        assert lines[-1] == f"Epoch 3, loss = {fitted.loss_curve_[-1]:.8f}{score}"
