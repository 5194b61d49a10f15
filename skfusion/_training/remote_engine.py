"""Training in other processes, on this machine or others, through joblib's backends that share no memory.

A bundle's rows go to a worker once and stay there; in each round the peers' state goes there and back.  The
backend decides which worker gets a task.  One that does not hold the rows asks for them, because the backend has moved
the bundle or the worker that held them has died.
"""

import pickle
import uuid
from contextlib import suppress

from skfusion._training.blas import one_blas_thread
from skfusion._training.peers import Bundle, bundled
from skfusion._training.pools import pool_for

# In a worker: the bundles of the fit that sent rows last, by fit and number.
_held = {}


def _train_bundle(fit, number, rows, state, segment):
    """In a worker, train the bundle of that number; returns its new state, or None if its rows must be sent first."""
    state = pickle.loads(state)
    with one_blas_thread:
        if rows is not None:
            for other in {key[0] for key in list(_held)} - {fit}:
                _release(other)
            bundle = Bundle(*pickle.loads(rows), state.copy(), range(len(state.weights)))
        else:  # taken away, since a backend that runs a task twice may do so here and at once
            bundle = _held.pop((fit, number), None)
        if bundle is None:
            return None
        trained = bundle.train_from(state, *segment).copy()  # a second call may train it before this travels
        _held[fit, number] = bundle
        return trained


def _release(fit):
    """In a worker, drop the rows of a fit."""
    for key in list(_held):  # other threads of this worker may release it meanwhile
        if key[0] == fit:
            _held.pop(key, None)


class RemoteEngine:
    """Trains bundles of peers by whichever worker the backend gives them to; an :class:`~.engine.Engine`.

    Parameters
    ----------
    problem : Problem
    data : Data
    state : PeerState
        Changed in place.
    n_bundles : int
        At most the number of peers.
    """

    absent = ()

    def __init__(self, problem, data, state, n_bundles):
        self._problem, self._data, self._state = problem, data, state
        self._bundles = bundled(problem.lengths, n_bundles)
        self._fit = uuid.uuid4().hex

    def __enter__(self):
        self._pool = pool_for(self._problem.settings.n_jobs)
        return self

    def __exit__(self, kind, *exception):
        try:
            if kind is None:  # let the workers drop their rows, as far as these tasks reach them
                # If one dies now, that must not take away the fit; what is left of the rows the next fit drops.
                with suppress(Exception):
                    self._pool.run(_release, dict.fromkeys(range(len(self._bundles)), (self._fit,)))
        finally:
            self._pool.close()

    def train(self, start, stop, last):
        """Train all peers for some steps of an epoch."""
        numbers, segment = range(len(self._bundles)), (start, stop, last)
        # What is sent is bytes, since a backend may keep arrays on one worker only, to be lost with it.
        states = [self._pack_state(number) for number in numbers]
        rows = dict.fromkeys(numbers)
        while numbers:
            visits = {number: (self._fit, number, rows[number], states[number], segment) for number in numbers}
            answers = self._pool.run(_train_bundle, visits)
            for number, answer in answers.items():
                if answer is not None:
                    self._state.put(self._bundles[number], answer)
            numbers = [number for number, answer in answers.items() if answer is None]
            rows = {number: self._pack_rows(number) for number in numbers}

    def fuse(self, fusion_round, spread=None):
        """Fuse, here."""
        settings = self._problem.settings
        fusion_round.fuse(self._state.weights, settings.fusion_rate, settings.fusion_rule, spread=spread)

    def _pack_state(self, number):
        return pickle.dumps(self._state.take(self._bundles[number]))

    def _pack_rows(self, number):
        """Pickle all that a bundle takes but its state, for its own peers and their rows alone."""
        peers = self._bundles[number]
        return pickle.dumps((self._problem.of_peers(peers), self._data.of_peers(peers)))
