"""A site: rows that stay where they are, and answers to messages about them."""

import json
import logging
import threading
import time
from collections.abc import Callable
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike

from skfusion._checks import check_flag, shown
from skfusion._inputs import MAX_NUMBERED
from skfusion._typing import MatrixLike
from skfusion.sites._description import Question
from skfusion.sites._digest import digest_of
from skfusion.sites._plan import Plan
from skfusion.sites._rows import SiteRows
from skfusion.sites._state import pack, unpack, without_drift
from skfusion.sites._sums import pack_sums
from skfusion.sites._work import Work
from skfusion.sites.message import Message, MessageError, RefusalError, check_name

_FEW = 10  # rows
_NOTES = 60.0  # seconds between notes in the log
_log = logging.getLogger("skfusion.sites")


class Site:
    """The rows of one site, which never leave it.

    Parameters
    ----------
    X : {array-like, sparse} of shape (n_samples, n_features)
        Rows; float32 and float64 are kept as they are, others become float64.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Class labels, or in regression numbers.
    name : str
        The site's name, by which the coordinator and the other sites know it.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows.
    groups : array-like of shape (n_samples,) or None, default=None
        For each row the label of its peer, if the site has several, such as one for each ward.  The peer's name is then
        the site's, a slash and the label.
    gives_weights : bool, default=True
        Whether the coordinator may have the weights of the site's peer.  With False, the site refuses whatever would
        send them, and takes part only where :func:`fit_sites` is called with ``fuse_at="sites"`` and ``collect=False``.
        The partners that its peer fuses with still see them.

    Raises
    ------
    TypeError, ValueError
        If ``fit`` would not take the rows, or the name is not allowed (:func:`skfusion.sites.message.check_name`).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.sites import LocalTransport, Site, fit_sites
    >>> X, y = load_iris(return_X_y=True)
    >>> sites = [Site(X[::2], y[::2], name="Bath"), Site(X[1::2], y[1::2], name="York")]
    >>> with LocalTransport(sites) as transport:
    ...     model = fit_sites(FusedMLPClassifier(max_iter=20, tol=0, random_state=0), transport)
    >>> model.sites_
    ['Bath', 'York']
    """

    def __init__(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        name: str,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        gives_weights: bool = True,
    ):
        self.name = check_name(name)
        self.gives_weights = check_flag("gives_weights", gives_weights)
        self.run: str | None = None
        """The run that the site takes part in."""
        self._rows = SiteRows.check(self.name, X, y, sample_weight, groups)
        self._work: tuple[bytes, Work] | None = None  # for the latest plan
        self._lock = threading.Lock()
        self._n_answered, self._next_note = 0, 0.0

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name not in ("_work", "_lock")}

    def __setstate__(self, state):
        vars(self).update(state, _work=None, _lock=threading.Lock())

    @property
    def feature_names(self) -> list[str] | None:
        """The columns' names, None if they have none."""
        return self._rows.feature_names

    def answer(self, request: bytes) -> bytes:
        """Answer a message of the coordinator, from the rows and the message alone.

        Parameters
        ----------
        request : bytes
            The message.

        Returns
        -------
        bytes
            The answer, or why there is none: never an exception's text, which might show rows.
        """
        with self._lock:
            try:
                message = Message.decode(request)
            except MessageError as error:
                return refused_unread(self.name, digest_of(request), error)
            return answered(self.name, message, self._answer_to)

    def train_here(self, message: Message) -> dict[str, np.ndarray]:
        """Train as a message says, for weights that stay here.

        Parameters
        ----------
        message : Message
            The coordinator's, with the peers' state to train from.

        Returns
        -------
        dict of str to ndarray
            The peers' state.

        Raises
        ------
        MessageError, RefusalError
            If the site refuses.
        """
        with self._lock:
            self._take_part(message.run)
            return {name: array.copy() for name, array in self._trained(message).items()}  # which change with the next

    def _answer_to(self, message):
        if message.site != self.name:
            raise MessageError(f"the message is for site {shown(message.site)}, and has reached site {self.name!r}")
        answers = {
            "describe": self._describe,
            "vote": self._vote,
            "count": self._count,
            "train": self._train,
            "validate": self._validate,
            "end": self._end,
        }
        if message.kind not in answers:
            raise MessageError(f"{shown(message.kind)} is not a kind of message")
        if message.kind != "end":
            self._take_part(message.run)
        content, arrays = answers[message.kind](message)
        return Message(f"{message.kind} answered", message.run, message.round, self.name, content, arrays).encode()

    def _take_part(self, run):
        if run != self.run:
            _log.info("%s: takes part in run %s", self.name, run)
            self._n_answered, self._next_note = 0, time.monotonic() + _NOTES
        self.run = run
        self._note()

    def check_gives_weights(self) -> None:
        """Check that the coordinator may have weights.

        Raises
        ------
        RefusalError
            If it may not.
        """
        if not self.gives_weights:
            raise RefusalError("its weights stay there, which needs fuse_at='sites' and collect=False")

    def _note(self):
        """Say once a minute that the site is at work."""
        self._n_answered += 1
        if time.monotonic() > self._next_note:
            _log.info("%s: answers message %d of run %s", self.name, self._n_answered, self.run)
            self._next_note = time.monotonic() + _NOTES

    # What is answered

    def _describe(self, message):
        question = Question.read(message)
        if question.collect:
            self.check_gives_weights()
        told = self._rows.describe(self.name, question)
        n_rows = [peer.n_rows for peer in told.peers]
        _log.info("%s: reports %d rows with %d features", self.name, sum(n_rows), told.n_features)
        if min(n_rows) < _FEW:
            _log.warning("%s: a peer has few rows (%d), which sums and weights may give away", self.name, min(n_rows))
        return told.content(), told.arrays()

    def _vote(self, message):
        votes = self._work_for(message).votes()
        arrays = {
            "values": np.array([one.values for one in votes]),
            "counts": np.array([one.counts for one in votes]),
            "n_rows": np.array([one.n_rows for one in votes]),
        }
        return {}, arrays

    def _count(self, message):
        work, content = self._work_for(message), {"n_deviations": None}
        if "candidate" in message.arrays:
            shape = (work.plan.network.layer_sizes[0],)
            content["n_deviations"] = work.count_deviations(message.array("candidate", work.plan.dtype, shape))
        content["held_out_weigh"] = work.held_out_weigh()
        return content, {}

    def _train(self, message):
        self.check_gives_weights()
        return {}, self._trained(message)

    def _trained(self, message):
        work = self._work_for(message)
        start, stop = (message.entry(name, int) for name in ("start", "stop"))
        if not 0 <= start <= stop <= MAX_NUMBERED:  # more would overflow in the compiled core
            raise MessageError(f"steps must be from start to stop, at most {MAX_NUMBERED}, got {start} and {stop}")
        shape = len(work.plan.peers), work.plan.network.n_parameters
        message.array("weights", work.plan.dtype, shape)  # or blank_state might take any amount of memory
        state = unpack(message, work.blank_state())
        return pack(without_drift(work.train(state, (start, stop, message.entry("last", bool)))))

    def _validate(self, message):
        work = self._work_for(message)
        n_networks = max(1, len(np.atleast_1d(message.arrays.get("networks", 0))))
        networks = message.array("networks", work.plan.dtype, (n_networks, work.plan.network.n_parameters))
        return {}, pack_sums(work.score_sums(networks))

    def _end(self, message):
        if message.run == self.run:
            self.run = self._work = None
            _log.info("%s: run %s is over, after %d messages", self.name, message.run, self._n_answered)
        else:  # maybe an old message that a sync tool has brought back
            _log.info("%s: run %s is over, in which this process has not taken part", self.name, message.run)
        return {}, {}

    def _work_for(self, message):
        """Return the rows made ready for a message's plan, which is usually that of the message before."""
        plan = Plan.read(message)
        digest = blake2b(json.dumps(plan.content(), sort_keys=True).encode())
        for name, array in plan.arrays().items():
            digest.update(name.encode() + array.tobytes())
        if self._work is None or self._work[0] != digest.digest():
            self._work = None  # before the next is made, since memory may hold only one
            self._work = digest.digest(), Work(self._rows, plan)
        return self._work[1]


def answered(site: str, message: Message, answer: Callable[[Message], bytes]) -> bytes:
    """Return the answer of a site, or why there is none: never an exception's text, which might show rows.

    Parameters
    ----------
    site : str
        Its name.
    message : Message
    answer : callable
        ``answer(message)`` returns the answer, or raises MessageError or RefusalError, whose text is sent.

    Returns
    -------
    bytes
    """
    try:
        return answer(message)
    except (MessageError, RefusalError) as error:
        return _refusal(site, message, error)
    except Exception:  # whatever it is, the coordinator is not to wait for ever, nor the site to end
        _log.exception("%s: cannot answer %r", site, message.kind)
        return _refusal(site, message, "it failed; the site's own log says why")


def refused_unread(site: str, digest: bytes, reason: object) -> bytes:
    """Return the answer to a message that a site cannot read.

    Parameters
    ----------
    site : str
        Its name.
    digest : bytes
        That of the message, which tells the coordinator which one it is.
    reason : object
        Whose text is sent.

    Returns
    -------
    bytes
    """
    return _refusal(site, Message("", "", 0, ""), reason, request=digest.hex())


def _refusal(site, message, reason, **more):
    cause = getattr(reason, "__cause__", None)
    what = repr(message.kind) if message.kind else "what it cannot read"
    _log.warning("%s: refused %s: %s%s", site, what, reason, "" if cause is None else f"; here alone: {cause}")
    return Message("refused", message.run, message.round, site, {"reason": str(reason), **more}).encode()
