"""Tasks as values, in every state, for tests of pure functions and of the store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from farspawn_server.task.clocks import Moment
from farspawn_server.task.life import LOCAL, Task
from farspawn_server.task.outcome import Cause, LaunchFailure, LeaderExit, State, Survivor, Times, Usage
from farspawn_server.task.spec import (
    Lease,
    LeaseAction,
    Owner,
    RestartMode,
    RestartPolicy,
    Spec,
    StopPlan,
    TaskId,
    Uid,
)
from farspawn_server.task.stop import Stop

SECOND = 1_000_000_000
MOMENT = Moment(wall=1_700_000_000 * SECOND, monotonic=1000 * SECOND)
EXIT_0 = LeaderExit(0, None, core_dumped=False, usage=Usage(0.25, 0.5, 1 << 20), at=MOMENT.wall)
FAILURE = LaunchFailure(2, "program", "/no/such/program")


def a_stop(*, signal_at: int = MOMENT.monotonic, kill_at: int = MOMENT.monotonic + SECOND, by: str = "") -> Stop:
    """Return a stop that somebody asked for."""
    return Stop(Cause.STOP_REQUESTED, by, 15, signal_at, kill_at)


def a_task(uid: str = "uid-1", **spec: Any) -> Task:
    """Return a task that is about to start; `spec` are fields of its Spec."""
    what = Spec(**{"argv": ("true",), **spec})
    return Task(
        uid=Uid(uid),
        task_id=TaskId(f"id-of-{uid}"),
        owner=Owner("local"),
        spec=what,
        digest=what.digest(),
        state=State.STARTING,
        times=Times(created=MOMENT.wall),
        boot="boot-1",
        handle=LOCAL,
    )


def in_state(state: State, uid: str = "uid-1", **spec: Any) -> Task:
    """Return a task that has come to a state in the legal way."""
    task = a_task(uid, **spec)
    running = task.running(4321, MOMENT.wall, MOMENT.monotonic)
    match state:
        case State.PENDING:
            spec["restart"] = RestartPolicy(RestartMode.ALWAYS)
            return in_state(State.RUNNING, uid, **spec).leader_ended(EXIT_0).exited(MOMENT, dice=0.0)
        case State.STARTING:
            return task
        case State.RUNNING:
            return running
        case State.STOPPING:
            return running.stopping(a_stop(), MOMENT)
        case State.EXITED:
            return running.leader_ended(EXIT_0).exited(MOMENT, dice=0.0)
        case State.FAILED:
            return task.failed(FAILURE, MOMENT, dice=0.0)
        case State.LOST:
            return running.lost("nobody knows", MOMENT, dice=0.0)


_SIGNALLED = replace(EXIT_0, code=None, signal=9, core_dumped=True, usage=None)
_SURVIVORS = (Survivor(77, "stuck", "uninterruptible sleep"),)
_FULL = in_state(
    State.EXITED,
    "uid-8",
    argv=("python3", "-c", "print('ä 火')"),
    env={"A": "1", "B": "=\n"},
    working_directory="/data",
    stop=StopPlan(timedelta(seconds=1), timedelta(seconds=2), 10, timedelta(microseconds=1)),
    max_runtime=timedelta(days=3650),
    lease=Lease(timedelta(seconds=90), LeaseAction.KILL),
    labels={"round": "3"},
)


def every_kind_of_task() -> list[Task]:
    """Return a task of each state, and one with every field at another value than its default. Do not change them.

    They are what `tests/data/farspawn-v1.db` holds, which must be readable for ever: see tests/data/README.md.
    """
    kinds = [
        *(in_state(state, f"uid-{number}") for number, state in enumerate(State, start=1)),
        _FULL,
        replace(in_state(State.RUNNING, "uid-9").stopping(a_stop(by="somebody"), MOMENT).signalled(MOMENT)),
        in_state(State.STOPPING, "uid-A").killed(MOMENT).leader_ended(_SIGNALLED).exited(MOMENT, 0.0, _SURVIVORS),
    ]
    return [replace(task, revision=revision) for revision, task in enumerate(kinds, start=1)]
