"""An engine that saves the run as it goes, and skips what is already done when a run is taken up again."""

import copy
from dataclasses import dataclass, field

import numpy as np

from skfusion._training.drift import Drift


@dataclass(frozen=True)
class Done:
    """What had been done of an epoch when the run was saved.

    Attributes
    ----------
    n_segments : int, default=0
        Segments, each with the round that follows it.
    losses : ndarray of shape (n_networks,) or None, default=None
        The peers' losses by then.
    drift : Drift or None, default=None
        Their Drift by then.
    spread : ndarray or None, default=None
        The weights' spread around the last of the rounds, if that was asked for.
    absent_since : dict of str to int, default={}
        For each site that sits the epoch out the first segment without it.
    """

    n_segments: int = 0
    losses: np.ndarray | None = None
    drift: Drift | None = None
    spread: np.ndarray | None = None
    absent_since: dict[str, int] = field(default_factory=dict)

    def restore(self, ensemble):
        """Undo what going through the epoch once more has done to an ensemble."""
        if self.losses is not None:
            ensemble.state.losses[:] = self.losses
        if self.drift is not None:
            ensemble.drift.take_over(self.drift)
            ensemble.drift.write(ensemble.state.drift, ensemble.settings.fusion_momentum)


class JournalledEngine:
    """An engine whose work is saved before each segment of an epoch, and that skips what had been done by then.

    Training goes through an epoch that was cut short from its beginning once more, and draws the same rounds.

    Parameters
    ----------
    engine : SiteEngine
    ensemble : Ensemble
    save : callable
        ``save(progress, done)`` saves the run, in the epoch that began with that Progress, after what is Done.
    done : Done
        Of the epoch that comes first.

    Attributes
    ----------
    engine : SiteEngine
    """

    def __init__(self, engine, ensemble, save, done):
        self.engine, self._ensemble, self._save, self._done = engine, ensemble, save, done
        self._n_segments, self._spread = 0, None

    def __enter__(self):
        self.engine.__enter__()
        return self

    def __exit__(self, *exception):
        self.engine.__exit__(*exception)

    @property
    def absent(self):
        """The peers of sites that sit the epoch out."""
        return self.engine.absent

    def train(self, start, stop, last):
        """Train all peers, unless they had been trained when the run was saved."""
        if start == 0:
            self._n_segments, self._spread = 0, self._done.spread
            self._absent_since = self._done.absent_since.copy()
            self._progress = copy.deepcopy(self._ensemble.progress)
        if self._n_segments >= self._done.n_segments:
            self._done.restore(self._ensemble)
            self._done = Done()
            done = Done(self._n_segments, spread=self._spread, absent_since=self._absent_since)
            self._save(self._progress, done)
            self.engine.train(start, stop, last)
            for site in self.engine.absent_sites:
                self._absent_since.setdefault(site, self._n_segments)
        else:
            since = self._absent_since.items()
            self.engine.absent_sites = {site for site, first in since if first <= self._n_segments}
        self._n_segments += 1

    def fuse(self, fusion_round, spread=None):
        """Fuse, unless they had been fused when the run was saved."""
        if self._n_segments > self._done.n_segments:
            self.engine.fuse(fusion_round, spread)
            self._spread = None if spread is None else spread.copy()
        elif spread is not None:
            spread[:] = self._spread
