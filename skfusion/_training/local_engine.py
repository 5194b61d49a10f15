"""Training in this process: one thread, or several that live as long as one fit."""

import threading

import joblib
import numpy as np

from skfusion._ownership import largest_first
from skfusion._training.peers import Bundle


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
    """A team of one: the calling thread."""

    def run(self, task):
        """Call ``task(0)``."""
        task(0)

    def close(self):
        """Do nothing."""


class LocalEngine:
    """Trains peers in this process's memory, each thread a bundle of them; an :class:`~.engine.Engine`.

    Parameters
    ----------
    problem : Problem
    data : Data
    state : PeerState
        Changed in place.
    n_threads : int
        At most the number of peers.
    """

    def __init__(self, problem, data, state, n_threads):
        self._problem, self._data, self._state, self._n_threads = problem, data, state, n_threads

    def __enter__(self):
        bins = largest_first(self._problem.lengths, np.zeros(self._n_threads))
        peers = [np.flatnonzero(bins == thread) for thread in range(self._n_threads)]
        self._bundles = [Bundle(self._problem, self._data, self._state, some) for some in peers]
        self._team = ThreadTeam(self._n_threads) if self._n_threads > 1 else Alone()
        return self

    def __exit__(self, *exception):
        self._team.close()

    def train(self, start, stop, last):
        """Train all peers for some steps of an epoch."""

        def task(worker):
            bundle = self._bundles[worker]
            if start == 0:
                bundle.begin_epoch()
            bundle.train(start, stop, last)

        self._team.run(task)

    def fuse(self, fusion_round, spread=None):
        """Fuse, each thread some of the columns."""
        settings = self._problem.settings

        def task(worker):
            share = worker, len(self._bundles)
            fusion_round.fuse(self._state.weights, settings.fusion_rate, settings.fusion_rule, *share, spread)

        self._team.run(task)
