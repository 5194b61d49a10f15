"""A site that keeps its peer's weights, and fuses with the peers of other sites by itself."""

import filecmp
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from skfusion import _weights_file
from skfusion._weights_file import Contents
from skfusion.fusion import RULES, fuse
from skfusion.sites._kept import KeptStates
from skfusion.sites._plan import Plan
from skfusion.sites._state import TOLD
from skfusion.sites.message import Message, MessageError, RefusalError
from skfusion.sites.site import Site, answered

_log = logging.getLogger("skfusion.sites")
_FURTHEST_AT_END = 2  # exchanges, since an interrupted one may not have happened


@dataclass(frozen=True)
class _Pair:
    """A pair that a site is one of."""

    number: int
    partner: str
    is_first: bool

    @classmethod
    def read(cls, pair, name):
        """Take it from a message: its number in the round, and the names of both."""
        if not (isinstance(pair, list) and list(map(type, pair)) == [int, str, str] and pair[1:].count(name) == 1):
            raise MessageError(f"a pair must have a number and two names, one of them {name!r}; got {str(pair)[:80]}")
        number, *both = pair
        return cls(number, both[1] if both[0] == name else both[0], both[0] == name)


class StatefulSite:
    """Answers as a site does, and to messages of a run whose weights stay at the sites.

    The peer's state after each exchange is in a file, so that a process that takes over goes on from there.

    Parameters
    ----------
    site : Site
    folder : str or path-like
        For the files; made if it is not there.
    swap : callable
        ``swap(partner, key, weights)`` gives the bytes of weights to another site and returns that one's, for the pair
        that the key stands for.
    """

    def __init__(
        self,
        site: Site,
        folder: str | os.PathLike[str],
        swap: Callable[[str, str, bytes], bytes],
    ):
        self.name = site.name
        self._site, self._swap = site, swap
        self._states = KeptStates(folder)
        self._weights = self._states.folder / "weights.npz"
        self._handlers = {
            "keep": self._keep,
            "train kept": self._train,
            "fuse kept": self._fuse,
            "return": self._return,
            "write": self._write,
            "end": self._end,
        }

    @property
    def run(self) -> str | None:
        """The run that the site takes part in."""
        return self._site.run

    def answer(self, request: bytes) -> bytes:
        """Answer a message of the coordinator.

        Parameters
        ----------
        request : bytes

        Returns
        -------
        bytes
        """
        try:
            message = Message.decode(request)
        except MessageError:
            return self._site.answer(request)
        if message.kind not in self._handlers or message.site != self.name:
            return self._site.answer(request)
        return answered(self.name, message, self._handlers[message.kind])

    def _keep(self, message):
        self._states.remove_those_over()
        self._put_weights_aside()
        self._states.write(message, message.arrays)
        return self._reply(message)

    def _put_weights_aside(self):
        """Rename the file with the weights of another run, so that they are not taken for those of this one."""
        if self._weights.exists():
            names = (self._weights.with_name(f"weights-{number}.npz") for number in count(1))
            self._weights.rename(next(path for path in names if not path.exists()))

    def _train(self, message):
        # Losses and learning rates are the coordinator's to change.
        state = self._site.train_here(replace(message, arrays={**self._states.read(message), **message.arrays}))
        self._states.write(message, state)
        return self._reply(message, {name: state[name] for name in TOLD})

    def _fuse(self, message):
        state = self._states.read(message)
        rate, rule = message.entry("fusion_rate", float), message.entry("fusion_rule", str)
        if not 0 <= rate <= 1 or rule not in RULES:
            raise MessageError(f"the fusion rate and rule must be ones that fuse takes, got {rate} and {rule[:80]!r}")
        for pair in message.entry("pairs", list):
            state["weights"] = self._fused(state["weights"], _Pair.read(pair, self.name), message, rate, rule)
        self._states.write(message, state)
        return self._reply(message)

    def _fused(self, weights, pair, message, rate, rule):
        """Return the weights after they were swapped and fused with a partner's."""
        key = f"{message.run} {message.round} {pair.number}"
        dtype = weights.dtype.newbyteorder("<")
        try:
            data = self._swap(pair.partner, key, weights.astype(dtype).tobytes())
        except TimeoutError as error:
            raise RefusalError(str(error)) from None
        if len(data) != weights.nbytes:
            raise MessageError(f"the weights of {pair.partner!r} must have {weights.nbytes} bytes, got {len(data)}")
        theirs = np.frombuffer(data, dtype).reshape(weights.shape).astype(weights.dtype)
        if not np.isfinite(theirs).all():
            raise MessageError(f"the weights of {pair.partner!r} must be finite")
        both = np.concatenate([weights, theirs] if pair.is_first else [theirs, weights])
        fuse(both, [(0, 1)], rate, rule)
        return both[[0 if pair.is_first else 1]]

    def _return(self, message):
        self._site.check_gives_weights()
        return self._reply(message, self._states.read(message, _FURTHEST_AT_END))

    def _write(self, message):
        """Write the peer's weights to a file that ``load_weights`` reads."""
        plan = Plan.read(message)
        # A scaler's output has no names, as in a pipeline.
        names = self._site.feature_names if plan.scaling.is_none else None
        weights = self._states.read(message, _FURTHEST_AT_END)["weights"]
        names = None if names is None else np.array(names)
        new = self._weights.with_suffix(".new")
        _weights_file.write(new, Contents(plan.network, weights, plan.classes, names))
        if self._weights.exists() and not filecmp.cmp(new, self._weights, shallow=False):
            self._put_weights_aside()  # another run may have ended since this one began
        new.replace(self._weights)
        _log.info("%s: the weights of this site's peer are in %s", self.name, self._weights)
        return self._reply(message)

    def _end(self, message):
        self._states.mark_as_over(message.run)
        return self._site.answer(message.encode())

    def _reply(self, message, arrays=None):
        return Message(f"{message.kind} answered", message.run, message.round, self.name, {}, arrays or {}).encode()
