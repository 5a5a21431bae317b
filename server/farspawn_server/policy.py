"""Who may do what, and what this site allows."""

from __future__ import annotations

from dataclasses import dataclass

from farspawn_server.task.errors import LimitReachedError
from farspawn_server.task.spec import Owner


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a call. Tasks belong to the identity that launched them."""

    identity: Owner


LOCAL = Caller(Owner("local"))
"""Whoever can open the Unix socket: its directory is for one user only. Also the loopback caller of --insecure."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the site takes on."""

    max_live_tasks: int = 10_000
    max_ended_tasks: int = 10_000
    max_poll_tasks: int = 10_000

    def admit(self, live_tasks: int) -> None:
        """Raise LimitReachedError if there is no room for another task."""
        if live_tasks >= self.max_live_tasks:
            raise LimitReachedError("max_live_tasks", self.max_live_tasks)
