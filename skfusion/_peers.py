"""Peers: what they train on, what changes as they train, and a share of them that one worker trains."""

import copy
import threading
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController  # scikit-learn depends on it

from skfusion import _kernels

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
    copy = memory[start : start + n_networks * stride].reshape(n_networks, stride)[:, :n_parameters]
    copy[...] = weights
    return copy


@dataclass(frozen=True)
class Settings:
    """How peers train and fuse; each field as the parameter of the estimators, l1 and l2 made of alpha."""

    solver: str
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    l1: float
    l2: float
    learning_rate: str
    learning_rate_init: float
    power_t: float
    batch_size: int
    shuffle: bool
    fusion_rate: float
    fusion_frequency: int
    fusion_unit: str
    fusion_rule: str


@dataclass(frozen=True)
class Data:
    """Rows that peers train on: X in C order or CSR, targets, weights or None, and the offset of a CSR X.

    The targets are class indices, or numbers of X's dtype and shape (n_samples, n_outputs).
    """

    X: object
    target: np.ndarray
    sample_weight: np.ndarray | None
    offset: np.ndarray | None = None

    def take(self, rows):
        """Return the given rows alone."""
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        return Data(self.X[rows], self.target[rows], weight, self.offset)


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

    @classmethod
    def start(cls, weights, seeds, settings):
        """State of peers that have not trained yet."""
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
        """Start over with moments of 0 if the solver needs others than there are: they mean something else to each."""
        adam = settings.solver == "adam"
        needed = adam or settings.momentum > 0, adam
        if needed != (self.first_moments is not None, self.second_moments is not None):
            zeros = np.broadcast_to(self.weights.dtype.type(0), self.weights.shape)
            self.first_moments, self.second_moments = (aligned(zeros) if one else None for one in needed)
            self.n_steps[:] = 0

    def copy(self):
        """Copy it, to where it trains fast."""
        names = "weights", "first_moments", "second_moments"
        other = copy.deepcopy(replace(self, **dict.fromkeys(names)))
        for name in names:
            if getattr(self, name) is not None:
                setattr(other, name, aligned(getattr(self, name)))
        return other

    def with_weights(self, weights):
        """Return the same state with other weights."""
        return replace(self, weights=weights)

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


class Share:
    """Some peers, and what one worker needs to train them.

    Parameters
    ----------
    network : Network
    settings : Settings
    data : Data
    parts : list of int32 ndarray
        Each peer's rows of data.
    state : PeerState
        Changed in place.
    peers : list of int
        The peers of this share, as indices into parts and state.

    Attributes
    ----------
    peers, rows, ends, batch_sizes : ndarray of int
        What its trainer is to do: the k-th of the peers trains on rows[ends[k]:ends[k + 1]].
    """

    def __init__(self, network, settings, data, parts, state, peers):
        self.settings, self.state = settings, state
        self.peers = np.array(peers, np.int64)
        self._parts = [parts[peer] for peer in peers]
        self._lengths = np.array([len(part) for part in self._parts], np.int64)
        self.ends = np.append(0, self._lengths.cumsum())
        self.rows = np.concatenate(self._parts)
        self.batch_sizes = np.minimum(settings.batch_size, self._lengths)
        self._trainer = _kernels.Trainer(
            network,
            data.X,
            data.target,
            data.sample_weight,
            settings,
            state,
            self,
            offset=data.offset,
            buffer_rows=self.batch_sizes.max(),
        )

    def begin_epoch(self):
        """Draw the order of rows for an epoch."""
        if self.settings.shuffle:
            for peer, part, start, stop in zip(self.peers, self._parts, self.ends, self.ends[1:], strict=False):
                self.rows[start:stop] = self.state.generators[peer].permutation(part)

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
        n_steps = -(-self._lengths // self.batch_sizes)
        state.losses[peers] = (state.losses[peers] + penalties * n_steps) / self._lengths
        state.samples_seen[peers] += self._lengths
        if self.settings.learning_rate == "invscaling" and self.settings.solver == "sgd":
            seen = state.samples_seen[peers] + 1.0
            state.learning_rates[peers] = self.settings.learning_rate_init / seen**self.settings.power_t


class _OneBlasThread:
    """Keeps BLAS to one thread while any with statement runs in it.

    The limit holds for the whole process; the first of several fits in threads sets it and the last one lifts it.
    """

    def __init__(self):
        self._lock, self._n_entered = threading.Lock(), 0

    def __enter__(self):
        with self._lock:
            if self._n_entered == 0:
                self._limit = _thread_pools().limit(limits=1, user_api="blas")
            self._n_entered += 1

    def __exit__(self, *exception):
        with self._lock:
            self._n_entered -= 1
            if self._n_entered == 0:
                self._limit.restore_original_limits()


@cache
def _thread_pools():
    return ThreadpoolController()


one_blas_thread = _OneBlasThread()
