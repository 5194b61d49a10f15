"""Training on real clusters of two processes on this machine, one of which dies."""

import os
import signal
import threading
from types import SimpleNamespace

import forks
import joblib
import numpy as np
import psutil  # dask.distributed and Ray depend on it
import pytest
from models import AtEpoch
from sklearn.datasets import make_classification

from skfusion import FusedMLPClassifier
from skfusion._training.remote_engine import RemoteEngine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Sending large graph"),
]


@pytest.fixture(scope="module")
def dask():
    distributed, dask_config = pytest.importorskip("dask.distributed"), pytest.importorskip("dask.config")
    options = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1")
    forking = {"distributed.worker.multiprocessing-method": forks.FORKING.get_start_method()}
    with dask_config.set(forking), distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        workers = [worker.pid for worker in cluster.workers.values()]
        yield SimpleNamespace(config=dict(backend="dask"), workers=lambda: workers)


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.util.joblib").register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    retries = dict(max_restarts=-1, max_task_retries=-1)
    yield SimpleNamespace(config=dict(backend="ray", n_jobs=2, ray_remote_args=retries), workers=ray_workers)
    ray.shutdown()


def ray_workers():
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "".join(child.cmdline()).startswith("ray::PoolActor")]


@pytest.fixture(params=["dask", "ray"])
def cluster(request):
    """What parallel_config takes, and a function that tells the workers' process ids."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def sent(monkeypatch):
    """Sizes of what is sent to workers: rows by share, and the state in each visit."""
    sizes = {"rows": [], "state": []}
    pack_rows, pack_state = RemoteEngine._pack_rows, RemoteEngine._pack_state

    def counted(pack, kind):
        def counting(self, number):
            message = pack(self, number)
            sizes[kind].append((number, len(message)))
            return message

        return counting

    monkeypatch.setattr(RemoteEngine, "_pack_rows", counted(pack_rows, "rows"))
    monkeypatch.setattr(RemoteEngine, "_pack_state", counted(pack_state, "state"))
    return sizes


@pytest.fixture(scope="module")
def data():
    return make_classification(20000, 100, n_informative=20, n_classes=4, random_state=0)


def fitted(data, **params):
    params = dict(n_networks=4, hidden_layer_sizes=(50,), max_iter=6, random_state=0) | params
    return FusedMLPClassifier(**params).fit(*data)


@pytest.mark.parametrize(
    "params",
    [dict(), dict(solver="adam", batch_size=32), dict(fusion_unit="step", fusion_frequency=2000, momentum=0.9)],
    ids=["sgd", "adam", "rounds within an epoch"],
)
def test_cluster_trains_the_same_weights_and_rows_travel_once(cluster, data, sent, params):
    with joblib.parallel_config(**cluster.config):
        remote = fitted(data, **params)
    np.testing.assert_array_equal(remote.weights_, fitted(data, **params).weights_)
    assert sorted(number for number, _ in sent["rows"]) == [0, 1]
    rows_size = sum(size for _, size in sent["rows"])
    assert data[0].nbytes < rows_size < 1.2 * data[0].nbytes + remote.weights_.nbytes * 3
    state_arrays = 1 + ("momentum" in params) + 2 * ("solver" in params)
    for _, size in sent["state"]:
        assert size < state_arrays * remote.weights_.nbytes / 2 + 4096  # a share has two of the four peers


def test_one_job_stays_here(dask, data, sent):
    with joblib.parallel_config(**dask.config):
        fitted(data, n_jobs=1, max_iter=1)
    assert sent == {"rows": [], "state": []}


def test_death_of_a_worker_changes_nothing(cluster, data, sent):
    killed = []

    def kill():
        os.kill(cluster.workers()[0], signal.SIGKILL)
        killed.append(True)

    a_moment_into_the_third = AtEpoch(2, lambda: threading.Timer(0.05, kill).start())
    params = dict(n_networks=4, hidden_layer_sizes=(200,), max_iter=6, random_state=0)
    with joblib.parallel_config(**cluster.config):
        remote = FusedMLPClassifier(**params).set_callbacks(a_moment_into_the_third).fit(*data)
    assert killed
    assert len(sent["rows"]) > 2  # those that the dead worker held were sent again
    np.testing.assert_array_equal(remote.weights_, FusedMLPClassifier(**params).fit(*data).weights_)
