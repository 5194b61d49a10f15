"""Drift correction: what makes peers with different rows step towards a common optimum between fusion rounds."""

from dataclasses import dataclass, fields, replace

import numpy as np

from skfusion import _kernels


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
        """Copy the arrays of another, which corrects the same, into this one's."""
        for field in fields(self):
            if getattr(self, field.name) is not None:
                getattr(self, field.name)[:] = getattr(other, field.name)

    def count(self, n_steps, learning_rates):
        """Take note of steps that each peer has taken at its rate."""
        self.rates += n_steps * learning_rates

    def started_from(self, weights):
        """Return the same with weights that no step has led to."""
        return replace(self, starts=np.array(weights), rates=np.zeros(len(weights)))

    def before_round(self, state, mix):
        """Correct by what the round's mixing changes in the mean step since the last round.

        A peer that has taken no step, for lack of rows, counts as one with a gradient of 0, and so does one whose rates
        are so low that its weights cannot have moved.

        Parameters
        ----------
        state : PeerState
            Its weights are those before the round.
        mix : callable
            Mixes some columns of all peers in place by the round's shares, zeros like any other number.
        """
        if self.corrections is not None:
            rates = np.where(self._divisible(self.rates), self.rates, 0)
            _kernels.track(state.weights, self.starts, rates, state.drift, self.corrections, mix)

    def _divisible(self, rates):
        """Whether to divide by each of the rates gives a number of the weights' dtype."""
        return rates >= np.finfo(self.starts.dtype).tiny

    def after_round(self, state, mix, fusion_momentum):
        """Follow how the weights have moved since the last round, and write the drift of the next steps.

        A round moves a peer's weights by the steps of all whose weights it mixes, so it mixes the rates as well; where
        nobody has taken a step, velocities stay.
        """
        if self.velocities is None:
            self.starts[:] = state.weights
        else:
            rates = self.rates[:, None].copy()
            mix(rates)
            moved = self._divisible(rates[:, 0])
            keep = np.where(moved, fusion_momentum, 1)
            gain = np.where(moved, (1 - fusion_momentum) / np.where(moved, rates[:, 0], 1), 0)
            _kernels.follow(state.weights, self.starts, keep, gain, self.velocities)
        self.rates[:] = 0
        self.write(state.drift, fusion_momentum)

    def write(self, drift, fusion_momentum):
        """Write what is to be added to each peer's gradients until the next round."""
        if self.velocities is None:
            drift[:] = self.corrections
        elif self.corrections is None:
            np.multiply(self.velocities, self.velocities.dtype.type(fusion_momentum), out=drift)
        else:
            _kernels.write_drift(self.corrections, self.velocities, fusion_momentum, drift)
