"""
Sites as groups
===============

Rows that come from sites stay with their site: one peer per site, by ``groups``.  Metadata routing carries them through
pipelines and cross-validation.
"""

# %%
# Four hospitals
# --------------
# Each hospital mostly sees tumours of a certain size, so that the one with the smallest hardly ever meets a malignant
# one.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import LeaveOneGroupOut, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # all train for the same number of epochs
X, y = load_breast_cancer(return_X_y=True)  # class 0 is malignant
names = np.array(["Bath", "Leeds", "Hull", "York"])
blurred = X[:, 0] + np.random.default_rng(0).normal(scale=1.0, size=len(y))  # column 0 is the mean radius
hospital = names[np.digitize(blurred, np.quantile(blurred, [0.25, 0.5, 0.75]))]
for name in names:
    print(f"{name:<6} {np.sum(hospital == name):>3} rows, {100 * np.mean(y[hospital == name] == 0):.0f} % malignant")

# %%
# Alone and together
# ------------------
# ``set_fit_request(groups=True)`` asks the pipeline to pass ``groups`` on to the classifier.  With groups the
# partitioner is ``"group"``, and ``n_networks=None`` makes one peer per group, in sorted order.

sklearn.set_config(enable_metadata_routing=True)


def make_model(fusion_rate):
    """Return a pipeline whose peers get the hospitals' rows."""
    peers = FusedMLPClassifier(
        (20,), n_networks=None, fusion_rate=fusion_rate, alpha=0.01, max_iter=50, tol=0, random_state=0
    )
    return make_pipeline(StandardScaler(), peers.set_fit_request(groups=True))


def peer_errors(model):
    """Return each peer's error on the test rows of all hospitals, in per cent."""
    return 100 * (1 - model[-1].peer_scores(model[:-1].transform(X_test), y_test))


X_train, X_test, y_train, y_test, groups, _ = train_test_split(X, y, hospital, stratify=hospital, random_state=0)
alone = peer_errors(make_model(fusion_rate=0.0).fit(X_train, y_train, groups=groups))
fused = peer_errors(make_model(fusion_rate=0.5).fit(X_train, y_train, groups=groups))

places = np.arange(len(names))
figure, panel = plt.subplots(figsize=(7, 3.8), layout="constrained")
for shift, errors, color, label in ((-0.2, alone, "0.75", "never fused"), (0.2, fused, "tab:blue", "fused each epoch")):
    bars = panel.bar(places + shift, errors, width=0.38, color=color, label=label)
    panel.bar_label(bars, fmt="%.1f", padding=2)
panel.set_xticks(places, labels=np.unique(hospital))
panel.set(title="Each hospital's peer on test rows of all hospitals", ylabel="test error (%)")
panel.spines[["top", "right"]].set_visible(False)
panel.legend()
plt.show()

# %%
# Cross-validation over hospitals
# -------------------------------
# The splitter and the classifier both ask for the same groups.  In each fold one hospital is left out, and the peers of
# the three others predict its rows.

scores = cross_validate(make_model(fusion_rate=0.5), X, y, cv=LeaveOneGroupOut(), params={"groups": hospital})
for name, score in zip(np.unique(hospital), scores["test_score"], strict=True):
    print(f"{name:<6} left out: {100 * (1 - score):.1f} % error")
sklearn.set_config(enable_metadata_routing=False)
