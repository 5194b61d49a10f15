"""Sites in this process, to try things out."""

from collections import Counter
from collections.abc import Iterable

from skfusion._checks import shown
from skfusion.sites._threads import SiteThreads
from skfusion.sites.message import check_name
from skfusion.sites.transport import Answering, BaseTransport


class LocalTransport(BaseTransport):
    """Sites in this process; messages still reach them as bytes.

    Parameters
    ----------
    sites : iterable of Site
        Their names must differ.

    Raises
    ------
    TypeError, ValueError
        If a name is not allowed, or two sites have the same.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skfusion.sites import LocalTransport, Site
    >>> X, y = load_iris(return_X_y=True)
    >>> with LocalTransport([Site(X[::2], y[::2], name="York"), Site(X[1::2], y[1::2], name="Bath")]) as transport:
    ...     transport.sites()
    ['Bath', 'York']
    """

    def __init__(self, sites: Iterable[Answering]):
        if not isinstance(sites, Iterable):
            raise TypeError(f"sites must be a list of Sites, got {shown(sites)}")
        sites = list(sites)
        for site in sites:
            if not callable(getattr(site, "answer", None)):
                raise TypeError(f"sites must be Sites, got {shown(site)}")
        for name, count in Counter(check_name(site.name) for site in sites).items():
            if count > 1:
                raise ValueError(f"sites must have different names, got {count} named {name!r}")
        self._sites = {str(site.name): site for site in sites}
        self._closed = False
        self._threads = SiteThreads(self._sites, self._let_answer)

    def sites(self) -> list[str]:
        """Return the names of the sites.

        Returns
        -------
        list of str
            Sorted.
        """
        return sorted(self._sites)

    def send(self, site: str, message: bytes) -> None:
        """Let a site answer a message, in a thread.

        Parameters
        ----------
        site : str
            Its name.
        message : bytes
            What to answer.

        Raises
        ------
        RuntimeError
            If the transport is closed.
        """
        if self._closed:
            raise RuntimeError("the transport is closed; make another LocalTransport of the same sites")
        self._threads.submit(site, message)

    def _let_answer(self, site, message):
        self._threads.take(site, self._sites[site].answer(message))

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
        """End the threads, each after its current answer."""
        self._closed = True
        self._threads.close(wait=True)
