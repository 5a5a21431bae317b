"""What changed since a revision, and a bell for those who wait for the next change.

Level-triggered: a reader that was away sees each task once, as it is now, in the order of the revisions. So a slow
reader costs nothing, skips what was superseded, and misses no final state.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from farspawn_server.task.errors import DrainingError
from farspawn_server.task.life import Task
from farspawn_server.task.spec import Owner, Uid

_DELETIONS_KEPT = 10_000
_TELLING_SECONDS = 100e-6  # what it costs to tell one of those who wait for any task
_AT_ONCE_SECONDS = 1e-3
_ENDING = "the server is ending: go on with the next one"


@dataclass(frozen=True, slots=True)
class Deletion:
    """A task that is no more."""

    uid: Uid
    owner: Owner
    revision: int


class Changes:
    """The newest value of every task, in the order of the revisions. Used from one event loop."""

    def __init__(self, revision: int, tasks: Collection[Task]) -> None:
        """`revision` is the greatest ever given, also to what was deleted."""
        self.revision = revision
        self._newest: dict[Uid, Task | Deletion] = {
            task.uid: task for task in sorted(tasks, key=lambda task: task.revision)
        }
        self._deletions: deque[Uid] = deque()
        self._closed = False
        self._waiting: dict[Uid | None, set[asyncio.Future[bool]]] = {}  # None: for any task
        self._tolling = False  # whether those who wait for any task are about to be rung

    def publish(self, change: Task | Deletion) -> None:
        """Make known what is stored: a task as it is now, or its deletion."""
        self._newest.pop(change.uid, None)
        self._newest[change.uid] = change  # a dict keeps the order of insertion: the newest is last
        if isinstance(change, Deletion):
            self._deletions.append(change.uid)
            if len(self._deletions) > _DELETIONS_KEPT:
                del self._newest[self._deletions.popleft()]
        self.revision = max(self.revision, change.revision)
        _ring(self._waiting.get(change.uid, ()))
        self._ring_all()

    def _ring_all(self) -> None:
        """Ring those who wait for any task; the more they are, the later, so that one ring tells of more changes.

        Otherwise a task that starts and ends would make thousands of watchers busy three times, and everybody wait.
        """
        bells = self._waiting.get(None, set())
        seconds = len(bells) * _TELLING_SECONDS
        if seconds < _AT_ONCE_SECONDS:
            _ring(bells)
        elif not self._tolling:
            self._tolling = True
            next(iter(bells)).get_loop().call_later(seconds, self._toll)

    def _toll(self) -> None:
        self._tolling = False
        _ring(self._waiting.get(None, ()))

    def since(self, revision: int) -> list[Task | Deletion]:
        """Return what changed after a revision, in the order of the revisions; of deletions only the recent ones."""
        newer: list[Task | Deletion] = []
        for change in reversed(self._newest.values()):
            if change.revision <= revision:
                break
            newer.append(change)
        newer.reverse()
        return newer

    async def wait(self, uids: Collection[Uid] | None, seconds: float) -> bool:
        """Wait for the next change of one of these tasks, None: of any; return whether there was one.

        Whoever calls has looked at the present state without giving way to others in between.

        Raises:
            DrainingError: the server ends, and nobody is to wait any longer.
        """
        if self._closed:
            raise DrainingError(_ENDING)
        bell: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        keys: Collection[Uid | None] = [None] if uids is None else uids
        for key in keys:
            self._waiting.setdefault(key, set()).add(bell)
        # A timer that rings the same bell: asyncio.wait_for makes tasks, and nobody waits more often than we do here.
        timer = bell.get_loop().call_later(seconds, _ring, (bell,), False)  # nothing changed
        try:
            changed = await bell
            if self._closed:
                raise DrainingError(_ENDING)
            return changed
        finally:
            timer.cancel()
            for key in keys:
                waiting = self._waiting[key]
                waiting.discard(bell)
                if not waiting:
                    del self._waiting[key]

    def close(self) -> None:
        """Send everybody who waits away."""
        self._closed = True
        for waiting in self._waiting.values():
            _ring(waiting)


def _ring(bells: Collection[asyncio.Future[bool]], changed: bool = True) -> None:
    for bell in bells:
        if not bell.done():
            bell.set_result(changed)
