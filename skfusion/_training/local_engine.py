"""Training in this process: one thread, or several that live as long as one fit."""

import time
import weakref
from collections import deque
from itertools import pairwise
from queue import SimpleQueue

import joblib

from skfusion._training.peers import Bundle, bundled


class ThreadTeam:
    """Threads that wait for tasks and do them side by side, all started by a single joblib call.

    A joblib call takes milliseconds, a fusion round on small data much less.

    All waiting is for a ``SimpleQueue``, whose methods an interrupt either precedes or follows: threading's barriers,
    conditions and events are Python code that it can leave halfway, with a lock in the wrong state.

    Parameters
    ----------
    n_workers : int
        How many threads joblib can run at once; with fewer the first task would never end.
    """

    def __init__(self, n_workers):
        self._tasks = [SimpleQueue() for _ in range(n_workers)]
        self._outcomes, self._all_gone = SimpleQueue(), SimpleQueue()
        # A single call, which no interrupt can leave half done; it is made as well when nobody holds the team any more.
        self._dismiss = weakref.finalize(self, self._tasks[0].put, None)
        # A generator leaves this thread free to hand out tasks while the workers run.  They are the team's alone by the
        # backend's name, since all of joblib's calls share that of the configuration, with its threads.
        parallel = joblib.Parallel(n_jobs=n_workers, backend="threading", return_as="generator_unordered")
        self._workers = parallel(
            joblib.delayed(_work)(worker, tasks, self._outcomes, following)
            for worker, (tasks, following) in enumerate(pairwise([*self._tasks, self._all_gone]))
        )

    def run(self, task):
        """Call ``task(worker)`` on each worker and wait for all of them."""
        for tasks in self._tasks:
            tasks.put(task)
        errors = [self._outcomes.get() for _ in self._tasks]
        for error in errors:
            if error is not None:
                raise error

    def close(self):
        """Let the threads end, each after its current task."""
        self._dismiss()
        try:
            deque(self._workers, maxlen=0)  # in CPython 3.13, an interrupt of a loop may skip what follows
        finally:  # joblib does not wait for its threads once it is interrupted, but they write the weights
            while self._all_gone.empty():
                time.sleep(0.001)


def _work(worker, tasks, outcomes, following):
    """In a thread, do one task after another until None says to end, and pass that on to the next worker."""
    while (task := tasks.get()) is not None:
        try:
            task(worker)
        except BaseException as error:  # raised again by run, in the thread that asked for the task
            outcomes.put(error)
        else:
            outcomes.put(None)
    following.put(None)


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

    absent = ()

    def __init__(self, problem, data, state, n_threads):
        self._problem, self._data, self._state, self._n_threads = problem, data, state, n_threads

    def __enter__(self):
        peers = bundled(self._problem.lengths, self._n_threads)
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
