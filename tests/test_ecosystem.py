"""The estimators in scikit-learn's hands: composed, searched, calibrated, stacked and inspected."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_validate, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skfusion import FusedMLPClassifier, FusedMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def small(estimator, **params):
    return estimator((10,), n_networks=3, max_iter=20, tol=0, n_iter_no_change=100, random_state=0, **params)


def iris():
    X, y = load_iris(return_X_y=True)
    return X, y, small(FusedMLPClassifier)


def petal_width():
    X, _ = load_iris(return_X_y=True)
    return X[:, :3], X[:, 3], small(FusedMLPRegressor)


BOTH = pytest.mark.parametrize("problem", [iris, petal_width])


@BOTH
def test_in_a_pipeline_after_columns_of_a_frame_that_are_prepared_by_kind(problem):
    X, y, network = problem()
    colour = np.random.default_rng(0).choice(["red", "blue"], size=len(y))
    frame = pd.DataFrame(X, columns=list("abcd")[: X.shape[1]]).assign(colour=colour)
    by_kind = ColumnTransformer(
        [("scale", StandardScaler(), list(frame.columns[:-1])), ("code", OneHotEncoder(), ["colour"])]
    )
    piped = make_pipeline(by_kind, network).fit(frame, y)
    by_hand = np.column_stack(
        [StandardScaler().fit_transform(frame.drop(columns="colour")), colour == "blue", colour == "red"]
    )
    np.testing.assert_array_equal(piped.predict(frame), network.fit(by_hand, y).predict(by_hand))
    assert piped.score(frame, y) > 0.85


@BOTH
def test_a_grid_search_finds_the_rate_at_which_networks_learn(problem):
    X, y, network = problem()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), network), {f"{name(network)}__learning_rate_init": [1e-6, 1e-2]}
    )
    search.fit(X[::2], y[::2])
    assert list(search.best_params_.values()) == [1e-2]
    assert search.score(X[1::2], y[1::2]) > 0.85


def name(estimator):
    return type(estimator).__name__.lower()


@BOTH
def test_cross_validation_scores_what_was_not_trained_on(problem):
    X, y, network = problem()
    result = cross_validate(make_pipeline(StandardScaler(), network), X, y, return_estimator=True, return_indices=True)
    for score, fitted, rows in zip(result["test_score"], result["estimator"], result["indices"]["test"], strict=True):
        assert score == fitted.score(X[rows], y[rows])
        assert sum(len(part) for part in fitted[-1].partition_) == len(y) - len(rows)


@BOTH
def test_a_learning_curve_rises_with_the_rows(problem):
    X, y, network = problem()
    pipeline = make_pipeline(StandardScaler(), network)
    sizes, _, scores = learning_curve(pipeline, X, y, train_sizes=[9, 100], shuffle=True, random_state=0, cv=3)
    assert sizes.tolist() == [9, 100]
    assert scores[1].mean() > scores[0].mean() + 0.05


@BOTH
def test_permutation_importance_tells_columns_that_matter_from_noise(problem):
    X, y, network = problem()
    noise = np.random.default_rng(0).normal(size=(len(y), 2))
    rows = StandardScaler().fit_transform(np.column_stack([X[:, 2], noise]))
    importances = permutation_importance(network.fit(rows, y), rows, y, n_repeats=3, random_state=0).importances_mean
    assert importances[0] > 10 * np.abs(importances[1:]).max()


def test_a_stack_of_classifiers():
    X, y, network = iris()
    rows = StandardScaler().fit_transform(X)
    stack = StackingClassifier([("network", network), ("tree", DecisionTreeClassifier(max_depth=1))], cv=3).fit(rows, y)
    np.testing.assert_array_equal(stack.transform(rows)[:, :3], network.fit(rows, y).predict_proba(rows))
    assert stack.score(rows, y) > 0.9


def test_a_stack_of_regressors():
    X, y, network = petal_width()
    rows = StandardScaler().fit_transform(X)
    tree = DecisionTreeRegressor(max_depth=1)
    stack = StackingRegressor([("network", network), ("tree", tree)], LinearRegression(), cv=3).fit(rows, y)
    np.testing.assert_array_equal(stack.transform(rows)[:, 0], network.fit(rows, y).predict(rows))
    assert stack.score(rows, y) > 0.85


def test_calibration_mends_the_confidence_of_a_network_that_has_learnt_noise_by_heart():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 5))
    y = (X[:, 0] > 0) ^ (rng.random(400) < 0.3)
    network = small(FusedMLPClassifier, activation="relu", solver="adam")
    network.set_params(hidden_layer_sizes=(50,), max_iter=100, n_iter_no_change=100)
    calibrated = CalibratedClassifierCV(network, cv=3).fit(X[:200], y[:200])
    raw = network.fit(X[:200], y[:200])
    loss, calibrated_loss = (log_loss(y[200:], fitted.predict_proba(X[200:])) for fitted in (raw, calibrated))
    assert calibrated_loss < loss - 0.2


def test_targets_far_from_scale_are_learnt_through_transformed_target_regressor():
    X, y, network = petal_width()
    rows = StandardScaler().fit_transform(X)
    scaled = TransformedTargetRegressor(network, transformer=StandardScaler())
    metres, millimetres = (scaled.fit(rows, unit * y).score(rows, unit * y) for unit in (1e-2, 1e4))
    assert metres == pytest.approx(millimetres, abs=1e-9)
    assert metres > 0.9
