"""Training that diverges."""

import numpy as np
import pytest
from models import X, Y, diverging, model, parts_of, regressor, without_deadlock

from skfusion.topology import BaseTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "params", [{}, {"n_jobs": 2}, {"batch_size": 16}, {"fusion_unit": "step"}, {"momentum": 0.9}], ids=str
)
def test_training_that_diverges_names_peer_epoch_and_learning_rate(params, dtype):
    with pytest.raises(ValueError, match=r"peer \d .*epoch \d+.*learning_rate_init=1e\+08"):
        without_deadlock(lambda: diverging(**params).fit((1e3 * X).astype(dtype), Y))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("activation", ["identity", "relu"])
@pytest.mark.parametrize("prediction", ["consensus", "vote"])
@pytest.mark.parametrize("scale", [1, 100])
def test_scores_and_losses_overflow_without_a_warning_of_numpys(activation, prediction, scale):
    params = {"early_stopping": True, "max_iter": 30, "batch_size": 8, "alpha": 0.1, "l1_ratio": 0.5}
    weight = np.geomspace(1e-200, 1e200, len(X))
    for learning_rate in (3, 30, 300):
        network = regressor(activation=activation, prediction=prediction, learning_rate_init=learning_rate, **params)
        for sample_weight in (None, weight):
            with pytest.raises(ValueError, match=f"learning_rate_init={learning_rate}"):
                network.fit(scale * X, X[:, 0], sample_weight)


def test_the_peer_that_diverges_is_the_one_named():
    rows = X.copy()
    rows[120:] *= 1e200
    params = {"partitioner": parts_of(60, 60, 30), "n_networks": 3, "activation": "relu"}
    with pytest.raises(ValueError, match=r"peer 2 .*epoch 1\b.*learning_rate_init=0\.01"):
        model(**params).fit(rows, Y)


def test_numpy_warns_in_a_topology_as_ever():
    calls = []

    class Overflowing(BaseTopology):
        def pairs(self, n_networks, fusion_round=0, random_state=None):
            calls.append(np.float64(1e308) * 10)
            return []

    with pytest.warns(RuntimeWarning, match="overflow") as caught:
        model(topology=Overflowing()).fit(X, Y)
    assert sum("overflow" in str(warning.message) for warning in caught) == len(calls) > 3
