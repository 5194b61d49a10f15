"""A run of training: new, or taken up again from its checkpoint."""

import logging
import os
import secrets
import sys
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import numpy as np
from sklearn.base import BaseEstimator

from skfusion._checks import check_path, is_integer, shown
from skfusion._replacing import check_place
from skfusion._training.ensemble import Progress
from skfusion.sites._checkpoint import AFRESH, Checkpoint, pack_progress, unpack_progress
from skfusion.sites._claim import Claim
from skfusion.sites._journal import Done
from skfusion.sites._labels import pack_labels
from skfusion.sites._state import pack, unpack
from skfusion.sites.message import MessageError

_log = logging.getLogger("skfusion.sites")

# Parameters that may change while a run is interrupted: they affect nothing that comes out, or only when it ends.
_MAY_CHANGE = {"n_networks", "partitioner", "n_jobs", "verbose", "max_iter", "warm_start"}


@dataclass(frozen=True)
class Run:
    """A run of training.

    Attributes
    ----------
    name : str
    path : Path or None
        Where it is saved.
    saved : Checkpoint or None
        What it is taken up from.
    """

    name: str
    path: Path | None
    saved: Checkpoint | None

    @classmethod
    @contextmanager
    def begin(cls, path):
        """Begin a run, or take it up where it was saved; no other has its file while a ``with`` statement lasts."""
        if path is None:
            yield cls(uuid4().hex, None, None)
            return
        path = Path(check_path("checkpoint", path)).absolute()  # the working directory may change
        check_place("checkpoint", path)
        with Claim(f"{os.path.realpath(path)}.lock", f"checkpoint {path}", "a coordinator", "use another checkpoint"):
            saved = Checkpoint.read(path)
            yield cls(uuid4().hex if saved is None else saved.run, path, saved)

    @property
    def sites(self):
        """The names of the sites that take part, None in a new run."""
        return None if self.saved is None else self.saved.identity.get("sites")

    def draw_first_number(self):
        """Return a number for the exchange that comes first.

        A run that is taken up has another each time: an answer may still be there to an earlier coordinator, which may
        have been given other arguments.
        """
        return 0 if self.saved is None else -1 - secrets.randbits(31)

    def check_sites(self, wanted):
        """Raise ValueError unless the run that is taken up is one of these sites, by their names or by how many."""
        if self.sites is not None and wanted != (len(self.sites) if is_integer(wanted) else self.sites):
            raise self._of_another("sites", self.sites, wanted)

    def progress(self, random_state):
        """Return the Progress before the first epoch."""
        return Progress.start(random_state) if self.saved is None else Progress.of(self.saved.entropy)

    def log_beginning(self, sites):
        """Say whether the run is new, and which sites take part."""
        begins = "begins" if self.saved is None else f"goes on from {self.path}, after {self.n_epochs} epochs"
        _log.info("run %s %s, with %s", self.name, begins, sites)

    @property
    def n_epochs(self):
        """How many epochs the run has had."""
        return 0 if self.saved is None else self.saved.n_epochs

    def check_max_iter(self, max_iter):
        """Raise ValueError if the run that is taken up has begun more epochs than that."""
        begun = 0 if self.saved is None else self.n_epochs + (self.saved.n_segments > 0)
        if max_iter < begun:
            raise ValueError(
                f"max_iter must be at least {begun}, the epochs in checkpoint {self.path}, got {max_iter}; otherwise "
                f"{AFRESH}"
            )

    def check_identity(self, identity):
        """Raise ValueError unless the run that is taken up is one with these parameters on these rows."""
        if self.saved is None:
            return
        for name, value in identity.items():
            was = self.saved.identity.get(name)
            if was != value:
                raise self._of_another(name, was, value)

    def _of_another(self, name, was, value):
        return ValueError(
            f"checkpoint {self.path} is of another run, with {name} {shown(was)} instead of {shown(value)}; {AFRESH}"
        )

    def restore(self, ensemble):
        """Put peers back to where they were saved; returns what was Done of the epoch."""
        if self.saved is None:
            return Done()
        message, drift = self.saved.message(), ensemble.drift
        with self._checking():
            state = unpack(message, ensemble.state)
            kept = {name: message.array(f"drift_{name}", a.dtype, a.shape) for name, a in _drift_arrays(drift).items()}
        ensemble.state.put(range(len(state.weights)), state)
        ensemble.progress = unpack_progress(self.saved.progress, self.saved.entropy)
        ensemble.rewrite_history(self.saved.history)
        if kept:
            drift = replace(drift, **kept)
            ensemble.drift.take_over(drift)  # here already, since there may be no epoch left
        spread = self.saved.arrays.get("spread")
        return Done(self.saved.n_segments, state.losses, drift, spread, self.saved.absent_since)

    def restore_stopping(self, training):
        """Let Stopping know what it knew."""
        if self.saved is None:
            return
        stopping, weights = training.stopping, training.ensemble.weights
        stopping.best, stopping.n_without = self.saved.best, self.saved.n_without
        if "best_weights" in self.saved.arrays:
            with self._checking():
                stopping.best_weights = self.saved.message().array("best_weights", weights.dtype, weights.shape)

    @contextmanager
    def _checking(self):
        try:
            yield
        except MessageError as error:
            raise ValueError(f"{self.path} must be a complete checkpoint, as fit_sites writes it; {error}") from None

    def save(self, training, number, identity, progress, done):
        """Save it, if there is a file for that.

        Parameters
        ----------
        training : Training
        number : int
            Of the next exchange.
        identity : dict
        progress : Progress
            As the epoch began.
        done : Done
            What has been done of the epoch.
        """
        if self.path is None:
            return
        ensemble, stopping = training.ensemble, training.stopping
        optional = {"best_weights": stopping.best_weights, "spread": done.spread}
        optional |= {f"drift_{name}": array for name, array in _drift_arrays(ensemble.drift).items()}
        Checkpoint(
            run=self.name,
            number=number,
            identity=identity,
            entropy=progress.seeds.entropy,
            progress=pack_progress(progress),
            history=ensemble.history,
            n_epochs=training.n_epochs,
            best=stopping.best,
            n_without=stopping.n_without,
            n_segments=done.n_segments,
            absent_since=done.absent_since,
            arrays=pack(ensemble.state) | {name: array for name, array in optional.items() if array is not None},
        ).write(self.path)

    def end(self):
        """Rename the file, from which the run can end once more should the model be lost before it is saved."""
        if self.path is None:
            return
        over = self.path.with_name(f"{self.path.name}.over")
        try:
            self.path.rename(over)
        except OSError as error:  # by now nothing but the model matters
            _log.warning("run %s is over, but its checkpoint cannot be renamed: %s", self.name, error)
        else:
            _log.info("run %s is over; once the model is saved, %s is of no more use", self.name, over)


def _drift_arrays(drift):
    """Return the arrays of a Drift by name."""
    arrays = {} if drift is None else {field.name: getattr(drift, field.name) for field in fields(drift)}
    return {name: array for name, array in arrays.items() if array is not None}


def identity_of(model, topology, scaler, agreement, plans):
    """Return what must not change while a run is interrupted, as JSON."""
    # Those that a subclass sets, but has not as parameters of its own, count too.
    parameters = {name: value for name, value in vars(model).items() if not (name[0] == "_" or name[-1] == "_")}
    parameters |= {"topology": topology, "scaler": scaler}
    seed = parameters.pop("random_state")
    told = blake2b(digest_size=16)
    for site in sorted(plans):
        for array in plans[site].arrays().values():
            told.update(array.tobytes())
    lengths = zip(agreement.peers, agreement.lengths, strict=True)
    return {
        "sites": sorted(set(agreement.sites)),
        "peers": agreement.peers,
        **{f"rows of peer {peer!r} that number": n_rows for peer, n_rows in lengths},
        "estimator": type(model).__name__,
        **{name: _in_full(value) for name, value in parameters.items() if name not in _MAY_CHANGE},
        "random_state": repr(seed) if is_integer(seed) else type(seed).__name__,
        "number of features": agreement.n_features,
        "features": agreement.feature_names,
        "dtype of X": agreement.dtype,
        "sparse X": agreement.sparse,
        "number of outputs": agreement.n_outputs,
        "classes": None if agreement.classes is None else pack_labels(agreement.classes),
        # Rows that differ show in the first of these, which names the site, but for one in 65536 that share a checksum.
        **{f"rows at site {site!r} that have the checksum": checksum for site, checksum in agreement.checksums.items()},
        "what the sites tell of their rows, in short": told.hexdigest(),
    }


def _in_full(value):
    """Return what repr says of a value, with all that is left out there of long ones, but not where in memory it is."""
    if isinstance(value, BaseEstimator) or type(value).__repr__ is object.__repr__:
        params = value.get_params(deep=False) if isinstance(value, BaseEstimator) else getattr(value, "__dict__", {})
        return f"{type(value).__name__}({', '.join(f'{name}={_in_full(each)}' for name, each in params.items())})"
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return repr(value)
