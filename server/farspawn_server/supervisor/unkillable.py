"""Which processes of a task cannot be ended, and why, in words for people."""

from __future__ import annotations

import os
from collections.abc import Iterable

from farspawn_server.task.outcome import Survivor


def unkillable(members: Iterable[tuple[int, str, str, int]], *, struck: bool) -> tuple[Survivor, ...]:
    """Return those of a task's live processes that resist.

    Args:
        members: pid, name, state as in proc_pid_stat(5), and the errno of the last signal that the kernel refused or 0.
        struck: they were all sent SIGKILL: whoever lives resists. Else only whom the kernel keeps from being signalled.
    """
    return tuple(
        Survivor(pid, name, _reason(state, error_number))
        for pid, name, state, error_number in members
        if struck or error_number
    )


def _reason(state: str, error_number: int) -> str:
    if error_number:
        return f"it cannot be signalled: {os.strerror(error_number)}"
    return "uninterruptible sleep" if state == "D" else f"state {state}, SIGKILL has had no effect"
