"""How much the site takes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from farspawn_server.task.errors import LimitReachedError
from farspawn_server.task.spec import Owner


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


class Pace:
    """How fast each owner launches: a bucket of tokens for each, which fills at the rate that is allowed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds."""
        self._clock = clock
        self._buckets: dict[Owner, tuple[float, float]] = {}  # tokens left, and when

    def admit(self, owner: Owner, per_second: float) -> None:
        """Take a token. A bucket holds those of one second, at least one.

        Raises:
            LimitReachedError: there is none.
        """
        if not per_second:
            return
        now, size = self._clock(), max(1.0, per_second)
        left, at = self._buckets.get(owner, (size, now))
        left = min(size, left + (now - at) * per_second)
        if left < 1:
            raise LimitReachedError("max_launches_per_second", per_second)
        if owner not in self._buckets:
            self._forget_full(now, per_second)
        self._buckets[owner] = (left - 1, now)

    def _forget_full(self, now: float, per_second: float) -> None:
        size = max(1.0, per_second)
        if len(self._buckets) >= _MANY:
            self._buckets = {
                owner: (left, at)
                for owner, (left, at) in self._buckets.items()
                if left + (now - at) * per_second < size
            }


_MANY = 1000
