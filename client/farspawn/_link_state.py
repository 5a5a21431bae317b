"""What the two links have in common; neither sends anything here."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from farspawn._address import Address
from farspawn._channel import STREAM_LIFE
from farspawn._errors import ClientClosedError, FarspawnError, RefusedError
from farspawn._refusals import told_as_ours
from farspawn._verbs import Call

T = TypeVar("T")


class LinkState:
    """Where a link goes, and what it has seen.

    Attributes:
        patience: See `Link`.
        answered: See `Link`.
        closed: Whether no more calls are to be made.
    """

    def __init__(self, address: Address, timeout: timedelta, patience: timedelta) -> None:
        self.patience = patience
        self.answered = False
        self.closed = False
        self._target = address.target
        self._timeout = timeout
        # What stays on this machine cannot die without a word.
        self.stream_seconds = None if address.is_local else STREAM_LIFE.total_seconds()

    def seconds(self, call: Call[T]) -> float:
        """How long a unary call may take, all its repetitions together."""
        return (self._timeout + call.wait).total_seconds()

    @contextmanager
    def told(self) -> Generator[None]:
        """Raises what goes wrong within as an error of ours, and remembers who has answered."""
        if self.closed:
            raise ClientClosedError(f"the client of {self._target} is closed")
        try:
            with told_as_ours(self._target):
                yield
        except RefusedError:
            self.answered = True
            raise
        except FarspawnError as error:
            if self.closed:
                raise ClientClosedError(f"the client of {self._target} was closed during the call") from error
            raise
        else:
            self.answered = True
