"""
From a CSV file with a site column to a table
=============================================

One file holds the rows of several sites, and a column says which site each row comes from.  What would the sites gain
if they fused?  This reads the file and ends in a table of each site's error on its own rows: alone, fused and pooled.
"""

# %%
# A file
# ------
# Bring your own.  Here the rows are tumours from four hospitals, each of which mostly sees those of a certain size.

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "tumours.csv"
cancer = load_breast_cancer(as_frame=True)
size = cancer.data["mean radius"] + np.random.default_rng(0).normal(size=len(cancer.data))
table = cancer.data.assign(
    diagnosis=cancer.target_names[cancer.target],
    hospital=pd.qcut(size, 4, labels=["Bath", "Leeds", "Hull", "York"]),
)
table.to_csv(path, index=False)

# %%
# Read it
# -------
# The site column becomes ``groups``, the target ``y``, and the rest ``X``.  Test rows are held out at each site.

table = pd.read_csv(path)
site, y = table.pop("hospital"), table.pop("diagnosis")
X_train, X_test, y_train, y_test, site_train, site_test = train_test_split(
    table, y, site, test_size=0.4, stratify=site, random_state=0
)
print(pd.crosstab(site_train, y_train))

# %%
# Alone, fused and pooled
# -----------------------
# ``n_networks=None`` makes one peer for each site.  At a rate of 0 they never fuse.  "Pooled" is one network that sees
# the rows of all.  One scaler serves all sites, so that the same weight means the same everywhere.

warnings.simplefilter("ignore", ConvergenceWarning)  # all train for the same number of epochs
common = dict(hidden_layer_sizes=(20,), alpha=0.01, max_iter=50, n_iter_no_change=np.inf, random_state=0)
kinds = {
    "alone": dict(n_networks=None, fusion_rate=0.0),
    "fused": dict(n_networks=None),
    "pooled": dict(n_networks=1),
}
models = {}
for kind, params in kinds.items():
    groups = {} if kind == "pooled" else {"fusedmlpclassifier__groups": site_train}
    model = make_pipeline(StandardScaler(), FusedMLPClassifier(**common, **params))
    models[kind] = model.fit(X_train, y_train, **groups)

# %%
# What it is worth to each site
# -----------------------------
# Test error in per cent.  Peers are in the sorted order of their sites.

sites = np.unique(site)
errors = pd.DataFrame(index=sites, columns=list(models), dtype=float)
for kind, model in models.items():
    peers = model[-1].peers_
    for number, name in enumerate(sites):
        own = site_test == name
        rows = model[:-1].transform(X_test[own])
        errors.loc[name, kind] = 100 * (1 - peers[number % len(peers)].score(rows, y_test[own]))
print(errors.round(1))

# %%
# The fused model predicts by the consensus.  To use one site's peer instead, give its number to ``prediction``.

models["fused"]
