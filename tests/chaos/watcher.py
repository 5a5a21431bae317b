"""A client that watches: its streams break at random and are resumed, and it misses nothing that it was promised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import grpc

from chaos import seen
from chaos.caller import Caller, reason_of
from chaos.history import Change, History
from chaos.seen import Status
from farspawn.v1 import launcher_pb2 as pb


class Watcher:
    """One watch that is resumed for ever."""

    def __init__(self, name: str, caller: Caller, history: History, dice: Random) -> None:
        """`name` is that of the watch in the record."""
        self.revision = 0
        self.on_final: Callable[[Status], None] = lambda _: None
        self.name = name
        self._caller = caller
        self._history = history
        self._dice = dice
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            seconds = self._dice.choice((0.5, 3.0, 20.0, 120.0))
            try:
                async with asyncio.timeout(seconds):
                    await self._watch()
            except TimeoutError:
                pass  # we went away, as clients do
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    self._caller.errors.append(
                        f"watch {self.name}: {error.code().name} {reason_of(error)} {error.details()}"
                    )
            await asyncio.sleep(self._dice.choice((0.0, 0.05, 1.0)))

    async def reaches(self, revision: int) -> None:
        """Return when everything up to this revision was told."""
        while self.revision < revision:
            self._moved.clear()
            await self._moved.wait()

    async def _watch(self) -> None:
        begun_at, last = self.revision, self.revision
        stream = self._caller.stub.WatchTasks(pb.WatchTasksRequest(since_revision=begun_at))
        try:
            async for message in stream:
                change = _change(message, self._history.now())
                self._history.watched(self.name, change)
                if not change.deleted:
                    if change.revision < last:
                        self._caller.errors.append(
                            f"watch {self.name}: revision {change.revision} came after {last} in one stream"
                        )
                    last = change.revision
                self.revision = max(self.revision, change.revision)
                self._moved.set()
                if change.status is not None and change.status.final:
                    self.on_final(change.status)
        finally:
            stream.cancel()


def _change(message: pb.WatchTasksResponse, at: float) -> Change:
    match message.WhichOneof("event"):
        case "changed":
            status = seen.status(message.changed)
            return Change(at, status=status, revision=status.revision)
        case "deleted_uid":
            return Change(at, deleted=message.deleted_uid)
        case _:
            return Change(at, revision=message.checkpoint.revision)
