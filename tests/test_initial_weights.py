"""The weights that peers start from."""

import numpy as np
import pytest
from models import NO_STEP, X, Y, model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def initial_weights(hidden=(40, 30), **params):
    return model(hidden, learning_rate_init=NO_STEP, fusion_rate=0, alpha=0, max_iter=1, **params).fit(X, Y)


def test_peers_start_equal_or_different_as_asked():
    shared = initial_weights(init="shared").weights_
    independent = initial_weights(init="independent").weights_
    assert (shared == shared[0]).all()
    assert (np.abs(np.corrcoef(independent) - np.eye(4)) < 0.1).all()


@pytest.mark.parametrize(("activation", "numerator"), [("tanh", 6), ("relu", 6), ("identity", 6), ("logistic", 2)])
def test_weights_start_as_those_of_mlp_classifier(activation, numerator):
    peer = initial_weights(activation=activation).peers_[0]
    for coef, intercept in zip(peer.coefs_, peer.intercepts_, strict=True):
        bound = np.sqrt(numerator / sum(coef.shape))
        assert np.abs(np.append(coef, intercept)).max() <= bound
        assert np.abs(coef).max() > 0.9 * bound
        assert coef.std() == pytest.approx(bound / np.sqrt(3), rel=0.15)


def test_weights_start_as_the_papers_with_its_loss():
    peer = initial_weights((40, 60), loss="squared_error", init="independent").peers_[0]
    for coef, intercept in zip(peer.coefs_, peer.intercepts_, strict=True):
        spread = max(0.03, 1 / len(coef))
        both = np.append(coef, intercept)
        assert both.mean() == pytest.approx(0, abs=4 * spread / np.sqrt(both.size))
        assert both.std() == pytest.approx(spread, rel=4 / np.sqrt(2 * both.size))
        assert np.abs(both).max() > 2 * spread
