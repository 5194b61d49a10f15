"""Long runs that go on after a kill: a state on disk for each, and a file of results for all."""

import fcntl
import os
import pickle
from contextlib import contextmanager

import pandas as pd

from skfusion._replacing import replacing


class State:
    """What a run needs to go on, in a folder of its own.

    Parameters
    ----------
    folder : Path
        That of all runs' states.
    run : dict
        What tells the run from others.
    """

    def __init__(self, folder, run):
        self.folder = folder / "_".join(map(str, run.values()))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / "state.pickle"

    def load(self, start):
        """Return what was saved last, or what ``start()`` returns."""
        if not self._path.exists():
            return start()
        with self._path.open("rb") as file:
            return pickle.load(file)

    def save(self, values):
        """Replace what was saved before."""
        with replacing(self._path, durable=True) as file:
            pickle.dump(values, file, protocol=pickle.HIGHEST_PROTOCOL)


@contextmanager
def locked(folder, *, wait=True):
    """Hold a folder's lock, this process's end at the latest; gives False if another has it and this is not to wait."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def record(path, run, rows):
    """Write a run's rows to a CSV file, whose later rows of the run stay if all these are the same.

    Parameters
    ----------
    path : Path
        The file.
    run : dict
        What tells the run from others.
    rows : list of dict of str
        Everything known of the run, each value as it is to stand in the file.
    """
    new = pd.DataFrame([run | row for row in rows]).astype(str)
    with locked(path.parent):
        here, others = _of_run(path, run)
        if not here.head(len(new)).equals(new):
            with replacing(path, durable=True) as file:
                pd.concat([others, new]).to_csv(file, index=False)


def recorded(path, run):
    """Return the rows that a CSV file has of a run, as text."""
    return _of_run(path, run)[0]


def _of_run(path, run):
    """Return the rows of a run, and those of others."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else pd.DataFrame(columns=list(run))
    here = (rows[list(run)] == [str(value) for value in run.values()]).all(axis=1)
    return rows[here].reset_index(drop=True), rows[~here]
