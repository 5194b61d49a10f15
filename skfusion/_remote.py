"""Training in other processes, on this machine or others, through joblib's backends that share no memory.

A share's rows go to a worker once and stay there; in each round the peers' state goes there and back.  Which worker
a task meets is for the backend to say: one that does not hold the rows asks for them, be it that the backend moved
the share or that the worker that held them died.
"""

import copy
import pickle
import uuid
from contextlib import suppress

import joblib
import numpy as np

from skfusion import _kernels
from skfusion._peers import Share, one_blas_thread

# In a worker: the shares of the fit that sent rows last, by fit and number.
_held = {}


def _visit(fit, number, rows, state, segment):
    """In a worker, train a share; returns its new state, or None if its rows must be sent first."""
    state = pickle.loads(state)
    with one_blas_thread:
        if rows is not None:
            _held[fit, number] = Share(*pickle.loads(rows), state.copy(), range(len(state.weights)))
            for other in {key[0] for key in list(_held)} - {fit}:
                _release(other)
        share = _held.get((fit, number))
        if share is None:
            return None
        share.state.put(share.peers, state)
        generators = copy.deepcopy(state.generators)
        share.begin_epoch()
        share.train(*segment)
    if not segment[-1]:  # the epoch's next segment draws the same order of rows
        share.state.generators = generators
    return share.state


def _release(fit):
    """In a worker, drop the rows of a fit."""
    for key in list(_held):  # other threads of this worker may be at it too
        if key[0] == fit:
            _held.pop(key, None)


class RemoteShares:
    """Shares of the peers, each trained by whichever worker the backend gives it to.

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
        The peers of each share.
    n_jobs : int or None
        joblib's number of workers.
    """

    def __init__(self, network, settings, data, parts, state, assignment, n_jobs):
        self._state, self._settings, self._assignment = state, settings, assignment
        # Entered, since some backends otherwise start their workers anew in each round.
        self._parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads").__enter__()
        self._fit = uuid.uuid4().hex
        self._problem = network, settings, data, parts

    def train(self, start, stop, last):
        """Train all peers for some steps of an epoch."""
        numbers = range(len(self._assignment))
        # What is sent is bytes, since a backend may keep arrays on one worker only, to be lost with it.
        states = [self._pack_state(number) for number in numbers]
        rows = dict.fromkeys(numbers)
        while numbers:
            answers = self._parallel(
                joblib.delayed(_visit)(self._fit, number, rows[number], states[number], (start, stop, last))
                for number in numbers
            )
            for number, answer in zip(numbers, answers, strict=True):
                if answer is not None:
                    self._state.put(self._assignment[number], answer)
            numbers = [number for number, answer in zip(numbers, answers, strict=True) if answer is None]
            rows = {number: self._pack_rows(number) for number in numbers}

    def fuse(self, pairs, spread=None):
        """Fuse pairs, here."""
        rate, simultaneous = self._settings.fusion_rate, self._settings.fusion_rule == "simultaneous"
        _kernels.fuse(self._state.weights, pairs, rate, simultaneous, spread=spread)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        try:
            if kind is None:  # let the workers drop their rows, as far as these tasks reach them
                # If one dies now, that must not take away the fit; what is left of the rows the next fit drops.
                with suppress(Exception):
                    self._parallel(joblib.delayed(_release)(self._fit) for _ in self._assignment)
        finally:
            self._parallel.__exit__(kind, *exception)

    def _pack_state(self, number):
        return pickle.dumps(self._state.take(self._assignment[number]))

    def _pack_rows(self, number):
        """Pickle all that a share takes but its state, for its own peers and their rows alone."""
        network, settings, data, parts = self._problem
        parts = [parts[peer] for peer in self._assignment[number]]
        ends = np.cumsum([len(part) for part in parts])
        own_parts = np.split(np.arange(ends[-1], dtype=np.int32), ends[:-1])
        return pickle.dumps((network, settings, data.take(np.concatenate(parts)), own_parts))
