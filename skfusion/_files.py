"""Files that appear under their name once they are whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def whole_file(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file; whoever waits for ``path`` finds all of it or none.

    Parameters
    ----------
    path : str or path-like
        A file of that name is replaced.
    durable : bool, default=True
        Whether it is to outlast a power failure from then on, which takes a while.

    Yields
    ------
    binary file
        To be written to.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{_prefix(path)}{uuid4().hex}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None  # which the caller knows, unlike the temporary
    finally:
        with suppress(OSError):  # it has been moved, or could not be made
            temporary.unlink()


def remove_parts(path: str | os.PathLike[str]) -> None:
    """Remove what those who were killed while they wrote ``path`` have left behind."""
    path = Path(path)
    for part in path.parent.glob(f"{escape(_prefix(path))}*.part"):
        part.unlink(missing_ok=True)


def _prefix(path):
    return f".{path.name[:32]}."  # the file system's limit may be no more than the name
