"""Rounds: train the peers, fuse them, record what happened."""

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import cache

import joblib
import numpy as np
from sklearn.utils import check_random_state
from threadpoolctl import ThreadpoolController  # scikit-learn depends on it

from skfusion import _kernels
from skfusion._workers import available_workers, team
from skfusion.fusion import check_pairs

# Rows times parameters below which threads cost more than they gain: in a round, and in all of a fit.
_PARALLEL_ROUND = 1e7
_PARALLEL_FIT = 5e8
# Dense input with a smaller share of nonzeros than this trains faster as CSR.
_SPARSE_DENSITY = 0.3
# At which an adaptive learning rate is not lowered any more, as MLPClassifier's.
_SMALLEST_LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Settings:
    """How peers train and fuse; each field as the parameter of FusedMLPClassifier, l1 and l2 made of alpha."""

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
    """Rows that peers train on: X in C order or CSR, class indices, and weights or None."""

    X: object
    target: np.ndarray
    sample_weight: np.ndarray | None

    def take(self, rows):
        """Return the given rows alone."""
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        return Data(self.X[rows], self.target[rows], weight)


@dataclass
class PeerState:
    """All that changes in the peers while they train; each field has an entry per peer."""

    weights: np.ndarray
    first_moments: np.ndarray | None
    second_moments: np.ndarray | None
    n_steps: np.ndarray
    samples_seen: np.ndarray
    learning_rates: np.ndarray
    generators: list

    @classmethod
    def start(cls, weights, seeds, settings):
        """State of peers that have not trained yet."""
        has_moments = settings.solver == "adam" or settings.momentum > 0
        return cls(
            weights=weights,
            first_moments=np.zeros_like(weights) if has_moments else None,
            second_moments=np.zeros_like(weights) if settings.solver == "adam" else None,
            n_steps=np.zeros(len(weights), np.int64),
            samples_seen=np.zeros(len(weights), np.int64),
            learning_rates=np.full(len(weights), settings.learning_rate_init),
            generators=[np.random.Generator(np.random.SFC64(seed)) for seed in seeds],
        )

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
    """

    def __init__(self, network, settings, data, parts, state, peers):
        self.settings, self.data, self.parts, self.state, self.peers = settings, data, parts, state, peers
        self.batch_sizes = [min(settings.batch_size, len(part)) for part in parts]
        self.rows = list(parts)
        self.losses = np.zeros(len(parts))
        self._trainer = _kernels.Trainer(
            network,
            data.X,
            data.target,
            data.sample_weight,
            settings,
            state,
            buffer_rows=max((self.batch_sizes[peer] for peer in peers), default=1),
        )

    def begin_epoch(self):
        """Draw the order of rows for an epoch."""
        self.losses[self.peers] = 0
        if self.settings.shuffle:
            for peer in self.peers:
                self.rows[peer] = self.state.generators[peer].permutation(self.parts[peer])

    def train(self, start, stop):
        """Take each peer's optimiser steps from ``start`` to ``stop`` of the epoch, as far as its rows reach."""
        for peer in self.peers:
            size, rows = self.batch_sizes[peer], self.rows[peer]
            self.losses[peer] += self._trainer.train(
                peer,
                rows,
                min(start * size, len(rows)),
                min(stop * size, len(rows)),
                size,
                self.state.learning_rates[peer],
            )

    def end_epoch(self):
        """Turn summed losses into means with the penalty, and set the learning rates of the next epoch."""
        for peer in self.peers:
            rows, weight = self.rows[peer], self.data.sample_weight
            total = len(rows) if weight is None else weight[rows].sum(dtype=np.float64)
            n_steps = -(-len(rows) // self.batch_sizes[peer])
            self.losses[peer] = self.losses[peer] / total + self._trainer.penalty(peer) * n_steps / len(rows)
            self.state.samples_seen[peer] += len(rows)
            if self.settings.learning_rate == "invscaling" and self.settings.solver == "sgd":
                seen = float(self.state.samples_seen[peer]) + 1
                self.state.learning_rates[peer] = self.settings.learning_rate_init / seen**self.settings.power_t


class _LocalShares:
    """All peers' shares in this process's memory, one per thread."""

    def __init__(self, network, settings, data, parts, state, assignment, workers):
        self.shares = [Share(network, settings, data, parts, state, peers) for peers in assignment]
        self._weights, self._settings, self._workers = state.weights, settings, workers
        self._columns = np.linspace(0, network.n_parameters, len(self.shares) + 1).astype(int)

    def train(self, start, stop, first, last):
        """Train all peers; returns their losses so far."""

        def task(worker):
            share = self.shares[worker]
            if first:
                share.begin_epoch()
            share.train(start, stop)
            if last:
                share.end_epoch()

        self._workers.run(task)
        return sum(share.losses for share in self.shares)

    def fuse(self, pairs):
        """Fuse pairs, each thread some of the columns: what becomes of a column depends on no other."""

        def task(worker):
            _fuse(self._weights, pairs, self._settings, *self._columns[worker : worker + 2])

        self._workers.run(task)


def _fuse(weights, pairs, settings, start, stop):
    _kernels.fuse(weights, pairs, settings.fusion_rate, settings.fusion_rule == "simultaneous", start, stop)


def _train_elsewhere(network, settings, data, parts, state, losses, segment):
    start, stop, last = segment
    share = Share(network, settings, data, parts, state, list(range(len(parts))))
    generators = [np.random.Generator(np.random.SFC64()) for _ in parts]
    for copy, generator in zip(generators, state.generators, strict=True):
        copy.bit_generator.state = generator.bit_generator.state
    share.begin_epoch()
    share.losses += losses
    with _one_blas_thread():
        share.train(start, stop)
    if last:
        share.end_epoch()
    else:  # the next segment draws the same order again
        state.generators = generators
    return state, share.losses


class _RemoteShares:
    """The same over workers that share no memory: the peers' states go there and back in each round."""

    def __init__(self, network, settings, data, parts, state, assignment, n_jobs):
        self._network, self._settings, self._state, self._n_jobs = network, settings, state, n_jobs
        self._assignment = assignment
        self._losses = np.zeros(len(parts))
        self._data, self._parts = [], []
        for peers in assignment:
            ends = np.cumsum([len(parts[peer]) for peer in peers], dtype=np.int32)
            self._data.append(data.take(np.concatenate([parts[peer] for peer in peers])))
            self._parts.append(np.split(np.arange(ends[-1], dtype=np.int32), ends[:-1]))

    def train(self, start, stop, first, last):
        """Train all peers; returns their losses so far."""
        if first:
            self._losses[:] = 0
        results = joblib.Parallel(n_jobs=self._n_jobs, prefer="threads")(
            joblib.delayed(_train_elsewhere)(
                self._network,
                self._settings,
                data,
                parts,
                self._state.take(peers),
                self._losses[peers],
                (start, stop, last),
            )
            for data, parts, peers in zip(self._data, self._parts, self._assignment, strict=True)
        )
        for peers, (state, losses) in zip(self._assignment, results, strict=True):
            self._state.put(peers, state)
            self._losses[peers] = losses
        return self._losses

    def fuse(self, pairs):
        """Fuse pairs, here."""
        _fuse(self._state.weights, pairs, self._settings, 0, self._network.n_parameters)


@cache
def _thread_pools():
    return ThreadpoolController()


def _one_blas_thread():
    return _thread_pools().limit(limits=1, user_api="blas")


def assign(sizes, n_workers):
    """Spread peers over workers, largest first onto the least loaded; returns a list of peers for each."""
    loads, peers = np.zeros(n_workers), [[] for _ in range(n_workers)]
    for peer in np.argsort(-np.asarray(sizes), kind="stable"):
        worker = loads.argmin()
        loads[worker] += sizes[peer]
        peers[worker].append(int(peer))
    return [sorted(some) for some in peers]


def prefer_sparse(X):
    """X as CSR where so few of its values are not 0 that this trains faster; else X."""
    if isinstance(X, np.ndarray) and np.count_nonzero(X) < _SPARSE_DENSITY * X.size < np.iinfo(np.int32).max:
        from scipy.sparse import csr_array

        return csr_array(X)
    return X


def hold_out(parts, fraction, rng):
    """Split each peer's rows into those to train on and those to validate on, at random.

    Raises
    ------
    ValueError
        If a peer has too few rows.
    """
    train, held_out = [], []
    for peer, part in enumerate(parts):
        n_held_out = int(np.ceil(fraction * len(part)))
        if n_held_out >= len(part):
            raise ValueError(
                f"early_stopping needs rows to train on beside those held out, but peer {peer} has {len(part)} in "
                f"all and validation_fraction={fraction:g} takes {n_held_out}; lower it, or set n_networks lower"
            )
        shuffled = rng.permutation(part)
        held_out.append(np.sort(shuffled[:n_held_out]))
        train.append(np.sort(shuffled[n_held_out:]))
    return train, held_out


@dataclass
class Progress:
    """Where training stands, and its sources of randomness; ``partial_fit`` goes on from there."""

    seeds: np.random.SeedSequence
    partition_rng: np.random.RandomState
    topology_rng: np.random.RandomState
    epoch: int = 0
    step: int = 0  # of the peer with most steps
    fusion_round: int = 0

    @classmethod
    def start(cls, random_state):
        """Before the first epoch; ``random_state`` is as scikit-learn's."""
        entropy = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=4)
        seeds = np.random.SeedSequence(entropy.tolist())
        return cls(seeds, *(np.random.RandomState(np.random.MT19937(seed)) for seed in seeds.spawn(2)))


class Rounds:
    """One call of fit: an epoch at a time, each peer passes over its rows while pairs fuse at intervals.

    Parameters
    ----------
    network : Network
    settings : Settings
    topology : BaseTopology
    data : Data
    parts : list of int ndarray
        Each peer's rows of data.
    state : PeerState
        Changed in place.
    progress : Progress
        Changed in place.
    """

    def __init__(self, network, settings, topology, data, parts, state, progress):
        self.network, self.settings, self.topology, self.data = network, settings, topology, data
        self.parts, self.state, self.progress = [part.astype(np.int32) for part in parts], state, progress
        self.n_networks = len(parts)
        self.n_steps = max(-(-len(part) // min(settings.batch_size, len(part))) for part in parts)

    @contextmanager
    def workers(self, n_jobs, max_iter):
        """Hold workers for the epochs that run inside this context."""
        n_workers, shared_memory = available_workers(n_jobs)
        n_workers = min(n_workers, self.n_networks)
        sizes = [len(part) for part in self.parts]
        args = self.network, self.settings, self.data, self.parts, self.state
        with ExitStack() as stack:
            if self.n_networks > 1 and self.settings.batch_size > 1:
                # Whatever n_jobs is, so that sums are taken in the same order.
                stack.enter_context(_one_blas_thread())
            if n_workers > 1 and not shared_memory:
                self._shares = _RemoteShares(*args, assign(sizes, n_workers), n_jobs)
            else:
                work = sum(sizes) * self.network.n_parameters
                rounds = len(list(self._segments()))
                if work < _PARALLEL_ROUND * rounds or work * max_iter < _PARALLEL_FIT:
                    n_workers = 1
                workers = stack.enter_context(team(n_workers))
                self._shares = _LocalShares(*args, assign(sizes, n_workers), workers)
            yield

    def _segments(self):
        """Return the steps between fusion rounds: (start, stop, whether a round follows)."""
        frequency, n_steps = self.settings.fusion_frequency, self.n_steps
        if self.n_networks == 1 or self.settings.fusion_rate == 0:
            return [(0, n_steps, False)]
        if self.settings.fusion_unit == "epoch":
            return [(0, n_steps, (self.progress.epoch + 1) % frequency == 0)]
        first = frequency - self.progress.step % frequency
        stops = list(range(first, n_steps + 1, frequency))
        fused = [(start, stop, True) for start, stop in zip([0, *stops], stops, strict=False)]
        end = stops[-1] if stops else 0
        return fused if end == n_steps else [*fused, (end, n_steps, False)]

    def epoch(self):
        """Train and fuse for one epoch.

        Returns
        -------
        dict
            The epoch's entry of ``history_``.

        Raises
        ------
        ValueError
            If a peer's weights or loss are not finite.
        """
        began = time.perf_counter()
        segments = self._segments()
        n_fusions = np.zeros(self.n_networks, np.int64)
        last_round = max((k for k, (_, _, fuses) in enumerate(segments) if fuses), default=None)
        before = after = None
        for k, (start, stop, fuses) in enumerate(segments):
            losses = self._shares.train(start, stop, k == 0, k == len(segments) - 1)
            self._check_finite(losses)
            if fuses:
                if k == last_round:
                    before = _kernels.disagreement(self.state.weights)
                n_fusions += self._fuse()
                if k == last_round:
                    after = _kernels.disagreement(self.state.weights)
        if last_round is None:
            before = after = _kernels.disagreement(self.state.weights)
        self.progress.epoch += 1
        self.progress.step += self.n_steps
        return {
            "epoch": self.progress.epoch,
            "losses": losses.tolist(),
            "disagreement_before_fusion": before,
            "disagreement_after_fusion": after,
            "numbers_sent": (n_fusions * self.network.n_parameters).tolist(),
            "seconds": time.perf_counter() - began,
        }

    def _fuse(self):
        """One fusion round; returns how often each peer fused."""
        pairs = self.topology.pairs(self.n_networks, self.progress.fusion_round, self.progress.topology_rng)
        pairs = check_pairs(pairs, self.n_networks)
        self._shares.fuse(pairs)
        self.progress.fusion_round += 1
        return np.bincount(pairs[pairs[:, 0] != pairs[:, 1]].ravel(), minlength=self.n_networks)

    def lower_learning_rates(self):
        """Go on with a fifth of an adaptive learning rate; returns False where there is nothing to lower."""
        adaptive = self.settings.solver == "sgd" and self.settings.learning_rate == "adaptive"
        if not adaptive or self.state.learning_rates[0] <= _SMALLEST_LEARNING_RATE:
            return False
        self.state.learning_rates /= 5
        return True

    def _check_finite(self, losses):
        if not np.isfinite(losses).all():
            peer = int(np.flatnonzero(~np.isfinite(losses))[0])
            raise ValueError(
                f"the weights of peer {peer} left the finite numbers in epoch {self.progress.epoch + 1}; most likely "
                f"learning_rate_init={self.settings.learning_rate_init:g} is too high, or the input is not scaled"
            )


class Stopping:
    """Tells when a loss, or the negative of a score, has ceased to improve, as MLPClassifier does.

    Parameters
    ----------
    tol : float
        Improvement that counts.
    n_iter_no_change : int
        Epochs without it that are waited for.
    """

    def __init__(self, tol, n_iter_no_change):
        self.tol, self.n_iter_no_change = tol, n_iter_no_change
        self.best = np.inf
        self.n_without = 0

    def update(self, loss):
        """Take in an epoch's loss; returns whether it is the best so far."""
        self.n_without = self.n_without + 1 if loss > self.best - self.tol else 0
        improved = loss < self.best
        self.best = min(loss, self.best)
        return improved

    def start_over(self):
        """Forget the epochs without improvement."""
        self.n_without = 0

    @property
    def due(self):
        """Whether it is time to stop."""
        return self.n_without > self.n_iter_no_change
