"""Rows that each peer holds out of its own, and what their score is made of."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from skfusion._scores import Sums, sums_for
from skfusion._training.blas import one_blas_thread
from skfusion._training.outcome import called
from skfusion._typing import FloatArray


def hold_out(parts, fraction, rng, names=None):
    """Split each peer's rows at random into those to train on and those to hold out; errors call peers by ``names``.

    Raises
    ------
    ValueError
        If a peer has rows, but too few.
    """
    train, held_out = [], []
    for peer, part in enumerate(parts):
        n_held_out = int(np.ceil(fraction * len(part)))
        if n_held_out >= len(part) > 0:
            raise ValueError(
                f"early_stopping needs rows to train on besides those held out, but {called(peer, names)} has "
                f"{len(part)} in all and validation_fraction={fraction:g} takes {n_held_out}; lower it, let that peer "
                "have more rows (n_networks lower, or more at its site), or set early_stopping=False"
            )
        shuffled = rng.permutation(part)
        held_out.append(np.sort(shuffled[:n_held_out]))
        train.append(np.sort(shuffled[n_held_out:]))
    return train, held_out


class HeldOut(Protocol):
    """The rows that peers hold out, wherever they are."""

    def sums(self, networks: FloatArray) -> Sequence[Sums]:
        """Return for each peer what the score of the networks' mean answers to its rows is made of.

        Parameters
        ----------
        networks : ndarray of shape (n, n_parameters)
            Their weights.
        """


class HeldOutRows:
    """Rows that are here; a :class:`HeldOut`.

    Parameters
    ----------
    network : Network
    data : Data
    """

    def __init__(self, network, data):
        self._network = network
        # Peer by peer, since what BLAS makes of a row may depend on the rows beside it.
        self._shares = [data.of_peers([peer]) for peer in range(len(data.parts))]

    def sums(self, networks):
        """Return for each peer what the score of the networks' mean answers to its rows is made of."""
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):  # as they are while training diverges
            return [
                sums_for(self._network).of(share.target, self._network.answers(networks, share.X), share.sample_weight)
                for share in self._shares
            ]
