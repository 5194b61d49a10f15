"""How the two sites of a pair swap weights."""

import logging
import threading
import time
from collections.abc import Callable

_PAUSE = 1.0  # seconds before weights are given once more

_log = logging.getLogger("skfusion.sites")


class Mailbox:
    """Where the weights of a site's partners arrive.

    A site gives its weights by calls of its own alone, and never in reply to one: whoever calls may not be who it says.

    Parameters
    ----------
    give : callable
        ``give(partner, key, weights)`` has the partner's mailbox take weights, or raises TimeoutError if it cannot be
        reached.
    patience : float
        Seconds to go on trying to reach a partner, and then to wait for its weights.
    """

    def __init__(self, give: Callable[[str, str, bytes], object], patience: float):
        self._give, self._patience = give, patience
        self._taken: dict[tuple[str, str], bytes] = {}  # by the partner and the pair's key
        self._changed = threading.Condition()

    def swap(self, partner: str, key: str, weights: bytes) -> bytes:
        """Give weights to a partner, and return that one's.

        Parameters
        ----------
        partner, key : str
        weights : bytes

        Returns
        -------
        bytes

        Raises
        ------
        TimeoutError
            If the partner cannot be reached, or does not give any.
        """
        self._forget_all_but(key)
        self._give_at_last(partner, key, weights)
        with self._changed:
            if not self._changed.wait_for(lambda: (partner, key) in self._taken, self._patience):
                raise TimeoutError(f"waited {self._patience:g} s in vain to swap weights with {partner!r}")
            return self._taken[partner, key]

    def _give_at_last(self, *what):
        end = time.monotonic() + self._patience
        while True:
            try:
                return self._give(*what)
            except TimeoutError as error:
                if time.monotonic() + _PAUSE > end:
                    raise
                _log.warning("trying again for up to %.0f s: %s", end - time.monotonic(), error)
            time.sleep(_PAUSE)

    def take(self, partner: str, key: str, weights: bytes) -> None:
        """Take a partner's weights.

        Parameters
        ----------
        partner, key : str
        weights : bytes
        """
        with self._changed:
            self._taken[partner, key] = weights
            self._changed.notify_all()

    def _forget_all_but(self, key):
        """Forget what was given in other rounds: nobody asks for that any more."""
        this_round = key.rpartition(" ")[0]
        with self._changed:
            for pair in [pair for pair in self._taken if pair[1].rpartition(" ")[0] != this_round]:
                del self._taken[pair]
