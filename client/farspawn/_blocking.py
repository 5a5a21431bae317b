"""Coroutines run without an event loop: on a link where nothing ever suspends.

This is how the blocking client shares every line of logic with the one of
asyncio. A coroutine that does suspend here is a bug, and raises RuntimeError.
"""

import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Generator
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import TypeVar
from weakref import WeakSet

import grpc
from google.protobuf.message import Message

from farspawn._address import Address
from farspawn._channel import options
from farspawn._link import LinkState
from farspawn._verbs import SERVICE, Call, serialize

T = TypeVar("T")


class _End(Enum):
    REACHED = 0


def run(work: Awaitable[T]) -> T:
    """Runs it to its end, here and now."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("it suspended, and there is no event loop to wake it")


def iterate(source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """The same items, one `next` at a time; closing this closes the source."""
    try:
        while (item := run(anext(source, _End.REACHED))) is not _End.REACHED:
            yield item
    finally:
        run(source.aclose())


class BlockingLink(LinkState):
    """A link whose calls block the thread. Threads may share it."""

    def __init__(
        self,
        address: Address,
        credentials: grpc.ChannelCredentials | None,
        *,
        timeout: timedelta,
        patience: timedelta,
    ) -> None:
        super().__init__(address, timeout, patience)
        self._another = partial(BlockingLink, address, credentials, timeout=timeout, patience=patience)
        self._twins = WeakSet["BlockingLink"]()
        self._closing = threading.Event()
        self._channel = (
            grpc.insecure_channel(address.uri, options(encrypted=False))
            if credentials is None
            else grpc.secure_channel(address.uri, credentials, options(encrypted=True))
        )

    async def call(self, call: Call[T]) -> T:
        """See `Link`."""
        with self.told():
            method: grpc.UnaryUnaryMultiCallable[Message, bytes] = self._channel.unary_unary(
                f"/{SERVICE}/{call.method}", serialize
            )
            return call.read(method(call.request, timeout=self.seconds(call), wait_for_ready=call.queued))

    async def stream(self, call: Call[T]) -> AsyncGenerator[T, None]:
        """See `Link`."""
        with self.told():
            method: grpc.UnaryStreamMultiCallable[Message, bytes] = self._channel.unary_stream(
                f"/{SERVICE}/{call.method}", serialize
            )
            answers = method(call.request, timeout=self.stream_seconds, wait_for_ready=call.queued)
            try:
                for answer in answers:
                    self.answered = True
                    yield call.read(answer)
            finally:
                answers.cancel()

    async def sleep(self, span: timedelta) -> None:
        """See `Link`."""
        self._closing.wait(span.total_seconds())

    def now(self) -> float:
        """See `Link`."""
        return time.monotonic()

    def twin(self) -> "BlockingLink":
        """Another one to the same site, on a channel of its own; closing this one closes it too."""
        twin = self._another()
        self._twins.add(twin)
        return twin

    def close(self) -> None:
        """Breaks off what is under way; those who wait get ClientClosedError."""
        self.closed = True
        for twin in tuple(self._twins):
            twin.close()
        self._closing.set()
        self._channel.close()
