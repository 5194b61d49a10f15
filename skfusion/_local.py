"""Training in this process: one thread, or several that live as long as one fit."""

import threading

import joblib

from skfusion import _kernels
from skfusion._peers import Share


class ThreadTeam:
    """Threads that meet at a barrier before and after each task, all started by a single joblib call.

    A joblib call takes milliseconds, a fusion round on small data much less.

    Parameters
    ----------
    n_workers : int
        How many threads joblib can run at once; with fewer the first task would never end.
    """

    def __init__(self, n_workers):
        self.n_workers = n_workers
        self._barrier = threading.Barrier(n_workers + 1)
        self._task = None
        self._error = None
        # A generator leaves this thread free to hand out tasks while the workers run.
        parallel = joblib.Parallel(n_jobs=n_workers, prefer="threads", return_as="generator_unordered")
        self._workers = parallel(joblib.delayed(self._work)(worker) for worker in range(n_workers))

    def run(self, task):
        """Call ``task(worker)`` on each worker and wait for all of them."""
        self._task = task
        self._barrier.wait()
        self._barrier.wait()
        if self._error is not None:
            raise self._error

    def close(self):
        """Let the threads end, wherever they are in a task."""
        self._task = None
        self._barrier.abort()
        for _ in self._workers:
            pass

    def _work(self, worker):
        try:
            while True:
                self._barrier.wait()
                try:
                    self._task(worker)
                except BaseException as error:  # raised again by run, in the thread that asked for the task
                    self._error = error
                self._barrier.wait()
        except threading.BrokenBarrierError:
            return


class Alone:
    """The same for one worker, in the calling thread."""

    def run(self, task):
        """Call ``task(0)``."""
        task(0)

    def close(self):
        """Do nothing."""


class LocalShares:
    """All peers' shares in this process's memory, one per thread.

    Parameters
    ----------
    network : Network
    settings : Settings
    data : Data
    parts : list of int32 ndarray
        Each peer's rows of data.
    state : PeerState
        Changed in place.
    assignment : list of list of int
        For each thread its peers.
    """

    def __init__(self, network, settings, data, parts, state, assignment):
        self._shares = [Share(network, settings, data, parts, state, peers) for peers in assignment]
        self._weights, self._settings = state.weights, settings
        self._team = ThreadTeam(len(assignment)) if len(assignment) > 1 else Alone()

    def train(self, start, stop, last):
        """Train all peers for some steps of an epoch."""

        def task(worker):
            share = self._shares[worker]
            if start == 0:
                share.begin_epoch()
            share.train(start, stop, last)

        self._team.run(task)

    def fuse(self, pairs, spread=None):
        """Fuse pairs, each thread some of the columns: what becomes of a column depends on no other."""
        rate, simultaneous = self._settings.fusion_rate, self._settings.fusion_rule == "simultaneous"

        def task(worker):
            _kernels.fuse(self._weights, pairs, rate, simultaneous, worker, len(self._shares), spread)

        self._team.run(task)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._team.close()
