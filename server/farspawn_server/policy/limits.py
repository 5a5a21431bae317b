"""How much the site takes on."""

from __future__ import annotations

from dataclasses import dataclass

from farspawn_server.task.errors import LimitReachedError


@dataclass(frozen=True, slots=True)
class Limits:
    """What the site's owner allows all callers together, and each one. 0: no limit."""

    max_live_tasks: int = 10_000
    max_live_tasks_per_owner: int = 0
    max_launches_per_second: float = 0
    max_ended_tasks: int = 10_000
    max_specs_bytes: int = 256 << 20
    max_poll_tasks: int = 10_000

    def admit(self, live_tasks: int, of_owner: int, live_bytes: int) -> None:
        """Raise LimitReachedError if there is no room for another task.

        Args:
            live_tasks: how many have not ended.
            of_owner: how many of these are the same owner's.
            live_bytes: of the specs of these.
        """
        if live_bytes >= self.max_specs_bytes:
            raise LimitReachedError("max_specs_bytes", self.max_specs_bytes)
        if live_tasks >= self.max_live_tasks:
            raise LimitReachedError("max_live_tasks", self.max_live_tasks)
        if 0 < self.max_live_tasks_per_owner <= of_owner:
            raise LimitReachedError("max_live_tasks_per_owner", self.max_live_tasks_per_owner)
