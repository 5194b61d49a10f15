"""A federation by skfusion: python federation_fused.py {peers,mean,corrected} FOLDER."""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
from federation import main
from sklearn.exceptions import ConvergenceWarning

sys.path.insert(0, str(Path(__file__).parents[1]))
from callbacks import EachEpoch

from skfusion import FusedMLPClassifier

SETTINGS = {
    "peers": {},
    "mean": {"topology": "average"},
    "corrected": {"topology": "average", "drift_correction": "tracking", "fusion_momentum": 0.9},
}


def train(system, federation, record):
    """Fit peers, one for each client."""
    schedule = federation.schedule
    model = FusedMLPClassifier(
        schedule.hidden,
        n_networks=None,
        batch_size=schedule.batch_size,
        learning_rate_init=schedule.rate,
        fusion_unit="step",
        fusion_frequency=schedule.batches,
        alpha=0.0,
        max_iter=federation.n_rounds // schedule.rounds_per_epoch,
        tol=0.0,
        n_iter_no_change=np.inf,
        random_state=0,
        n_jobs=os.cpu_count(),
        **SETTINGS[system],
    )
    warnings.simplefilter("ignore", ConvergenceWarning)  # all rounds are wanted
    X, y = (np.asarray(federation.array(name)) for name in "Xy")
    model.set_callbacks(Monitor(federation, record)).fit(X, y, groups=federation.owners)


class Monitor(EachEpoch):
    """Notes epochs, which are some rounds each."""

    def __init__(self, federation, record):
        self.record, self.rounds_per_epoch = record, federation.schedule.rounds_per_epoch
        self.X_test, self.y_test = (np.asarray(federation.array(name)) for name in ("X_test", "y_test"))

    def look(self, fitted):
        """Note the rounds of an epoch."""
        latest = fitted.history_[-1]
        self.record.sent += int(np.sum(latest["numbers_sent"])) * fitted.weights_.itemsize
        self.record.note(latest["epoch"] * self.rounds_per_epoch, lambda: self.errors(fitted))

    def errors(self, model):
        """Return the test error of each peer."""
        return (1 - model.peer_scores(self.X_test, self.y_test)).tolist()


if __name__ == "__main__":
    main(train)
