"""Groups and weights that reach fit through pipelines and searches."""

import numpy as np
import pytest
import sklearn
from models import GROUPS, TOPOLOGIES, X, Y, assert_same_training, model
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def pipeline(**params):
    network = model(n_networks=None, **params).set_fit_request(groups=True, sample_weight=True)
    return make_pipeline(StandardScaler().set_fit_request(sample_weight=False), network)


@pytest.mark.usefixtures("routing")
def test_a_pipeline_routes_groups_and_weights():
    weight = np.linspace(1, 2, len(Y))
    fitted = pipeline().fit(X, Y, groups=GROUPS, sample_weight=weight)[-1]
    rows = StandardScaler().fit_transform(X)
    assert_same_training(fitted, model(n_networks=None).fit(rows, Y, sample_weight=weight, groups=GROUPS))
    assert len(fitted.weights_) == 3


@pytest.mark.usefixtures("routing")
def test_cross_validation_routes_groups_to_network_and_splitter():
    result = cross_validate(
        pipeline(), X, Y, params={"groups": GROUPS}, cv=GroupKFold(3), return_estimator=True, return_indices=True
    )
    for fitted, train in zip(result["estimator"], result["indices"]["train"], strict=True):
        held = [set(GROUPS[train][part]) for part in fitted[-1].partition_]
        assert held == [{name} for name in sorted(set(GROUPS[train]))]
        assert len(held) == 2


@pytest.mark.usefixtures("routing")
def test_a_grid_search_routes_groups():
    search = GridSearchCV(pipeline(), {"fusedmlpclassifier__topology": TOPOLOGIES}, cv=3)
    search.fit(X, Y, groups=GROUPS)
    assert len(search.best_estimator_[-1].weights_) == 3
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.usefixtures("routing")
def test_groups_that_nobody_asked_for_are_refused():
    with pytest.raises((TypeError, ValueError), match="groups"):
        make_pipeline(StandardScaler(), model()).fit(X, Y, groups=GROUPS)
