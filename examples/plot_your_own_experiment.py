"""
An experiment of your own, like Fig. 5
======================================

The paper's Fig. 5 plots the error against the fusion rate.  Running it with your own data and your own topology takes
about 25 lines: replace the wine and ``BatonTopology`` with yours.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from skfusion import FusedMLPClassifier
from skfusion.topology import BaseTopology


class BatonTopology(BaseTopology):
    def pairs(self, n_networks, fusion_round=0, random_state=None):
        first = fusion_round % n_networks  # one pair a round, which moves around a ring
        return [(first, (first + 1) % n_networks)]


X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(scale(X), y, test_size=0.5, stratify=y, random_state=0)
rates = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
warnings.simplefilter("ignore", ConvergenceWarning)  # all train for the same number of epochs
for topology, style in zip(("hypercube", "ring", BatonTopology()), ("o-", "s--", "^:"), strict=True):
    errors = []
    for rate in rates:
        model = FusedMLPClassifier((10,), topology=topology, fusion_rate=rate, max_iter=30, random_state=0)
        errors.append(100 * (1 - model.fit(X_train, y_train).peer_scores(X_test, y_test).mean()))
    plt.plot(rates, errors, style, label=str(topology))
plt.gca().set(title="Wine, eight peers", xlabel="fusion rate F", ylabel="test error (%), mean over peers")
plt.legend()
plt.show()
