"""A scaler that is common to all sites, though none has seen their rows together."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skfusion._moments import Moments


@dataclass(frozen=True)
class Scaling:
    """What a fitted StandardScaler does to rows.

    Attributes
    ----------
    mean : float64 ndarray of shape (n_features,) or None
        What is subtracted.
    scale : float64 ndarray of shape (n_features,) or None
        What is divided by afterwards.
    """

    mean: np.ndarray | None
    scale: np.ndarray | None

    @property
    def is_none(self):
        """Whether rows stay as they are."""
        return self.mean is None and self.scale is None

    @classmethod
    def of(cls, scaler):
        """Take it from a fitted StandardScaler."""
        return cls(scaler.mean_ if scaler.with_mean else None, scaler.scale_)

    def transform(self, X):
        """Return scaled rows, as a fitted StandardScaler would."""
        if self.is_none:
            return X
        scaler = StandardScaler(with_mean=self.mean is not None, with_std=self.scale is not None)
        scaler.mean_, scaler.scale_, scaler.n_features_in_ = self.mean, self.scale, X.shape[1]
        return scaler.set_output(transform="default").transform(X)  # whatever the site's own code has configured


def fit_scaler(scaler: StandardScaler, moments: Moments, feature_names: list[str] | None) -> StandardScaler:
    """Return a scaler with the same parameters, fitted on rows of which only the moments are known.

    Parameters
    ----------
    scaler : StandardScaler
    moments : Moments
    feature_names : list of str or None

    Returns
    -------
    StandardScaler
    """
    fitted = clone(scaler)
    n_rows, variance = moments.weight, moments.squared_deviations / moments.weight
    # A column whose variance may be rounding alone is not scaled, as StandardScaler has it.
    rounding = np.finfo(np.float64).eps
    constant = variance <= n_rows * rounding * variance + (n_rows * moments.mean * rounding) ** 2
    fitted.n_features_in_, fitted.n_samples_seen_ = len(variance), np.int64(n_rows)
    fitted.mean_ = moments.mean if fitted.with_mean or fitted.with_std else None
    fitted.var_ = variance if fitted.with_std else None
    fitted.scale_ = np.where(constant, 1.0, np.sqrt(variance)) if fitted.with_std else None
    if feature_names is not None:
        fitted.feature_names_in_ = np.array(feature_names, object)
    return fitted


def names_out(scaler: StandardScaler) -> list[str] | None:
    """Return the columns' names in what a fitted scaler hands on, None unless it makes a table of it.

    Parameters
    ----------
    scaler : StandardScaler

    Returns
    -------
    list of str or None
    """
    # Only an answer shows what set_output and scikit-learn's transform_output come to.
    zeros = clone(scaler).fit_transform(np.zeros((1, scaler.n_features_in_)))
    return scaler.get_feature_names_out().tolist() if hasattr(zeros, "columns") else None
