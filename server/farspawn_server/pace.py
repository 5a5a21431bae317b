"""How often each of many may do something: a bucket of tokens for each, which fills at the rate that is allowed."""

from __future__ import annotations

import time
from collections.abc import Callable

_MANY = 1000


class Pace:
    """Used from one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds."""
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens left, and when

    def takes(self, who: str, per_second: float, size: float = 1.0) -> bool:
        """Take a token, if there is one.

        Args:
            who: has a bucket.
            per_second: at this rate it fills.
            size: so many tokens it holds, but at least those of one second.
        """
        now, size = self._clock(), max(size, per_second)
        left, at = self._buckets.get(who, (size, now))
        left = min(size, left + (now - at) * per_second)
        if left < 1:
            return False
        if who not in self._buckets and len(self._buckets) >= _MANY:
            self._forget_full(now, per_second, size)
        self._buckets[who] = (left - 1, now)
        return True

    def _forget_full(self, now: float, per_second: float, size: float) -> None:
        self._buckets = {
            who: (left, at) for who, (left, at) in self._buckets.items() if left + (now - at) * per_second < size
        }
