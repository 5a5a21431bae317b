"""How much the site takes on."""

from __future__ import annotations

from dataclasses import dataclass

from farspawn_server.task.errors import LimitReachedError


@dataclass(frozen=True, slots=True)
class Limits:
    """What the site's owner allows all callers together."""

    max_live_tasks: int = 10_000
    max_ended_tasks: int = 10_000
    max_poll_tasks: int = 10_000

    def admit(self, live_tasks: int) -> None:
        """Raise LimitReachedError if there is no room for another task."""
        if live_tasks >= self.max_live_tasks:
            raise LimitReachedError("max_live_tasks", self.max_live_tasks)
