"""Workers that train shares of the peers: one thread, or several that live as long as one fit."""

import threading
from contextlib import contextmanager

import joblib


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

    n_workers = 1

    def run(self, task):
        """Call ``task(0)``."""
        task(0)

    def close(self):
        """Do nothing."""


@contextmanager
def team(n_workers):
    """Workers for the time of a with statement."""
    workers = ThreadTeam(n_workers) if n_workers > 1 else Alone()
    try:
        yield workers
    finally:
        workers.close()


def available_workers(n_jobs):
    """How many workers joblib can run at once, and whether they share this process's memory."""
    parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads")
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    return backend.effective_n_jobs(parallel.n_jobs), getattr(backend, "supports_sharedmem", False)
