"""Look at the outputs of tasks from time to time, and have those trimmed that are too large."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from farspawn_server.logs import DEFAULT_LOG_BYTES, LogFiles, Output, trim
from farspawn_server.task.life import EARLIER_ATTEMPTS_KEPT, Task
from farspawn_server.task.spec import Uid

# Between two rounds: so long that looking takes a five-hundredth of the time, but within these bounds.
_SHARE = 500
_SHORTEST_SECONDS = 2.0
_LONGEST_SECONDS = 30.0


class Trimmer:
    """Belongs to the supervisor and its event loop."""

    def __init__(self, logs: LogFiles, live: Callable[[], Iterable[Task]]) -> None:
        """`live` returns the tasks whose outputs may be growing."""
        self._logs = logs
        self._live = live
        self._ended: list[Task] = []
        self._looked_at: dict[Uid, int] = {}  # up to which attempt

    def ended(self, task: Task) -> None:
        """Look at the outputs of a task for a last time."""
        self._ended.append(task)

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            last, self._ended = self._ended, []
            outputs = [output for task in (*self._live(), *last) for output in self._outputs(task)]
            for task in last:
                self._looked_at.pop(task.uid, None)
            began_at = time.monotonic()
            if outputs:
                await asyncio.to_thread(trim, outputs)
            took = time.monotonic() - began_at
            await asyncio.sleep(min(max(took * _SHARE, _SHORTEST_SECONDS), _LONGEST_SECONDS))

    def _outputs(self, task: Task) -> Iterator[tuple[Path, int]]:
        """Yield the outputs of the attempts that may have written since the last round; of old ones nothing is kept."""
        keep = task.terms.resources.log_bytes or DEFAULT_LOG_BYTES
        since = self._looked_at.get(task.uid, 1)
        self._looked_at[task.uid] = task.attempt
        for attempt in range(max(1, since - EARLIER_ATTEMPTS_KEPT), task.attempt + 1):
            is_old = attempt < task.attempt - EARLIER_ATTEMPTS_KEPT
            for output in Output:
                yield self._logs.path(task.uid, attempt, output), 0 if is_old else keep
