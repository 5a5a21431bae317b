"""What a charge stands on, with a store that the test can fill, or keep waiting, and a keeper that only listens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from farspawn_server.audit import Record
from farspawn_server.changes import Changes, Deletion
from farspawn_server.keeper.messages import Hello, Spawn
from farspawn_server.logs import LogFiles
from farspawn_server.store import StoreError
from farspawn_server.supervisor.charge import Charge, Ground
from farspawn_server.task.life import Task


class Disk:
    """Takes everything at once, in order, unless it is `full` or `hangs`."""

    def __init__(self) -> None:
        self.full = False
        self.hangs = False
        self.stored: list[Task] = []
        self._waiting: list[tuple[asyncio.Future[None], Task | None]] = []

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def put(self, task: Task, _: Record | None = None) -> asyncio.Future[None]:
        return self._ask(task)

    def turn(self) -> asyncio.Future[None]:
        return self._ask(None)

    def go_on(self) -> None:
        """Take what has waited."""
        self.hangs = False
        for done, task in self._waiting:
            self._finish(done, task)
        self._waiting.clear()

    def _ask(self, task: Task | None) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.hangs:
            self._waiting.append((done, task))
        else:
            self._finish(done, task)
        return done

    def _finish(self, done: asyncio.Future[None], task: Task | None) -> None:
        if self.full and task is not None:
            done.set_exception(StoreError("full"))
            return
        if task is not None:
            self.stored.append(task)
        done.set_result(None)


class Keeper:
    """Notes what it is told; `members` is what it answers."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.members_now: list[tuple[int, str, str, int]] = []

    def spawn(self, order: Spawn) -> None:
        self.told.append(("spawn", order.uid))

    def kill(self, uid: str) -> None:
        self.told.append(("kill", uid))

    def forget(self, uid: str) -> None:
        self.told.append(("forget", uid))

    def send_signal(self, uid: str, number: int, *, tree: bool) -> None:
        self.told.append(("signal", uid, number, tree))

    async def members(self, _: str) -> list[tuple[int, str, str, int]]:
        return self.members_now


class Published(Changes):
    """Keeps all that was published."""

    def __init__(self) -> None:
        super().__init__(0, [])
        self.all: list[Task] = []

    def publish(self, change: Task | Deletion) -> None:
        assert isinstance(change, Task)
        self.all.append(change)
        super().publish(change)


class Site:
    """All of it; `charge` puts a task into it."""

    def __init__(self, directory: Path) -> None:
        self.disk, self.keeper, self.published = Disk(), Keeper(), Published()
        self.revision = 0
        self.ground = Ground(
            store=cast(Any, self.disk),
            link=cast(Any, self.keeper),
            hello=Hello("keeper-1", "boot-1", 0),
            logs=LogFiles(directory / "logs"),
            changes=self.published,
            next_revision=self._next_revision,
            ended=lambda _: None,
        )

    def charge(self, task: Task) -> Charge:
        return Charge(task, self.ground)

    def _next_revision(self) -> int:
        self.revision += 1
        return self.revision


async def settle(charge: Charge) -> None:
    """Let all that a charge has begun come to its end."""
    while steps := charge.under_way:
        await asyncio.wait(steps)
