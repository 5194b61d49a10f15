"""
Who sees what, who fuses with whom, and what comes of it
========================================================

Three displays draw a partition, a topology and a training.  Use them like scikit-learn's own: make one by a
``from_...`` method, and pass axes to draw on them.
"""

# %%
# Who sees what
# -------------
# Eight peers share images of handwritten digits.  The classes are skewed: each peer sees many images of a few digits,
# and few or none of the others.

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skfusion import FusedMLPClassifier
from skfusion.callback import PeerScores
from skfusion.display import FusionCurveDisplay, PartitionDisplay, TopologyDisplay
from skfusion.partition import DirichletPartitioner
from skfusion.topology import HypercubeTopology

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.25, stratify=y, random_state=0)
partitioner = DirichletPartitioner(alpha=0.3)
partition = partitioner.partition(X_train, y_train, n_networks=8, random_state=0)
display = PartitionDisplay.from_partition(partition, y_train)
display.ax_.set_title("Rows of each class that each of eight peers sees")
plt.show()

# %%
# Who fuses with whom
# -------------------
# The arrows are the pairs of one fusion round, numbered in the order in which they fuse.  The matrix shows what the
# round does: each row is a peer after the round, as a mixture of the peers before it.  A ring carries knowledge far in
# one direction only.

TopologyDisplay.from_topology("ring", n_networks=8, fusion_rate=0.5, rule="simultaneous")
plt.show()

# %%
# On a hypercube each peer is the mean of all after one round.

TopologyDisplay.from_topology(HypercubeTopology(each_edge_once=True), n_networks=8, rule="simultaneous")
plt.show()

# %%
# What comes of it
# ----------------
# The peers train for thirty epochs and fuse along a ring after every fifth.  Between two rounds they drift apart, each
# towards what it sees itself; a round brings them back together.  A callback scores them on test rows after each epoch.

scores = PeerScores(X_test, y_test)
model = FusedMLPClassifier(
    (32,),
    partitioner=partitioner,
    topology="ring",
    fusion_frequency=5,
    max_iter=30,
    n_iter_no_change=float("inf"),
    random_state=0,
).set_callbacks(scores)
warnings.simplefilter("ignore", ConvergenceWarning)  # it runs for all epochs
model.fit(X_train, y_train)
curves = FusionCurveDisplay.from_estimator(model, scores=scores.history, score_name="test accuracy")
curves.axes_[0].set_title("Eight peers that fuse after every fifth epoch")
plt.show()

# %%
# Side by side
# ------------
# Pass two axes to draw on, or one to replace by two new ones.  Without scores, the curves show the training losses.
# The display keeps its data and its artists as attributes, so you can change everything afterwards.

figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
bars = PartitionDisplay.from_estimator(model, y_train, ax=axes[0])
bars.ax_.set_title("Rows of each class that each peer saw")
losses = FusionCurveDisplay.from_estimator(model, ax=axes[1])
losses.axes_[0].set(title="Losses on the training rows", yscale="log")
plt.show()
