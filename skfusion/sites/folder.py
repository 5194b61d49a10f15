"""Sites that share nothing but a folder: a network drive, or one that SFTP or Syncthing copies from machine to machine.

In the folder each site has a folder of its own, and need see no other's.  Each file in there has one writer::

    FOLDER/coordinator      the coordinator's, while it is there: which process it is
    FOLDER/Bath/serving     the site's, while it is there: likewise
    FOLDER/Bath/request     the coordinator's last message to the site
    FOLDER/Bath/answer      the site's last answer

A message's file begins with the BLAKE2b digest, of 16 bytes, of the message that follows, so a reader recognises a copy
that is not complete yet.
"""

import logging
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from skfusion._checks import check_integer, check_path, shown
from skfusion._replacing import replacing
from skfusion.sites._claim import Claim
from skfusion.sites._digest import DIGEST_SIZE, digest_of
from skfusion.sites.message import MAX_BYTES, MessageError, check_name
from skfusion.sites.site import refused_unread
from skfusion.sites.transport import Answering, BaseTransport

_COORDINATOR = "coordinator"
# Files are looked at again after this share of the time that they have been waited for, within these bounds in seconds.
_SHARE_OF_WAIT = 0.1
_MIN_PAUSE, _MAX_PAUSE = 0.001, 0.1
_PAUSE = 5.0  # seconds, when the folder cannot be reached
_QUIET = 60.0  # seconds without a message before that is said

_log = logging.getLogger("skfusion.sites")


class FolderTransport(BaseTransport):
    """Sites that share a folder with the coordinator; each runs ``python -m skfusion.sites serve``.

    Whoever can write to the folder can speak as a site or as the coordinator, and whoever can read it sees the weights:
    its permissions are the protection.  A site needs no other's folder.

    Parameters
    ----------
    path : str or path-like
        The folder, which must exist.
    max_bytes : int, default=2**30
        Longer answers are refused.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    RuntimeError
        If another coordinator has the folder.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skfusion.sites import FolderTransport
    >>> with TemporaryDirectory() as folder, FolderTransport(folder) as transport:
    ...     transport.sites()
    []
    """

    resend_after = 60.0  # whoever keeps copies in step may have lost a request, or brought another coordinator

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES):
        self.path = check_folder(path)
        self._max_bytes = check_max_bytes(max_bytes)
        otherwise = "close its FolderTransport, or use another folder"  # it may be this process, as a notebook's
        self._claim = Claim(self.path / _COORDINATOR, str(self.path), "a coordinator", otherwise)
        self._answers: dict[str, _MessageFile] = {}
        self._sent: dict[str, bytes] = {}  # by site the digest of its last message
        self._answered: dict[str, bytes] = {}  # and of the last that it has answered
        self._closed: set[Path] = set()  # folders that it may not look into
        try:
            self._remove_abandoned()
        except OSError:
            self._claim.release()
            raise

    def _remove_abandoned(self):
        """Remove the requests that a coordinator that was killed has left."""
        for folder in self._open_folders():
            if any((folder / name).exists() for name in ("serving", "answer")):
                _MessageFile(folder / "request").remove()

    def _open_folders(self):
        """Return the folders that may be sites'; the log names each that this process may not look into once."""
        folders = [folder for folder in self.path.iterdir() if _site_of(folder) is not None]
        closed = {folder for folder in folders if not os.access(folder, os.X_OK)}
        for folder in sorted(closed - self._closed):
            _log.warning("%s is not taken for a site's folder, since this process may not look into it", folder)
        self._closed |= closed
        return [folder for folder in folders if folder not in closed]

    def _check_open(self):
        if self._claim.released:
            raise RuntimeError("the transport is closed; make another FolderTransport of the same folder")

    def sites(self) -> list[str]:
        """Return the names of the sites whose processes are there, or were when they were killed.

        Returns
        -------
        list of str
            Sorted.

        Raises
        ------
        RuntimeError
            If the transport is closed.
        """
        self._check_open()
        return sorted(_site_of(folder) for folder in self._open_folders() if (folder / "serving").exists())

    def send(self, site: str, message: bytes) -> None:
        """Put a message into a site's folder, in place of the one before.

        Parameters
        ----------
        site : str
            Its name.
        message : bytes
            What to write.

        Raises
        ------
        OSError
            If it cannot be written.
        RuntimeError
            If another coordinator has come to the folder, or the transport is closed.
        """
        self._check_open()
        check_folder(self.path)  # or a new one would be made in place of a drive that is away
        self._claim.renew()
        folder = _folder_of(self.path, site)
        digest = self._sent[site] = _MessageFile(folder / "request").write(message)
        if self._answered.get(site) in (None, digest):  # a site does not repeat an answer, which may have been read
            self._answers[site] = _MessageFile(folder / "answer")
            self._answered.pop(site, None)

    def receive(self, timeout: float) -> tuple[str, bytes] | None:
        """Wait for an answer of any site that was sent a message.

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
            If an answer is too long.
        OSError
            If a file cannot be read.
        """
        began = time.monotonic()
        while True:
            for site, file in self._answers.items():
                try:
                    message = file.read_new(self._max_bytes)
                except MessageError as error:
                    raise MessageError(str(error), site) from None
                if message is not None:
                    self._answered[site] = self._sent[site]
                    self._answers[site] = self._answers.pop(site)  # it is the last to be heard again
                    return site, message
            waited = time.monotonic() - began
            if waited >= timeout:
                return None
            time.sleep(min(_pause_after(waited), timeout - waited))

    def close(self) -> None:
        """Remove the requests that have been answered, and leave the folder to another coordinator."""
        try:
            self._remove_answered()
        except OSError as error:  # whatever was to be done there has been done by now
            _log.warning("the folder cannot be reached, so its files stay: %s", error)
        finally:
            self._claim.release()

    def _remove_answered(self):
        for site, digest in self._sent.items():
            if digest == self._answered.get(site):
                _MessageFile(_folder_of(self.path, site) / "request").remove()


def serve(site: Answering, path: str | os.PathLike[str], *, stay: bool = False, max_bytes: int = MAX_BYTES) -> None:
    """Answer the messages that come to a site through a folder, until the run of training is over.

    While the folder cannot be reached, it is tried again.

    Parameters
    ----------
    site : Site
    path : str or path-like
        The folder, which must exist; the site makes one of its own in it.
    stay : bool, default=False
        Whether to wait for the next run when one is over.
    max_bytes : int, default=2**30
        Longer requests are refused.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    RuntimeError
        If another process serves as this site.
    """
    max_bytes = check_max_bytes(max_bytes)
    folder = _folder_of(check_folder(path), site.name)
    role = f"a process that serves as {site.name!r}"
    with Claim(folder / "serving", str(folder), role, "give this site another name") as claim:
        _log.info("%s: waiting for the coordinator in %s", site.name, folder)
        _Worker(site, folder, claim, max_bytes).work(stay)
        _log.info("%s: the run is over", site.name)


class _Worker:
    """Answers a site's messages, one after another."""

    def __init__(self, site, folder, claim, max_bytes):
        self._site, self._folder, self._claim, self._max_bytes = site, folder, claim, max_bytes
        self._request, self._answer = _MessageFile(folder / "request"), _MessageFile(folder / "answer")
        self._answer.remove()  # an earlier process's
        self._reachable, self._idle_since, self._told = True, time.monotonic(), False

    def work(self, stay):
        """Answer messages until a run is over, or for ever."""
        # Not where the claim is taken: in CPython 3.13, an interrupt that comes as a loop jumps back skips the end of a
        # ``with`` statement around the loop.
        while not self._answer_one() or stay:
            pass

    def _answer_one(self):
        """Answer a message if there is one; returns whether that ended a run that the site took part in."""
        run = self._site.run
        try:
            request = self._try(self._look)
            answer = None if request is None else self._site.answer(request)
        except _TooLongError as error:
            answer = refused_unread(self._site.name, error.digest, error)
        if answer is None:
            self._wait()
            return False
        while not self._try(self._answer.write, answer):
            time.sleep(_PAUSE)
        self._idle_since, self._told = time.monotonic(), False
        return run is not None and self._site.run is None

    def _look(self):
        self._claim.renew()
        if not self._answer.is_as_written():  # a folder that was away may have come back without it
            self._request.forget()
        return self._request.read_new(self._max_bytes)

    def _wait(self):
        waited = time.monotonic() - self._idle_since
        if waited > _QUIET and not self._told:
            message = "%s: no message for %d s; still waiting for the coordinator in %s"
            _log.info(message, self._site.name, _QUIET, self._folder)
            self._told = True
        time.sleep(_pause_after(waited) if self._reachable else _PAUSE)

    def _try(self, action, *arguments):
        """Do something in the folder; returns None if that cannot be reached, and says so once."""
        try:
            result = action(*arguments)
        except OSError as error:
            if self._reachable:
                _log.warning("%s: the folder cannot be reached, trying again: %s", self._site.name, error)
            self._reachable = False
            return None
        if not self._reachable:
            _log.info("%s: the folder is back", self._site.name)
        self._reachable = True
        return result


class _TooLongError(MessageError):
    """A message that is not read; ``digest`` tells which."""

    def __init__(self, name, digest, max_bytes, n_bytes):
        super().__init__(f"the {name} must have at most {max_bytes} bytes (max_bytes), got {n_bytes}")
        self.digest = digest


class _MessageFile:
    """A file with the last message of one side to the other."""

    def __init__(self, path):
        self._path, self._seen, self._written = path, None, None
        self._intact = None  # the file in which what was written was last found

    def write(self, message):
        """Put a message in place of the one before, unless it is there; return its digest."""
        digest = digest_of(message)
        self._written = digest, DIGEST_SIZE + len(message)
        if self.is_as_written():
            return digest
        self._path.parent.mkdir(exist_ok=True)
        with replacing(self._path, follow_links=False) as file:
            file.write(digest + message)
        return digest

    def is_as_written(self):
        """Whether the message is there that was written last, if any was; all of it is read if the file has changed."""
        if self._written is None:
            return True
        digest, n_bytes = self._written
        with suppress(OSError), open(self._path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if status.st_size == n_bytes and file.read(DIGEST_SIZE) == digest:
                version = status.st_ino, status.st_mtime_ns
                if version != self._intact and digest_of(file.read()) == digest:
                    self._intact = version
                return version == self._intact
        return False

    def read_new(self, max_bytes):
        """Return the message if it is there whole, and another than was read last; else None."""
        try:
            file = open(self._path, "rb", opener=_open_at_once)  # noqa: SIM115
        except FileNotFoundError:
            return None
        digest = message = b""
        with file, suppress(PermissionError):  # of what its writer has locked until it is closed, on SMB
            status = os.fstat(file.fileno())
            digest = file.read(DIGEST_SIZE) if stat.S_ISREG(status.st_mode) else b""
            if len(digest) < DIGEST_SIZE or digest == self._seen:
                return None
            if status.st_size > DIGEST_SIZE + max_bytes:
                self._seen = digest
                raise _TooLongError(self._path.name, digest, max_bytes, status.st_size - DIGEST_SIZE)
            message = file.read(max_bytes + 1)
        if digest_of(message) != digest:
            return None
        self._seen = digest
        return message

    def forget(self):
        """Read the message once more."""
        self._seen = None

    def remove(self):
        """Remove the message."""
        self._path.unlink(missing_ok=True)


def _open_at_once(path, flags):
    """Open what may be a pipe that nobody writes to."""
    return os.open(path, flags | os.O_NONBLOCK)


def _pause_after(waited):
    return min(max(_SHARE_OF_WAIT * waited, _MIN_PAUSE), _MAX_PAUSE)


def check_max_bytes(max_bytes):
    """Return how many bytes a message may have, or raise TypeError or ValueError."""
    if check_integer("max_bytes", max_bytes, 1) > MAX_BYTES:
        raise ValueError(f"max_bytes must be at most {MAX_BYTES}, which no message may exceed; got {shown(max_bytes)}")
    return max_bytes


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a folder; raises NotADirectoryError if there is none."""
    path = check_path("path", path)
    if not os.path.isdir(path):  # of a Path, "" would be this folder
        raise NotADirectoryError(f"the folder must exist, got {path!r}")
    return Path(path).absolute()


def _folder_of(path, site):
    """Return a site's folder, whose name is the site's in characters that any file system takes."""
    if check_name(site).lower() == _COORDINATOR:
        raise ValueError(f"a site must not be named {site!r} in a folder, where the coordinator's file has that name")
    return path / quote(site, safe=" ")


def _site_of(folder):
    """Return the name of the site whose folder it is; None if it is not a site's."""
    name = unquote(folder.name)
    try:
        is_folder = quote(check_name(name), safe=" ") == folder.name and folder.is_dir()
    except ValueError:
        return None
    return name if is_folder else None
