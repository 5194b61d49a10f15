"""
Four hospitals
==============

Rows that come from sites stay with their site: one peer per site, by ``groups``.  Metadata routing carries them through
pipelines and cross-validation.
"""

# %%
# Their rows
# ----------
# Each hospital mostly sees tumours of a certain size.  The one with the smallest hardly ever meets a malignant one.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # all train for the same number of epochs
X, y = load_breast_cancer(return_X_y=True)  # class 0 is malignant
names = np.array(["Bath", "Hull", "Leeds", "York"])
blurred = X[:, 0] + np.random.default_rng(0).normal(scale=1.0, size=len(y))  # column 0 is the mean radius
hospital = names[[0, 2, 1, 3]][np.digitize(blurred, np.quantile(blurred, [0.25, 0.5, 0.75]))]
for name in names:
    print(f"{name:<6} {np.sum(hospital == name):>3} rows, {100 * np.mean(y[hospital == name] == 0):.0f} % malignant")

# %%
# Alone, together, and all rows in one place
# ------------------------------------------
# ``set_fit_request(groups=True)`` asks the pipeline to pass ``groups`` on to the classifier.  With groups the
# partitioner is ``"group"``, and ``n_networks=None`` makes one peer per group, in sorted order.  "Pooled" is one
# network that sees the rows of all hospitals, which is what they would do if they were allowed to.

sklearn.set_config(enable_metadata_routing=True)


def make_model(**params):
    """Return a pipeline whose peers get the hospitals' rows."""
    peers = FusedMLPClassifier((20,), alpha=0.01, max_iter=50, n_iter_no_change=np.inf, random_state=0, **params)
    return make_pipeline(StandardScaler(), peers.set_fit_request(groups=True))


def is_wrong(model, rows):
    """Tell for each hospital's peer on which of the rows it errs, shape (n_hospitals, n_rows)."""
    peers, scaled = model[-1].peers_, model[:-1].transform(X[rows])
    return np.array([peers[number % len(peers)].predict(scaled) != y[rows] for number in range(len(names))])


models = {
    "alone": make_model(n_networks=None, fusion_rate=0.0),
    "fused each epoch": make_model(n_networks=None, fusion_rate=0.5),
    "pooled": make_model(n_networks=1),
}
wrong = {kind: np.empty((len(names), len(y)), bool) for kind in models}
for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, hospital):
    for kind, model in models.items():
        groups = None if kind == "pooled" else hospital[train]
        model.fit(X[train], y[train], groups=groups)
        wrong[kind][:, test] = is_wrong(model, test)

# %%
# Test errors of five-fold cross-validation, which tests each row once.  A hospital's own patients, whom it knows best,
# are one question; patients like those of the others are another.

own = np.equal.outer(names, hospital)
errors = {
    "on its own rows": {
        kind: [100 * mask[rows].mean() for mask, rows in zip(wrong[kind], own, strict=True)] for kind in models
    },
    "on rows of all hospitals": {kind: 100 * wrong[kind].mean(axis=1) for kind in models},
}
for where, by_kind in errors.items():
    print(f"\n| test error (%) {where} | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}")
    for kind, values in by_kind.items():
        print(f"| {kind} | {' | '.join(f'{value:.1f}' for value in values)} |")

places = np.arange(len(names))
colors = {"alone": "0.75", "fused each epoch": "tab:blue", "pooled": "navy"}
figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
for panel, (where, by_kind) in zip(panels, errors.items(), strict=True):
    for shift, (kind, values) in zip((-0.27, 0, 0.27), by_kind.items(), strict=True):
        bars = panel.bar(places + shift, values, width=0.25, color=colors[kind], label=kind)
        panel.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    panel.set_xticks(places, labels=names)
    panel.set(title=f"Each hospital's peer {where}")
    panel.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("test error (%)")
panels[0].legend()
plt.show()

# %%
# Cross-validation over hospitals
# -------------------------------
# The splitter and the classifier both ask for the same groups.  In each fold one hospital is left out, and the peers of
# the three others predict its rows.

print()
scores = cross_validate(models["fused each epoch"], X, y, cv=LeaveOneGroupOut(), params={"groups": hospital})
for name, score in zip(names, scores["test_score"], strict=True):
    print(f"{name:<6} left out: {100 * (1 - score):.1f} % error")
sklearn.set_config(enable_metadata_routing=False)
