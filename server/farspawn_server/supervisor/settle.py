"""From what the keeper knows to what the task is: pure, so that recovery and everyday life cannot differ."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import replace

from farspawn_server.keeper.messages import Ended, Failure, Holding
from farspawn_server.task.clocks import Moment
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import (
    Cause,
    CleanupOutcome,
    LaunchFailure,
    LeaderExit,
    OomKill,
    Outputs,
    State,
    Usage,
)
from farspawn_server.task.stop import Stop

_LONGEST_PATH = 4096  # PATH_MAX of the kernel
SUPERVISION_LOST = "the process that held its exit (its shim) was killed: nobody knows how it ended"


def settled(task: Task, holding: Holding, moment: Moment) -> Task:
    """Return the task as it is by what the keeper knows of the run that it waits for."""
    dice = random.random()  # noqa: S311  # spreads restarts; guards nothing
    task = _with_outputs(task, holding)
    if task.ending is not None:
        return _cleanup_settled(task, holding, moment, dice)
    if holding.failure is not None:
        return task.failed(_failure(holding.failure), moment, dice)
    if holding.pid and not task.pid:
        task = task.running(holding.pid, holding.started_at, holding.started_monotonic)
    if holding.ended is None and not holding.lost:
        return task
    if task.leader is None:
        if holding.shut_down and not task.times.killed:
            task = _killed_by_keeper(task, Cause.SITE_SHUTDOWN, moment)
        task = task.leader_ended(_leader_exit(holding.ended, moment))
    assert task.leader is not None
    if not holding.alive:
        return task.exited(moment, dice) if task.leader.known else task.lost(SUPERVISION_LOST, moment, dice)
    if holding.lost and not task.times.killed:
        return _killed_by_keeper(task, Cause.COMPLETED, moment)
    if task.state is not State.STOPPING:
        # Nothing outlives its task: what the leader left behind is stopped by the task's plan.
        return task.stopping(Stop.by_plan(task.plan, moment.monotonic, cause=Cause.COMPLETED), moment)
    return task


def is_remembered(before: Task, after: Task) -> bool:
    """Whether the shim would tell all of this change again, so that it is not to be stored."""
    return (
        after.state in (before.state, State.RUNNING)
        and after.stop is before.stop
        and after.leader is before.leader
        and after.ending is before.ending
    )


def _killed_by_keeper(task: Task, cause: Cause, moment: Moment) -> Task:
    now = moment.monotonic
    return task.stopping(Stop(cause, "", signal.SIGKILL, now, now), moment).killed(moment)


def _with_outputs(task: Task, holding: Holding) -> Task:
    """Take in what is worth telling: that nothing can be written, or can again, and all of it at the end."""
    told, known = holding.outputs, task.outputs or Outputs()
    if holding.lost and not holding.alive:
        return replace(task, outputs=replace(known, cut_off=True))
    if told is None or (holding.alive and told.error_number == known.error_number):
        return task
    known = replace(known, error_number=told.error_number)
    if not holding.alive:
        # A cleanup goes on in the files of its attempt, whose losses its shim does not know.
        (out, err), (lost_out, lost_err) = told.written, told.lost
        known = replace(
            known,
            written=(max(out, known.written[0]), max(err, known.written[1])),
            lost=(lost_out + known.lost[0], lost_err + known.lost[1]),
        )
    return replace(task, outputs=known)


def _cleanup_settled(task: Task, holding: Holding, moment: Moment, dice: float) -> Task:
    if holding.failure is not None:
        return task.cleaned_up(CleanupOutcome(failure=_failure(holding.failure)), moment, dice)
    if holding.alive or (holding.ended is None and not holding.lost):
        return task
    how = CleanupOutcome() if holding.ended is None else CleanupOutcome(holding.ended.code, holding.ended.signal)
    return task.cleaned_up(how, moment, dice)


def _failure(failure: Failure) -> LaunchFailure:
    # A path may be no text and of any length; this is told in every answer about the task.
    path = os.fsencode(failure.path)[:_LONGEST_PATH].decode(errors="replace")
    return LaunchFailure(failure.error_number, failure.phase, path)


def _leader_exit(ended: Ended | None, moment: Moment) -> LeaderExit:
    if ended is None:
        return LeaderExit(None, None, core_dumped=False, usage=None, at=moment.wall)
    usage = None
    if (spent := ended.spent) is not None:
        usage = Usage(spent.user_seconds, spent.system_seconds, spent.max_resident_bytes)
    return LeaderExit(ended.code, ended.signal, ended.core_dumped, usage, ended.at, OomKill(ended.out_of_memory))
