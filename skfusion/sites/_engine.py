"""Training at sites: the engine, held-out rows that are elsewhere, and a record of who was absent."""

from dataclasses import replace

import numpy as np

from skfusion._training.training import Training
from skfusion.sites._state import pack, unpack, without_drift
from skfusion.sites._sums import no_sums, unpack_sums


class SiteEngine:
    """Trains each peer at its site, and fuses here; an :class:`~skfusion._training.engine.Engine`.

    A site that does not answer, where one goes on without it, sits the epoch out: its peers keep their state, and
    their losses of the epoch before.

    Parameters
    ----------
    problem : Problem
    state : PeerState
        Changed in place.
    federation : Federation
    losses : ndarray of shape (n_networks,) or None
        Each peer's loss in the epoch before.

    Attributes
    ----------
    absent_sites : set of str
        Those that sit the epoch out.
    """

    def __init__(self, problem, state, federation, losses):
        self._problem, self._state, self._federation = problem, state, federation
        self._losses, self.absent_sites = losses, set()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Do nothing: sites wait for the next message."""

    @property
    def absent(self):
        """The peers of sites that sit the epoch out."""
        return [peer for site in self.absent_sites for peer in self._federation.peers[site]]

    def train(self, start, stop, last):
        """Train all peers that are there for some steps of an epoch."""
        if start == 0:
            self.absent_sites = set()
        peers, segment = self._federation.peers, {"start": start, "stop": stop, "last": last}
        states = {site: self._state.take(peers[site]) for site in peers if site not in self.absent_sites}
        answers = self._federation.ask(
            "train",
            states,
            lambda site: (segment, pack(states[site])),
            lambda site, answer: unpack(answer, without_drift(states[site])),
        )
        for site, state in answers.items():
            self._state.put(peers[site], replace(state, drift=states[site].drift))
        self.absent_sites |= states.keys() - answers.keys()
        if last:
            self._end_epoch()

    def _end_epoch(self):
        """Fill in the losses of peers that sat the epoch out."""
        losses, absent = self._state.losses, self.absent
        losses[absent] = np.mean(np.delete(losses, absent)) if self._losses is None else self._losses[absent]
        self._losses = losses.copy()

    def fuse(self, fusion_round, spread=None):
        """Fuse, here."""
        settings = self._problem.settings
        fusion_round.fuse(self._state.weights, settings.fusion_rate, settings.fusion_rule, spread=spread)


class HeldOutAtSites:
    """The rows that peers hold out, at their sites; a :class:`~skfusion._training.held_out.HeldOut`.

    Parameters
    ----------
    network : Network
    federation : Federation
    """

    def __init__(self, network, federation):
        self._network, self._federation = network, federation

    def sums(self, networks):
        """Return for each peer what the score of the networks' mean answers to its rows is made of."""
        network, peers = self._network, self._federation.peers
        answers = self._federation.ask(
            "validate",
            peers,
            lambda site: ({}, {"networks": networks}),
            lambda site, answer: unpack_sums(answer, network, len(peers[site])),
        )
        sums = [no_sums(network)] * sum(map(len, peers.values()))
        for site, of_peers in answers.items():
            for peer, one in zip(peers[site], of_peers, strict=True):
                sums[peer] = one
        return sums


class SiteTraining(Training):
    """A call of fit_sites that goes on without sites that do not answer, and records which.

    Its engine is the JournalledEngine of a SiteEngine, which knows them.
    """

    def _epoch(self):
        super()._epoch()
        self.ensemble.history[-1]["absent"] = sorted(self._engine.engine.absent_sites)
