"""The link of asyncio. It belongs to the event loop that first uses it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from farspawn._address import Address
from farspawn._channel import options
from farspawn._errors import ClientClosedError
from farspawn._link import LinkState
from farspawn._verbs import SERVICE, Call, serialize

T = TypeVar("T")


class AioLink(LinkState):
    """A link whose calls suspend the coroutine."""

    def __init__(
        self,
        address: Address,
        credentials: grpc.ChannelCredentials | None,
        *,
        timeout: timedelta,
        patience: timedelta,
    ) -> None:
        super().__init__(address, timeout, patience)
        self._address = address
        self._credentials = credentials
        self._channel: grpc.aio.Channel | None = None

    def _open(self) -> grpc.aio.Channel:
        # Not in __init__: a channel is tied to the event loop that runs when it
        # is made, and a client may be made before any does.
        if self._channel is None:
            self._channel = (
                grpc.aio.insecure_channel(self._address.uri, options(encrypted=False))
                if self._credentials is None
                else grpc.aio.secure_channel(self._address.uri, self._credentials, options(encrypted=True))
            )
        return self._channel

    async def call(self, call: Call[T]) -> T:
        """See `Link`."""
        with self._told_here():
            method: grpc.aio.UnaryUnaryMultiCallable[Message, bytes] = self._open().unary_unary(
                f"/{SERVICE}/{call.method}", serialize
            )
            return call.read(await method(call.request, timeout=self.seconds(call), wait_for_ready=call.queued))

    async def stream(self, call: Call[T]) -> AsyncGenerator[T, None]:
        """See `Link`."""
        with self._told_here():
            method: grpc.aio.UnaryStreamMultiCallable[Message, bytes] = self._open().unary_stream(
                f"/{SERVICE}/{call.method}", serialize
            )
            answers = method(call.request, timeout=self.stream_seconds, wait_for_ready=call.queued)
            try:
                async for answer in answers:
                    self.answered = True
                    yield call.read(answer)
            finally:
                answers.cancel()

    @contextmanager
    def _told_here(self) -> Generator[None]:
        with self.told():
            try:
                yield
            except asyncio.CancelledError as error:
                # Closing the channel cancels its calls, and that looks to whoever
                # awaits one as if the task itself had been cancelled.
                task = asyncio.current_task()
                if self.closed and task is not None and not task.cancelling():
                    raise ClientClosedError("the client was closed during the call") from error
                raise

    async def sleep(self, span: timedelta) -> None:
        """See `Link`."""
        await asyncio.sleep(span.total_seconds())

    def now(self) -> float:
        """See `Link`."""
        return time.monotonic()

    async def close(self) -> None:
        """Breaks off what is under way; those who wait get ClientClosedError."""
        self.closed = True
        if self._channel is not None:
            await self._channel.close()
