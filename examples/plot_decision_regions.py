"""
Three arms of a spiral
======================

Three peers each see one arm of a spiral, so none of them ever sees a border between two classes.  By averaging their
weights they draw the borders all the same.
"""

# %%
# Three arms, three peers
# -----------------------
# The partitioner ``"class"`` gives each peer the rows of one class.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import DecisionBoundaryDisplay

from skfusion import FusedMLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # all train for the same number of epochs
rng = np.random.default_rng(0)
y = np.repeat([0, 1, 2], 150)
radius = np.tile(np.linspace(0.1, 1, 150), 3)
angle = 2 * np.pi * y / 3 + 3 * radius + rng.normal(scale=0.12, size=len(y))
X = radius[:, np.newaxis] * np.column_stack([np.cos(angle), np.sin(angle)])

settings = dict(
    hidden_layer_sizes=(32, 32),
    n_networks=None,
    partitioner="class",
    topology="ring",
    fusion_unit="step",
    learning_rate_init=0.05,
    alpha=0.0,
    max_iter=300,
    n_iter_no_change=np.inf,
    random_state=0,
)
models = {
    "never fused": FusedMLPClassifier(fusion_rate=0.0, **settings).fit(X, y),
    "fused every other step": FusedMLPClassifier(fusion_frequency=2, **settings).fit(X, y),
}

# %%
# What each of them believes
# --------------------------
# Every peer is a fitted ``MLPClassifier``, so scikit-learn's own tools take it, such as
# :class:`~sklearn.inspection.DecisionBoundaryDisplay`.  Rows that a peer has seen are filled; rows that only the others
# have seen are hollow.

colors = np.array(["tab:blue", "tab:orange", "tab:green"])
figure, axes = plt.subplots(2, 3, figsize=(8.5, 5.8), layout="constrained", sharex=True, sharey=True)
for panels, (name, model) in zip(axes, models.items(), strict=True):
    for number, (panel, peer) in enumerate(zip(panels, model.peers_, strict=True)):
        DecisionBoundaryDisplay.from_estimator(
            peer, X, response_method="predict", multiclass_colors=list(colors), alpha=0.35, ax=panel, eps=0.15
        )
        for kind in range(3):
            face = colors[kind] if kind == number else "none"
            panel.scatter(*X[y == kind].T, s=9, facecolors=face, edgecolors=colors[kind], linewidths=0.6)
        accuracy = f"{100 * peer.score(X, y):.0f} % of all rows right"
        panel.set(title=f"peer {number}: {accuracy}", xlabel="", ylabel="", xticks=[], yticks=[])
    panels[0].set_ylabel(name, fontsize=12)
plt.show()
