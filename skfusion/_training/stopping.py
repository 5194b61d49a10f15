"""When training ends: held-out rows, their scores, patience, and the best weights to return to."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from skfusion._scores import Sums, merged, sums_for
from skfusion._training.blas import one_blas_thread
from skfusion._training.outcome import called, check_finite_answers
from skfusion._typing import FloatArray

# At which an adaptive learning rate is not lowered any more, as MLPClassifier's.
_SMALLEST_LEARNING_RATE = 1e-6


def hold_out(parts, fraction, rng, names=None):
    """Split each peer's rows into those to train on and those to validate on, at random; errors call peers by names.

    Raises
    ------
    ValueError
        If a peer has too few rows, though some.
    """
    train, held_out = [], []
    for peer, part in enumerate(parts):
        n_held_out = int(np.ceil(fraction * len(part)))
        if n_held_out >= len(part) > 0:
            raise ValueError(
                f"early_stopping needs rows to train on besides those held out, but {called(peer, names)} has "
                f"{len(part)} in all and validation_fraction={fraction:g} takes {n_held_out}; lower it, let that peer "
                "have more rows (n_networks lower, or more at its site), or set early_stopping=False"
            )
        shuffled = rng.permutation(part)
        held_out.append(np.sort(shuffled[:n_held_out]))
        train.append(np.sort(shuffled[n_held_out:]))
    return train, held_out


class HeldOut(Protocol):
    """The rows that peers hold out, wherever they are."""

    def sums(self, networks: FloatArray) -> Sequence[Sums]:
        """Return for each peer what the score of the networks' mean answers to its rows is made of.

        Parameters
        ----------
        networks : ndarray of shape (n, n_parameters)
            Their weights.
        """


class HeldOutRows:
    """Rows that are here; a :class:`HeldOut`.

    Parameters
    ----------
    network : Network
    data : Data
    """

    def __init__(self, network, data):
        self._network = network
        # Peer by peer, since what BLAS makes of a row may depend on the rows beside it.
        self._shares = [data.of_peers([peer]) for peer in range(len(data.parts))]

    def sums(self, networks):
        """Return for each peer what the score of the networks' mean answers to its rows is made of."""
        with one_blas_thread:
            return [
                sums_for(self._network).of(share.target, self._network.answers(networks, share.X), share.sample_weight)
                for share in self._shares
            ]


class Stopping:
    """Tells when a loss, or the score on held-out rows, has ceased to improve, as MLPClassifier does.

    Parameters
    ----------
    settings : Settings
    held_out : HeldOut or None, default=None

    Attributes
    ----------
    best : float
        The lowest loss so far, or the negative of the highest score.
    n_without : int
        Epochs since the last improvement.
    best_weights : ndarray of shape (n_networks, n_parameters) or None
        Those of the epoch with the best score on the held-out rows.
    """

    def __init__(self, settings, held_out=None):
        self._settings, self._held_out = settings, held_out
        self.best, self.n_without = np.inf, 0
        self.best_weights = None

    def examine(self, ensemble, record):
        """Take in an epoch, and add the scores on held-out rows to its record."""
        goal = record["loss"]
        if self._held_out is not None:
            ensemble.update_consensus()
            sums = self._held_out.sums(ensemble.networks(self._settings.prediction))
            check_finite_answers("the peers", all(one.finite for one in sums), ensemble)
            record["validation_scores"] = [one.score() for one in sums]
            record["validation_score"] = merged(sums).score()
            goal = -record["validation_score"]
        unknown = np.isnan(goal)  # as where the sites that answer hold out too few rows for a score
        self.n_without = self.n_without + 1 if unknown or goal > self.best - self._settings.tol else 0
        if goal < self.best and self._held_out is not None:
            self.best_weights = ensemble.weights.copy()
        self.best = self.best if unknown else min(goal, self.best)

    def is_due(self, state):
        """Whether training is to stop; an adaptive learning rate is lowered instead as long as that is possible."""
        if self.n_without <= self._settings.n_iter_no_change:
            return False
        if not self._lower(state.learning_rates):
            return True
        self.n_without = 0
        return False

    def _lower(self, learning_rates):
        """Go on with a fifth of an adaptive learning rate; returns False where there is nothing to lower."""
        adaptive = self._settings.solver == "sgd" and self._settings.learning_rate == "adaptive"
        if not adaptive or learning_rates[0] <= _SMALLEST_LEARNING_RATE:
            return False
        learning_rates /= 5
        return True
