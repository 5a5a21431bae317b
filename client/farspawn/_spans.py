"""How long a caller may say to wait."""

from datetime import timedelta
from typing import TypeAlias

Timeout: TypeAlias = timedelta | float | None
"""A span, or a number of seconds as the standard library has it; None: no limit."""


def span_of(timeout: Timeout) -> timedelta | None:
    """The span.

    Raises:
        ValueError: It is negative or not a number.
    """
    span = timedelta(seconds=timeout) if isinstance(timeout, int | float) else timeout
    if span is not None and span < timedelta():
        raise ValueError(f"a timeout is not negative: {timeout}")
    return span
