"""Processes that fork, and worker processes that die: nothing hangs, and no fit is lost that can be done again."""

import os
import resource
import signal
import threading
import time

import forks
import joblib
import numpy as np
import pytest
from joblib.externals.loky.reusable_executor import _executor_lock, _ReusablePoolExecutor
from models import AtEpoch
from sklearn.datasets import make_classification
from threadpoolctl import threadpool_info

from skfusion import FusedMLPClassifier
from skfusion._training import pools
from skfusion._training.blas import one_blas_thread
from skfusion._training.pools import DaskPool, LokyPool, pool_for

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),  # which is what we test
]

X, Y = make_classification(2000, 20, n_informative=10, n_classes=4, random_state=0)


def model(**params):
    return FusedMLPClassifier(**dict(n_networks=4, hidden_layer_sizes=(30,), max_iter=4, random_state=0) | params)


# BLAS threads, and forks


def n_blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def in_thread(function):
    """Return function() of a thread of its own."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


class Within:
    """A thread that stays within the limit until it is left."""

    def __enter__(self):
        self._within, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._within.wait()

    def __exit__(self, *exception):
        self._leave.set()
        self._thread.join()

    def _run(self):
        with one_blas_thread:
            self._within.set()
            self._leave.wait()


@pytest.mark.parametrize(
    ("params", "limited"), [({"batch_size": 8}, True), ({"batch_size": 1}, False), ({"n_networks": 1}, False)], ids=str
)
def test_blas_keeps_to_one_thread_while_several_peers_take_batches(params, limited):
    before, within = n_blas_threads(), []
    callback = AtEpoch(1, lambda: within.extend(n_blas_threads()))
    model(**{"batch_size": 8} | params).set_callbacks(callback).fit(X[:200], Y[:200])
    assert within == ([1] * len(before) if limited else before)
    assert n_blas_threads() == before


def test_the_limit_is_set_and_lifted_whichever_threads_come_first_and_leave_last():
    before = n_blas_threads()
    ones = [1] * len(before)
    with one_blas_thread:
        assert n_blas_threads() == ones
    assert in_thread(n_blas_threads) == before
    first, second = Within(), Within()
    first.__enter__()
    assert n_blas_threads() == ones
    second.__enter__()
    first.__exit__()
    assert n_blas_threads() == ones
    second.__exit__()
    assert n_blas_threads() == before
    with one_blas_thread:
        assert n_blas_threads() == ones
    assert n_blas_threads() == before


def exit_code_of_child(function, seconds=300):
    """Fork, and return 0 if function() is true in the child, which is ended if it hangs."""
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            signal.alarm(seconds)
            code = 0 if function() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fits_as(weights):
    return (model(max_iter=1, batch_size=32).fit(X, Y).weights_ == weights).all()


def test_a_child_that_is_forked_while_a_thread_fits_can_fit_too():
    before, weights = n_blas_threads(), model(max_iter=1, batch_size=32).fit(X, Y).weights_
    stop = threading.Event()

    def enter_and_leave():
        while not stop.is_set():
            with one_blas_thread:
                pass

    thread = threading.Thread(target=enter_and_leave)
    thread.start()
    try:
        codes = [
            exit_code_of_child(lambda: n_blas_threads() == before and fits_as(weights) and n_blas_threads() == before)
            for _ in range(10)
        ]
    finally:
        stop.set()
        thread.join()
    assert codes == [0] * 10
    assert n_blas_threads() == before


def test_a_child_that_is_forked_within_the_limit_lifts_its_own():
    before = n_blas_threads()

    def leaves():
        limited = n_blas_threads()
        one_blas_thread.__exit__()
        return limited == [1] * len(before) and n_blas_threads() == before

    with one_blas_thread, Within():
        assert exit_code_of_child(leaves) == 0
    assert n_blas_threads() == before


# Workers of joblib's that die


def loky_worker():
    """Return the process id of one of loky's two workers."""
    return joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(os.getpid)()])[0]


class UntilKilled(AtEpoch):
    """The same, and training ends an epoch after something was killed, which a busy machine may do late."""

    def __init__(self, epoch, function, killed):
        super().__init__(epoch, function)
        self.killed, self.n_after = killed, 0

    def on_fit_task_end(self, estimator, context):
        self.n_after += context.task_name == "epoch" and bool(self.killed)
        return self.n_after == 2


@pytest.mark.parametrize(("backend", "delay"), [("loky", 0.02), ("multiprocessing", None)])  # both are loky's workers
def test_a_round_in_which_a_worker_dies_is_done_again(backend, delay):
    killed = []

    def kill(worker):
        os.kill(worker, signal.SIGKILL)
        killed.append(worker)

    def kill_soon():
        if delay is None:
            kill(loky_worker())
        else:
            threading.Timer(delay, kill, [loky_worker()]).start()

    params = dict(fusion_unit="step", fusion_frequency=200, momentum=0.9, tol=0, n_iter_no_change=10**6)
    with joblib.parallel_config(backend, n_jobs=2):
        until_killed = UntilKilled(1, kill_soon, killed)
        fitted = model(**params, max_iter=10**6).set_callbacks(until_killed).fit(X, Y)
    np.testing.assert_array_equal(fitted.weights_, model(**params, max_iter=fitted.n_iter_).fit(X, Y).weights_)


@pytest.fixture
def before_second_call(monkeypatch):
    """Have ``do(executor)`` be called before a pool hands the second of its calls to loky's workers."""
    submit = _ReusablePoolExecutor.submit

    def once(do):
        executors = []

        def do_and_submit(executor, *call):
            executors.append(executor)
            if len(executors) == 2:
                monkeypatch.undo()
                do(executor)
            return submit(executor, *call)

        monkeypatch.setattr(_ReusablePoolExecutor, "submit", do_and_submit)

    return once


def assert_pool_makes_all_calls(n_jobs):
    with joblib.parallel_config("loky", n_jobs=n_jobs):
        pool = pool_for(n_jobs)
        assert pool.run(abs, {"a": (-1,), "b": (-2,), "c": (-3,)}) == {"a": 1, "b": 2, "c": 3}
        pool.close()


def test_a_worker_whose_death_is_noticed_between_two_calls_is_replaced(before_second_call):
    def kill(executor):
        os.kill(next(iter(executor._processes)), signal.SIGKILL)
        while not executor._flags.broken:
            time.sleep(0.01)

    before_second_call(kill)
    assert_pool_makes_all_calls(2)


def test_calls_whose_workers_are_shut_down_meanwhile_are_made_again(before_second_call):
    def shut_down(executor):
        while executor._pending_work_items:
            time.sleep(0.01)
        executor.shutdown(kill_workers=True)

    before_second_call(shut_down)
    assert_pool_makes_all_calls(2)


@pytest.mark.filterwarnings("ignore:Trying to resize an executor")
@pytest.mark.parametrize("others", [{"n_jobs": 2}, {"n_jobs": 3, "inner_max_num_threads": 2}], ids=str)
def test_another_call_that_needs_other_workers_meanwhile_is_no_deadlock(others, before_second_call):
    results = []

    def call():
        with joblib.parallel_config("loky", **others):
            results.extend(joblib.Parallel()([joblib.delayed(abs)(-4)]))

    thread = threading.Thread(target=call, daemon=True)

    def call_meanwhile(executor):
        thread.start()
        while thread.is_alive() and _executor_lock.acquire(blocking=False):  # until the thread has it
            _executor_lock.release()
            time.sleep(0.001)

    before_second_call(call_meanwhile)
    assert_pool_makes_all_calls(3)
    thread.join()
    assert results == [4]


def test_workers_that_a_callback_shuts_down_are_started_again():
    def fail():
        with joblib.parallel_config("loky", n_jobs=2), pytest.raises(ZeroDivisionError):
            joblib.Parallel()([joblib.delayed(divmod)(1, 0)])

    with joblib.parallel_config("loky", n_jobs=2):
        fitted = model().set_callbacks(AtEpoch(1, fail)).fit(X, Y)
    np.testing.assert_array_equal(fitted.weights_, model().fit(X, Y).weights_)


def test_a_worker_may_keep_rows_however_much_memory_they_take():
    pytest.importorskip("psutil")  # without which loky does not look

    def process_to_which_any_memory_is_a_leak():
        from joblib.externals.loky import process_executor

        process_executor._MAX_MEMORY_LEAK_SIZE, process_executor._MEMORY_LEAK_CHECK_DELAY = -1, 0
        return os.getpid()

    with joblib.parallel_config("loky", n_jobs=2):
        pool = pool_for(2)
        processes = [pool.run(process_to_which_any_memory_is_a_leak, {0: ()})[0] for _ in range(6)]
        pool.close()
    assert len(set(processes)) <= 2


def test_a_result_that_finds_no_room_is_an_error_that_names_where():
    def more_than_fits():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        return bytes(100)

    with joblib.parallel_config("loky", n_jobs=2):
        pool = pool_for(2)
        with pytest.raises(OSError, match=r"too large: .*skfusion-"):
            pool.run(more_than_fits, {0: ()})
        pool.close()


def test_workers_that_always_die_end_the_fit_with_an_error_and_other_errors_are_raised_as_they_are(monkeypatch):
    monkeypatch.setattr(pools, "_MAX_ATTEMPTS", 1)
    with joblib.parallel_config("loky", n_jobs=2):
        pool = pool_for(2)
        assert isinstance(pool, LokyPool)
        assert pool.run(abs, {"a": (-1,), "b": (-2,)}) == {"a": 1, "b": 2}
        with pytest.raises(ZeroDivisionError):
            pool.run(divmod, {0: (1, 1), 1: (1, 0)})
        with pytest.raises(RuntimeError, match=r"tried 1 times, and each time a worker died.*memory"):
            pool.run(os._exit, {0: (1,), 1: (1,)})
        pool.close()


def test_workers_are_started_as_the_configuration_says(monkeypatch):
    # As loky starts them by default, since others do not get what it has set for them.
    monkeypatch.setattr("joblib.externals.loky.backend.context._DEFAULT_START_METHOD", None)
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=3):
        pool = pool_for(2)
        assert pool.run(os.getenv, {0: ("OMP_NUM_THREADS",)}) == {0: "3"}
        pool.close()


# Dask clusters that die


@pytest.fixture
def cluster(tmp_path):
    """A client, and the processes of its cluster: a scheduler and two workers that nobody replaces."""
    distributed = pytest.importorskip("dask.distributed")
    file = str(tmp_path / "scheduler.json")
    local = "--scheduler-file", file, "--no-dashboard", "--host", "127.0.0.1"
    processes = [forks.start("-m", "distributed.cli.dask_scheduler", "--port", "0", *local)]
    alone = "--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path), "--death-timeout", "300"
    processes += [forks.start("-m", "distributed.cli.dask_worker", *alone, *local) for _ in range(2)]
    try:
        with distributed.Client(scheduler_file=file, timeout=300) as client:
            client.wait_for_workers(2, timeout=300)
            yield client, processes
    finally:
        for process in processes:
            process.kill()
            process.join()


@pytest.mark.parametrize("delay", [None, 0.05])
def test_a_scheduler_that_dies_ends_the_fit_with_an_error_that_says_so(cluster, delay):
    _, (scheduler, *_) = cluster
    kill_soon = scheduler.kill if delay is None else lambda: threading.Timer(delay, scheduler.kill).start()
    endless = model(max_iter=10**6, tol=0, n_iter_no_change=10**6)
    with joblib.parallel_config("dask"), pytest.raises(ConnectionError, match=r"Dask scheduler at tcp.* is lost"):
        endless.set_callbacks(AtEpoch(2, kill_soon)).fit(X, Y)


def test_a_cluster_that_stays_without_workers_ends_the_fit_with_an_error_that_says_so(cluster):
    _, (_, *workers) = cluster

    def kill():
        for worker in workers:
            worker.kill()

    with (
        joblib.parallel_config("dask", wait_for_workers_timeout=1),
        pytest.raises(TimeoutError, match=r"no workers for 1 seconds.*wait_for_workers_timeout"),
    ):
        model().set_callbacks(AtEpoch(2, kill)).fit(X, Y)


def test_a_task_that_kills_its_workers_ends_with_an_error(cluster):
    client, _ = cluster
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    with joblib.parallel_config("dask"):
        backend, _ = joblib.parallel.get_active_backend()
        pool = DaskPool(backend)
        assert pool.run(abs, {"a": (-1,), "b": (-2,)}) == {"a": 1, "b": 2}
        with pytest.raises(ZeroDivisionError):
            pool.run(divmod, {0: (1, 1), 1: (1, 0)})
        with pytest.raises(RuntimeError, match="tried 1 times, and each time a worker died"):
            pool.run(os._exit, {0: (1,)})


def test_a_fit_within_a_task_gives_its_place_to_the_tasks_that_it_makes(cluster):
    client, (_, _, other) = cluster
    other.kill()

    def fit(network, rows, labels):
        with joblib.parallel_config("dask"):
            return network.fit(rows, labels).weights_

    weights = client.submit(fit, model(n_jobs=2), X, Y).result(timeout=300)
    np.testing.assert_array_equal(weights, model().fit(X, Y).weights_)
