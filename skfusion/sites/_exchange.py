"""Questions to sites and their answers: waiting, asking again, refusing."""

import logging
import time
from datetime import datetime

from skfusion._checks import shown
from skfusion.sites._digest import digest_of
from skfusion.sites.message import Message, MessageError

_LISTEN, _LOOK_AGAIN = 1.0, 0.1  # seconds at a time
_FIRST_NOTICE, _NEXT_NOTICE = 10.0, 60.0  # seconds
_MAX_LATE = 1000  # messages that are looked through for an overdue answer
_MAX_REASON = 500  # characters of what a site says

_log = logging.getLogger("skfusion.sites")


class SiteRefusedError(RuntimeError):
    """A site refuses to answer: at the coordinator, what a RefusalError at the site comes to.

    Parameters
    ----------
    reason : str
        In the site's words.
    site : str
    """

    def __init__(self, reason, site):
        super().__init__(f"site {site!r} refuses to take part: {reason}")
        self.reason, self.site = reason, site

    def __reduce__(self):  # the text alone would not do to make it anew, as in the parent of a worker of joblib
        return type(self), (self.reason, self.site), vars(self)


class AbsentError(TimeoutError):
    """Sites do not answer.

    Parameters
    ----------
    sites : iterable of str
    patience : float
        How long they have been waited for.
    """

    def __init__(self, sites, patience):
        self.sites, self.patience, self.site = sorted(sites), patience, min(sites)
        super().__init__(f"waited {patience:g} s in vain for {_names(sites)}")

    def __reduce__(self):  # likewise
        return type(self), (self.sites, self.patience), vars(self)


class Exchange:
    """The coordinator's side of the conversation with the sites.

    Parameters
    ----------
    transport : BaseTransport
    run : str
        The run that all messages belong to.
    patience : float
        Seconds to wait for a site.

    Attributes
    ----------
    absent : dict of str to str
        Why the others have gone on without a site, by its name, until it takes part again.
    """

    def __init__(self, transport, run, patience):
        self.run, self.absent = run, {}
        self._transport, self._patience = transport, patience

    def with_patience(self, patience):
        """Return the same conversation, held with at most that much patience."""
        other = Exchange(self._transport, self.run, min(patience, self._patience))
        other.absent = self.absent
        return other

    def ask(self, number, kind, parts, read, *, needed=True):
        """Ask sites, and wait for their answers.

        Parameters
        ----------
        number : int
            Number of the exchange in the run.
        kind : str
        parts : dict
            By site the content and the arrays of its message.
        read : callable
            ``read(site, answer)`` returns what an answer says, or raises MessageError.
        needed : bool, default=True
            Whether every site must answer.  Otherwise one that does not, or whose answer is refused, becomes absent.

        Returns
        -------
        dict
            By site what its answer says.

        Raises
        ------
        MessageError
            If an answer that is needed is refused.
        SiteRefusedError
            If a site whose answer is needed refuses to give one.
        AbsentError
            If an answer that is needed does not come.
        """
        requests = {site: Message(kind, self.run, number, site, *part).encode() for site, part in parts.items()}
        for site, request in requests.items():
            self._transport.send(site, request)
        answers, reason, n_late = {}, None, 0
        watch = _Watch(requests, self._patience, self._transport.resend_after)
        while waiting := requests.keys() - answers.keys() - (set() if needed else self.absent.keys()):
            for site in watch.lost(waiting):
                self._send_again(site, requests[site])
            try:
                watch.remind(waiting)
                overdue = watch.overdue(waiting)  # an answer that is there still counts: this process may have slept
                n_late = n_late + 1 if overdue else 0
                received = None
                if n_late <= _MAX_LATE:  # else others keep sending what is of no use
                    received = self._transport.receive(min(_LOOK_AGAIN if overdue else _LISTEN, self._patience))
                if received is not None:
                    answer = self._answer(received, number, kind, requests, watch)
                    if answer is not None:
                        answers[answer.site] = self._read(answer, read)
                elif overdue:
                    raise AbsentError(overdue, self._patience)
            except (AbsentError, MessageError, SiteRefusedError) as error:
                if needed or error.site is None:
                    raise
                self._go_on_without(error.site, str(error))
                reason = error
        if not answers:
            raise AbsentError(self.absent, self._patience) from reason  # they may have refused, or lied
        return answers

    def _go_on_without(self, site, reason):
        if self.absent.get(site) != reason:  # a site may refuse again and again
            _log.warning("going on without site %r: %s", site, reason)
        self.absent[site] = reason

    def _send_again(self, site, request):
        """Send a message again; if that fails it may do so next time, and the first may have arrived."""
        try:
            self._transport.send(site, request)
        except OSError as error:
            _log.warning("cannot send the message to site %r again, trying later: %s", site, error)

    def _answer(self, received, number, kind, asked, watch):
        """Return an answer to the question of that number; None if what has come is one to another question."""
        site, data = _site_and_bytes(received)
        if site not in asked and site not in self.absent:
            _log.info("site %r has not been asked; its answer is not used", site)
            return None
        try:
            message = Message.decode(data)
        except MessageError as error:
            raise MessageError(str(error), site) from None
        about = message.run, message.round
        if message.kind == "refused" and site in asked:
            self._check_refused(message, site, number, asked[site])
        if site in self.absent and message.kind != "refused":
            _log.warning("site %r is back", site)
            del self.absent[site]
            watch.start(site)
        if about != (self.run, number) or site not in asked:
            # Late, or from before the coordinator was killed.
            if site not in self.absent:
                _log.info("an answer of site %r to an earlier question is not used", site)
            return None
        if (message.kind, message.site) != (f"{kind} answered", site):
            raise MessageError(f"it must answer {kind!r}, got {shown(message.kind)} from {shown(message.site)}", site)
        return message

    def _check_refused(self, message, site, number, request):
        """Raise SiteRefusedError if a site refuses a request, rather than one of an earlier run."""
        reason = _printable(message.content.get("reason"))
        unread = message.content.get("request")  # the digest of what it cannot read
        if (message.run, message.round) == (self.run, number) or unread == digest_of(request).hex():
            raise SiteRefusedError(reason, site)
        if unread is not None:
            _log.warning("site %r cannot read a message of an earlier run, or a damaged one: %s", site, reason)

    def _read(self, answer, read):
        try:
            return read(answer.site, answer)
        except MessageError as error:
            raise MessageError(str(error), answer.site) from None


def _site_and_bytes(received):
    """Return what a transport has received, or raise TypeError if that is not a site's name and bytes."""
    try:
        site, data = received
    except (TypeError, ValueError):
        site = data = None
    if not (isinstance(site, str) and isinstance(data, (bytes, bytearray))):
        raise TypeError(f"a transport's receive must return None, or a site's name and bytes; got {shown(received)}")
    return site, data


def gather(transport, wanted, patience):
    """Wait until sites are there.

    Parameters
    ----------
    transport : BaseTransport
    wanted : list of str, int or None
        Their names, or how many; None for those that are there now.
    patience : float
        Seconds.

    Returns
    -------
    list of str
        Their names.

    Raises
    ------
    TimeoutError
        If they do not come.
    ValueError
        If there are more than that many, or none.
    """
    began, next_notice = time.monotonic(), _FIRST_NOTICE
    while True:
        here = transport.sites()
        missing = _missing(here, wanted)
        if not missing:
            return wanted if isinstance(wanted, list) else here
        waited = time.monotonic() - began
        if waited >= patience:
            raise TimeoutError(f"waited {patience:g} s in vain for {missing}; there are {here}")
        if waited >= next_notice:
            _log.warning("waiting for %s; there are %s", missing, here)
            next_notice = waited + _NEXT_NOTICE
        time.sleep(_LOOK_AGAIN)


def _missing(here, wanted):
    """Return what is missing, in words, or raise ValueError if that is not for time to heal."""
    if wanted is None:
        if not here:
            raise ValueError("no site is there yet; pass sites=, their names or how many, to wait for them")
        return ""
    if isinstance(wanted, list):
        missing = set(wanted) - set(here)
        return _names(missing) if missing else ""
    if len(here) > wanted:
        raise ValueError(f"sites={wanted}, but there are {len(here)}: {here}; name those that should take part")
    n_missing = wanted - len(here)
    return f"{n_missing} more site{'s' * (n_missing > 1)}" if n_missing > 0 else ""


class _Watch:
    """Keeps an eye on the time in one exchange."""

    def __init__(self, sites, patience, resend_after):
        now = time.monotonic()
        self._began = datetime.now()
        self._patience, self._resend_after = patience, resend_after
        self._since, self._sent = dict.fromkeys(sites, now), dict.fromkeys(sites, now)
        self._next_notice = now + _FIRST_NOTICE

    def start(self, site):
        """Let a site's time begin now."""
        self._since[site] = time.monotonic()

    def lost(self, waiting):
        """Return the sites whose messages are to be sent again."""
        now = time.monotonic()
        lost = [site for site in waiting if now - self._sent[site] >= self._resend_after]
        self._sent |= dict.fromkeys(lost, now)
        return lost

    def remind(self, waiting):
        """Say from time to time which sites are waited for."""
        if time.monotonic() >= self._next_notice:
            _log.warning("waiting for %s since %s", _names(waiting), self._began.strftime("%Y-%m-%d %H:%M:%S"))
            self._next_notice = time.monotonic() + _NEXT_NOTICE

    def overdue(self, waiting):
        """Return the sites that have been waited for long enough."""
        now = time.monotonic()
        return [site for site in waiting if now - self._since[site] >= self._patience]


def _names(sites):
    return f"site{'s' * (len(sites) > 1)} {', '.join(map(repr, sorted(sites)))}"


def _printable(reason):
    text = str(reason)[:_MAX_REASON]
    return text if text.isprintable() else repr(text)
