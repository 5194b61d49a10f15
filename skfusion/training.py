"""Rounds: train the peers, fuse them, record what happened."""

import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import joblib
import numpy as np
from scipy.sparse import csr_array
from sklearn.utils import check_random_state

from skfusion import _kernels
from skfusion._local import LocalShares
from skfusion._peers import one_blas_thread
from skfusion._remote import RemoteShares
from skfusion.fusion import check_pairs, count_fusions

# Rows times parameters below which threads cost more than they gain: in a round, and in all of a fit.
_PARALLEL_ROUND = 1e7
_PARALLEL_FIT = 5e8
# Dense input with a smaller share of nonzeros than this trains faster as CSR.
_SPARSE_DENSITY = 0.3
_MOST_NONZEROS = np.iinfo(np.int32).max
# At which an adaptive learning rate is not lowered any more, as MLPClassifier's.
_SMALLEST_LEARNING_RATE = 1e-6


def _available_workers(n_jobs):
    """How many workers joblib can run at once, and whether they share this process's memory."""
    if n_jobs == 1:  # which some backends ignore
        return 1, True
    parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads")
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    return backend.effective_n_jobs(parallel.n_jobs), getattr(backend, "supports_sharedmem", False)


def assign(parts, n_workers):
    """Spread peers over workers, those with most rows first onto the least loaded; returns the peers of each."""
    loads, peers = np.zeros(n_workers), [[] for _ in range(n_workers)]
    for peer in sorted(range(len(parts)), key=lambda peer: -len(parts[peer])):
        worker = loads.argmin()
        loads[worker] += len(parts[peer])
        peers[worker].append(peer)
    return [sorted(some) for some in peers]


def sparsified(X):
    """X as CSR deviations from one row, where few enough are not 0 that this trains faster.

    The row holds each column's commonest value, or what a hundred rows take for it: the background of an image, the
    value of a standardised one-hot column where it is not hot.

    Parameters
    ----------
    X : {ndarray, CSR} of shape (n_samples, n_features)

    Returns
    -------
    X : {ndarray, CSR}
        As it was if it is sparse already, or not sparse enough.
    offset : ndarray of shape (n_features,) or None
        The row, None if it is 0.
    """
    if not isinstance(X, np.ndarray):
        return X, None
    sample = X[np.linspace(0, len(X) - 1, min(len(X), 101)).astype(int)]
    offset = _commonest(sample)
    if np.count_nonzero(sample != offset) > 2 * _SPARSE_DENSITY * sample.size:
        return X, None
    ends = np.append(0, _kernels.count_deviations(X, offset).cumsum())
    if not ends[-1] < min(_SPARSE_DENSITY * X.size, _MOST_NONZEROS):
        return X, None
    values, columns = _kernels.deviations(X, offset, ends[-1])
    return csr_array((values, columns, ends.astype(np.int32)), shape=X.shape), offset if offset.any() else None


def _commonest(sample):
    """Each column's commonest value, the smallest of several."""
    ordered, places = np.sort(sample, axis=0), np.arange(len(sample))[:, None]
    begins = np.vstack([np.ones_like(ordered[:1], bool), ordered[1:] != ordered[:-1]])
    run_lengths = places - np.maximum.accumulate(np.where(begins, places, 0), axis=0)
    return np.take_along_axis(ordered, run_lengths.argmax(axis=0)[None], axis=0)[0]


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
        X, offset = sparsified(data.X)
        self.network, self.settings, self.topology = network, settings, topology
        self.data = replace(data, X=X, offset=offset)
        self.parts, self.state, self.progress = [part.astype(np.int32) for part in parts], state, progress
        self.n_networks = len(parts)
        self.n_steps = max(-(-len(part) // min(settings.batch_size, len(part))) for part in parts)

    @contextmanager
    def workers(self, n_jobs, max_iter):
        """Hold workers for the epochs that run inside this context."""
        n_workers, shared_memory = _available_workers(n_jobs)
        n_workers = min(n_workers, self.n_networks)
        problem = self.network, self.settings, self.data, self.parts, self.state
        # Whatever n_jobs is, so that sums are taken in the same order.
        blas = one_blas_thread if self.n_networks > 1 and self.settings.batch_size > 1 else nullcontext()
        with blas:
            if n_workers > 1 and not shared_memory:
                self._shares = RemoteShares(*problem, assign(self.parts, n_workers), n_jobs)
            else:
                n_workers = n_workers if self._pays_in_threads(max_iter) else 1
                self._shares = LocalShares(*problem, assign(self.parts, n_workers))
            with self._shares:
                yield

    def _pays_in_threads(self, max_iter):
        work = sum(len(part) for part in self.parts) * self.network.n_parameters
        return work > _PARALLEL_ROUND * len(self._segments()) and work * max_iter > _PARALLEL_FIT

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
        spread = np.empty((_kernels.n_blocks(self.state.weights), 2))
        losses = self.state.losses
        losses[:] = 0
        for k, (start, stop, fuses) in enumerate(segments):
            self._shares.train(start, stop, k == len(segments) - 1)
            self._check_finite(losses)
            if fuses:
                n_fusions += self._fuse(spread if k == last_round else None)
        if last_round is None:
            before = after = _kernels.disagreement(self.state.weights)
        else:
            before, after = np.sqrt(spread.sum(axis=0) / self.n_networks).tolist()
        self.progress.epoch += 1
        self.progress.step += self.n_steps
        return {
            "epoch": self.progress.epoch,
            "losses": losses.tolist(),
            "loss": float(np.average(losses, weights=[len(part) for part in self.parts])),
            "fusion_rounds": sum(fuses for _, _, fuses in segments),
            "disagreement_before_fusion": before,
            "disagreement_after_fusion": after,
            "numbers_sent": (n_fusions * self.network.n_parameters).tolist(),
            "seconds": time.perf_counter() - began,
        }

    def _fuse(self, spread):
        """One fusion round, which measures the spread of the weights where asked to; returns how often each fused."""
        pairs = self.topology.pairs(self.n_networks, self.progress.fusion_round, self.progress.topology_rng)
        pairs = check_pairs(pairs, self.n_networks)
        self._shares.fuse(pairs, spread)
        self.progress.fusion_round += 1
        return count_fusions(pairs, self.n_networks)

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
            unscaled = "X or y" if self.network.output == "identity" else "the input"
            raise ValueError(
                f"the weights of peer {peer} left the finite numbers in epoch {self.progress.epoch + 1}; most likely "
                f"learning_rate_init={self.settings.learning_rate_init:g} is too high, or alpha, or {unscaled} is not "
                "scaled"
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
        self._tol, self._n_iter_no_change = tol, n_iter_no_change
        self._best, self._n_without = np.inf, 0

    def update(self, loss):
        """Take in an epoch's loss; returns whether it is the best so far."""
        self._n_without = self._n_without + 1 if loss > self._best - self._tol else 0
        improved = loss < self._best
        self._best = min(loss, self._best)
        return improved

    def start_over(self):
        """Forget the epochs without improvement."""
        self._n_without = 0

    @property
    def due(self):
        """Whether it is time to stop."""
        return self._n_without > self._n_iter_no_change
