"""How many bytes all calls that wait may hold, and those of each caller: long polls and watches.

Their number is bounded by connections and streams; a poll of ten thousand ids holds a thousand times what one of a
single id does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from farspawn_server.task.errors import LimitReachedError
from farspawn_server.task.spec import Owner

_BYTES_PER_ID = 128  # measured: a bell at the task, places in lists, the id itself

MOST_BYTES = 64 << 20
MOST_BYTES_PER_CALLER = 4 << 20


class Waiting:
    """Used from one event loop."""

    def __init__(self, most: int = MOST_BYTES, most_per_caller: int = MOST_BYTES_PER_CALLER) -> None:
        """Nobody waits yet."""
        self._most, self._most_per_caller = most, most_per_caller
        self._held = 0
        self._held_of: Counter[Owner] = Counter()

    @contextmanager
    def holding(self, caller: Owner, size: int, ids: int = 0) -> Generator[None]:
        """Count what a call holds as long as it waits.

        Args:
            caller: whose it is.
            size: of its request.
            ids: how many tasks it asks about.

        Raises:
            LimitReachedError: it would be too much, of this caller or of all.
        """
        held = size + ids * _BYTES_PER_ID
        if self._held_of[caller] + held > self._most_per_caller:
            raise LimitReachedError("waiting_bytes_per_caller", self._most_per_caller)
        if self._held + held > self._most:
            raise LimitReachedError("waiting_bytes", self._most)
        self._held += held
        self._held_of[caller] += held
        try:
            yield
        finally:
            self._held -= held
            self._held_of[caller] -= held
            if not self._held_of[caller]:
                del self._held_of[caller]
