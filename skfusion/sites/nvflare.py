"""Sites in NVIDIA FLARE: an NVFlare job whose server trains through the clients, which answer from their rows.

Certificates say who is who: the server and the clients are provisioned, and speak mutual TLS.
"""

import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nvflare.collab import CollabCallError, collab
from nvflare.collab.runtime.controller import CollabController
from nvflare.collab.runtime.executor import CollabExecutor
from nvflare.job_config.api import FedJob

from skfusion._checks import check_integer, shown
from skfusion.sites._function_names import check_function_name, named_function
from skfusion.sites._mailbox import Mailbox
from skfusion.sites._stateful_site import StatefulSite
from skfusion.sites._threads import SiteThreads
from skfusion.sites.message import MessageError
from skfusion.sites.transport import Answering, BaseTransport

__all__ = ["NVFlareTransport", "make_job"]

_LOAD = 3600.0  # seconds that sites may take to load their rows; those that go down meanwhile are noticed sooner
_HAND_OVER = 60.0  # seconds that a message may take to its receiver, who need not have answered it by then
_PAUSE = 1.0  # seconds, when the server cannot be reached
_SWAP = 600.0  # seconds to wait for a partner, whose message may come late or again, and who may have others first

_log = logging.getLogger("skfusion.sites")


def make_job(coordinate: str, load: str, *, n_sites: int, name: str = "skfusion") -> FedJob:
    """Return a job of NVFlare in which all of its clients take part.

    The job names functions and carries no code.  Each machine has its own code, and skfusion, among its packages or in
    the folder ``local/custom`` of its startup kit.  Each allows ``skfusion.sites.nvflare.`` and
    ``nvflare.collab.runtime.`` in the ``class_allow_list`` of its ``local/resources.json``.

    Parameters
    ----------
    coordinate : str
        A function at the server, as in ``"study:coordinate"``.  It is called with an :class:`NVFlareTransport`, gives
        it to :func:`~skfusion.sites.fit_sites`, and keeps the model that this returns.
    load : str
        A function at each client, as in ``"hospital:load"``.  It returns a Site of the client's name.
    n_sites : int
        How many clients there must be for the job to begin.
    name : str, default="skfusion"
        The job's name.

    Returns
    -------
    FedJob
        To be exported, and submitted by whoever administers the project.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> from skfusion.sites.nvflare import make_job
    >>> job = make_job("study:coordinate", "hospital:load", n_sites=3)
    >>> job.export_job("jobs")  # doctest: +SKIP
    """
    check_function_name("coordinate", coordinate)
    check_function_name("load", load)
    job = FedJob(name=name, min_clients=check_integer("n_sites", n_sites, 1))
    job.set_app_packages(["skfusion"])  # installed where the job runs; the job would bring copies otherwise
    server = job.to_server(Coordinator(coordinate), id="coordinator")
    job.to_server(CollabController(server_obj_id=server, sync_task_timeout=_LOAD), id="controller")
    client = job.to_clients(Client(load), id="site")
    job.to_clients(CollabExecutor(client_obj_id=client), tasks=["*"])
    return job


class NVFlareTransport(BaseTransport):
    """The clients of the running job, as its server reaches them; :func:`make_job` has the server make one.

    Parameters
    ----------
    clients : iterable of Proxy
        NVFlare's proxies of the clients.

    Examples
    --------
    A function at the server gets one, here ``study:coordinate``:

    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.sites import fit_sites
    >>> def coordinate(transport):
    ...     model = fit_sites(FusedMLPClassifier(), transport, patience=600)
    ...     model.save_weights("weights.npz")
    """

    sites_swap = True
    resend_after = 60.0  # a site that is at work on a message does not begin anew when it comes again

    def __init__(self, clients: Iterable[Any]):
        self._clients = {client.name: client for client in clients}
        self._threads = SiteThreads(self._clients, self._hand_over)

    def sites(self) -> list[str]:
        """Return the names of the clients, which their certificates tell.

        Returns
        -------
        list of str
            Sorted.
        """
        return sorted(self._clients)

    def send(self, site: str, message: bytes) -> None:
        """Hand a message over to a site, in a thread.

        Parameters
        ----------
        site : str
            Its name.
        message : bytes
            What to send.
        """
        self._threads.submit(site, message)

    def _hand_over(self, site, message):
        try:
            self._clients[site](timeout=_HAND_OVER).take(request=message)
        except CollabCallError as error:
            _log.warning("site %r cannot be reached: %s", site, error)

    def take(self, site: str, answer: bytes) -> None:
        """Take an answer that a site has sent.

        Parameters
        ----------
        site : str
            Its name.
        answer : bytes
            What it has sent.
        """
        self._threads.take(site, answer)

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
        """
        return self._threads.receive(timeout)

    def close(self) -> None:
        """Give up what has not been handed over."""
        self._threads.close(wait=False)


class Coordinator:
    """What NVFlare runs at the server.

    Parameters
    ----------
    coordinate : str
        See :func:`make_job`.
    """

    def __init__(self, coordinate: str):
        self.coordinate = coordinate
        self._transport: NVFlareTransport | None = None

    @collab.main
    def run(self) -> None:
        """Let the function train."""
        coordinate = named_function("coordinate", self.coordinate)
        with NVFlareTransport(collab.clients) as self._transport:
            coordinate(self._transport)

    @collab.publish
    def deliver(self, answer: bytes) -> None:
        """Take an answer of the client that calls."""
        _check_type("answer", answer, bytes)
        if self._transport is not None:
            self._transport.take(collab.caller, answer)


class Client:
    """What NVFlare runs at a site.

    Parameters
    ----------
    load : str
        See :func:`make_job`.
    """

    def __init__(self, load: str):
        self.load = load

    @collab.init
    def start(self) -> None:
        """Load the site's rows, and begin to answer."""
        site = named_function("load", self.load)()
        name = getattr(site, "name", None)
        if name != collab.site_name:
            got = shown(site if name is None else name)
            raise ValueError(f"{self.load} must return a Site named {collab.site_name!r}, got {got}")
        self._others = {client.name: client for client in collab.clients}
        self._mailbox = Mailbox(self._give, _SWAP)
        stateful = StatefulSite(site, Path(collab.workspace.get_root_dir()) / "skfusion", self._mailbox.swap)
        self._worker = Worker(stateful, collab.server)
        self._worker.start()

    @collab.publish
    def take(self, request: bytes) -> None:
        """Take a message of the server."""
        if collab.caller != collab.server.name:
            raise PermissionError(f"messages come from the server, got one from {collab.caller!r}")
        _check_type("request", request, bytes)
        self._worker.take(request)

    def _give(self, partner, key, weights):
        """Give weights to another client, end-to-end encrypted with the key of its certificate."""
        if partner not in self._others:
            raise MessageError(f"a partner must be another client of the job, got {shown(partner)}")
        try:
            self._others[partner](timeout=_HAND_OVER, secure=True).take_weights(key=key, weights=weights)
        except CollabCallError as error:
            raise TimeoutError(f"site {partner!r} cannot be reached: {error}") from None

    @collab.publish
    def take_weights(self, key: str, weights: bytes) -> None:
        """Take the weights of the client that calls."""
        _check_type("key", key, str)
        _check_type("weights", weights, bytes)
        self._mailbox.take(collab.caller, key, weights)

    @collab.final
    def stop(self) -> None:
        """End."""
        self._worker.close()


class Worker:
    """Answers a site's messages, one after another.

    Parameters
    ----------
    site : Site
    server : Proxy
        NVFlare's proxy of the server.
    """

    def __init__(self, site: Answering, server: Any):
        self._site, self._server = site, server
        self._pending: bytes | None = None  # the last message, unless it has been answered
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="site", daemon=True)

    def start(self) -> None:
        """Begin to answer, in a thread."""
        self._thread.start()

    def take(self, request: bytes) -> None:
        """Take a message, unless it is the one that is being answered.

        Parameters
        ----------
        request : bytes

        Raises
        ------
        RuntimeError
            If the thread has ended, as when memory ran out.
        """
        if not self._thread.is_alive():
            raise RuntimeError(f"site {self._site.name!r} answers no more; its log says why")
        with self._changed:
            if request != self._pending:
                self._pending = request
                self._changed.notify()

    def close(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._open = False
            self._changed.notify()

    def _work(self):
        while (request := self._next()) is not None:
            self._deliver(self._site.answer(request))
            with self._changed:
                if request == self._pending:  # else a newer one has come
                    self._pending = None

    def _next(self):
        """Wait for a message; None if there are to be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending is not None or not self._open)
            return self._pending if self._open else None

    def _deliver(self, answer):
        while self._open:
            try:
                self._server(timeout=_HAND_OVER).deliver(answer=answer)
                return
            except CollabCallError as error:
                _log.warning("%s: the server cannot be reached, trying again: %s", self._site.name, error)
                time.sleep(_PAUSE)


def _check_type(parameter, value, right):
    if not isinstance(value, right):
        raise TypeError(f"{parameter} must be {right.__name__}, got {shown(value)}")
