"""A thread for each site, so that none waits while another takes its time or cannot be reached."""

import queue
from concurrent.futures import ThreadPoolExecutor


class SiteThreads:
    """Has each site's messages acted on one after another, and collects the answers of all.

    Parameters
    ----------
    sites : iterable of str
    act : callable
        ``act(site, message)``, which runs in the site's thread.
    """

    def __init__(self, sites, act):
        self._threads = {site: ThreadPoolExecutor(1, site) for site in sites}
        self._act = act
        self._latest = {}  # by site a _Task
        self._answers = queue.SimpleQueue()

    def submit(self, site, message):
        """Act on a message once the site is free, unless it is waiting for that already or a newer one overtakes it."""
        if site in self._latest:
            if message is self._latest[site].message:
                return
            self._latest[site].message = None
        self._latest[site] = _Task(message)
        self._threads[site].submit(self._do, site, self._latest[site])

    def _do(self, site, task):
        message = task.message
        if message is None:
            return
        try:
            self._act(site, message)
        except BaseException as error:
            self._answers.put(error)
        finally:
            task.message = None

    def take(self, site, answer):
        """Take an answer."""
        self._answers.put((site, answer))

    def receive(self, timeout):
        """Return a site and its answer, None if none comes in time, or raise what has gone wrong in a thread."""
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self, wait):
        """Give up what has not begun, and maybe wait for what has."""
        for wait_now in (False, wait):  # all are told first
            for thread in self._threads.values():
                thread.shutdown(wait=wait_now, cancel_futures=True)


class _Task:
    """To act on a message, which may be large, and so is let go of once that is done or a newer one has overtaken it.

    Parameters
    ----------
    message : bytes
    """

    def __init__(self, message):
        self.message = message
