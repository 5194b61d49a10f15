"""A file that says who has taken a folder or a checkpoint, so that there is no second one."""

import errno
import fcntl
import logging
import os
import platform
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from skfusion._replacing import naming

_MAX_TEXT = 500  # characters of what a file says

_log = logging.getLogger("skfusion.sites")


class ClaimedError(RuntimeError):
    """Another has what is to be taken."""


class Claim:
    """A file that one process at a time holds, until it releases it or dies, or a ``with`` statement is over.

    On one file system a lock decides: whoever holds it is still there.  Where files are copied from machine to machine
    there is no common lock; there two holders see that their copies differ once one has replaced the other.  A copy
    may also bring back what a holder before this one had written.

    Parameters
    ----------
    path : str or path-like
        The file.
    what : str
        What it is taken for, such as a folder.
    role : str
        What the holder is, as in "a coordinator".
    otherwise : str
        What to do instead of ending that one, as in "use another folder".

    Raises
    ------
    ClaimedError
        If another process holds it.
    OSError
        If the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], what: str, role: str, otherwise: str):
        self.path, self.what, self.role, self.otherwise = Path(path), what, role, otherwise
        self._here = f" on {platform.node()}, since "
        self._text = f"process {os.getpid()}{self._here}{datetime.now().astimezone().isoformat()}"
        self._file = self._take()

    def _take(self):
        self.path.parent.mkdir(exist_ok=True)
        while True:
            file = _opened(self.path, "r+", os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # the latter on SMB
                with file:
                    raise self._refusal(_text_of(file)) from None
            except OSError as error:
                file.close()
                reason = f"it must be on a drive that can lock files, as flock does; {error.strerror}"
                raise OSError(error.errno, reason, str(self.path)) from None
            if self._is_at_path(file):
                self._warn_of(_text_of(file))
                self._write(file)
                return file
            file.close()  # its last holder has removed it meanwhile

    def _write(self, file):
        """Write who holds the file, or remove it if that cannot be done, as on a full drive: nobody holds it then."""
        try:
            with naming(self.path):
                file.seek(0)
                file.truncate()
                file.write(self._text)
                file.flush()
        except OSError:
            self.path.unlink()
            with suppress(OSError):  # which tries to write once more
                file.close()
            raise

    def _warn_of(self, holder):
        """Warn of a holder on another machine, of which no lock tells whether it is still there."""
        if holder and self._here not in holder:
            _log.warning("%s had %s before, %s; should that one still be there, end it", self.what, self.role, holder)

    def _is_at_path(self, file):
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _refusal(self, holder):
        return ClaimedError(
            f"{self.what} has {self.role} already, {holder or 'another process'}; end that one, or {self.otherwise}"
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.release()

    def renew(self) -> None:
        """Write the file again if it is gone or an older one is back; raise ClaimedError if another has taken it."""
        if self._is_at_path(self._file):
            return
        with suppress(FileNotFoundError), _opened(self.path, "r", os.O_RDONLY) as file:
            holder = _text_of(file)
            if holder != self._text and not self._is_from_before(holder):
                raise self._refusal(holder)
        old, self._file = self._file, self._take()
        old.close()

    def _is_from_before(self, holder):
        """Whether a process of this machine wrote that earlier; should it still be there, its lock tells."""
        _, here, since = holder.partition(self._here)
        return bool(here) and since < self._text.partition(self._here)[2]

    @property
    def released(self) -> bool:
        """Whether it has been released."""
        return self._file.closed

    def release(self) -> None:
        """Remove the file, unless it is another's by now or out of reach; a second call does nothing."""
        if self.released:
            return
        try:
            with self._file:
                if self._is_at_path(self._file):
                    self.path.unlink()
        except OSError as error:  # whatever it was held for has been done by now
            _log.warning("a file that is of no more use stays: %s", error)


def _opened(path, mode, flags):
    """Open a file where others may have put a link, which would lead to one of this user's, or a pipe, which blocks."""
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return open(file, mode, encoding="utf-8", errors="replace")


def _text_of(file):
    """Return what an open file says; nothing if that is for its holder alone, as locks have it on SMB."""
    try:
        text = file.read(_MAX_TEXT)
    except PermissionError:
        return ""
    return text if text.isprintable() else repr(text)
