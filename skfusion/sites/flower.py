"""Sites in Flower: a ServerApp that trains, and ClientApps that answer from their rows.

Flower starts a process at a site for each message, which loads the rows anew.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import joblib
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from sklearn.base import BaseEstimator

from skfusion._checks import check_path, shown
from skfusion._replacing import check_place, replacing
from skfusion.sites.coordinator import fit_sites
from skfusion.sites.message import MAX_BYTES, MessageError
from skfusion.sites.transport import Answering, BaseTransport

__all__ = ["FlowerTransport", "client_app", "server_app"]

_PAUSE = 0.25  # seconds between looks for answers
_SLOWER = 3.0  # times that an answer may take longer than any before it, and not be taken for lost
_LOST = {
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.CLIENT_APP_CRASHED,
}

_log = logging.getLogger("skfusion.sites")


def client_app(load: Callable[[], Answering]) -> ClientApp:
    """Return what a SuperNode runs: a ClientApp that answers from a site's rows.

    Parameters
    ----------
    load : callable
        Called for each message; returns a Site, whose name is the one that the SuperNode's key was registered with.

    Returns
    -------
    ClientApp
        It answers queries.

    Raises
    ------
    TypeError
        If ``load`` is not callable.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skfusion.sites import Site
    >>> from skfusion.sites.flower import client_app
    >>> def load():
    ...     return Site(*load_iris(return_X_y=True), name="Bath")
    >>> app = client_app(load)
    """
    if not callable(load):
        raise TypeError(f"load must be a function that returns a Site, got {shown(load)}")
    app = ClientApp()

    @app.query()
    def answer(message: Message, context: Context) -> Message:
        try:
            site = load()
        except Exception as error:  # whose text Flower would send to the SuperLink, though it may show rows
            raise RuntimeError("the site cannot load its rows; the SuperNode's log says why") from error
        return Message(_pack(site.answer(_unpack(message))), reply_to=message)

    return app


def server_app(estimator: BaseEstimator, output: str | os.PathLike[str], **options: Any) -> ServerApp:
    """Return what a SuperLink runs: a ServerApp that fits an estimator to the rows of SuperNodes.

    Parameters
    ----------
    estimator : FusedMLPClassifier, FusedMLPRegressor or Pipeline
        As for :func:`~skfusion.sites.fit_sites`.
    output : str or path-like
        The file that joblib writes the fitted estimator to, at the SuperLink, in a folder that exists.
    **options
        For :func:`~skfusion.sites.fit_sites`.  ``sites``, the names of SuperNodes or how many there are, is what it
        waits for.

    Returns
    -------
    ServerApp
        Its run ends with the training.

    Raises
    ------
    TypeError
        If ``output`` is not a path.

    Examples
    --------
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.sites.flower import server_app
    >>> app = server_app(FusedMLPClassifier(), "model.joblib", sites=["Bath", "Leeds", "York"])
    """
    app, output = ServerApp(), check_path("output", output)

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        check_place("output", output)  # or what training comes to would be lost
        with FlowerTransport(grid) as transport:
            fit_sites(estimator, transport, **options)
        with replacing(output) as file:
            joblib.dump(estimator, file)

    return app


class FlowerTransport(BaseTransport):
    """The SuperNodes that a ServerApp can reach, by the names that they are registered with.

    Parameters
    ----------
    grid : Grid
        What Flower gives a ServerApp.

    Examples
    --------
    A ServerApp of your own may do more than that of :func:`server_app`:

    >>> from flwr.serverapp import ServerApp
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.sites import fit_sites
    >>> from skfusion.sites.flower import FlowerTransport
    >>> app = ServerApp()
    >>> @app.main()
    ... def main(grid, context):
    ...     with FlowerTransport(grid) as transport:
    ...         model = fit_sites(FusedMLPClassifier(), transport, sites=3)
    ...     model.save_weights("weights.npz")
    """

    # Flower usually reports sooner what was lost.  Of a message that was not, a SuperNode answers each copy, one after
    # another, and the next round waits for that: sites that take longer must not get copies in each round.
    resend_after = 600.0

    def __init__(self, grid: Grid):
        self._grid = grid
        self._latest: dict[str, bytes] = {}  # by site
        self._unsent: set[str] = set()  # sites that are waited for, to send them their latest message
        # By Flower's name for a message: the site, what it was sent, and when.
        self._sent: dict[str, tuple[str, bytes, float]] = {}
        self._replies: deque[Message] = deque()

    def sites(self) -> list[str]:
        """Return the names of the SuperNodes that are there.

        Returns
        -------
        list of str
            Sorted.

        Raises
        ------
        ValueError
            If a SuperNode has no name, or two have the same.
        """
        return sorted(self._nodes())

    def _nodes(self):
        """Return the SuperNodes' numbers by name."""
        nodes = {}
        for node in self._grid.get_nodes():
            if not node.name:
                raise ValueError(f"SuperNode {node.node_id} must be registered with a name: flwr supernode register")
            if nodes.setdefault(node.name, node.node_id) != node.node_id:
                raise ValueError(f"SuperNodes must have different names, got two named {node.name!r}")
        return nodes

    def send(self, site: str, message: bytes) -> None:
        """Send a message to a SuperNode, as soon as it is there.

        Parameters
        ----------
        site : str
            Its name.
        message : bytes
            What to send.
        """
        self._latest[site] = message
        self._unsent.add(site)

    def _send_out(self):
        """Send what waits for SuperNodes that are there."""
        nodes = self._nodes() if self._unsent else {}
        for site in sorted(self._unsent & nodes.keys()):
            message = self._latest[site]
            for name in self._grid.push_messages([Message(_pack(message), nodes[site], "query")]):
                if name:  # else the SuperLink has not taken it
                    self._sent[name] = site, message, time.monotonic()
                    self._unsent.discard(site)

    def receive(self, timeout: float) -> tuple[str, bytes] | None:
        """Wait for an answer.

        Parameters
        ----------
        timeout : float
            Seconds.

        Returns
        -------
        (site, message) or None
            None if none came.

        Raises
        ------
        MessageError
            If a site's app fails, or what it answers is no message of skfusion.
        """
        end = time.monotonic() + timeout
        while True:
            self._send_out()
            if self._sent and not self._replies:
                self._replies.extend(self._grid.pull_messages(list(self._sent)))
            while self._replies:
                received = self._read(self._replies.popleft())
                if received is not None:
                    return received
            left = end - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(_PAUSE, left))

    def _read(self, reply):
        """Return a site and its answer; None if the message was lost."""
        sent = self._sent.pop(reply.metadata.reply_to_message_id, None)
        if sent is None:
            return None
        site, message, when = sent
        if not reply.has_error():
            self.resend_after = max(self.resend_after, _SLOWER * (time.monotonic() - when))
            return site, _unpack(reply, site)
        if reply.error.code not in _LOST:
            raise MessageError(f"its app failed; see the SuperNode's log (Flower's code {reply.error.code})", site)
        if message == self._latest[site]:
            _log.warning("site %r has not answered, and is asked again once it is there: %s", site, reply.error.reason)
            self._unsent.add(site)
        return None

    def close(self) -> None:
        """Do nothing: Flower ends the run once the ServerApp has."""


def _pack(message):
    """Return bytes as what Flower cuts into pieces of a size that it can carry."""
    return RecordDict({"skfusion": ArrayRecord({"message": Array("uint8", (len(message),), "bytes", message)})})


def _unpack(message, site=None):
    records = message.content
    array = records["skfusion"].get("message") if isinstance(records.get("skfusion"), ArrayRecord) else None
    if array is None or len(array.data) > MAX_BYTES:
        raise MessageError(f"it must be a message of skfusion of at most {MAX_BYTES} bytes", site)
    return array.data
