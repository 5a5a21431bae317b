"""How late the event loop is: the lag of a timer that wakes again and again.

While the loop is busy with one thing, or the whole process stands still, nothing that came is heard.
"""

from __future__ import annotations

import asyncio
import time

_EVERY_NS = 100_000_000
_ORDINARY_NS = 50_000_000
"""So late a timer may be on a busy machine without anybody being kept waiting."""


class LoopLag:
    """Used from one event loop. `total`: by how many nanoseconds the loop has been late so far, in all."""

    def __init__(self) -> None:
        """Nothing is measured before `measure`."""
        self._total = 0
        self._due: int | None = None

    @property
    def total(self) -> int:
        """By how many nanoseconds the loop has been late so far, in all, also if it has only just come round."""
        return self._total + self._late()

    async def measure(self) -> None:
        """Look at the clock, for ever."""
        while True:
            self._due = time.monotonic_ns() + _EVERY_NS
            await asyncio.sleep(_EVERY_NS / 1e9)
            self._total += self._late()

    def _late(self) -> int:
        late = 0 if self._due is None else time.monotonic_ns() - self._due
        # What kept the loop may have begun at any moment since the timer was set.
        return late + _EVERY_NS if late > _ORDINARY_NS else 0
