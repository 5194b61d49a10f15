"""scikit-learn's own checks of the classifier."""

import pytest
from models import assert_check_passes
from sklearn.utils.estimator_checks import parametrize_with_checks

from skfusion import FusedMLPClassifier
from skfusion.topology import HypercubeTopology, RandomTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quick(learning_rate_init=0.05, **params):
    """A small classifier that needs few epochs, since the checks fit each some three hundred times."""
    few = {"hidden_layer_sizes": (10,), "max_iter": 20, "tol": 0.01, "n_iter_no_change": 3}
    return FusedMLPClassifier(learning_rate_init=learning_rate_init, **few, **params)


@parametrize_with_checks(
    [
        FusedMLPClassifier(max_iter=50),
        quick(n_networks=1),
        quick(topology="ring", momentum=0.9, batch_size=32),
        quick(topology=HypercubeTopology(each_edge_once=True), solver="adam", batch_size=32),
        quick(topology=RandomTopology(replacement=True), batch_size="auto", learning_rate_init=0.5),
        quick(loss="squared_error", activation="relu", solver="adam", init="independent"),
        quick(partitioner="class", n_networks=None, fusion_unit="step", fusion_frequency=3),
        quick(partitioner="stratified", fusion_rule="simultaneous", prediction="vote", l1_ratio=0.5),
    ]
)
def test_scikit_learns_checks_pass(estimator, check):
    assert_check_passes(estimator, check)
