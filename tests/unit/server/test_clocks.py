"""The wall clock is for people: whatever it says, and however it is set, no deadline moves and ids go on growing."""

from __future__ import annotations

import dataclasses
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farspawn_server.supervisor import uid
from farspawn_server.task.clocks import Moment
from farspawn_server.task.life import LOCAL, Task
from farspawn_server.task.outcome import Cause, LeaderExit, State, Times
from farspawn_server.task.spec import Cleanup, Owner, RestartMode, RestartPolicy, Spec, StopPlan, StopScope, TaskId, Uid
from farspawn_server.task.stop import Stop

SECOND = 1_000_000_000
NOW = 5_000 * SECOND
HOUR = timedelta(hours=1)
FULL_PLAN = StopPlan(linger=HOUR, drain=HOUR, signal=15, grace=HOUR, scope=StopScope.TREE)

walls = st.integers(min_value=-(2**62), max_value=2**62)


def starting() -> Task:
    spec = Spec(
        argv=("x",),
        stop=FULL_PLAN,
        max_runtime=HOUR,
        restart=RestartPolicy(RestartMode.ALWAYS),
        cleanup=Cleanup(("y",), HOUR),
    )
    return Task(
        Uid("u"), TaskId("t"), Owner("o"), spec, "d", State.STARTING, Times(created=0), boot="boot", handle=LOCAL
    )


def moments(wall: int, number: int) -> list[Moment]:
    """So many moments, a second apart on the monotonic clock, while the wall clock jumps to and fro."""
    return [Moment(wall * (-1) ** step, NOW + step * SECOND) for step in range(number)]


def a_whole_life(wall: int) -> list[Task]:
    """Each value of a task that is stopped, cleaned up after and would be restarted."""
    first, second, third, fourth, fifth = moments(wall, 5)
    exit_ = LeaderExit(code=1, signal=None, core_dumped=False, usage=None, at=wall)
    running = starting().running(7, wall, first.monotonic)
    stopped = running.stopping(Stop.by_plan(FULL_PLAN, second.monotonic, cause=Cause.STOP_REQUESTED), second)
    signalled = stopped.signalled(third)
    restarted = running.leader_ended(exit_).exited(fourth, dice=0.5)
    assert restarted.ending is not None
    pending = dataclasses.replace(restarted, ending=None)._conclude(State.EXITED, restarted.ending.outcome, fifth, 0.5)
    return [running, stopped, signalled, restarted, pending]


def deadlines(task: Task) -> tuple[object, ...]:
    until = None if task.ending is None else task.ending.until
    return task.running_since, task.runtime_until, task.stop, until, task.restart_at, task.restarts_in_row


@given(walls)
def test_no_deadline_of_a_tasks_life_hangs_on_the_wall_clock(wall: int) -> None:
    assert [deadlines(task) for task in a_whole_life(wall)] == [deadlines(task) for task in a_whole_life(0)]


def test_deadlines_are_counted_from_the_monotonic_clock() -> None:
    running, stopped, _, restarted, _ = a_whole_life(wall=1)

    assert running.runtime_until == NOW + 3600 * SECOND
    assert stopped.stop is not None
    assert stopped.stop.signal_at == NOW + SECOND + 2 * 3600 * SECOND
    assert stopped.stop.kill_at == stopped.stop.signal_at + 3600 * SECOND
    assert restarted.ending is not None
    assert restarted.ending.until == NOW + 3 * SECOND + 3600 * SECOND


def test_a_run_is_healthy_by_the_monotonic_clock() -> None:
    policy = RestartPolicy(RestartMode.ALWAYS, healthy_after=timedelta(seconds=10))
    begun = Moment(wall=10**18, monotonic=NOW)
    running = dataclasses.replace(starting(), spec=Spec(("x",), restart=policy), restarts_in_row=4)
    running = running.running(7, begun.wall, begun.monotonic)
    exit_ = LeaderExit(code=1, signal=None, core_dumped=False, usage=None, at=0)

    short = running.leader_ended(exit_).exited(Moment(wall=2 * 10**18, monotonic=NOW + 9 * SECOND), dice=0.0)
    long = running.leader_ended(exit_).exited(Moment(wall=0, monotonic=NOW + 10 * SECOND), dice=0.0)

    assert (short.restarts_in_row, long.restarts_in_row) == (5, 1)
    assert short.restart_at == NOW + (9 + 16) * SECOND
    assert long.restart_at == NOW + (10 + 1) * SECOND


@pytest.fixture
def _ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uid, "_last", 0)


@pytest.mark.usefixtures("_ids_of_its_own")
@pytest.mark.parametrize("years", [0, 1, 1000])
def test_ids_go_on_growing_after_the_clock_was_set_back(years: int) -> None:
    before = uuid_of(time.time_ns() // 1_000_000 + years * 31_557_600_000)

    uid.continue_after(before)
    ids = [uid.uuid7() for _ in range(10_000)]

    assert ids[0] > before
    assert sorted(set(ids)) == ids


@pytest.mark.usefixtures("_ids_of_its_own")
def test_an_old_id_holds_nothing_back() -> None:
    uid.continue_after(uuid_of(0))

    assert uid.uuid7() >= uuid_of(time.time_ns() // 1_000_000 - 1000)


def uuid_of(milliseconds: int) -> str:
    """A UUIDv7 of that moment, the last of its millisecond."""
    digits = f"{milliseconds:012x}7fffbfffffffffffffff"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
