"""The two clocks: one for people, one for deadlines."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

Monotonic = int
"""Nanoseconds of CLOCK_MONOTONIC."""
Wall = int
"""Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on both clocks."""

    wall: Wall
    monotonic: Monotonic

    @staticmethod
    def now() -> Moment:
        """Return the present one."""
        return Moment(time.time_ns(), time.monotonic_ns())


def nanoseconds(span: timedelta) -> int:
    """Return a span in whole nanoseconds."""
    return span // timedelta(microseconds=1) * 1000
