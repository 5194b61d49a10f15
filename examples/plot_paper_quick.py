"""
The paper, in small
===================

The paper's experiments (:doc:`/paper/index`) in small: on scikit-learn's digits instead of its data sets, with few
epochs and one seed.  The scripts that reproduce them in full are in the folder ``examples/paper``.
"""

# %%
# The networks
# ------------
# As in the paper: tanh everywhere, squared error, plain gradient descent one row at a time, inputs scaled to [-1, 1],
# and all networks from the same weights.  Fusing is sequential, with a rate of 0.55, once an epoch.

# sphinx_gallery_thumbnail_number = 2
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skfusion import FusedMLPClassifier
from skfusion.callback import PeerScores

warnings.simplefilter("ignore", ConvergenceWarning)  # all train for the same number of epochs
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 8 - 1, y, test_size=1 / 3, stratify=y, random_state=0)
TOPOLOGIES = ("ring", "random", "hypercube")


def make_networks(**params):
    """Return eight networks on random eighths, unless told otherwise."""
    paper = dict(loss="squared_error", init="shared", alpha=0.0, fusion_rule="sequential", fusion_rate=0.55)
    common = dict(n_networks=8, learning_rate_init=0.04, max_iter=60, n_iter_no_change=np.inf, random_state=0)
    return FusedMLPClassifier((30,), **paper | common | params)


def peer_errors(**params):
    """Train, and return each network's test error in per cent."""
    return 100 * (1 - make_networks(**params).fit(X_train, y_train).peer_scores(X_test, y_test))


# %%
# Table I: eight networks and one
# -------------------------------
# One network with all rows, eight with an eighth each that never fuse, and eight that fuse along three topologies.

settings = {"one network, all rows": dict(n_networks=1), "an eighth each, never fused": dict(fusion_rate=0.0)}
settings |= {f"an eighth each, {name}": dict(topology=name) for name in TOPOLOGIES}
mean_errors = {name: peer_errors(**params).mean() for name, params in settings.items()}
all_rows, never_fused = list(mean_errors.values())[:2]

figure, panel = plt.subplots(figsize=(7, 2.8), layout="constrained")
bars = panel.barh(list(mean_errors), mean_errors.values(), color=["0.3", "0.75"] + 3 * ["tab:blue"])
panel.bar_label(bars, fmt="%.1f", padding=3)
panel.invert_yaxis()
panel.set(title="One network or eight", xlabel="test error (%), mean over networks", xlim=(0, 1.1 * never_fused))
panel.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Fig. 2: one digit each
# ----------------------
# Ten networks are shown one digit each.  Alone, a network calls everything by the only name that it ever hears.  With
# cross-entropy and a hypercube that fuses every second step, each learns all ten.  Fused networks can take a higher
# learning rate than a single one.

skewed = dict(n_networks=None, partitioner="class", loss="log_loss", learning_rate_init=0.05, max_iter=15)
often = dict(fusion_unit="step", fusion_frequency=2, fusion_rule="simultaneous", fusion_rate=0.5)
settings = {
    "never fused": skewed | dict(fusion_rate=0.0),
    "fused once an epoch": skewed | often | dict(fusion_unit="epoch", fusion_frequency=1),
    "fused every second step": skewed | often,
    "one network, all digits": dict(n_networks=1, loss="log_loss", learning_rate_init=0.01, max_iter=15),
}
figure, panel = plt.subplots(figsize=(7, 3.8), layout="constrained")
for (name, params), style in zip(settings.items(), ("s:", "^--", "o-", "k-."), strict=True):
    scores = PeerScores(X_test, y_test)
    make_networks(**params).set_callbacks(scores).fit(X_train, y_train)
    errors = [100 * (1 - np.mean(record["peers"])) for record in scores.history]
    panel.plot(range(1, len(errors) + 1), errors, style, markersize=4, label=name)
panel.set(title="Ten networks, one digit each", xlabel="epoch", yscale="log")
panel.set_ylabel("test error (%), mean over networks")
panel.yaxis.set_major_formatter("{x:g}")
panel.grid(alpha=0.3)
panel.legend(loc="center right")
plt.show()

# %%
# Figs. 5 and 6: the rate and the frequency
# -----------------------------------------
# The error against the fusion rate F, and against the number of epochs between fusion rounds.

sweeps = {"fusion_rate": [0.0, 0.1, 0.3, 0.5, 0.7, 0.9], "fusion_frequency": [1, 2, 3, 5, 6, 10]}
labels = {"fusion_rate": "fusion rate F", "fusion_frequency": "epochs between fusion rounds"}
figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
for panel, (parameter, values) in zip(panels, sweeps.items(), strict=True):
    for topology, style in zip(TOPOLOGIES, ("o-", "s--", "^:"), strict=True):
        errors = [peer_errors(topology=topology, **{parameter: value}).mean() for value in values]
        panel.plot(values, errors, style, markersize=4, label=topology)
    panel.axhline(all_rows, color="0.3", linestyle="-.", label="one network, all rows")
    panel.set(title=f"Error against the {labels[parameter]}", xlabel=labels[parameter])
    panel.grid(alpha=0.3)
panels[0].set_ylabel("test error (%), mean over networks")
panels[1].legend()
plt.show()
