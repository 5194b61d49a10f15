"""Pools of workers in other processes, on this machine or others, and what happens when workers die."""

import copy
import pickle
import sys
import time
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from uuid import uuid4

import joblib
from joblib.externals.loky import process_executor

from skfusion._replacing import naming

_MAX_ATTEMPTS = 4  # as many as Dask's scheduler makes
_SECONDS_BETWEEN_CHECKS = 1.0


def pool_for(n_jobs):
    """Return the pool that ``joblib.parallel_config`` asks for.

    A pool has a method ``run(function, calls)``, which returns ``{key: function(*calls[key])}`` with the calls made by
    any of its workers, and ``close()``, which lets them go.

    Parameters
    ----------
    n_jobs : int or None
        joblib's number of workers.

    Returns
    -------
    LokyPool, DaskPool or JoblibPool
    """
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    if _is_of_dask(backend):
        return DaskPool(backend)
    # multiprocessing's own pool waits for ever for a worker that has died, where loky's notices.
    if type(backend) is joblib.parallel.MultiprocessingBackend:
        return LokyPool(n_jobs, joblib.parallel.LokyBackend())
    # A copy, since each of joblib's calls, such as a callback's, starts the one of the configuration and ends it.
    backend = copy.copy(backend)
    return (LokyPool if type(backend) is joblib.parallel.LokyBackend else JoblibPool)(n_jobs, backend)


def _is_of_dask(backend):
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(getattr(backend, "client", None), distributed.Client)


class JoblibPool:
    """The workers of any other of joblib's backends, which is left to replace those that die.

    Parameters
    ----------
    n_jobs : int or None
        joblib's number of workers.
    backend : joblib's backend
    """

    def __init__(self, n_jobs, backend):
        # Otherwise joblib makes later calls when earlier ones end, drops errors that it meets then, and waits for ever.
        parallel = joblib.Parallel(n_jobs=n_jobs, backend=backend, prefer="threads", pre_dispatch="all")
        # Entered, since some backends otherwise start their workers anew in each call.
        self._parallel = parallel.__enter__()

    def run(self, function, calls):
        """Make the calls."""
        results = self._parallel(joblib.delayed(function)(*arguments) for arguments in calls.values())
        return dict(zip(calls, results, strict=True))

    def close(self):
        """Let the workers go."""
        self._parallel.__exit__(None, None, None)


class LokyPool:
    """Processes on this machine, which are all started again when one of them dies.

    All of joblib's calls in this process share them.  One that fails shuts them down, and one that asks for another
    number waits for those at work to end, under a lock.  So this calls loky itself: ``joblib.Parallel`` would wait for
    that lock while it holds one that they need to end.

    Parameters
    ----------
    n_jobs : int or None
        joblib's number of workers.
    backend : LokyBackend
        Nobody else's.
    """

    def __init__(self, n_jobs, backend):
        self._n_jobs, self._backend = n_jobs, backend
        self._folder = TemporaryDirectory(prefix="skfusion-")
        self._enter()

    def run(self, function, calls):
        """Make the calls, again if workers die or are shut down.

        Raises
        ------
        RuntimeError
            If workers die however often they are started again.
        """
        for _ in range(_MAX_ATTEMPTS):
            try:
                return self._attempt(function, calls)
            except (BrokenProcessPool, process_executor.ShutdownExecutorError) as error:
                death = error
        raise _workers_keep_dying(_MAX_ATTEMPTS) from death

    def close(self):
        """Let the workers go."""
        self._parallel.__exit__(None, None, None)
        self._folder.cleanup()

    def _enter(self):
        self._parallel = joblib.Parallel(n_jobs=self._n_jobs, backend=self._backend).__enter__()

    def _attempt(self, function, calls):
        # Not through loky's pipe: of a worker that is killed halfway through a message, it awaits the rest for ever.
        paths = {key: Path(self._folder.name, uuid4().hex) for key in calls}
        done = SimpleQueue()
        try:
            for key, arguments in calls.items():
                future = self._backend._workers.submit(_call_into, paths[key], function, arguments)
                future.add_done_callback(done.put)
            for _ in calls:
                done.get().result()
        except BaseException:
            self._backend.abort_everything(ensure_ready=False)
            self._enter()
            raise
        return {key: _taken_from(path) for key, path in paths.items()}


def _call_into(path, function, arguments):
    """In a worker, call a function and pickle the result into a file."""
    process_executor._USE_PSUTIL = False  # by which loky takes the rows that a worker keeps for a leak, and ends it
    result = pickle.dumps(function(*arguments))
    with naming(path):
        path.write_bytes(result)


def _taken_from(path):
    result = pickle.loads(path.read_bytes())
    path.unlink()
    return result


class DaskPool:
    """The workers of a Dask cluster, called without joblib, which waits for ever for what the scheduler gives up.

    Parameters
    ----------
    backend : joblib's backend for Dask
    """

    def __init__(self, backend):
        self._backend, self._client = backend, backend.client
        self._scheduler = self._client.scheduler.address
        self._workers = {}

    def run(self, function, calls):
        """Make the calls, each on the worker of the last call with its key, if that is still there.

        Raises
        ------
        ConnectionError
            If the scheduler dies.
        RuntimeError
            If workers die however often they are replaced.
        TimeoutError
            If there are no workers for as long as joblib's ``wait_for_workers_timeout``.
        """
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            with self._backend.retrieval_context():
                futures = self._submit(function, calls)
                self._wait(futures)
                return dict(zip(calls, self._client.gather(futures), strict=True))
        except KilledWorker as error:
            raise _workers_keep_dying(error.allowed_failures + 1) from error
        except (OSError, RuntimeError, CancelledError) as error:
            if self._client.status == "running" and not isinstance(error, CancelledError | CommClosedError):
                raise
            raise self._connection_is_lost() from error

    def close(self):
        """Let the workers go."""

    def _submit(self, function, calls):
        self._place(calls)
        return [
            self._client.submit(
                function,
                *arguments,
                **{"pure": False, "workers": self._workers.get(key), "allow_other_workers": key in self._workers}
                | self._backend.submit_kwargs,
            )
            for key, arguments in calls.items()
        ]

    def _place(self, keys):
        """Choose a worker for each key, as long as there are any."""
        n_free = Counter(self._client.ncores())
        self._workers = {key: worker for key, worker in self._workers.items() if worker in n_free}
        n_free.subtract(self._workers.values())
        for key in keys:
            if n_free and key not in self._workers:
                self._workers[key] = max(n_free, key=n_free.get)
                n_free[self._workers[key]] -= 1

    def _wait(self, futures):
        """Return once all futures are done, or raise once they cannot be any more."""
        done, n_pending = SimpleQueue(), len(futures)
        for future in futures:
            future.add_done_callback(done.put)
        last_seen = time.monotonic()
        while n_pending:
            try:
                done.get(timeout=_SECONDS_BETWEEN_CHECKS)
                n_pending -= 1
            except Empty:
                last_seen = self._look_for_workers(last_seen)

    def _look_for_workers(self, last_seen):
        """Return when there were workers last, or raise."""
        if self._client.status != "running":
            raise self._connection_is_lost()
        now, patience = time.monotonic(), self._backend.wait_for_workers_timeout
        if self._client.ncores():
            return now
        if patience and now - last_seen > patience:
            raise TimeoutError(
                f"the Dask cluster of the scheduler at {self._scheduler} has had no workers for {patience:g} seconds; "
                "start some, or set wait_for_workers_timeout of joblib.parallel_config higher"
            )
        return last_seen

    def _connection_is_lost(self):
        return ConnectionError(
            f"the connection to the Dask scheduler at {self._scheduler} is lost, and the training with it; most likely "
            "the scheduler has died"
        )


def _workers_keep_dying(n_attempts):
    return RuntimeError(
        f"a round of training was tried {n_attempts} times, and each time a worker died; most likely memory ran "
        "out, which the system's log would say: with a lower n_jobs each worker has more of it"
    )
