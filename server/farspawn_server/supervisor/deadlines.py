"""What a task is owed by the clock: when something is due next, and the stop that the site itself gives it."""

from __future__ import annotations

import signal

from farspawn_server.task.clocks import Monotonic
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Cause
from farspawn_server.task.spec import LeaseAction
from farspawn_server.task.stop import Stop

SURVIVAL_NS = 10_000_000_000
"""How long after SIGKILL what still lives is called a survivor."""
_LOOK_AGAIN_NS = 1_000_000_000


def next_deadline(task: Task, lease_until: Monotonic | None, now: Monotonic) -> Monotonic | None:
    """Return when something is due for a task; None: never."""
    if task.state.final:
        return None
    if task.ending is not None:
        return now + _LOOK_AGAIN_NS if task.ending.killed else task.ending.until
    if task.stop is None:
        found = (task.restart_at, lease_until, task.runtime_until if task.leader is None else None)
        return min((each for each in found if each is not None), default=None)
    if task.times.killed:
        return now + _LOOK_AGAIN_NS  # again and again: what SIGKILL does not end is told, and may end yet
    return task.stop.kill_at if task.asked_by is None else task.asked_by


def due_stop(task: Task, lease_until: Monotonic | None, now: Monotonic) -> Stop | None:
    """Return the stop that the site itself owes a task now."""
    if lease_until is not None and now >= lease_until:
        assert task.terms.lease is not None
        if task.terms.lease.action is LeaseAction.KILL:
            return Stop(Cause.LEASE_EXPIRED, "", signal.SIGKILL, now, now)
        return Stop.by_plan(task.plan, now, cause=Cause.LEASE_EXPIRED)
    if task.runtime_until is not None and now >= task.runtime_until:
        return Stop.by_plan(task.plan, now, cause=Cause.MAX_RUNTIME)
    return None
