"""PeerScores: the scores that it keeps, and what stops it before any training."""

import json
from functools import partial

import numpy as np
import pytest
from models import Recorder, model
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier
from skfusion.callback import PeerScores

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
SHOWN, HIDDEN = np.arange(0, 150, 2), np.arange(1, 150, 2)


model = partial(model, learning_rate_init=0.1)


@pytest.mark.parametrize("prediction", ["consensus", "vote", 1])
def test_peer_scores_are_those_of_training_that_ended_there(prediction):
    scores = PeerScores(X[HIDDEN], Y[HIDDEN])
    model(prediction=prediction).set_callbacks(scores).fit(X[SHOWN], Y[SHOWN])
    assert [record["epoch"] for record in scores.history] == [1, 2, 3]
    for record in scores.history:
        until = model(max_iter=record["epoch"]).fit(X[SHOWN], Y[SHOWN])
        assert record["peers"] == until.peer_scores(X[HIDDEN], Y[HIDDEN]).tolist()
        assert record["consensus"] == until.score(X[HIDDEN], Y[HIDDEN])
    assert len({record["consensus"] for record in scores.history}) > 1


class Preset(FusedMLPClassifier):
    """A user's subclass, which sets what is no parameter of its own."""

    def __init__(self, max_iter=3):
        super().__init__((6,), n_networks=4, prediction="vote", max_iter=max_iter, random_state=0)


def test_peer_scores_of_a_subclass_with_fewer_parameters_are_those_of_the_estimator():
    own, stock = PeerScores(X, Y), PeerScores(X, Y)
    Preset().set_callbacks(own).fit(X, Y)
    FusedMLPClassifier(**vars(Preset())).set_callbacks(stock).fit(X, Y)
    assert own.history == stock.history


def test_other_callbacks_get_the_estimator_with_its_own_prediction():
    recorder = Recorder()
    model(prediction="vote").set_callbacks(PeerScores(X, Y), recorder).fit(X, Y)
    assert {estimator.prediction for estimator in recorder.estimators} == {"vote"}


def test_peer_scores_are_plain_data():
    scores = PeerScores(X, Y)
    model().set_callbacks(scores).fit(X, Y)
    assert json.loads(json.dumps(scores.history)) == scores.history


def test_peer_scores_are_of_the_latest_fit_and_go_on_with_its_epochs():
    scores = PeerScores(X, Y)
    estimator = model(warm_start=True).set_callbacks(scores).fit(X, Y)
    assert len(scores.history) == 3
    estimator.fit(X, Y)
    assert [record["epoch"] for record in scores.history] == [4, 5, 6]
    clone(estimator).set_callbacks(scores).fit(X, Y)
    assert [record["epoch"] for record in scores.history] == [1, 2, 3]


def test_peer_scores_work_in_a_pipeline_on_rows_as_they_reach_the_last_step():
    scaled = StandardScaler().fit_transform(X)
    scores, others = PeerScores(scaled, Y), PeerScores(scaled, Y)
    make_pipeline(StandardScaler(), model().set_callbacks(scores)).fit(X, Y)
    model().set_callbacks(others).fit(scaled, Y)
    assert scores.history == others.history


def test_peer_scores_need_a_target_for_each_row():
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[150, 2\]"):
        PeerScores(X, Y[:2])


@pytest.mark.parametrize(("X", "y", "name"), [(None, None, "X"), (None, Y, "X"), (X, None, "y")])
def test_peer_scores_need_rows_and_targets(X, y, name):
    with pytest.raises(TypeError, match=f"^{name} must be an array .*got None"):
        PeerScores(X, y)


def test_peer_scores_need_a_column_and_not_its_name():
    with pytest.raises(ValueError, match=r"^y must be an array with an entry for each row, got 'target'"):
        PeerScores(X, "target")


@pytest.mark.parametrize(
    ("rows", "targets", "match"),
    [
        (X[:, :2], Y, "X has 2 features"),
        (np.where(X > 7, np.nan, X), Y, "contains NaN"),
        (X, Y + 0.5, "continuous"),
    ],
)
def test_what_cannot_be_scored_stops_fit_before_any_training(rows, targets, match, capsys):
    with pytest.raises(ValueError, match=match):
        model(verbose=True).set_callbacks(PeerScores(rows, targets)).fit(X, Y)
    assert not capsys.readouterr().out  # a line per epoch
