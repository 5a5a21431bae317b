"""From what the keeper knows to what the task is: pure, so that recovery and everyday life cannot differ."""

from __future__ import annotations

import os
import random
import signal

from farspawn_server.keeper.messages import Ended, Failure, Holding
from farspawn_server.task.clocks import Moment
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Cause, CleanupOutcome, LaunchFailure, LeaderExit, OomKill, State, Usage
from farspawn_server.task.stop import Stop

_LONGEST_PATH = 4096  # PATH_MAX of the kernel
_KEEPER_LOST = (
    "the keeper that started the task died; the task ended, or never began, and this kernel does not tell how"
)


def settled(task: Task, holding: Holding, moment: Moment) -> Task:
    """Return the task as it is by what the keeper knows of the run that it waits for."""
    dice = random.random()  # noqa: S311  # spreads restarts; guards nothing
    if task.ending is not None:
        return _cleanup_settled(task, holding, moment, dice)
    if holding.failure is not None:
        return task.failed(_failure(holding.failure), moment, dice)
    if holding.pid and not task.pid:
        task = task.running(holding.pid, holding.start_time, holding.started_at, moment, guessed=holding.guessed)
    if holding.ended is None:
        return task
    if holding.shut_down and task.leader is None and not task.times.killed:
        now = moment.monotonic
        task = task.stopping(Stop(Cause.SITE_SHUTDOWN, "", signal.SIGKILL, now, now), moment).killed(moment)
    if task.leader is None:
        task = task.leader_ended(_leader_exit(holding.ended))
    if holding.left == 0:
        assert task.leader is not None
        if task.leader.known:
            return task.exited(moment, dice)
        return task.lost(Cause.KEEPER_LOST, _KEEPER_LOST, moment, dice)
    if task.state is not State.STOPPING:
        # Nothing outlives its task: what the leader left behind is stopped by the task's plan.
        return task.stopping(Stop.by_plan(task.plan, moment.monotonic, cause=Cause.COMPLETED), moment)
    return task


def _cleanup_settled(task: Task, holding: Holding, moment: Moment, dice: float) -> Task:
    if holding.failure is not None:
        return task.cleaned_up(CleanupOutcome(failure=_failure(holding.failure)), moment, dice)
    if holding.ended is not None and holding.left == 0:
        return task.cleaned_up(CleanupOutcome(holding.ended.code, holding.ended.signal), moment, dice)
    return task


def _failure(failure: Failure) -> LaunchFailure:
    # A path may be no text and of any length; this is told in every answer about the task.
    path = os.fsencode(failure.path)[:_LONGEST_PATH].decode(errors="replace")
    return LaunchFailure(failure.error_number, failure.phase, path)


def _leader_exit(ended: Ended) -> LeaderExit:
    usage = None
    if (spent := ended.spent) is not None:
        usage = Usage(spent.user_seconds, spent.system_seconds, spent.max_resident_bytes)
    return LeaderExit(ended.code, ended.signal, ended.core_dumped, usage, ended.at, OomKill(ended.out_of_memory))
