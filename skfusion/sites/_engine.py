"""Training at sites: an engine, held-out rows that are elsewhere, and a training that may be absent from or killed."""

import numpy as np

from skfusion import _kernels
from skfusion._training.training import Training, divergence
from skfusion.sites._state import pack, unpack
from skfusion.sites._sums import no_sums, unpack_sums


class SiteEngine:
    """Trains each peer at its site, and fuses here; an :class:`~skfusion._training.engine.Engine`.

    Parameters
    ----------
    problem : Problem
    state : PeerState
        Changed in place.
    meeting : Meeting
    """

    def __init__(self, problem, state, meeting):
        self._problem, self._state, self._meeting = problem, state, meeting

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Do nothing: sites wait for the next message."""

    def train(self, start, stop, last):
        """Train all peers, but for those of sites that do not answer, for some steps of an epoch."""
        meeting, segment = self._meeting, {"start": start, "stop": stop, "last": last}
        own = {site: self._state.take(peers) for site, peers in meeting.peers.items()}
        answers = meeting.ask("train", lambda site: (segment, pack(own[site])), lambda site, answer: unpack(answer, own[site]))
        for site, state in answers.items():
            self._state.put(meeting.peers[site], state)

    def fuse(self, pairs, spread=None):
        """Fuse pairs, here."""
        settings = self._problem.settings
        _kernels.fuse(
            self._state.weights, pairs, settings.fusion_rate, settings.fusion_rule == "simultaneous", spread=spread
        )
