"""Training: epochs in which peers pass over their rows and fuse at intervals, until it is time to stop."""

import time
from contextlib import contextmanager
from itertools import pairwise

import numpy as np

from skfusion import _kernels
from skfusion._training.blas import steady_blas
from skfusion._training.outcome import called, lost_weights
from skfusion._training.stopping import Stopping
from skfusion.topology import round_of


class Training:
    """One call of fit or partial_fit.

    Parameters
    ----------
    ensemble : Ensemble
        Changed in place.
    problem : Problem
    engine : Engine
        Of the same problem and the ensemble's state.
    held_out : HeldOut or None, default=None
        For early stopping.
    n_epochs : int, default=0
        How many of the ensemble's epochs belong to this call already.

    Attributes
    ----------
    has_weights : bool
        Whether the ensemble's weights are those that the peers have come to.
    """

    has_weights = True

    def __init__(self, ensemble, problem, engine, held_out=None, n_epochs=0):
        self.ensemble, self.problem, self._engine = ensemble, problem, engine
        self.stopping = Stopping(problem.settings, held_out)
        self._n_before = len(ensemble.history) - n_epochs

    @property
    def n_epochs(self):
        """How many epochs there have been."""
        return len(self.ensemble.history) - self._n_before

    def one_epoch(self):
        """Train for one epoch."""
        with self._at_work():
            self._epoch()

    def run(self, epoch_begins, epoch_ends):
        """Train until training converges or is asked to stop, or for ``max_iter`` epochs.

        Parameters
        ----------
        epoch_begins, epoch_ends : callable
            Called without arguments around each epoch; training stops if the latter returns True.

        Returns
        -------
        {"converged", "interrupted", "max_iter"}
            Why training ended.  An interrupt after the first epoch leaves what has been learned until then.
        """
        try:
            with self._at_work():
                reason = self._run_epochs(epoch_begins, epoch_ends)
        except KeyboardInterrupt:
            if not self.n_epochs:
                raise
            reason = "interrupted"
        self._settle(self.ensemble)
        return reason

    def ended(self):
        """Return a copy of the ensemble, as it is if training ends here."""
        ensemble = self.ensemble.snapshot()
        self._settle(ensemble)
        ensemble.update_consensus()
        return ensemble

    def _settle(self, ensemble):
        """Go back to the weights of the best epoch, where held-out rows tell which that is."""
        if self.stopping.best_weights is not None:
            ensemble.return_to(self.stopping.best_weights)

    @contextmanager
    def _at_work(self):
        with steady_blas(self.problem.n_networks, self.problem.settings), self._engine:
            yield

    def _run_epochs(self, epoch_begins, epoch_ends):
        for _ in range(self.n_epochs, self.problem.settings.max_iter):
            epoch_begins()
            self._epoch()
            if epoch_ends() or self.stopping.stop_or_lower_rates(self.ensemble.state):
                return "converged"
        return "max_iter"

    def _epoch(self):
        """Train and fuse for one epoch, and record it."""
        began = time.perf_counter()
        state, progress = self.ensemble.state, self.ensemble.progress
        segments = self._segments()
        n_sent, (before, after) = self._train_and_fuse(segments)
        progress.epoch += 1
        progress.step += self.problem.n_epoch_steps
        with _overflowing():
            record = {
                "epoch": progress.epoch,
                "losses": np.where(self.problem.lengths > 0, state.losses, np.nan).tolist(),
                "loss": float(np.average(state.losses, weights=self.problem.lengths)),
                "fusion_rounds": sum(fuses for _, _, fuses in segments),
                "disagreement_before_fusion": before,
                "disagreement_after_fusion": after,
                "numbers_sent": (n_sent * self.problem.network.n_parameters).tolist(),
                "seconds": time.perf_counter() - began,
            }
            self.stopping.examine(self.ensemble, record)
        self.ensemble.record(record)
        if self.problem.settings.verbose:
            score = f", validation score = {record['validation_score']:.6f}" if "validation_score" in record else ""
            print(f"Epoch {record['epoch']}, loss = {record['loss']:.8f}{score}")

    def _train_and_fuse(self, segments):
        """Return how often each peer's network was sent, and the disagreement before and after the last round.

        Raises
        ------
        ValueError
            If a peer's weights or loss are not finite.
        """
        state, n_networks = self.ensemble.state, self.problem.n_networks
        n_sent = np.zeros(n_networks, np.int64)
        last_round = max((k for k, (_, _, fuses) in enumerate(segments) if fuses), default=None)
        spread = np.empty((_kernels.n_blocks(state.weights), 2))
        state.losses[:] = 0
        for k, (start, stop, fuses) in enumerate(segments):
            self._train(start, stop, k == len(segments) - 1)
            if fuses:
                n_sent += self._fuse(spread if k == last_round else None)
        if last_round is None:
            return n_sent, [_kernels.disagreement(state.weights)] * 2
        with _overflowing():
            return n_sent, np.sqrt(spread.sum(axis=0) / n_networks).tolist()

    def _train(self, start, stop, last):
        state, drift = self.ensemble.state, self.ensemble.drift
        n_steps, learning_rates = state.n_steps.copy(), state.learning_rates.copy()
        self._engine.train(start, stop, last)
        self._check_finite(state.losses)
        if drift is not None:
            drift.count(state.n_steps - n_steps, learning_rates)

    def _segments(self):
        """Return the steps between fusion rounds: (start, stop, whether a round follows)."""
        settings, progress, n_steps = self.problem.settings, self.ensemble.progress, self.problem.n_epoch_steps
        frequency = settings.fusion_frequency
        if self.problem.n_networks == 1 or settings.fusion_rate == 0:
            return [(0, n_steps, False)]
        if settings.fusion_unit == "epoch":
            return [(0, n_steps, (progress.epoch + 1) % frequency == 0)]
        ends = [0, *range(frequency - progress.step % frequency, n_steps + 1, frequency)]
        fused = [(start, stop, True) for start, stop in pairwise(ends)]
        return fused if ends[-1] == n_steps else [*fused, (ends[-1], n_steps, False)]

    def _fuse(self, spread):
        """Fuse for one round, and measure the spread of the weights if asked to; returns how often each is sent."""
        progress, n_networks = self.ensemble.progress, self.problem.n_networks
        fusion_round = round_of(self.problem.topology, n_networks, progress.fusion_round, progress.topology_rng)
        if self._engine.absent:
            fusion_round = fusion_round.without(self._engine.absent)
        if self.ensemble.drift is None:
            self._engine.fuse(fusion_round, spread)
        else:
            self._fuse_with_drift(fusion_round, spread)
        progress.fusion_round += 1
        corrected = self.problem.settings.drift_correction is not None
        return fusion_round.networks_sent() * (2 if corrected else 1)

    def _fuse_with_drift(self, fusion_round, spread):
        """Fuse the weights, and by the same shares the steps that led to them."""
        drift, state, settings = self.ensemble.drift, self.ensemble.state, self.problem.settings

        def mix(columns):
            fusion_round.fuse(columns, settings.fusion_rate, settings.fusion_rule, zero_rule=False)

        drift.before_round(state, mix)
        self._engine.fuse(fusion_round, spread)
        drift.after_round(state, mix, settings.fusion_momentum)

    def _check_finite(self, losses):
        finite = np.isfinite(losses)
        if not finite.all():
            peer = called(int(finite.argmin()), self.problem.names)
            raise lost_weights(peer, self.ensemble.progress.epoch + 1, self.ensemble)


def _overflowing():
    """Return a context for what overflows before the error that training diverges; users' topologies may still warn."""
    return np.errstate(over="ignore", invalid="ignore")
