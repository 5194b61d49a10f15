"""Running cells, the single runs of an experiment, so that an interrupted experiment goes on where it stopped."""

import argparse
import time
from pathlib import Path

import joblib
import pandas as pd

DOCS = Path(__file__).parents[2] / "docs" / "paper"


def parse_options(description, argv=None, add_options=None):
    """Parse the options that all experiments share, and those that ``add_options(parser)`` adds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="some minutes: a coarser grid, fewer epochs and seeds")
    parser.add_argument("--data", nargs="+", metavar="NAME", help="data sets, for example digits, which is no download")
    parser.add_argument("--epochs", type=int, metavar="N", help="number of epochs")
    parser.add_argument("--seed", nargs="+", type=int, metavar="N", help="seeds of the runs")
    parser.add_argument("--n-jobs", type=int, default=-1, metavar="N", help="runs at a time (default: one a core)")
    parser.add_argument(
        "--out", type=Path, default=DOCS, metavar="FOLDER", help="where results go (default: docs/paper)"
    )
    if add_options is not None:
        add_options(parser)
    return parser.parse_args(argv)


def output(options, name):
    """Path of a result; runs that differ from the full experiment have files of their own."""
    parts = [name, *(["quick"] if options.quick else []), *(options.data or [])]
    stem, suffix = "_".join([parts[0].split(".")[0], *parts[1:]]), name.split(".")[1]
    options.out.mkdir(parents=True, exist_ok=True)
    return options.out / f"{stem}.{suffix}"


def run_cells(path, cells, run, n_jobs=-1):
    """Run the cells that a CSV file does not hold yet, and append each as soon as it is finished.

    Parameters
    ----------
    path : Path
        The CSV file.
    cells : list of dict
        What tells the runs apart; all have the same keys.
    run : callable
        ``run(**cell)`` returns a list of dicts, the rows that the run adds to the file.
    n_jobs : int, default=-1
        How many cells to run at a time, in processes.

    Returns
    -------
    pandas.DataFrame
        All rows of the cells, in the cells' order.
    """
    done = set(_keys(path, list(cells[0])))
    missing = [cell for cell in cells if _key(cell) not in done]
    progress = _Progress(path.stem, len(missing), len(cells))
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    for cell, rows in parallel(joblib.delayed(_run)(run, cell) for cell in missing):
        text = pd.DataFrame([cell | row for row in rows]).to_csv(index=False, header=not path.exists())
        with path.open("a") as file:
            file.write(text)
        progress.finished(cell)
    places = {_key(cell): place for place, cell in enumerate(cells)}
    place = pd.Series([places.get(key) for key in _keys(path, list(cells[0]))], dtype=float)
    return pd.read_csv(path).loc[place.dropna().sort_values(kind="stable").index]


def _run(run, cell):
    return cell, run(**cell)


def _key(cell):
    return tuple(str(value) for value in cell.values())


def _keys(path, columns):
    """Return the cell of each row of the file."""
    if not path.exists():
        return []
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return list(frame[columns].itertuples(index=False, name=None))


class _Progress:
    """Prints which cell finished and how long the others will take, once in a few seconds."""

    def __init__(self, title, n_missing, n_cells):
        self.title, self.n_missing, self.n_finished = title, n_missing, 0
        self.began = self.printed = time.perf_counter()
        print(f"{title}: {n_cells} runs, {n_missing} of them to do", flush=True)

    def finished(self, cell):
        self.n_finished += 1
        now = time.perf_counter()
        left = (now - self.began) / self.n_finished * (self.n_missing - self.n_finished)
        if now - self.printed > 5 or self.n_finished == self.n_missing:
            self.printed = now
            what = " ".join(f"{name}={value}" for name, value in cell.items())
            state = f"{self.n_finished}/{self.n_missing} in {now - self.began:.0f} s, about {left:.0f} s left"
            print(f"{self.title}: {state}; {what}", flush=True)
