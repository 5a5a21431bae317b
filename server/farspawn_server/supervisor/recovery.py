"""What a stored task becomes when the server starts: judged by what is stored and what the keeper holds, and begun."""

from __future__ import annotations

import enum
from collections.abc import Coroutine, Iterable

from farspawn_server.keeper.messages import Adopt, Hello, Holding
from farspawn_server.supervisor.charge import Charge, Ground
from farspawn_server.supervisor.orders import order
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


def take_stock(charges: Iterable[Charge], ground: Ground) -> list[Coroutine[None, None, None]]:
    """Tell the keeper what to do with each task that had not ended; return what is to be stored of the lost ones."""
    link, lost = ground.link, list[Coroutine[None, None, None]]()
    holdings = {holding.uid: holding for holding in ground.hello.holdings}
    for charge in charges:
        task = charge.task
        if task.state.final:
            continue
        holding = holdings.pop(task.run, None)
        verdict, cause, message = judge(task, ground.hello, holding)
        if verdict is Verdict.LOSE:
            lost.append(charge.lose(cause, message))
            continue
        if verdict is Verdict.SPAWN:
            link.spawn(order(task, ground.logs))
        elif verdict is Verdict.ADOPT:
            pid = 0 if task.ending else task.pid
            link.adopt(Adopt(task.run, pid, task.start_time, task.times.started or 0))
        elif holding is not None:
            charge.hold(holding)
        charge.resume()
    for run in holdings:
        # No process without a task. Mostly these have ended and were stored, and the server died before it said so.
        link.kill(run)
        link.forget(run)
    return lost
