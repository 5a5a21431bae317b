"""One deadline for many: a single timer looks after everybody who waits for a client's first message.

`asyncio.timeout` sets up and takes down a timer for each, at a third of what a whole Poll costs here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")

_LOOK_SECONDS = 0.5


class Patience:
    """Used from one event loop, by asyncio tasks that each wait for one thing at a time."""

    def __init__(self, seconds: float) -> None:
        """Nobody waits longer than so many seconds, or very little more."""
        self._seconds = seconds
        self._waiting: dict[asyncio.Task[object], float] = {}  # until when, on the loop's clock; the first is due first
        self._overdue: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def bear(self, awaited: Awaitable[_T]) -> _T:
        """Return what comes.

        Raises:
            TimeoutError: nothing came in time.
        """
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._waiting[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look, loop)
        try:
            return await awaited
        except asyncio.CancelledError:
            # Ours, unless somebody else wants its end too.
            if task in self._overdue and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._waiting.pop(task, None)
            self._overdue.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, until in self._waiting.items():
            if until > now:
                break
            if task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        self._timer = loop.call_later(_LOOK_SECONDS, self._look, loop) if self._waiting else None
