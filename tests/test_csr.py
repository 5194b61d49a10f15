"""CSR input as SciPy takes it: data, indices and indptr may be views with strides."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array, csr_matrix

from skfusion import FusedMLPClassifier, FusedMLPRegressor

NAMES = ["data", "indices", "indptr"]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fitted(X, y, estimator=FusedMLPClassifier, **params):
    return estimator((5,), n_networks=3, max_iter=3, random_state=0, **params).fit(X, y)


def strided(X, name):
    """X, one of whose three arrays is every second entry of another."""
    X, array = X.copy(), getattr(X, name)
    wide = np.full(2 * len(array), -1, array.dtype)
    wide[::2] = array
    setattr(X, name, wide[::2])
    assert not getattr(X, name).flags.c_contiguous
    return X


@pytest.fixture(params=[csr_array, csr_matrix], ids=["csr_array", "csr_matrix"])
def data(request):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 6)) * (rng.random((120, 6)) < 0.5)
    return request.param(X), (X[:, 0] > X[:, 1]).astype(int)


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"batch_size": 8}, {"solver": "adam"}], ids=str)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("estimator", [FusedMLPClassifier, FusedMLPRegressor])
def test_fit(data, estimator, name, params):
    X, y = data
    expected = fitted(X, y, estimator, **params)
    assert_array_equal(fitted(strided(X, name), y, estimator, **params).weights_, expected.weights_)


@pytest.mark.parametrize("name", NAMES)
def test_partial_fit(data, name):
    X, y = data
    expected, model = (FusedMLPClassifier((5,), n_networks=3, random_state=0) for _ in range(2))
    for rows in (slice(0, 60), slice(60, 120)):
        expected.partial_fit(X[rows], y[rows], classes=[0, 1])
        model.partial_fit(strided(X[rows], name), y[rows], classes=[0, 1])
    assert_array_equal(model.weights_, expected.weights_)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_of_a_fitted_model(data, name):
    X, y = data
    views, model, regressor = strided(X, name), fitted(X, y), fitted(X, y, FusedMLPRegressor)
    assert_array_equal(model.predict_proba(views), model.predict_proba(X))
    assert_array_equal(model.predict(views), model.predict(X))
    assert_array_equal(model.peer_scores(views, y), model.peer_scores(X, y))
    assert model.score(views, y) == model.score(X, y)
    assert_array_equal(regressor.predict(views), regressor.predict(X))


def test_rows_that_travel_to_other_processes(data):
    X, y = data
    expected = fitted(X, y)
    for name in NAMES:
        X = strided(X, name)
    with joblib.parallel_config("loky"):
        assert_array_equal(fitted(X, y, n_jobs=2).weights_, expected.weights_)
