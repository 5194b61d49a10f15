"""What carries messages between a coordinator and sites."""

import math
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class BaseTransport(ABC):
    """Base of transports, which move bytes and know nothing of what these mean.

    The coordinator alone knows of rounds, waiting and sending again.  A transport may lose a message or deliver it
    twice, but never a part of one.  It is a context manager that closes itself.

    Attributes
    ----------
    resend_after : float
        Seconds after which a message without an answer is taken for lost; infinite where none is lost.
    """

    resend_after: float = math.inf

    @abstractmethod
    def sites(self) -> list[str]:
        """Return the names of the sites that have been heard of, sorted."""

    @abstractmethod
    def send(self, site: str, message: bytes) -> None:
        """Send a message to a site; one sent before that is still on its way may be lost.

        Parameters
        ----------
        site : str
        message : bytes
        """

    @abstractmethod
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

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
