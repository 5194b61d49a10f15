"""Ctrl-C while peers train: what has been learnt is kept, whatever the interrupt meets."""

import threading
import time

import forks
import pytest

from skfusion._training.local_engine import ThreadTeam

# A process of its own: an interrupt that comes too late would otherwise end all tests.
INTERRUPTED_FITS = """
import os, random, signal, sys, threading, warnings

import numpy as np
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier
from skfusion._training import engine

signal.signal(signal.SIGINT, signal.default_int_handler)  # a process started in the background ignores it
engine._PARALLEL_ROUND = engine._PARALLEL_FIT = 0  # threads however small the data
n_jobs, n_fits = map(int, sys.argv[1:])
rows, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(rows)
moments = random.Random(0)


class Begun:
    def __init__(self):
        self.epoch = threading.Event()

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            self.epoch.set()


def interrupt(begun, ended, moment):
    begun.wait()
    ended.wait(moment)
    os.kill(os.getpid(), signal.SIGINT)
    while not ended.wait(30):  # an interrupt that meets the garbage collector's callbacks is lost
        os.kill(os.getpid(), signal.SIGINT)


for _ in range(n_fits):
    callback, ended = Begun(), threading.Event()
    threading.Thread(target=interrupt, args=(callback.epoch, ended, moments.random() / 100), daemon=True).start()
    endless = {"max_iter": 10**9, "tol": 0, "n_iter_no_change": 10**9}
    model = FusedMLPClassifier((6,), n_networks=4, random_state=0, n_jobs=n_jobs, **endless)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = model.set_callbacks(callback).fit(X, y)
    ended.set()
    assert ["interrupted" in str(warning.message) for warning in caught] == [True], [str(w.message) for w in caught]
    assert np.isfinite(fitted.predict_proba(X)).all()
    np.testing.assert_allclose(fitted.peer_scores(X, y), [peer.score(X, y) for peer in fitted.peers_])
"""


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_signal_in_the_midst_of_training_keeps_what_has_been_learnt(n_jobs, tmp_path):
    (tmp_path / "fits.py").write_text(INTERRUPTED_FITS)
    process = forks.start(tmp_path / "fits.py", n_jobs, 20, log=tmp_path / "log")
    assert forks.exit_code(process) == 0, (tmp_path / "log").read_text()


# A team of threads


@pytest.fixture
def team():
    team = ThreadTeam(2)
    yield team
    team.close()


def test_a_team_does_every_task_on_each_worker(team):
    for _ in range(50):
        done = []
        team.run(done.append)
        assert sorted(done) == [0, 1]


def test_an_error_in_a_task_is_raised_and_the_team_goes_on(team):
    def fail(worker):
        if worker == 1:
            raise OSError("disk")

    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            team.run(fail)
    done = []
    team.run(done.append)
    assert sorted(done) == [0, 1]


def test_close_waits_for_tasks_that_an_interrupt_has_left_behind():
    team, started, done = ThreadTeam(2), threading.Semaphore(0), []

    def task(worker):
        started.release()
        time.sleep(0.2)
        done.append(worker)

    for tasks in team._tasks:  # as run does, before an interrupt takes it away from its wait
        tasks.put(task)
    started.acquire()
    team.close()
    assert sorted(done) == [0, 1]


@pytest.mark.filterwarnings("ignore::UserWarning:joblib")
def test_threads_end_with_a_team_that_nobody_closes():
    before = set(threading.enumerate())  # some of which may end meanwhile
    team = ThreadTeam(2)
    team.run(lambda worker: None)
    del team
    deadline = time.monotonic() + 60
    while not before.issuperset(threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert before.issuperset(threading.enumerate())
