"""
Two sites that share nothing but files
======================================

One site has images of the digits 0 to 4, the other of 5 to 9, and no image may leave its site.  Each trains a network
of its own, here in a process of its own.  After each epoch a site saves its weights, loads those that the other one
has saved, and fuses them with its own.  Soon both recognise all ten digits.
"""

# %%
# What a site does
# ----------------
# The sites agree beforehand on the classes, the network, the scaling of the features, and a ``random_state`` from which
# both draw the same initial weights.  ``save_weights`` gives a file its name only when it is whole, so a site can wait
# for the other's file to appear.

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skfusion import FusedMLPClassifier, fuse

N_ROUNDS = 30
DIGITS = (range(5), range(5, 10))


def run_site(site, folder):
    """Train on the rows of one site, and return its accuracy on each site's digits after each round."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.25, stratify=y, random_state=0)
    own = np.isin(y, DIGITS[site])
    X, y = X[own], y[own]  # the site has no other rows; the test rows of all digits only measure
    start = FusedMLPClassifier((64,), n_networks=1, learning_rate_init=0.02, random_state=0)
    fused, alone = clone(start), clone(start)
    scores = {"fused": [], "alone": []}
    for fusion_round in range(N_ROUNDS):
        for name, model in (("fused", fused), ("alone", alone)):
            model.partial_fit(X, y, classes=range(10))
            if model is fused:
                exchange(fused, site, folder, fusion_round)
            tests = [np.isin(y_test, digits) for digits in DIGITS]
            scores[name].append([model.score(X_test[test], y_test[test]) for test in tests])
    return {name: np.array(rounds) for name, rounds in scores.items()}


def exchange(model, site, folder, fusion_round):
    """Fuse with the other site's network."""
    files = [folder / f"site{site}_round{fusion_round}.npz" for site in (0, 1)]
    model.save_weights(files[site])
    wait_for(files[1 - site])
    weights = np.vstack([clone(model).load_weights(file).weights_ for file in files])
    fuse(weights, [(0, 1)], fusion_rate=0.5, rule="simultaneous")
    model.weights_ = weights[[site]]


def wait_for(file, seconds=60):
    """Return once the file is there."""
    deadline = time.monotonic() + seconds
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the other site has not written {file} in {seconds} s")
        time.sleep(0.005)


# %%
# Two processes
# -------------
# joblib starts two processes, one for each site.  They share nothing but the folder.

with tempfile.TemporaryDirectory() as folder:
    results = Parallel(n_jobs=2, batch_size=1)(delayed(run_site)(site, Path(folder)) for site in (0, 1))

# %%
# What they learned
# -----------------
# Test accuracy after the last round.  A network that never fuses knows nothing of the other site's digits; fused, it
# gives up a little on its own and gains all the others.

print(f"{'test accuracy in %':<20}{'digits 0-4':>12}{'digits 5-9':>12}{'all':>8}")
for site, scores in enumerate(results):
    for name in ("alone", "fused"):
        low, high = 100 * scores[name][-1]
        print(f"{f'site {site}, {name}':<20}{low:12.1f}{high:12.1f}{(low + high) / 2:8.1f}")

figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
rounds = np.arange(1, N_ROUNDS + 1)
for site, style in enumerate(("o-", "s--")):
    others = DIGITS[1 - site]
    accuracy = 100 * results[site]["fused"][:, 1 - site]
    axes.plot(rounds, accuracy, style, markersize=4, label=f"site {site} on {others[0]} to {others[-1]}, fused")
alone = 100 * np.mean([results[site]["alone"][:, 1 - site] for site in (0, 1)], axis=0)
axes.plot(rounds, alone, ":", color="dimgrey", linewidth=2, label="both alone (mean)")
axes.set(xlabel="round: an epoch, then an exchange of files", ylabel="test accuracy (%)", ylim=(-3, 103))
axes.set_title("Recognising digits that only the other site has")
axes.grid(alpha=0.3)
axes.legend(loc="center right")
plt.show()
