"""Files that are written whole or not at all, and take the place of those that were there."""

import errno
import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

# Of files that are being written, or that a killed process has left behind.
_TEMPORARY_PREFIX = ".skfusion-"


@contextmanager
def replacing(path, *, follow_links=True, durable=False):
    """Yield a file that, once it is complete, replaces the one that a path leads to, and keeps its owner and mode.

    Parameters
    ----------
    path : str or path-like
        Of a regular file, or of none yet.
    follow_links : bool, default=True
        Whether to replace what a symbolic link leads to.  Otherwise the link itself is replaced, which is safe where
        others may have made it.
    durable : bool, default=False
        Whether the file must survive a power failure from then on.

    Raises
    ------
    OSError
        If the file cannot be written; it names the path as it was given.
    """
    with naming(path), _replacing(path, follow_links, durable) as file:
        yield file


def check_place(parameter, path):
    """Raise OSError if it is plain already that no file can be written there, before work whose outcome it is to hold.

    Parameters
    ----------
    parameter : str
        What the error calls the path.
    path : str or path-like
    """
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    for wrong, number, right in (
        (os.path.isdir(real), errno.EISDIR, "a file"),
        (not os.path.isdir(folder), errno.ENOENT, "in a folder that exists"),
        (not os.access(folder, os.W_OK), errno.EACCES, "in a folder that may be written to"),
    ):
        if wrong:
            raise OSError(number, f"{parameter} must be {right}", os.fspath(path))


@contextmanager
def naming(path):
    """Have errors name the path that the caller knows, also those of a drive that is full, which name none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


@contextmanager
def _replacing(path, follow_links, durable):
    if os.path.basename(path) in ("", "."):  # which resolving it would make the name of a file
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    path = Path(os.path.realpath(path) if follow_links else path)
    try:
        old = None if path.is_symlink() and not follow_links else regular_status(path)
    except FileNotFoundError:
        old = None
    _clear_abandoned(path.parent)
    temporary, file = _new_file(path.parent, old)
    with file:
        try:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            if durable:
                _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _sync_folder(folder):
    """Flush a folder's entries to disk, since the file's new name is one of them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # which network drives raise that can do this for files alone
            raise
    finally:
        os.close(descriptor)


def regular_status(path):
    """Return the status of a regular file, or raise OSError: reading others may block, and replacing them does harm.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    os.stat_result
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))
    return status


def _new_file(folder, old):
    """Make a file that nobody can read who could not read the old one, not even while it is empty."""
    while True:
        path = folder / f"{_TEMPORARY_PREFIX}{uuid4().hex}"
        file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600 if old else 0o666))  # noqa: SIM115
        _lock(file)
        if os.fstat(file.fileno()).st_nlink > 0:
            break
        file.close()  # somebody took it for abandoned before it was locked
    if old is not None:
        with suppress(PermissionError):  # to give files away takes a privilege
            os.fchown(file.fileno(), old.st_uid, old.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
    return path, file


def _lock(file, flags=0):
    """Lock a file for as long as it is open and the process lives; returns whether that could be done."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | flags)
    except OSError:  # it is locked, or the file system knows no locks, and then nothing is ever cleared
        return False
    return True


def _clear_abandoned(folder):
    """Remove the files that killed processes have left half written."""
    for path in folder.glob(f"{_TEMPORARY_PREFIX}*"):
        with suppress(OSError), open(path, "r+b") as file:  # another's, or gone meanwhile
            if _lock(file, fcntl.LOCK_NB):
                path.unlink()
