"""Wait for a condition, never for time: the only place in the tests that lets time pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

PATIENCE = 60.0
"""In seconds: what a busy two-core machine may need for something that normally takes milliseconds."""


def until(condition: Callable[[], _T], timeout: float = PATIENCE, *, every: float = 0.005) -> _T:
    """Return the first true value of `condition`, asking again `every` so many seconds.

    Raises:
        TimeoutError: it was still false after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    tick = threading.Event()  # never set: a wait that signals and other threads can use
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {getattr(condition, '__name__', condition)!s}")
        tick.wait(every)
    return value
