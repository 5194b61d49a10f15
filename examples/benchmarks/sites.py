"""What a round costs when rows stay at their sites: in this process, and in processes that share a folder.

    python examples/benchmarks/sites.py [--quick] [--out docs/benchmarks]

Ten sites have 2000 rows of MNIST each; networks of 784-80-30-10 units train in batches of 32 and fuse once an epoch.
Fits in one place and at sites take turns, and must come to the same weights.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from cases import NETWORKS, digits, mnist
from measure import in_turns, ratio
from results import Goal, parser, print_goals, print_table, write
from sklearn.exceptions import ConvergenceWarning

from skfusion import FusedMLPClassifier
from skfusion.sites import FolderTransport, LocalTransport, Site, fit_sites

LOCAL_GOAL, FOLDER_GOAL = 2, 0.5  # times as long as fit, and seconds
SITE = "SITE", "QUICK"  # environment variables that tell a site's process who it is


def rows_of(site, quick):
    """Rows of one site, of 10 or in a quick run of 3."""
    X, y = digits(None) if quick else mnist(None)
    n_sites, n_rows = (3, 500) if quick else (10, 2000)
    own = slice(site, n_rows * n_sites, n_sites)
    return X[own], y[own]


def load():
    """Return the site of a process that serves it."""
    name, quick = (os.environ[variable] for variable in SITE)
    return Site(*rows_of(int(name[4:]), quick == "True"), name=name)


class Measurement:
    """Fits of some epochs, by one network on the rows of all sites."""

    def __init__(self, quick):
        self.names = [f"site{number}" for number in range(3 if quick else 10)]
        self.rows = [rows_of(number, quick) for number in range(len(self.names))]
        self.model = FusedMLPClassifier(
            (50, 20) if quick else NETWORKS["MNIST"].layer_sizes[1:-1],
            n_networks=None,
            batch_size=32,
            max_iter=3 if quick else 8,
            tol=0,
            n_iter_no_change=np.inf,
            random_state=0,
        )
        self.weights = {}

    def fit(self):
        """Seconds a round by fit."""
        X, y = (np.concatenate(arrays) for arrays in zip(*self.rows, strict=True))
        groups = np.repeat(self.names, [len(y) for _, y in self.rows])
        return self._seconds("fit", self.model.fit(X, y, groups=groups))

    def at_sites(self, name, transport):
        """Seconds a round by fit_sites."""
        return self._seconds(name, fit_sites(self.model, transport, sites=len(self.names)))

    def local(self):
        """Seconds a round in this process."""
        sites = [Site(*rows, name=name) for name, rows in zip(self.names, self.rows, strict=True)]
        with LocalTransport(sites) as transport:
            return self.at_sites("local", transport)

    def _seconds(self, name, model):
        self.weights[name] = model.weights_
        np.testing.assert_array_equal(model.weights_, self.weights.setdefault("fit", model.weights_))
        return float(np.median([record["seconds"] for record in model.history_[1:]]))


def serving(names, quick, folder):
    """Start a process for each site, which ends when the context does."""
    stack = ExitStack()
    command = [sys.executable, "-m", "skfusion.sites", "serve", "--stay", "--folder", folder, "--site", "sites:load"]
    for name in names:
        environment = os.environ | dict(zip(SITE, (name, str(quick)), strict=True))
        options = dict(cwd=Path(__file__).parent, env=environment, stderr=subprocess.DEVNULL)
        process = stack.enter_context(subprocess.Popen(command, **options))
        stack.callback(process.terminate)
    return stack


def main():
    """Measure rounds of all kinds, in turns."""
    args = parser(__doc__.splitlines()[0]).parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    measurement = Measurement(args.quick)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(measurement.names, args.quick, folder),
        FolderTransport(folder) as transport,
    ):
        taken = in_turns(
            {
                "fit": measurement.fit,
                "local": measurement.local,
                "folder": lambda: measurement.at_sites("folder", transport),
            },
            seconds=0 if args.quick else 60,
            at_least=2 if args.quick else 5,
        )
    table = [
        {"round": name, "seconds": float(np.median(seconds)), "times fit": ratio(seconds, taken["fit"])}
        for name, seconds in taken.items()
    ]
    goals = [
        Goal("a round in this process, times that of fit", "at most", LOCAL_GOAL, table[1]["times fit"]),
        Goal("a round through a folder, seconds", "at most", FOLDER_GOAL, table[2]["seconds"]),
    ]
    print_table(f"{len(measurement.names)} sites, {len(measurement.rows[0][1])} rows each", table)
    print_goals(goals)
    if args.out:
        write(args.out, "sites", table, goals)


if __name__ == "__main__":
    main()
