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
        left = self._left(who, now, per_second, size)
        if left < 1:
            return False
        self._set(who, left - 1, now, per_second, size)
        return True

    def reserve(self, who: str, per_second: float) -> float:
        """Take a token that may be still to come; return in how many seconds it is there."""
        now, size = self._clock(), max(1.0, per_second)
        left = self._left(who, now, per_second, size) - 1
        self._set(who, left, now, per_second, size)
        return max(0.0, -left / per_second)

    def _left(self, who: str, now: float, per_second: float, size: float) -> float:
        left, at = self._buckets.get(who, (size, now))
        return min(size, left + (now - at) * per_second)

    def _set(self, who: str, left: float, now: float, per_second: float, size: float) -> None:
        if who not in self._buckets and len(self._buckets) >= _MANY:
            self._forget_full(now, per_second, size)
        self._buckets[who] = (left, now)

    def _forget_full(self, now: float, per_second: float, size: float) -> None:
        self._buckets = {
            who: (left, at) for who, (left, at) in self._buckets.items() if left + (now - at) * per_second < size
        }
