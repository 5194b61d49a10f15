"""Engines: where peers train and fuse, and which one is right for rows that are here."""

from collections.abc import Sequence
from typing import Protocol, Self

import joblib

from skfusion._training.local_engine import LocalEngine
from skfusion._training.remote_engine import RemoteEngine
from skfusion._typing import FloatArray
from skfusion.fusion import MatrixRound, PairRound

# Rows times parameters below which threads cost more than they gain: in a round, and in all of a fit.
_PARALLEL_ROUND = 1e7
_PARALLEL_FIT = 5e8


class Engine(Protocol):
    """Trains and fuses the peers of an ensemble, whose state it changes in place, inside a ``with`` statement.

    The peers' rows may be anywhere; nobody but the engine knows more of them than how many there are.
    """

    absent: Sequence[int]
    """Peers that sit the epoch out, and so are to fuse with none."""

    def __enter__(self) -> Self:
        """Start workers."""

    def __exit__(self, *exception: object) -> None:
        """Let them go, and the rows with them."""

    def train(self, start: int, stop: int, last: bool) -> None:
        """Train all peers.

        Parameters
        ----------
        start, stop : int
            Which optimiser steps of the epoch each peer takes, as far as its rows reach; an epoch begins with step 0.
        last : bool
            Whether the epoch ends with these steps: ``state.losses``, sums until then, become means with the penalty,
            and the learning rates are those of the next epoch.
        """

    def fuse(self, fusion_round: PairRound | MatrixRound, spread: FloatArray | None = None) -> None:
        """Fuse the peers.

        Parameters
        ----------
        fusion_round : PairRound or MatrixRound
        spread : ndarray of shape (n_blocks, 2) or None
            Where given, it becomes for each block of columns the weights' squared spread before and after.
        """


def engine_for(problem, data, state, n_epochs):
    """Return the engine for rows that are here, by joblib's backend, ``n_jobs`` and how much there is to do.

    Parameters
    ----------
    problem : Problem
    data : Data
    state : PeerState
        Changed in place.
    n_epochs : int
        How long training may go on.

    Returns
    -------
    Engine
    """
    n_workers, in_threads = _available_workers(problem.settings.n_jobs)
    n_workers = max(1, min(n_workers, problem.n_networks))
    if n_workers > 1 and not in_threads:
        return RemoteEngine(problem, data, state, n_workers)
    work = problem.lengths.sum() * problem.network.n_parameters
    pays = work > _PARALLEL_ROUND * problem.n_rounds and work * n_epochs > _PARALLEL_FIT
    return LocalEngine(problem, data, state, n_workers if pays else 1)


def _available_workers(n_jobs):
    """Return how many workers joblib can run at once, and whether they are its own threads.

    Threads wait for one another.  Those of other backends, although they share this memory, may run one by one.
    """
    if n_jobs == 1:  # which some backends ignore
        return 1, True
    parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads")
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    return backend.effective_n_jobs(parallel.n_jobs), type(backend) is joblib.parallel.ThreadingBackend
