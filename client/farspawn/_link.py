"""The way to a site: what the verbs need of it, and how long it may be gone.

Two kinds of it carry calls, the blocking one and the one of asyncio; nothing is
sent here.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, TypeVar

from farspawn._address import Address
from farspawn._channel import STREAM_LIFE
from farspawn._errors import (
    CallTimeoutError,
    ClientClosedError,
    FarspawnError,
    RefusedError,
    SiteUnavailableError,
    SiteUnreachableError,
)
from farspawn._refusals import told_as_ours
from farspawn._verbs import Call

T = TypeVar("T")

# What passes when the agent is restarted or the network comes back.
PASSING = (SiteUnreachableError, SiteUnavailableError, CallTimeoutError)

_FIRST_PAUSE = timedelta(milliseconds=200)
_LONGEST_PAUSE = timedelta(seconds=5)


class Link(Protocol):
    """Carries calls to one site. On the blocking one nothing ever suspends.

    Attributes:
        patience: How long a site that had answered may be out of reach.
        answered: Whether the site has ever answered, be it to refuse.
    """

    patience: timedelta
    answered: bool

    async def call(self, call: Call[T]) -> T:
        """Makes a unary call; gRPC repeats it a few times by the channel's retry policy."""
        ...

    def stream(self, call: Call[T]) -> AsyncGenerator[T, None]:
        """Makes a streaming call. Close it, or it stays open."""
        ...

    async def sleep(self, span: timedelta) -> None:
        """Waits, at most until the link is closed."""
        ...

    def now(self) -> float:
        """Monotonic seconds."""
        ...


class LinkState:
    """What the two kinds of link have in common: where it goes, and what it has seen.

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


class Outage:
    """Decides whether to try again when a site that had answered does not.

    A site that has never answered is not waited for: the address is wrong, or
    no agent runs. One that has may be upgraded or out of reach for a while, and
    its tasks run on meanwhile.
    """

    def __init__(self, link: Link, *, for_ever: bool = False) -> None:
        """`for_ever`: without end to patience, and quick to find the site again."""
        self._link = link
        self._for_ever = for_ever
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def over(self) -> None:
        """The site has answered."""
        self._since = None
        self._pause = _FIRST_PAUSE

    async def pause(self, error: FarspawnError) -> None:
        """Waits a little longer each time; raises `error` when patience is over."""
        if not self._link.answered:
            raise error
        now = self._link.now()
        if self._since is None:
            self._since = now
        if not self._for_ever and now - self._since >= self._link.patience.total_seconds():
            raise error
        pause = self._pause
        if isinstance(error, SiteUnavailableError) and error.retry_after is not None:
            pause = min(error.retry_after, _LONGEST_PAUSE)
        await self._link.sleep(pause)
        if not self._for_ever:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
