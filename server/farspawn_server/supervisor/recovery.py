"""What a stored task becomes when the server starts: decided from what is stored and what the keeper holds."""

from __future__ import annotations

import enum

from farspawn_server.keeper.messages import Hello, Holding
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Cause, State


class Verdict(enum.Enum):
    """What to do with a task that had not ended."""

    SETTLE = enum.auto()  # the keeper has it: go on from what it knows
    RESUME = enum.auto()  # it has no process now, and waits for its next attempt
    SPAWN = enum.auto()  # this keeper was never asked: ask now
    ADOPT = enum.auto()  # an earlier keeper had it, or was about to: let this one look for it
    LOSE = enum.auto()  # nobody can know what became of it


def judge(task: Task, hello: Hello, holding: Holding | None) -> tuple[Verdict, Cause, str]:
    """Return what to do, and for LOSE why."""
    if task.boot != hello.boot:
        when = "before its next attempt" if task.state is State.PENDING else "while the task ran"
        return Verdict.LOSE, Cause.HOST_REBOOTED, f"the machine was rebooted {when}"
    if task.state is State.PENDING:
        return Verdict.RESUME, Cause.COMPLETED, ""
    if holding is not None:
        return Verdict.SETTLE, Cause.COMPLETED, ""
    if task.keeper == hello.keeper and (task.ending or not task.pid):
        # The order was lost with the server that was about to give it: the keeper drops nothing by itself.
        return Verdict.SPAWN, Cause.COMPLETED, ""
    return Verdict.ADOPT, Cause.COMPLETED, ""
