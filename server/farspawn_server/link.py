"""The server's end of the socket to the keeper: orders out, holdings and answers in.

The end of the socket is the end of the keeper: nothing that this server knows is worth anything then.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import socket
from collections.abc import Callable, Collection

from farspawn_server.keeper.messages import (
    Answer,
    Decoder,
    Drain,
    Finished,
    Forget,
    Hello,
    Holding,
    InputTaken,
    Kill,
    Members,
    Message,
    Ping,
    Pong,
    Reconfigure,
    Signal,
    Spawn,
    Write,
    encode,
)

_FORGET_WITHIN_SECONDS = 0.05


class KeeperLink(asyncio.Protocol):
    """Speaks to the keeper. Used from one event loop."""

    def __init__(
        self,
        *,
        changed: Callable[[Holding], None],
        drain: Callable[[], None],
        reconfigure: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        """Describe a link that is not open yet.

        Args:
            changed: is told each Holding that comes after the Hello.
            drain: the site's owner asks for a shutdown.
            reconfigure: the site's owner has changed the settings.
            lost: the keeper is gone.
        """
        self._changed = changed
        self._drain = drain
        self._reconfigure = reconfigure
        self._lost = lost
        self._decoder = Decoder()
        self._sequences = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._writing: dict[int, asyncio.Future[InputTaken]] = {}
        self._hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.WriteTransport | None = None
        self._unsent = bytearray()
        self._sending: asyncio.TimerHandle | None = None

    async def open(self, descriptor: int) -> Hello:
        """Take the socket that the keeper left us and return what the keeper says first."""
        os.set_inheritable(descriptor, False)
        end = socket.socket(fileno=descriptor)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=end)
        return await self._hello

    def spawn(self, order: Spawn) -> None:
        """Have a run started, once, however often this is said. The answer is a Holding."""
        self._send(order)

    def kill(self, uid: str) -> None:
        """Have a task killed until nothing of it is left. The answer is a Holding."""
        self._send(Kill(uid))

    def forget(self, uid: str) -> None:
        """Say that the end of a task is stored. It goes with the next message: nobody is in a hurry to forget."""
        self._unsent += encode(Forget(uid))
        if self._sending is None:
            self._sending = asyncio.get_running_loop().call_later(_FORGET_WITHIN_SECONDS, self._flush)

    def finish(self) -> None:
        """Say that the shutdown is done."""
        self._send(Finished())

    async def signal(self, uid: str, number: int, *, tree: bool) -> int:
        """Signal a task and return how many processes were reached."""
        sequence = next(self._sequences)
        return (await self._ask(sequence, Signal(sequence, uid, number, tree))).reached

    def send_signal(self, uid: str, number: int, *, tree: bool) -> None:
        """Signal a task, and do not wait for the answer."""
        self._send(Signal(next(self._sequences), uid, number, tree))

    async def members(self, uid: str) -> list[tuple[int, str, str, int]]:
        """Return (pid, name, state as in proc_pid_stat(5), error) of each live process of a task.

        The error is the number of that with which the kernel refused the last signal; 0: it did not.
        """
        sequence = next(self._sequences)
        return (await self._ask(sequence, Members(sequence, uid))).members

    async def write(self, uid: str, offset: int, data: bytes, *, end: bool) -> InputTaken:
        """Write to a task's input, and wait until its pipe has taken all of it."""
        sequence = next(self._sequences)
        taken: asyncio.Future[InputTaken] = asyncio.get_running_loop().create_future()
        self._writing[sequence] = taken
        try:
            self._send(Write(sequence, uid, offset, base64.b64encode(data).decode("ascii"), end))
            return await taken
        finally:
            del self._writing[sequence]

    async def wait(self, work: Collection[asyncio.Future[None]], seconds: float) -> set[asyncio.Future[None]]:
        """Wait so long for what only the keeper can bring about; return what is still to come.

        Raises:
            ConnectionError: it is gone.
        """
        waiting = asyncio.create_task(_wait(work, seconds))
        await asyncio.wait({waiting, self._gone}, return_when=asyncio.FIRST_COMPLETED)
        if self._gone.done():
            waiting.cancel()
            raise ConnectionError("the keeper is gone")
        return {each for each in work if not each.done()}

    async def _ask(self, sequence: int, message: Message) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[sequence] = answer
        try:
            self._send(message)
            return await answer
        finally:
            del self._asked[sequence]

    def _send(self, message: Message) -> None:
        self._unsent += encode(message)
        self._flush()

    def _flush(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        assert self._transport is not None
        self._transport.write(bytes(self._unsent))
        self._unsent.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """The keeper speaks."""
        for message in self._decoder.feed(data):
            match message:
                case Holding():
                    self._changed(message)
                case Answer():
                    if (asked := self._asked.get(message.sequence)) is not None and not asked.done():
                        asked.set_result(message)
                case InputTaken():
                    if (writing := self._writing.get(message.sequence)) is not None and not writing.done():
                        writing.set_result(message)
                case Hello():
                    self._hello.set_result(message)
                case Ping():
                    self._send(Pong())  # from the event loop, of which it is asked whether it lives
                case Drain():
                    self._drain()
                case Reconfigure():
                    self._reconfigure()
                case _:
                    pass  # the rest is what we say to it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """The keeper is gone."""
        if not self._hello.done():
            self._hello.set_exception(ConnectionError("the keeper closed the socket before its first word"))
        self._gone.set_result(None)
        self._lost()


async def _wait(work: Collection[asyncio.Future[None]], seconds: float) -> None:
    await asyncio.wait(work, timeout=seconds)
