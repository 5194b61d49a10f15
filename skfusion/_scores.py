"""Scores of rows that lie apart: each share of them tells its sums, and merged sums give the score of all."""

import math
from dataclasses import dataclass

import numpy as np

from skfusion._moments import Moments, merged


@dataclass(frozen=True)
class AccuracySums:
    """What accuracy is made of.

    Attributes
    ----------
    weight : float
        Of all rows.
    correct : float
        Of those whose class is predicted.
    """

    weight: float
    correct: float

    @classmethod
    def of(cls, target, answers, sample_weight):
        """Of class probabilities, of shape (n_samples, n_classes), against class indices."""
        weight = np.ones(len(target)) if sample_weight is None else sample_weight
        return cls(math.fsum(weight.tolist()), math.fsum(weight[answers.argmax(axis=1) == target].tolist()))

    @classmethod
    def merged(cls, shares):
        """Of several shares of the rows."""
        return cls(math.fsum(one.weight for one in shares), math.fsum(one.correct for one in shares))

    def score(self):
        """Accuracy, NaN if no row has a weight."""
        return self.correct / self.weight if self.weight else math.nan


@dataclass(frozen=True)
class R2Sums:
    """What R² is made of.

    Attributes
    ----------
    n_rows : int
    moments : Moments
        Of the targets.
    squared_errors : float64 ndarray of shape (n_outputs,)
        Sums over the rows.
    """

    n_rows: int
    moments: Moments
    squared_errors: np.ndarray

    @classmethod
    def of(cls, target, answers, sample_weight):
        """Of outputs against targets, both of shape (n_samples, n_outputs)."""
        errors = (target.astype(np.float64) - answers) ** 2
        if sample_weight is not None:
            errors *= sample_weight.astype(np.float64)[:, None]
        return cls(len(target), Moments.of(target, sample_weight), errors.sum(axis=0))

    @classmethod
    def merged(cls, shares):
        """Of several shares of the rows, in their order."""
        errors = sum(one.squared_errors for one in shares)
        return cls(sum(one.n_rows for one in shares), merged(one.moments for one in shares), errors)

    def score(self):
        """R², as scikit-learn's r2_score; NaN if there are fewer than two rows."""
        if self.n_rows < 2:
            return math.nan
        deviations = self.moments.squared_deviations
        exact = np.where(self.squared_errors == 0, 1.0, 0.0)  # where all targets are alike
        ratios = np.divide(self.squared_errors, deviations, out=1 - exact, where=deviations != 0)
        return float(np.mean(1 - ratios))
