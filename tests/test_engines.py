"""Threads and processes, and what they must not change."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from joblib.parallel import ParallelBackendBase
from models import (
    AtEpoch,
    BrokenTopology,
    Recorder,
    X,
    Y,
    assert_same_training,
    diverging,
    interrupt,
    model,
    without_deadlock,
)
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skfusion.topology import BaseTopology, RingTopology

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


PARALLEL = [
    {},
    {"solver": "adam", "batch_size": 8},
    {"fusion_unit": "step", "fusion_frequency": 3},
    {"fusion_unit": "step", "fusion_frequency": 5, "solver": "adam", "topology": "hypercube", "batch_size": 2},
    {"fusion_rule": "simultaneous", "momentum": 0.9, "topology": "ring", "init": "independent", "n_networks": 3},
    {"early_stopping": True, "validation_fraction": 0.2, "n_networks": 2},
    {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.1, "shuffle": False},
    {"alpha": 0.5, "l1_ratio": 0.5, "loss": "squared_error"},
]


SHAPE = (13, 7)  # so that the number of parameters is no multiple of a vector's or a cache line's


@pytest.fixture(scope="module")
def in_one_thread():
    """Models trained with n_jobs=None, by parameters, data type and whether rows are weighted."""
    known = {}

    def fitted(params, dtype, weight=None):
        key = repr((params, dtype, weight is None))
        if key not in known:
            known[key] = model(SHAPE, **params).fit(X.astype(dtype), Y, sample_weight=weight)
        return known[key]

    return fitted


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_jobs", [1, 2, 3, -1, 9])
@pytest.mark.parametrize("params", PARALLEL, ids=str)
def test_the_number_of_threads_does_not_change_a_bit(params, n_jobs, dtype, in_one_thread):
    threaded = without_deadlock(lambda: model(SHAPE, **params, n_jobs=n_jobs).fit(X.astype(dtype), Y))
    assert_same_training(threaded, in_one_thread(params, dtype))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("backend", ["threading", "loky", "sequential"])
@pytest.mark.parametrize("params", PARALLEL, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_backend_does_not_change_a_bit(params, backend, dtype, in_one_thread):
    weight = np.linspace(0.5, 1.5, len(Y))

    def fit():
        with joblib.parallel_config(backend, n_jobs=1 if backend == "sequential" else 2):
            return model(SHAPE, **params).fit(X.astype(dtype), Y, sample_weight=weight)

    assert_same_training(without_deadlock(fit), in_one_thread(params, dtype, weight))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_sparse_rows_train_in_parallel_as_they_do_alone(backend):
    rows, labels = load_digits(return_X_y=True)
    rows, labels = csr_array(rows[:200] / 16), labels[:200]
    params = {"n_networks": 3, "fusion_unit": "step", "fusion_frequency": 30}

    def fit():
        with joblib.parallel_config(backend, n_jobs=2):
            return model(SHAPE, **params).fit(rows, labels)

    assert_same_training(without_deadlock(fit), model(SHAPE, **params).fit(rows, labels))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_partial_fits_in_parallel_go_as_they_do_alone(backend):
    alone, parallel = model(solver="adam"), model(solver="adam")

    def fit():
        with joblib.parallel_config(backend, n_jobs=2):
            for _ in range(3):
                parallel.partial_fit(X, Y, classes=[0, 1, 2])

    without_deadlock(fit)
    for _ in range(3):
        alone.partial_fit(X, Y, classes=[0, 1, 2])
    assert_same_training(parallel, alone)


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("n_jobs", [2, 3, 4])
def test_a_portion_may_leave_peers_without_rows(backend, n_jobs):
    groups = np.arange(len(X)) % 4
    alone, parallel = model(n_networks=4), model(n_networks=4)

    def fit():
        with joblib.parallel_config(backend, n_jobs=n_jobs):
            parallel.partial_fit(X, Y, classes=[0, 1, 2], groups=groups)
            parallel.partial_fit(X[groups == 0], Y[groups == 0], groups=groups[groups == 0])

    without_deadlock(fit)
    alone.partial_fit(X, Y, classes=[0, 1, 2], groups=groups)
    alone.partial_fit(X[groups == 0], Y[groups == 0], groups=groups[groups == 0])
    assert (parallel.weights_ == alone.weights_).all()
    assert parallel.loss_curve_ == alone.loss_curve_


def test_workers_in_processes_need_no_class_of_a_third_partys_topology():
    class Neighbours(BaseTopology):  # like one of a notebook, which no other process can import
        def pairs(self, n_networks, fusion_round=0, random_state=None):
            return RingTopology().pairs(n_networks)

    with joblib.parallel_config("loky", n_jobs=2):
        fitted = model(topology=Neighbours()).fit(X, Y)
    assert_same_training(fitted, model(topology="ring").fit(X, Y))


def test_large_networks_train_in_processes():
    rows, labels = load_digits(return_X_y=True)
    params = {"n_networks": 2, "max_iter": 1, "batch_size": 64, "solver": "adam"}

    def fit():
        with joblib.parallel_config("loky", n_jobs=2):
            return model((700, 200), **params).fit(rows, labels)

    fitted = without_deadlock(fit)
    assert fitted.weights_[0].nbytes > 1e6
    assert_same_training(fitted, model((700, 200), **params).fit(rows, labels))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("inner", [2, -1])
@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
def test_fits_within_parallel_calls_neither_deadlock_nor_change(backend, inner):
    def fit():
        with joblib.parallel_config(backend):
            search = GridSearchCV(model(n_jobs=inner), {"topology": ["ring", "random"]}, cv=2, n_jobs=2)
            return search.fit(X, Y)

    search = without_deadlock(fit)
    reference = GridSearchCV(model(), {"topology": ["ring", "random"]}, cv=2).fit(X, Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], reference.cv_results_["mean_test_score"])
    assert_same_training(search.best_estimator_, reference.best_estimator_)


@pytest.mark.usefixtures("parallel_always")
def test_threads_nested_in_threads_neither_deadlock_nor_change():
    def fit():
        with joblib.parallel_config("threading", n_jobs=3):
            networks = [model(n_jobs=3, random_state=seed) for seed in range(6)]
            return joblib.Parallel()(joblib.delayed(network.fit)(X, Y) for network in networks)

    for seed, fitted in enumerate(without_deadlock(fit)):
        assert_same_training(fitted, model(random_state=seed).fit(X, Y))


class ThreadsOfOthers(ParallelBackendBase):
    """A third party's backend in threads, which claims what it is told to."""

    supports_sharedmem = supports_retrieve_callback = supports_return_generator = True
    n_claimed, repeats, in_turn = 2, 1, False

    def effective_n_jobs(self, n_jobs):
        return self.n_claimed

    def configure(self, n_jobs=1, parallel=None, **kwargs):
        self.parallel, self.threads = parallel, ThreadPoolExecutor(2)
        return self.n_claimed

    def terminate(self):
        self.threads.shutdown()

    def submit(self, func, callback=None):
        if self.in_turn:
            future = Future()
            future.set_result(func())
        else:
            future, *_ = [self.threads.submit(func) for _ in range(self.repeats)]
        future.add_done_callback(callback)
        return future

    apply_async = submit  # its name in joblib 1.4

    def retrieve_result_callback(self, out):
        return out.result()


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize(
    "claims",
    [{"in_turn": True}, {"supports_return_generator": False}, {"n_claimed": 9}, {"n_claimed": 0}, {"repeats": 2}],
    ids=str,
)
def test_backends_of_third_parties_neither_deadlock_nor_change_a_bit(claims):
    params = {"n_networks": 5, "hidden_layer_sizes": (50,), "batch_size": 8}

    def fit():
        with joblib.parallel_config(type("Claiming", (ThreadsOfOthers,), claims)(), n_jobs=2):
            return model(**params).fit(X, Y)

    assert_same_training(without_deadlock(fit), model(**params).fit(X, Y))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing", ThreadsOfOthers])
def test_a_callback_may_use_the_backend_in_which_its_fit_runs(backend):
    def call():
        assert joblib.Parallel()(joblib.delayed(abs)(-number) for number in range(3)) == [0, 1, 2]
        assert_same_training(model(max_iter=1).fit(X, Y), once)

    def fit():
        with joblib.parallel_config(backend() if backend is ThreadsOfOthers else backend, n_jobs=2):
            return model().set_callbacks(AtEpoch(1, call)).fit(X, Y)

    once = model(max_iter=1).fit(X, Y)
    assert_same_training(without_deadlock(fit), model().fit(X, Y))


@pytest.mark.usefixtures("parallel_always")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_threads_end_with_the_fit_that_began_them_whatever_happens(n_jobs):
    before = set(threading.enumerate())  # some of which may end meanwhile
    without_deadlock(lambda: model(n_jobs=n_jobs).fit(X, Y))
    with pytest.raises(ValueError, match="got the pair"):
        without_deadlock(lambda: model(n_jobs=n_jobs, topology=BrokenTopology([(0, 9)])).fit(X, Y))
    with pytest.warns(UserWarning, match="interrupted"):
        recorder = Recorder(after=2, then=interrupt)
        without_deadlock(lambda: model(n_jobs=n_jobs).set_callbacks(recorder).fit(X, Y))
    with pytest.raises(ValueError, match="learning_rate_init"):
        without_deadlock(lambda: diverging(n_jobs=n_jobs).fit(1e3 * X, Y))
    deadline = time.monotonic() + 60  # joblib's own threads take a moment to end
    while not before.issuperset(threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert before.issuperset(threading.enumerate())
