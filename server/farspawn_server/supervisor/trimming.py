"""Look at the outputs of tasks from time to time, and have those trimmed that are too large."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from farspawn_server.logs import DEFAULT_LOG_BYTES, LogFiles, Output, trim
from farspawn_server.task.life import Task

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

    def ended(self, task: Task) -> None:
        """Look at the outputs of a task for a last time."""
        self._ended.append(task)

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            last, self._ended = self._ended, []
            outputs = [output for task in (*self._live(), *last) for output in self._outputs(task)]
            began_at = time.monotonic()
            if outputs:
                await asyncio.to_thread(trim, outputs)
            took = time.monotonic() - began_at
            await asyncio.sleep(min(max(took * _SHARE, _SHORTEST_SECONDS), _LONGEST_SECONDS))

    def _outputs(self, task: Task) -> list[tuple[Path, int]]:
        keep = task.terms.resources.log_bytes or DEFAULT_LOG_BYTES
        # The attempt before may have ended since the last round.
        attempts = {max(1, task.attempt - 1), task.attempt}
        return [(self._logs.path(task.uid, attempt, output), keep) for attempt in attempts for output in Output]
