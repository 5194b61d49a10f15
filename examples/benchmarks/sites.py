"""What a round costs when rows stay at their sites: in this process, through a folder, on NVIDIA FLARE and on Flower.

    python examples/benchmarks/sites.py [--quick] [--out docs/benchmarks]

Ten sites, or three, have 2000 rows of MNIST each.  Networks of 784-80-30-10 units train in batches of 32 and fuse once
an epoch.  Each way to train takes turns with a fit in one place and must come to the same weights; it starts the
processes that it needs, and ends them.  An engine that is not installed leaves its lines empty.
"""

import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import site_folder
from cases import NETWORKS, digits, mnist
from measure import in_turns, ratio
from processes import Processes
from results import Goal, missing, parser, print_goals, print_table, write
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skfusion import FusedMLPClassifier
from skfusion.sites import FolderTransport, LocalTransport, Site, fit_sites

BATCH_SIZE = 32


def pooled(model, rows):
    """Fit in one place."""
    X, y, names = together(rows)
    return model.fit(X, y, groups=names)


def together(rows):
    """Return all rows, their labels and the names of their sites."""
    X, y = (np.concatenate(arrays) for arrays in zip(*rows.values(), strict=True))
    return X, y, np.repeat(list(rows), [len(y) for _, y in rows.values()])


def local(model, rows):
    """Fit by messages in this process."""
    with LocalTransport([Site(X, y, name=name) for name, (X, y) in rows.items()]) as transport:
        return fit_sites(model, transport)


def folder(model, rows):
    """Fit through a folder, with a process for each site."""
    with ExitStack() as stack:
        here, shared = (Path(stack.enter_context(TemporaryDirectory())) for _ in range(2))
        processes = stack.enter_context(Processes(here))
        serve = [sys.executable, "-m", "skfusion.sites", "serve", "--folder", str(shared), "--site", "site_folder:load"]
        for name, own in rows.items():
            site_folder.furnish(here / name, name, *own)
            processes.start(name, serve, cwd=here / name)
        return fit_sites(model, stack.enter_context(FolderTransport(shared)), sites=list(rows), patience=60)


def nvflare(model, rows, **options):
    """Fit on NVIDIA FLARE."""
    from sites_nvflare import fit

    return fit(model, rows, **options)


def flower(model, rows):
    """Fit on Flower."""
    from sites_flower import fit

    return fit(model, rows)


class Fits:
    """Fits to the same rows, which must come to the same weights.

    Parameters
    ----------
    model : FusedMLPClassifier
    rows : dict of str to (X, y)
        By site.
    """

    def __init__(self, model, rows):
        self.model, self.rows, self._weights = model, rows, None

    def seconds(self, fit):
        """Return the seconds of a round by ``fit(model, rows)``; the first is left out."""
        model = fit(clone(self.model), self.rows)
        self._weights = model.weights_ if self._weights is None else self._weights
        np.testing.assert_array_equal(model.weights_, self._weights)
        return float(np.median([record["seconds"] for record in model.history_[1:]]))


def by(fit, **options):
    """Have the seconds of a round measured by a function that fits."""
    return lambda fits: fits.seconds(partial(fit, **options))


def simulation(fits):
    """Return the seconds of a round in Flower's simulation, whose clients call MLPClassifier.partial_fit."""
    from federated import SYSTEMS, run
    from federation import Federation, Schedule

    X, y, names = together(fits.rows)
    n_batches = -(-len(y) // len(fits.rows) // BATCH_SIZE)
    settings = dict(rate=fits.model.learning_rate_init, reports=(fits.model.max_iter,), rounds_per_epoch=1)
    schedule = Schedule(fits.model.hidden_layer_sizes, BATCH_SIZE, n_batches, **settings)
    arrays = {"X": X, "y": y, "owners": np.unique(names, return_inverse=True)[1], "X_test": X[:100], "y_test": y[:100]}
    with TemporaryDirectory() as folder:
        Federation.save(folder, arrays, schedule)
        _, _, record = run(SYSTEMS["Flower, MLPClassifier"], Path(folder))
    return float(np.median(np.diff([end for _, end in record["ends"]])))


@dataclass(frozen=True)
class Way:
    """A way to train, and how long it is measured.

    Parameters
    ----------
    name : str
    measure : callable
        ``measure(fits)`` returns the seconds of a round.
    needs : tuple of str
        Modules that must be installed.
    goal : tuple of (str, float) or None
        A column of the table, and the most that it is to say.
    n_sites, epochs : int
    seconds, at_least : float and int
        As of in_turns.
    """

    name: str
    measure: Callable
    needs: tuple = ()
    goal: tuple | None = None
    n_sites: int = 10
    epochs: int = 8
    seconds: float = 0
    at_least: int = 2

    @property
    def missing(self):
        """What of it is not installed."""
        return missing(self.needs)

    def line(self, quick):
        """Return a line of the table, from turns with a fit in one place."""
        line = {"sites": self.n_sites, "rounds by": self.name, "seconds": None, "fit": None, "times fit": None}
        if self.missing:
            return line
        fits = Fits(make_model(self.epochs, quick), rows_by_site(self.n_sites, quick))
        measures = {"seconds": lambda: self.measure(fits), "fit": lambda: fits.seconds(pooled)}
        taken = in_turns(measures, self.seconds, self.at_least)
        medians = {name: float(np.median(seconds)) for name, seconds in taken.items()}
        return line | medians | {"times fit": ratio(taken["seconds"], taken["fit"])}

    def goals(self, line):
        """Return what was to be reached, if it was measured."""
        if self.goal is None or self.missing:
            return []
        column, goal = self.goal
        return [Goal(f"a round of {self.n_sites} sites by {self.name}, {column}", "at most", goal, line[column])]


NVFLARE = {"NVFlare": by(nvflare), 'NVFlare, fuse_at="sites"': by(nvflare, fuse_at="sites")}
WITHOUT_ENGINE = (
    Way("LocalTransport", by(local), goal=("times fit", 2), seconds=20, at_least=5),
    Way("FolderTransport", by(folder), goal=("seconds", 0.5), seconds=40, at_least=5),
)
WAYS = (
    *WITHOUT_ENGINE,
    *(Way(name, measure, ("nvflare",), ("seconds", 3)) for name, measure in NVFLARE.items()),
    Way("Flower's simulation of MLPClassifier", simulation, ("flwr", "ray", "psutil")),
    *(Way(name, measure, ("nvflare",), ("seconds", 1), n_sites=3) for name, measure in NVFLARE.items()),
    Way("Flower over TLS", by(flower), ("flwr",), n_sites=3, epochs=3, at_least=1),
)
QUICK = tuple(replace(way, n_sites=2, epochs=3, seconds=0, at_least=1) for way in WITHOUT_ENGINE)


def rows_by_site(n_sites, quick):
    """Return rows and labels by site."""
    X, y = digits(None) if quick else mnist(None)
    n_rows = n_sites * (500 if quick else 2000)
    return {f"site{site}": (X[site:n_rows:n_sites], y[site:n_rows:n_sites]) for site in range(n_sites)}


def make_model(epochs, quick):
    """Return what is fitted."""
    hidden = (50, 20) if quick else NETWORKS["MNIST"].layer_sizes[1:-1]
    length = dict(max_iter=epochs, tol=0, n_iter_no_change=np.inf)
    return FusedMLPClassifier(hidden, n_networks=None, batch_size=BATCH_SIZE, random_state=0, **length)


@contextmanager
def terminated_as_by_ctrl_c():
    """Let SIGTERM, too, end all processes before this one."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main():
    """Measure all ways, one after another."""
    args = parser(__doc__.splitlines()[0]).parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    table, goals = [], []
    with terminated_as_by_ctrl_c():
        for way in QUICK if args.quick else WAYS:
            table.append(way.line(args.quick))
            goals += way.goals(table[-1])
            if way.missing:
                print(f"{way.name} was not measured: {way.missing} not installed.")
            if args.out:
                write(args.out, "sites", table, goals)
    print_table("Seconds a round", table)
    print_goals(goals)


if __name__ == "__main__":
    main()
