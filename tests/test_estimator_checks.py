"""scikit-learn's own checks of the classifier."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skfusion import FusedMLPClassifier
from skfusion.topology import HypercubeTopology, RandomTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


SPLIT = "a row repeated takes several steps, and its copies may go to several peers: equal in expectation, see below"


@parametrize_with_checks(
    [
        FusedMLPClassifier(),
        FusedMLPClassifier(n_networks=1),
        FusedMLPClassifier(topology="ring", momentum=0.9, batch_size=32),
        FusedMLPClassifier(topology="hypercube", solver="adam"),
        FusedMLPClassifier(topology=HypercubeTopology(each_edge_once=True), solver="adam", batch_size=32),
        FusedMLPClassifier(topology=RandomTopology(replacement=True), batch_size="auto", learning_rate_init=0.1),
        FusedMLPClassifier(loss="squared_error"),
        FusedMLPClassifier(loss="squared_error", activation="relu", solver="adam", batch_size=32, init="independent"),
        FusedMLPClassifier(partitioner="class", n_networks=None, fusion_unit="step", fusion_frequency=3),
        FusedMLPClassifier(partitioner="stratified", fusion_rule="simultaneous", prediction="vote", l1_ratio=0.5),
    ],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": SPLIT,
        "check_sample_weight_equivalence_on_sparse_data": SPLIT,
    },
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)
