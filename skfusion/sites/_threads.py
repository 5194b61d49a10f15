"""A thread for each site, so that none waits while another takes its time or cannot be reached."""

from concurrent.futures import ThreadPoolExecutor


class SiteThreads:
    """Does something with each site's messages, one after another.

    Parameters
    ----------
    sites : iterable of str
    act : callable
        ``act(site, message)``, which runs in the site's thread.
    """

    def __init__(self, sites, act):
        self._threads = {site: ThreadPoolExecutor(1, site) for site in sites}
        self._act = act
        self._latest = {}  # by site

    def submit(self, site, message):
        """Act on a message once the site is free; returns the Future of what comes of it.

        That is None if a newer message has overtaken it.
        """
        self._latest[site] = message
        return self._threads[site].submit(self._unless_overtaken, site, message)

    def _unless_overtaken(self, site, message):
        return self._act(site, message) if message is self._latest[site] else None

    def close(self, wait):
        """Give up what has not begun, and maybe wait for what has."""
        for thread in self._threads.values():
            thread.shutdown(wait=wait, cancel_futures=True)
