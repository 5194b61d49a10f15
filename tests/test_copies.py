"""Copies: pickle, joblib, clone, and what a fit leaves in memory."""

import copy
import gc
import pickle
import tracemalloc
import weakref

import forks
import joblib
import numpy as np
import pytest
from models import NAMES, CountingTopology, X, Y, assert_same_training, model, pandas_frame
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from skfusion.partition import DirichletPartitioner
from skfusion.topology import HypercubeTopology, RandomTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def by_joblib(fitted, path, **kwargs):
    joblib.dump(fitted, path / "model.joblib")
    return joblib.load(path / "model.joblib", **kwargs)


COPIES = {
    "pickle": lambda fitted, _: pickle.loads(pickle.dumps(fitted)),
    "joblib": by_joblib,
    "deepcopy": lambda fitted, _: copy.deepcopy(fitted),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize(
    "params", [{}, {"solver": "adam"}, {"momentum": 0.9, "fusion_unit": "step", "fusion_frequency": 7}], ids=str
)
def test_a_copy_predicts_and_learns_on_as_the_original_does(params, way, tmp_path):
    original = model(**params).fit(pandas_frame(X), Y)
    other = COPIES[way](original, tmp_path)
    np.testing.assert_array_equal(other.predict_proba(pandas_frame(X)), original.predict_proba(pandas_frame(X)))
    assert other.history_ == original.history_
    assert other.feature_names_in_.tolist() == NAMES
    before = original.predict_proba(pandas_frame(X))
    for _ in range(2):
        other.partial_fit(pandas_frame(X), Y)
    assert not np.array_equal(other.predict_proba(pandas_frame(X)), before)
    np.testing.assert_array_equal(original.predict_proba(pandas_frame(X)), before)
    for _ in range(2):
        original.partial_fit(pandas_frame(X), Y)
    assert_same_training(other, original)


def test_a_model_loaded_as_a_file_predicts(tmp_path):
    fitted = model().fit(X, Y)
    loaded = by_joblib(fitted, tmp_path, mmap_mode="r")
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(loaded.peer_scores(X, Y), fitted.peer_scores(X, Y))


CRASHES = """
import os, sys, warnings
import joblib, numpy as np
from sklearn.datasets import load_iris
from skfusion import FusedMLPClassifier, fuse

warnings.simplefilter("ignore")
X, y = load_iris(return_X_y=True)
params = dict(hidden_layer_sizes=(5,), n_networks=3, max_iter=2, warm_start=True, random_state=0)
fitted = FusedMLPClassifier(**params).fit(X, y)
joblib.dump(fitted, sys.argv[1])


def loaded():
    return joblib.load(sys.argv[1], mmap_mode="r")


attempts = {
    "fuse read-only file": lambda: fuse(loaded().weights_, [(0, 1)], 0.5),
    "warm start from read-only file": lambda: loaded().fit(X, y),
    "partial_fit of read-only file": lambda: loaded().partial_fit(X, y),
    "momentum later": lambda: fitted.set_params(momentum=0.9).partial_fit(X, y),
    "adam later": lambda: fitted.set_params(solver="adam").partial_fit(X, y),
    "adam later, warm": lambda: fitted.set_params(solver="adam").fit(X, y),
    "larger batches later": lambda: fitted.set_params(batch_size=64).partial_fit(X, y),
    "double precision, then single": lambda: fitted.partial_fit(X.astype(np.float32), y),
}
for name, attempt in attempts.items():
    child = os.fork()
    if child == 0:
        try:
            attempt()
        except ValueError:
            pass
        except BaseException as error:
            print(name, repr(error), flush=True)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) < 0:
        print(name, "crashed", flush=True)
"""


def test_nothing_crashes_the_process(tmp_path):
    # Each either works or is refused with a ValueError.
    program, log = tmp_path / "program.py", tmp_path / "log"
    program.write_text(CRASHES)
    process = forks.start(program, tmp_path / "model.joblib", log=log)
    assert (forks.exit_code(process), log.read_text()) == (0, "")


def test_a_clone_is_not_fitted_and_has_equal_parameters():
    fitted = model(topology=HypercubeTopology(each_edge_once=True), partitioner=StratifiedKFold(4)).fit(X, Y)
    copied = clone(fitted)
    assert repr(copied) == repr(fitted)
    assert not hasattr(copied, "weights_")
    assert_same_training(copied.fit(X, Y), fitted)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"topology": RandomTopology(), "partitioner": DirichletPartitioner(5.0)},
        {"topology": CountingTopology(), "partitioner": StratifiedKFold(4, shuffle=True, random_state=0)},
        {"hidden_layer_sizes": [4, 3], "class_weight": {0: 2.0, 1: 1.0, 2: 1.0}},
        {"n_networks": None, "partitioner": "class"},
    ],
    ids=str,
)
def test_fit_leaves_its_parameters_alone(params):
    estimator = model(**params)
    before = estimator.get_params()
    shown = {name: repr(value) for name, value in before.items()}
    first = estimator.fit(X, Y).weights_.copy()
    after = estimator.get_params()
    assert all(after[name] is value for name, value in before.items())
    assert {name: repr(value) for name, value in after.items()} == shown
    assert estimator.topology_ is not estimator.topology
    if isinstance(estimator.topology, CountingTopology):
        assert estimator.topology.asked == []
    # And so the second time is as the first.
    np.testing.assert_array_equal(estimator.fit(X, Y).weights_, first)


def test_training_follows_the_random_state():
    assert_same_training(model(random_state=5).fit(X, Y), model(random_state=5).fit(X, Y))
    assert not np.array_equal(model(random_state=5).fit(X, Y).weights_, model(random_state=6).fit(X, Y).weights_)
    rng = np.random.RandomState(5)
    first, second = (model(random_state=rng).fit(X, Y) for _ in range(2))
    assert_same_training(first, model(random_state=5).fit(X, Y))
    assert not np.array_equal(first.weights_, second.weights_)
    assert not np.array_equal(*(model(random_state=None).fit(X, Y).weights_ for _ in range(2)))


def test_the_global_random_state_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    model().fit(X, Y).partial_fit(X, Y).predict(X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"n_jobs": 2}, {"max_iter": 1}], ids=str)
def test_rows_leave_the_memory_with_their_last_name(params):
    rows = X.copy()
    alive = weakref.ref(rows)
    gc.disable()  # what refers to itself would stay until the collector comes by
    try:
        fitted = model(**params).fit(rows, Y)
        del rows
        assert alive() is None
    finally:
        gc.enable()
    assert fitted.score(X, Y) > 0


@pytest.mark.parametrize("prediction", ["consensus", "vote"])
@pytest.mark.parametrize(("n_rows", "n_networks"), [(20_000, 1), (500, 50)])
def test_a_fit_takes_memory_for_the_weights_and_for_few_rows(n_rows, n_networks, prediction):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n_rows, 200)).astype(np.float32), rng.integers(3, size=n_rows)
    fused = model(hidden_layer_sizes=(500,), n_networks=n_networks, prediction=prediction, max_iter=1)
    fused.set_params(batch_size=200).fit(X[:100], y[:100])  # what is imported or kept once does not count
    tracemalloc.start()
    try:
        fused.fit(X, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * fused.weights_.nbytes + 0.5 * 20_000 * X[0].nbytes
