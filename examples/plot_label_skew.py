"""
From similar shares to one class each
=====================================

The less the peers' shares have in common, the more often they must fuse.  Ten peers learn the digits from shares that
range from random to a single class each; the interval between fusion rounds ranges from two steps to never.
"""

# %%
# Five ways to share the same rows
# --------------------------------
# A Dirichlet distribution with a small ``alpha`` gives most of a class to a few peers.  ``ClassPartitioner`` goes all
# the way: a peer sees one or two classes and nothing else.  It still knows that the others exist, since all peers know
# all labels of ``y``.

# sphinx_gallery_thumbnail_number = 2
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skfusion import FusedMLPClassifier
from skfusion.partition import ClassPartitioner, DirichletPartitioner, RandomPartitioner

warnings.simplefilter("ignore", ConvergenceWarning)  # all train for the same number of epochs
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, stratify=y, random_state=0)

partitioners = {
    "random": RandomPartitioner(),
    "Dirichlet,\nalpha=1": DirichletPartitioner(alpha=1),
    "Dirichlet,\nalpha=0.1": DirichletPartitioner(alpha=0.1),
    "two classes\neach": ClassPartitioner(classes_per_network=2),
    "one class\neach": ClassPartitioner(),
}
figure, axes = plt.subplots(1, 5, figsize=(10, 3), sharey=True, layout="constrained")
for panel, (name, partitioner) in zip(axes, partitioners.items(), strict=True):
    parts = partitioner.partition(X_train, y_train, n_networks=10, random_state=0)
    counts = np.array([np.bincount(y_train[part], minlength=10) for part in parts])
    panel.imshow(counts, cmap="Greys", vmin=0, vmax=60)
    panel.set(title=name, xlabel="class", xticks=range(0, 10, 3), yticks=range(0, 10, 3))
axes[0].set_ylabel("peer")
figure.suptitle("Rows of each class that a peer sees: the darker, the more")
plt.show()

# %%
# Fusing more often
# -----------------
# Each cell below is one fit of 30 epochs.  By default peers fuse along a hypercube, simultaneously, at a rate of 0.5.

intervals = {
    "never": dict(fusion_rate=0.0),
    "each epoch": dict(fusion_unit="epoch", fusion_frequency=1),
    "every 10 steps": dict(fusion_unit="step", fusion_frequency=10),
    "every 2 steps": dict(fusion_unit="step", fusion_frequency=2),
}
common = dict(n_networks=10, learning_rate_init=0.05, max_iter=30, n_iter_no_change=np.inf, random_state=0)
errors = np.empty((len(intervals), len(partitioners)))
for row, interval in enumerate(intervals.values()):
    for column, partitioner in enumerate(partitioners.values()):
        model = FusedMLPClassifier((64, 32), partitioner=partitioner, **common, **interval)
        model.fit(X_train, y_train)
        errors[row, column] = 100 * (1 - model.peer_scores(X_test, y_test).min())

# %%
# What comes out
# --------------
# With random shares once an epoch is plenty.  With one class each it is far from enough: within an epoch a peer nearly
# learns to call everything by the only name it ever hears.  Two steps are too short for that.

figure, panel = plt.subplots(figsize=(8, 3.8), layout="constrained")
image = panel.imshow(errors, cmap="Blues", norm="log", vmin=1, vmax=100, aspect="auto")
panel.set_xticks(range(len(partitioners)), labels=partitioners)
panel.set_yticks(range(len(intervals)), labels=intervals)
for (row, column), error in np.ndenumerate(errors):
    panel.text(column, row, f"{error:.1f}", ha="center", va="center", color="white" if error > 15 else "black")
panel.set(title="Test error of the worst of ten peers (%)", ylabel="fusion")
figure.colorbar(image, label="test error (%)", ticks=[1, 3, 10, 30, 100], format="{x:g}")
plt.show()
