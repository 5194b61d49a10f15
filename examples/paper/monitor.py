"""Fitting, with test errors noted every few epochs."""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

sys.path.insert(0, str(Path(__file__).parents[1]))
from callbacks import EachEpoch


def errors(model, split):
    """Test error of a fitted classifier's peers (mean, best and worst) and of its consensus."""
    peers = 1 - model.peer_scores(split.X_test, split.y_test)
    consensus = peers[0] if len(peers) == 1 else 1 - model.score(split.X_test, split.y_test)
    names = ("peers_mean", "peers_min", "peers_max", "consensus")
    return dict(zip(names, np.round([peers.mean(), peers.min(), peers.max(), consensus], 6), strict=True))


class ErrorMonitor(EachEpoch):
    """Notes test errors after every k-th epoch and after the last."""

    def __init__(self, split, every):
        self.split, self.every = split, every
        self.rows = []
        self.epoch = 0

    def look(self, fitted):
        """Score the peers as they are now."""
        self.epoch += 1
        if self.epoch % self.every == 0 or self.epoch == fitted.max_iter:
            self.rows.append({"epoch": self.epoch} | errors(fitted, self.split))


def fit_and_monitor(model, split, every=1):
    """Fit, and return a row of errors for every k-th epoch."""
    monitor = ErrorMonitor(split, every)
    fit(model.set_callbacks(monitor), split)
    return monitor.rows


def fit_and_score(model, split):
    """Fit, and return the seconds of processor time that took and the errors in the end, as a list of one row."""
    began = time.process_time()
    fit(model, split)
    return [{"seconds": round(time.process_time() - began, 4)} | errors(model, split)]


def fit(model, split):
    """Fit for all epochs, without the warning that this is what ended it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(split.X_train, split.y_train)
