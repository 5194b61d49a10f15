"""Drift correction: what makes peers with different rows step towards a common optimum between fusion rounds."""

from dataclasses import dataclass, fields, replace

import numpy as np


@dataclass
class Drift:
    """What peers keep from round to round, to correct the steps that each takes by its own rows.

    Between rounds a peer steps along its gradient plus ``corrections + fusion_momentum * velocities``.

    Attributes
    ----------
    corrections : ndarray of shape (n_networks, n_parameters) or None
        With gradient tracking, an estimate of how the mean gradient of all peers differs from that of each.
    velocities : ndarray of shape (n_networks, n_parameters) or None
        With fusion momentum, how the weights have moved from round to round, a decaying mean of the gradients' size.
    starts : ndarray of shape (n_networks, n_parameters)
        The weights as the last round left them.
    rates : ndarray of shape (n_networks,)
        Learning rates of the steps since then, summed.

    References
    ----------
    Y. Liu, T. Lin, A. Koloskova and S. U. Stich, "Decentralized gradient tracking with local steps", Optimization
    Methods and Software, 2024 (K-GT).  T. Lin, S. P. Karimireddy, S. U. Stich and M. Jaggi, "Quasi-Global Momentum:
    Accelerating Decentralized Deep Learning on Heterogeneous Data", ICML 2021.
    """

    corrections: np.ndarray | None
    velocities: np.ndarray | None
    starts: np.ndarray
    rates: np.ndarray

    @classmethod
    def of(cls, settings, weights, old=None):
        """Return what the settings ask for, going on from ``old``; None if they ask for no correction."""
        needed = settings.drift_correction == "tracking", settings.fusion_momentum > 0
        if not any(needed):
            return None
        kept = (None, None) if old is None else (old.corrections, old.velocities)
        arrays = [
            (np.zeros(weights.shape, weights.dtype) if array is None else array.copy()) if needs else None
            for array, needs in zip(kept, needed, strict=True)
        ]
        if old is None:
            return cls(*arrays, np.array(weights), np.zeros(len(weights)))
        return cls(*arrays, old.starts.copy(), old.rates.copy())

    def take_over(self, other):
        """Become what another is that corrects the same, in place."""
        for field in fields(self):
            if getattr(self, field.name) is not None:
                getattr(self, field.name)[:] = getattr(other, field.name)

    def count(self, n_steps, learning_rates):
        """Take note of steps that each peer has taken at its rate."""
        self.rates += n_steps * learning_rates

    def started_from(self, weights):
        """Return the same with weights that no step has led to."""
        return replace(self, starts=np.array(weights), rates=np.zeros(len(weights)))

    def mean_steps(self, state):
        """Return each peer's mean step since the last round, in units of the gradient.

        A peer that has taken none, for want of rows, counts as one with a gradient of 0.
        """
        taken = self.rates > 0
        steps = self.starts - state.weights
        steps[taken] /= self.rates[taken, None].astype(steps.dtype)
        steps[~taken] = state.drift[~taken]
        return steps

    def update(self, steps, mixed, state, fusion_momentum):
        """Take in a round: the mean steps before it, those as it has mixed them, and the weights that it has left."""
        if self.corrections is not None:
            self.corrections += mixed - steps
        if self.velocities is not None:
            moved = (self.starts - state.weights) / np.where(self.rates > 0, self.rates, 1)[:, None].astype(steps.dtype)
            self.velocities *= fusion_momentum
            self.velocities += (1 - fusion_momentum) * moved
        self.starts[:] = state.weights
        self.rates[:] = 0
        self.write(state.drift, fusion_momentum)

    def write(self, drift, fusion_momentum):
        """Write what is to be added to each peer's gradients until the next round."""
        drift[:] = 0 if self.corrections is None else self.corrections
        if self.velocities is not None:
            drift += fusion_momentum * self.velocities
