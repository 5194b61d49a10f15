"""When training ends: patience, an adaptive learning rate, and the best weights to return to."""

from functools import reduce
from operator import add

import numpy as np

from skfusion._training.outcome import check_finite_answers

# At which an adaptive learning rate is not lowered any more, as MLPClassifier's.
_SMALLEST_LEARNING_RATE = 1e-6


class Stopping:
    """Tells when a loss, or the score on held-out rows, has ceased to improve, as MLPClassifier does.

    Parameters
    ----------
    settings : Settings
    held_out : HeldOut or None

    Attributes
    ----------
    best : float
        The lowest loss so far, or the negative of the highest score.
    n_without : int
        Epochs since the last improvement.
    best_weights : ndarray of shape (n_networks, n_parameters) or None
        Those of the epoch with the best score on the held-out rows.
    """

    def __init__(self, settings, held_out):
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
            record["validation_score"] = reduce(add, sums).score()
            goal = -record["validation_score"]
        unknown = np.isnan(goal)  # as where the sites that answer hold out too few rows for a score
        self.n_without = self.n_without + 1 if unknown or goal > self.best - self._settings.tol else 0
        if goal < self.best and self._held_out is not None:
            self.best_weights = ensemble.weights.copy()
        self.best = self.best if unknown else min(goal, self.best)

    def stop_or_lower_rates(self, state):
        """Return whether to stop; as long as adaptive learning rates can be lowered, lower them instead."""
        if self.n_without <= self._settings.n_iter_no_change:
            return False
        if self._settings.schedule != "adaptive" or state.learning_rates[0] <= _SMALLEST_LEARNING_RATE:
            return True
        state.learning_rates /= 5
        self.n_without = 0
        return False
