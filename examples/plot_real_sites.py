"""
Four post offices, five processes
=================================

Each of four post offices has images of handwritten digits, in a file that stays in its own folder.  Here each has a
process of its own, and a fifth coordinates.  They share a folder through which messages travel, and no message holds a
row.  The result is, bit for bit, that of ``fit`` on all rows in one place.
"""

# %%
# What each office has
# --------------------
# A folder with two files of rows, to train on and to test with, and the office's own code: a function that returns its
# :class:`~skfusion.sites.Site`.  An office meets some digits more often than others.

import subprocess
import sys
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skfusion import FusedMLPClassifier
from skfusion.partition import DirichletPartitioner
from skfusion.sites import FolderTransport, fit_sites

OFFICES = ["Bath", "Hull", "Leeds", "York"]
SECONDS = 120  # after which this gives up
CODE = f"""
import signal
from pathlib import Path

import pandas as pd
from skfusion.sites import Site

signal.alarm({2 * SECONDS})  # this process ends by then, whatever becomes of the one that started it


def load():
    here = Path(__file__).parent
    rows = pd.read_csv(here / "rows.csv")
    return Site(rows.drop(columns="digit"), rows["digit"], name=here.name)
"""
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
digits = load_digits(as_frame=True)
table = (digits.data / 16).assign(digit=digits.target)
parts = DirichletPartitioner(1.0).partition(table, table["digit"], n_networks=len(OFFICES), random_state=1)
for office, part in zip(OFFICES, parts, strict=True):
    rows, test = train_test_split(table.iloc[part], test_size=0.75, random_state=0)
    (folder / office).mkdir()
    rows.to_csv(folder / office / "rows.csv", index=False)
    test.to_csv(folder / office / "test.csv", index=False)
    (folder / office / "office.py").write_text(CODE)

# %%
# Train
# -----
# ``python -m skfusion.sites serve`` is the process of a site.  It answers the coordinator's messages until the run is
# over.  The coordinator is this script: it waits until all four are there.

warnings.simplefilter("ignore", ConvergenceWarning)  # all train for the same number of epochs
model = FusedMLPClassifier((32,), n_networks=None, learning_rate_init=0.02, max_iter=40, tol=0, random_state=0)
shared = folder / "shared"
shared.mkdir()


def serve(office):
    """Start an office's process, whose log goes to a file."""
    command = [sys.executable, "-m", "skfusion.sites", "serve", "--folder", shared, "--site", "office:load"]
    with open(folder / office / "log.txt", "w") as log:
        return subprocess.Popen(command, cwd=folder / office, stdout=log, stderr=log)


with ExitStack() as stack:
    processes = [stack.enter_context(serve(office)) for office in OFFICES]
    for process in processes:
        stack.callback(process.kill)  # should anything go wrong
    with FolderTransport(shared) as transport:
        fused = fit_sites(clone(model), transport, sites=OFFICES, patience=SECONDS)
    print("the processes end with", [process.wait(SECONDS) for process in processes])
print((folder / "Bath" / "log.txt").read_text())

# %%
# The same as in one place
# ------------------------
# Nobody could do this if the rows really had to stay where they are.


def read(office, file):
    """Return a file's rows and labels."""
    rows = pd.read_csv(folder / office / file)
    return rows.drop(columns="digit"), rows["digit"]


own_rows = [read(office, "rows.csv") for office in OFFICES]
X, y = (pd.concat(columns) for columns in zip(*own_rows, strict=True))
site = np.repeat(OFFICES, [len(labels) for _, labels in own_rows])
together = clone(model).fit(X, y, groups=site)
assert np.array_equal(fused.weights_, together.weights_)
print("bit for bit the weights of fit(X, y, groups=site)")

# %%
# What it is worth to each office
# -------------------------------
# The error, on the office's own test rows, of a network that it trains alone and of the fused one.

errors = pd.DataFrame(index=OFFICES, columns=["alone", "fused"], dtype=float)
for office, rows in zip(OFFICES, own_rows, strict=True):
    alone = clone(model).set_params(n_networks=1).fit(*rows)
    test = read(office, "test.csv")
    errors.loc[office] = [100 * (1 - one.score(*test)) for one in (alone, fused)]
print("test error (%) on its own rows\n")
print(errors.round(1))

counts = np.array([np.bincount(labels, minlength=10) for _, labels in own_rows])
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), sharey=True, layout="constrained")
left.imshow(counts, cmap="Blues", aspect="auto", vmax=1.4 * counts.max())
for (row, digit), count in np.ndenumerate(counts):
    left.text(digit, row, count, ha="center", va="center", fontsize=9)
left.set(title="Rows to train on", xlabel="digit", xticks=range(10))
left.set_yticks(range(len(OFFICES)), labels=OFFICES)
places = np.arange(len(OFFICES))
right.hlines(places, errors["fused"], errors["alone"], color="0.8", linewidth=3, zorder=1)
right.scatter(errors["alone"], places, s=60, color="0.5", marker="s", label="alone")
right.scatter(errors["fused"], places, s=60, color="tab:blue", label="fused")
right.set(title="Test error on its own rows", xlabel="test error (%)", xlim=(0, 1.1 * errors.max(axis=None)))
right.grid(axis="x", alpha=0.3)
right.legend(loc="lower left")
plt.show()
temporary.cleanup()
