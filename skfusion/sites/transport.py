"""What carries messages between a coordinator and sites."""

import math
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol, Self


class BaseTransport(ABC):
    """Base of transports, which move bytes and know nothing of what these mean.

    The coordinator alone knows of rounds, waiting and sending again.  A transport may lose a message or deliver it
    twice, but never a part of one.  It is a context manager that closes itself.

    Attributes
    ----------
    resend_after : float
        Seconds after which a message without an answer is taken for lost, more than 0; infinite where none is lost.
    sites_swap : bool
        Whether sites can reach one another through it, to swap weights.  A Site answers no such messages; what runs
        at NVFlare's clients does.

    Examples
    --------
    A transport of your own may call functions:

    >>> from skfusion.sites import BaseTransport
    >>> class Calls(BaseTransport):
    ...     def __init__(self, sites):
    ...         self._sites, self._answers = {site.name: site for site in sites}, []
    ...     def sites(self):
    ...         return sorted(self._sites)
    ...     def send(self, site, message):
    ...         self._answers.append((site, self._sites[site].answer(message)))
    ...     def receive(self, timeout):
    ...         return self._answers.pop() if self._answers else None
    ...     def close(self):
    ...         pass
    >>> from sklearn.datasets import load_iris
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.sites import Site, fit_sites
    >>> X, y = load_iris(return_X_y=True)
    >>> sites = [Site(X[::2], y[::2], name="Bath"), Site(X[1::2], y[1::2], name="York")]
    >>> fit_sites(FusedMLPClassifier(max_iter=20, tol=0, random_state=0), Calls(sites)).sites_
    ['Bath', 'York']
    """

    resend_after: float = math.inf
    sites_swap: bool = False

    @abstractmethod
    def sites(self) -> list[str]:
        """Return the names of the sites that have been heard from.

        Returns
        -------
        list of str
            Sorted.
        """

    @abstractmethod
    def send(self, site: str, message: bytes) -> None:
        """Send a message to a site; an earlier one that is still on its way may be lost.

        A site that is away is no error: its message is lost, or waits for it.  Any error ends the run, except an
        OSError when a message is sent again.

        Parameters
        ----------
        site : str
            Its name.
        message : bytes
            What to send.
        """

    @abstractmethod
    def receive(self, timeout: float) -> tuple[str, bytes] | None:
        """Wait for an answer; any error ends the run.

        Parameters
        ----------
        timeout : float
            Seconds.

        Returns
        -------
        (site, message) or None
            None if none came.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Answering(Protocol):
    """What a transport takes for a site."""

    name: str

    @property
    def run(self) -> str | None:
        """The run that it takes part in."""

    def answer(self, request: bytes) -> bytes:
        """Return the answer to a message."""
