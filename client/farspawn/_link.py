"""The way to a site: what the verbs need of it."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Protocol, TypeVar

from farspawn._verbs import Call

T = TypeVar("T")


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
