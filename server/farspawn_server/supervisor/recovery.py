"""What a stored task becomes when the server starts: decided from what is stored and what the keeper holds."""

from __future__ import annotations

import enum

from farspawn_server.keeper.messages import Hello, Holding
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Cause, State

_OF_AN_OLDER_VERSION = (
    "farspawn 0.1 started it, and this version does not know its processes: they may still run. "
    "Drain a site before such an upgrade"
)


_UNREADABLE = (
    "what the site knew of it could not be read: the database is damaged. It is kept in the table damaged until this "
    "task is deleted"
)


class Verdict(enum.Enum):
    """What to do with a task that had not ended."""

    SETTLE = enum.auto()  # the keeper has it: go on from what it knows
    RESUME = enum.auto()  # it has no process now, and waits for its next attempt
    SPAWN = enum.auto()  # the keeper does not have it yet: tell it, for it starts each run once whoever asks
    CUT_OFF = enum.auto()  # nobody can know what became of it


def judge(task: Task, hello: Hello, holding: Holding | None) -> tuple[Verdict, Cause, str]:
    """Return what to do, and for CUT_OFF why."""
    if not task.boot:
        return Verdict.CUT_OFF, Cause.SUPERVISION_LOST, _UNREADABLE
    if task.boot != hello.boot:
        when = "before its next attempt" if task.state is State.PENDING else "while the task ran"
        return Verdict.CUT_OFF, Cause.HOST_REBOOTED, f"the machine was rebooted {when}"
    if task.state is State.PENDING:
        return Verdict.RESUME, Cause.COMPLETED, ""
    if not task.handle:
        return Verdict.CUT_OFF, Cause.SUPERVISION_LOST, _OF_AN_OLDER_VERSION
    return (Verdict.SPAWN if holding is None else Verdict.SETTLE), Cause.COMPLETED, ""
