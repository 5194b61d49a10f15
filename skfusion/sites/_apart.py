"""Training whose peers' weights stay at their sites, which swap them in pairs and fuse by themselves.

The coordinator decides which pairs fuse, and learns the losses.
"""

from dataclasses import fields, replace

import numpy as np

from skfusion._checks import shown
from skfusion._training.training import Training
from skfusion.fusion import PairRound
from skfusion.sites._engine import SiteEngine
from skfusion.sites._state import TOLD, pack, unpack

_CHANGED = ("learning_rates", "losses")  # what training changes at the coordinator, between and after a site's steps


class ApartEngine(SiteEngine):
    """Lets each site train and keep its peer; an :class:`~skfusion._training.engine.Engine`.

    Parameters
    ----------
    problem, state, federation
        As in SiteEngine.  The state's weights are those that all begin with, and once collected those that training has
        come to; in between they mean nothing.
    begun : bool
        Whether sites have their peers already, since the run was taken up again.
    collect : bool
        Whether to have the peers sent in the end.

    Attributes
    ----------
    collected : bool
        Whether they have been.
    """

    def __init__(self, problem, state, federation, begun, collect):
        super().__init__(problem, state, federation, None)
        self._begun, self._collect, self.collected = begun, collect, False
        for site, peers in federation.peers.items():
            if len(peers) > 1:
                raise ValueError(f"fuse_at='sites' allows one peer at each site; site {site!r} has {len(peers)} groups")

    def __enter__(self):
        if not self._begun:
            self._ask("keep", lambda site: ({}, pack(self._state_of(site))), lambda site, answer: None)
        return self

    def __exit__(self, kind, *exception):
        """Have the peers sent, or written to files at their sites, unless something went wrong."""
        if kind not in (None, KeyboardInterrupt):
            return
        if not self._collect:
            self._ask("write", lambda site: ({}, {}), lambda site, answer: None)
            return
        states = self._ask("return", lambda site: ({}, {}), lambda site, answer: unpack(answer, self._state_of(site)))
        for site, state in states.items():
            self._state.put(self._federation.peers[site], replace(state, **self._changed(site)))
        self.collected = True

    def train(self, start, stop, last):
        """Train all peers for some steps of an epoch."""
        segment = {"start": start, "stop": stop, "last": last}
        answers = self._ask("train kept", lambda site: (segment, self._changed(site)), self._read_told)
        for site, told in answers.items():
            (peer,) = self._federation.peers[site]
            for name in TOLD:
                getattr(self._state, name)[peer] = getattr(told, name)[0]

    def fuse(self, fusion_round, spread=None):
        """Let pairs fuse."""
        check_in_pairs(self._problem.topology, fusion_round)  # which a topology that changes over time may cease to be
        names = {peer: site for site, (peer,) in self._federation.peers.items()}
        settings, pairs = self._problem.settings, {site: [] for site in names.values()}
        for number, pair in enumerate(fusion_round.pairs.tolist()):
            if pair[0] != pair[1]:
                for peer in pair:
                    pairs[names[peer]].append([number, *(names[one] for one in pair)])
        rule = {"fusion_rate": settings.fusion_rate, "fusion_rule": settings.fusion_rule}
        self._ask("fuse kept", lambda site: ({"pairs": pairs[site], **rule}, {}), lambda site, answer: None)
        if spread is not None:
            spread[:] = np.nan

    def _ask(self, kind, parts, read):
        return self._federation.ask(kind, self._federation.peers, parts, read)

    def _state_of(self, site):
        return self._state.take(self._federation.peers[site])

    def _changed(self, site):
        state = self._state_of(site)
        return {name: getattr(state, name) for name in _CHANGED}

    def _read_told(self, site, answer):
        state = self._state_of(site)
        return unpack(answer, replace(state, **{one.name: None for one in fields(state) if one.name not in TOLD}))


def check_in_pairs(topology, fusion_round):
    """Raise ValueError unless a topology's round is one of pairs."""
    if not isinstance(fusion_round, PairRound):
        raise ValueError(
            f"topology must fuse in pairs with fuse_at='sites', since no site sees all weights; got {shown(topology)}"
        )


class ApartTraining(Training):
    """A call of fit_sites that knows of no weights until they are collected, and so of no disagreement.

    Its engine is the JournalledEngine of an ApartEngine, which collects them.
    """

    @property
    def has_weights(self):
        """Whether the ensemble's weights are those that the peers have come to."""
        return self._engine.engine.collected

    def _train_and_fuse(self, segments):
        n_sent, _ = super()._train_and_fuse(segments)
        return n_sent, [np.nan, np.nan]
