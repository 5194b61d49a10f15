"""Peers: all that changes as they train, and a bundle of them that one worker trains."""

import copy
from dataclasses import dataclass, fields, replace

import numpy as np

from skfusion import _kernels
from skfusion._balance import largest_first

_CACHE_LINE = 64  # bytes


def aligned(weights):
    """Copy networks' weights to where each network's begin at a cache line, which trains faster.

    Parameters
    ----------
    weights : ndarray of shape (n_networks, n_parameters)

    Returns
    -------
    ndarray of shape (n_networks, n_parameters)
        Contiguous along the last axis alone.
    """
    n_networks, n_parameters = weights.shape
    lanes = _CACHE_LINE // weights.itemsize
    stride = -(-n_parameters // lanes) * lanes
    memory = np.empty(n_networks * stride + lanes, weights.dtype)
    start = -memory.ctypes.data % _CACHE_LINE // weights.itemsize
    networks = memory[start : start + n_networks * stride].reshape(n_networks, stride)[:, :n_parameters]
    networks[...] = weights
    return networks


@dataclass
class PeerState:
    """All that changes in the peers while they train; each field has an entry per peer."""

    weights: np.ndarray
    first_moments: np.ndarray | None
    second_moments: np.ndarray | None
    n_steps: np.ndarray
    samples_seen: np.ndarray
    learning_rates: np.ndarray
    losses: np.ndarray  # summed over the rows of the epoch so far; at its end their mean, with the penalty
    generators: list
    drift: np.ndarray | None = None  # what is added to the gradients until the next fusion round

    @classmethod
    def start(cls, weights, seeds, settings):
        """Return the state of peers that have not trained yet."""
        state = cls(
            weights=aligned(weights),
            first_moments=None,
            second_moments=None,
            n_steps=np.zeros(len(weights), np.int64),
            samples_seen=np.zeros(len(weights), np.int64),
            learning_rates=np.full(len(weights), settings.learning_rate_init),
            losses=np.zeros(len(weights)),
            generators=[np.random.Generator(np.random.SFC64(seed)) for seed in seeds],
        )
        state.set_solver(settings)
        return state

    def set_solver(self, settings):
        """Start over with moments of 0 if the solver needs others than there are: each gives them another meaning.

        The same goes for the drift, which is there only where something corrects it.
        """
        adam = settings.solver == "adam"
        needed = adam or settings.momentum > 0, adam
        if needed != (self.first_moments is not None, self.second_moments is not None):
            zeros = np.broadcast_to(self.weights.dtype.type(0), self.weights.shape)
            self.first_moments, self.second_moments = (aligned(zeros) if one else None for one in needed)
            self.n_steps[:] = 0
        corrected = settings.drift_correction is not None or settings.fusion_momentum > 0
        if corrected != (self.drift is not None):
            self.drift = aligned(np.zeros_like(self.weights)) if corrected else None

    def set_learning_rates(self, settings, old):
        """Take the learning rates of new settings; adaptive ones stay where they would have started from the same."""
        changed = (settings.schedule, settings.learning_rate_init) != (old.schedule, old.learning_rate_init)
        if settings.schedule == "invscaling":
            self.learning_rates[:] = inversely_scaled(settings, self.samples_seen)
        elif changed:
            self.learning_rates[:] = settings.learning_rate_init

    def copy(self):
        """Copy it, to where it trains fast."""
        names = "weights", "first_moments", "second_moments", "drift"
        other = copy.deepcopy(replace(self, **dict.fromkeys(names)))
        for name in names:
            if getattr(self, name) is not None:
                setattr(other, name, aligned(getattr(self, name)))
        return other

    def take(self, peers):
        """Copy some peers' state."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if value is not None:
                values[name] = [value[peer] for peer in peers] if isinstance(value, list) else value[peers]
        return PeerState(**values)

    def put(self, peers, other):
        """Take over some peers' state from a copy."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine is not None:
                for peer, value in zip(peers, theirs, strict=True):
                    mine[peer] = value


def inversely_scaled(settings, samples_seen):
    """Return the learning rates of peers that have seen ``samples_seen`` rows."""
    with np.errstate(over="ignore"):  # by which the rate is 0
        return settings.learning_rate_init / (samples_seen + 1.0) ** settings.power_t


def bundled(lengths, n_bundles):
    """Return the peers of each of several bundles that have about equally many rows, and none of which is empty.

    Parameters
    ----------
    lengths : int ndarray of shape (n_networks,)
        For each peer how many rows it trains on.
    n_bundles : int
        At most the number of peers.

    Returns
    -------
    list of int ndarray
    """
    bundle_of_peer = largest_first(np.maximum(lengths, 1), np.zeros(n_bundles))  # or one would get all without rows
    return [np.flatnonzero(bundle_of_peer == number) for number in range(n_bundles)]


class Bundle:
    """Some peers, and what one worker needs to train them.

    Parameters
    ----------
    problem : Problem
    data : Data
    state : PeerState
        These three are of all peers; the state is changed in place.
    peers : sequence of int
        The peers of this bundle.

    Attributes
    ----------
    peers, rows, ends, batch_sizes : ndarray of int
        What its trainer is to do: the k-th of the peers trains on rows[ends[k]:ends[k + 1]].
    """

    def __init__(self, problem, data, state, peers):
        self.settings, self.state = problem.settings, state
        self.peers = np.array(peers, np.int64)
        self._parts = [data.parts[peer].astype(np.int32) for peer in peers]
        self._n_rows, self._n_steps = problem.n_rows[self.peers], problem.n_steps[self.peers]
        self.ends = np.append(0, self._n_rows.cumsum())
        self.rows = np.concatenate([np.resize(*part) for part in zip(self._parts, self._n_rows, strict=True)])
        self.batch_sizes = problem.batch_sizes[self.peers]
        self._trainer = _kernels.Trainer(
            problem.network,
            data.X,
            data.target,
            data.sample_weight,
            problem.settings,
            state,
            self,
            offset=data.offset,
            drift=state.drift,
            buffer_rows=self.batch_sizes.max(),
        )

    def begin_epoch(self):
        """Draw the order of rows for an epoch."""
        if self.settings.shuffle:
            for peer, part, start, stop in zip(self.peers, self._parts, self.ends, self.ends[1:], strict=False):
                for begin in range(start, stop, max(len(part), 1)):
                    end = min(begin + len(part), stop)
                    self.rows[begin:end] = self.state.generators[peer].permutation(part)[: end - begin]

    def train_from(self, state, start, stop, last):
        """Train as from a state that came from elsewhere, maybe in the middle of an epoch; returns the new one."""
        self.state.put(self.peers, state)
        generators = copy.deepcopy(state.generators)
        self.begin_epoch()
        self.train(start, stop, last)
        if not last:  # the epoch's next segment draws the same order of rows
            self.state.generators = generators
        return self.state

    def train(self, start, stop, last):
        """Take each peer's optimiser steps from ``start`` to ``stop`` of the epoch, as far as its rows reach.

        With ``last`` the epoch ends.
        """
        if not last:
            self._trainer.train(start, stop)
            return
        penalties = np.empty(len(self.peers))
        self._trainer.train(start, stop, penalties)
        self._end_epoch(penalties)

    def _end_epoch(self, penalties):
        """Turn summed losses into means with the penalties, and set the learning rates of the next epoch."""
        peers, state = self.peers, self.state
        n_rows = np.maximum(self._n_rows, 1)  # a peer without rows has no loss either
        with np.errstate(over="ignore"):  # while training diverges
            state.losses[peers] = (state.losses[peers] + penalties * self._n_steps) / n_rows
        state.samples_seen[peers] += self._n_rows
        if self.settings.schedule == "invscaling":
            state.learning_rates[peers] = inversely_scaled(self.settings, state.samples_seen[peers])
