"""Scores of rows that lie apart: each share of them gives its sums, and these add up to the score of all."""

import math
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from skfusion._moments import Moments


class Sums(Protocol):
    """What the score of some rows is made of; add those of other rows for the sums of all."""

    finite: bool

    def __add__(self, other: Self) -> Self: ...

    def score(self) -> float:
        """Return the score, NaN if that of these rows is not defined."""


def sums_for(network):
    """Return the kind of sums for a network: of R² in regression, else of accuracy."""
    return R2Sums if network.output == "identity" else AccuracySums


@dataclass(frozen=True)
class AccuracySums:
    """What accuracy is made of.

    Attributes
    ----------
    weight : float
        Of all rows.
    correct : float
        Of those whose class is predicted.
    finite : bool
        Whether all answers are.
    """

    weight: float
    correct: float
    finite: bool = True

    @classmethod
    def of(cls, target, answers, sample_weight):
        """Return the sums of class probabilities, of shape (n_samples, n_classes), against class indices."""
        weight = np.ones(len(target)) if sample_weight is None else sample_weight
        correct = weight[answers.argmax(axis=1) == target]
        return cls(math.fsum(weight.tolist()), math.fsum(correct.tolist()), bool(np.isfinite(answers).all()))

    def __add__(self, other):
        finite = self.finite and other.finite
        return AccuracySums(self.weight + other.weight, self.correct + other.correct, finite)

    def score(self):
        """Return the accuracy, NaN if no row has a weight."""
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
    finite : bool
        Whether all answers are.
    """

    n_rows: int
    moments: Moments
    squared_errors: np.ndarray
    finite: bool = True

    @classmethod
    def of(cls, target, answers, sample_weight):
        """Return the sums of outputs against targets, both of shape (n_samples, n_outputs)."""
        errors = (target.astype(np.float64) - answers) ** 2
        if sample_weight is not None:
            errors *= sample_weight.astype(np.float64)[:, None]
        finite = bool(np.isfinite(answers).all())
        return cls(len(target), Moments.of(target, sample_weight), errors.sum(axis=0), finite)

    def __add__(self, other):
        errors = self.squared_errors + other.squared_errors
        finite = self.finite and other.finite
        return R2Sums(self.n_rows + other.n_rows, self.moments + other.moments, errors, finite)

    def score(self):
        """Return R², as scikit-learn's r2_score does; NaN if there are fewer than two rows."""
        if self.n_rows < 2:
            return math.nan
        deviations = self.moments.squared_deviations
        exact = np.where(self.squared_errors == 0, 1.0, 0.0)  # where all targets are alike
        ratios = np.divide(self.squared_errors, deviations, out=1 - exact, where=deviations != 0)
        return float(np.mean(1 - ratios))
