"""The states of a site's peer in files, by which a run goes on after it was interrupted."""

import re
from dataclasses import replace
from pathlib import Path

from skfusion._replacing import replacing
from skfusion.sites._digest import DIGEST_SIZE, digest_of
from skfusion.sites.message import Message, RefusalError

_KEPT = 4  # states: a run that is taken up again goes back by the exchanges of one segment


class KeptStates:
    """States of a peer, each as of an exchange of a run.

    Those of a run that is over stay until another begins: its coordinator may have died before it knew.

    A file holds a message, after a digest by which damage shows.  NumPy's own formats have Python parse their headers,
    which Python 3.11 may fail to do where several threads do so at once.

    Parameters
    ----------
    folder : str or path-like
        Made if it is not there.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, message, arrays):
        """Keep the state as of an exchange."""
        path = self.folder / f"{_short(message.run)}-{message.round}.state"
        data = replace(message, kind="state", content={}, arrays=arrays).encode()
        self._mark_of(message.run).unlink(missing_ok=True)  # a run that was over may train on
        with replacing(path, durable=True) as file:  # the coordinator counts on it
            file.write(digest_of(data))
            file.write(data)
        files = self._files(_short(message.run))
        for number in sorted(files)[:-_KEPT]:
            files[number].unlink()

    def read(self, message, furthest=1):
        """Return the state as of the exchange before a message, or of one that is further back.

        Parameters
        ----------
        message : Message
        furthest : int, default=1
            How many exchanges one may go back.

        Returns
        -------
        dict of str to ndarray

        Raises
        ------
        RefusalError
            If there is none, or its file is damaged.
        """
        files = self._files(_short(message.run))
        for number in range(message.round - 1, message.round - 1 - furthest, -1):
            if number in files:
                return _arrays_in(files[number])
        raise RefusalError(
            f"this site does not have its peer's weights as of exchange {message.round - 1} of that run, without which "
            "it cannot go on"
        )

    def mark_as_over(self, run):
        """Note that a run is over, if there are states of it."""
        if self._files(_short(run)):
            self._mark_of(run).touch()

    def remove_those_over(self):
        """Remove the states of runs that are over."""
        for mark in self.folder.glob("*.over"):
            if re.fullmatch("[0-9a-f]{32}", mark.stem):
                for path in self._files(mark.stem).values():
                    path.unlink()
                mark.unlink()

    def _mark_of(self, run):
        return self.folder / f"{_short(run)}.over"

    def _files(self, short):
        """Return a run's files by the number of the exchange."""
        found = {path.stem.removeprefix(f"{short}-"): path for path in self.folder.glob(f"{short}-*.state")}
        return {int(number): path for number, path in found.items() if number.isdecimal()}


def _arrays_in(path):
    with open(path, "rb") as file:
        digest, data = file.read(DIGEST_SIZE), file.read()
    if digest != digest_of(data):
        raise RefusalError(f"its file {path.name} with its peer's weights is damaged")
    return Message.decode(data).arrays


def _short(run):
    """Return what stands for a run in a file's name."""
    return digest_of(run.encode()).hex()
