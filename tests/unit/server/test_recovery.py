"""What a server that starts does with what is stored: never a second process, and nothing invented."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from support.ground import Site
from support.values import EXIT_0, MOMENT, a_task, in_state

from farspawn_server.keeper.messages import Hello, Holding
from farspawn_server.supervisor.recovery import Verdict, judge
from farspawn_server.supervisor.stocktaking import take_stock
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Cause, CleanupOutcome, State
from farspawn_server.task.spec import Cleanup

HELLO = Hello("keeper-2", "boot-1", 0)
HOLDING = Holding("uid-1/1", pid=7)
LIVE = [State.STARTING, State.RUNNING, State.STOPPING]
CLEANING = in_state(State.RUNNING, cleanup=Cleanup(("true",))).leader_ended(EXIT_0).exited(MOMENT, dice=0.0)


def verdict(task: Task, holding: Holding | None = None) -> tuple[Verdict, Cause]:
    return judge(task, HELLO, holding)[:2]


@pytest.mark.parametrize("task", [*map(in_state, LIVE), CLEANING])
def test_whom_the_keeper_does_not_hold_it_is_told_of_for_it_starts_each_run_once(task: Task) -> None:
    assert verdict(task)[0] is Verdict.SPAWN
    assert verdict(task, HOLDING)[0] is Verdict.SETTLE


def test_who_waits_for_the_next_attempt_waits_on() -> None:
    assert verdict(in_state(State.PENDING))[0] is Verdict.RESUME
    assert verdict(replace(in_state(State.PENDING), handle=""))[0] is Verdict.RESUME


@pytest.mark.parametrize("state", [*LIVE, State.PENDING])
def test_a_reboot_cuts_everything_off(state: State) -> None:
    assert verdict(replace(in_state(state), boot="before")) == (Verdict.CUT_OFF, Cause.HOST_REBOOTED)


def test_what_cannot_be_read_is_lost_and_what_the_keeper_holds_of_it_is_killed(tmp_path: Path) -> None:
    async def recover() -> Task:
        site = Site(tmp_path)
        site.ground.hello.holdings.append(HOLDING)
        one = site.charge(replace(in_state(State.STARTING), boot=""))
        cut_off, heard = take_stock([one], site.ground)
        await asyncio.gather(*cut_off)
        assert (heard, [order[0] for order in site.keeper.told]) == ([], ["kill", "forget"])
        return one.task

    task = asyncio.run(recover())

    assert task.outcome is not None
    assert (task.state, task.outcome.cause) == (State.LOST, Cause.SUPERVISION_LOST)
    assert "could not be read" in task.outcome.message


@pytest.mark.parametrize("state", LIVE)
def test_what_version_0_1_has_started_is_lost_and_never_started_again(state: State, tmp_path: Path) -> None:
    async def recover() -> Task:
        site = Site(tmp_path)
        one = site.charge(replace(in_state(state), handle=""))
        cut_off, heard = take_stock([one], site.ground)
        await asyncio.gather(*cut_off)
        assert (heard, [order for order in site.keeper.told if order[0] == "spawn"]) == ([], [])
        assert site.disk.stored == [one.task]
        return one.task

    task = asyncio.run(recover())

    assert task.outcome is not None
    assert (task.state, task.outcome.cause) == (State.LOST, Cause.SUPERVISION_LOST)
    assert "farspawn 0.1" in task.outcome.message


def test_a_cleanup_that_version_0_1_has_started_leaves_the_attempt_as_it_had_ended() -> None:
    task = CLEANING.cut_off(Cause.SUPERVISION_LOST, "an older one", MOMENT)

    assert task.outcome is not None
    assert (task.state, task.outcome.leader, task.outcome.cleanup) == (State.EXITED, EXIT_0, CleanupOutcome())


def test_nobody_is_served_before_the_keeper_has_told_of_every_task(tmp_path: Path) -> None:
    async def recover() -> None:
        site = Site(tmp_path)
        unknown, held = site.charge(a_task()), site.charge(a_task("uid-2"))
        site.ground = replace(site.ground, hello=replace(HELLO, holdings=[Holding("uid-2/1", pid=8)]))
        _, heard = take_stock([unknown, held], site.ground)
        assert (held.task.state, [each.done() for each in heard]) == (State.RUNNING, [False, True])
        unknown.hold(Holding("uid-1/1", pid=9))

        assert (unknown.task.state, [each.done() for each in heard]) == (State.RUNNING, [True, True])
        assert site.keeper.told == [("spawn", "uid-1/1")]

    asyncio.run(recover())


def test_a_run_without_a_task_is_ended_and_forgotten(tmp_path: Path) -> None:
    async def recover() -> None:
        site = Site(tmp_path)
        site.ground = replace(site.ground, hello=replace(HELLO, holdings=[HOLDING]))
        take_stock([], site.ground)

        assert site.keeper.told == [("kill", "uid-1/1"), ("forget", "uid-1/1")]

    asyncio.run(recover())
