"""What is due for a task stays due, whatever fails on the way; what is stored, and told in which order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from support.ground import Site, settle
from support.values import EXIT_0, MOMENT, a_stop, a_task, in_state

from farspawn_server.keeper.messages import Ended, Holding
from farspawn_server.store import StoreError
from farspawn_server.supervisor import charge as charge_module
from farspawn_server.supervisor import steps
from farspawn_server.supervisor.steps import Steps
from farspawn_server.task.clocks import Moment
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Cause, LeaderExit, State, Survivor
from farspawn_server.task.spec import StopScope

_T = TypeVar("_T")
RUN = "uid-1/1"
RUNS = Holding(RUN, pid=7, started_at=MOMENT.wall, started_monotonic=MOMENT.monotonic)
HAS_ENDED = replace(RUNS, ended=Ended(MOMENT.wall, code=0), alive=False)
STUCK = (70, "stuck", "D", 0)


def with_site(directory: Path, work: Callable[[Site], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        return await asyncio.wait_for(work(Site(directory)), 60)

    return asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    """Give way until something is so."""
    while not condition():  # noqa: ASYNC110  # nobody rings for it; with_site has a deadline
        await asyncio.sleep(0.001)


def states(tasks: list[Task]) -> list[State]:
    return [task.state for task in tasks]


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charge_module, "_DISK_SECONDS", 0.05)


@pytest.mark.parametrize(
    ("error", "said"), [(StoreError("full"), "not stored, trying again"), (KeyError("x"), "a mistake of ours")]
)
def test_a_step_that_fails_is_taken_again(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steps, "_RETRY_SECONDS", 0)
    monkeypatch.setattr(steps, "_RETRY_AFTER_MISTAKE_SECONDS", 0)

    async def run() -> int:
        tried, done = 0, asyncio.Event()

        async def step() -> None:
            nonlocal tried
            tried += 1
            if tried < 3:
                raise error
            done.set()

        Steps("uid-1").begin(step)
        await asyncio.wait_for(done.wait(), 60)
        return tried

    assert asyncio.run(run()) == 3
    assert [each.message.startswith(said) for each in caplog.records] == [True, True]


def test_a_step_that_fails_again_and_again_is_pending_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_RETRY_SECONDS", 0)

    async def run() -> list[int]:
        at_once, most, tried, done = 0, 0, 0, asyncio.Event()

        async def step() -> None:
            nonlocal at_once, most, tried
            at_once, tried = at_once + 1, tried + 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            if tried > 30:
                done.set()
            else:
                raise StoreError("full")

        one = Steps("uid-1")
        for _ in range(10):
            one.begin(step)
        await asyncio.wait_for(done.wait(), 60)
        return [most, tried]

    # Ten were begun; they all come back as one.
    assert asyncio.run(run()) == [10, 31]


def test_a_launch_is_two_commits_and_that_it_runs_is_told_without_one(tmp_path: Path) -> None:
    async def live(site: Site) -> None:
        one = site.charge(a_task())
        async with one.lock:
            await one.commit(one.task)
        one.hold(RUNS)
        assert one.task.state is State.RUNNING, "told at once, for nothing is being stored"
        one.hold(HAS_ENDED)
        await settle(one)

        assert states(site.disk.stored) == [State.STARTING, State.EXITED]
        assert states(site.published.all) == [State.STARTING, State.RUNNING, State.EXITED]
        assert site.keeper.told == [("spawn", RUN), ("forget", RUN)]

    with_site(tmp_path, live)


def test_what_is_told_without_a_commit_comes_after_what_is_being_stored(tmp_path: Path) -> None:
    async def live(site: Site) -> None:
        other, one = site.charge(in_state(State.RUNNING, "uid-2")), site.charge(in_state(State.STARTING))
        site.disk.hangs = True
        async with other.lock:
            storing = asyncio.ensure_future(other.commit(other.task.leader_ended(EXIT_0).exited(MOMENT, dice=0.0)))
            await asyncio.sleep(0)  # so that it is asked for
        one.hold(RUNS)
        await asyncio.sleep(0)
        assert site.published.all == []
        site.disk.go_on()
        await storing
        await settle(one)

        assert [(task.uid, task.revision) for task in site.published.all] == [("uid-2", 1), ("uid-1", 2)]

    with_site(tmp_path, live)


def test_a_commit_that_a_stop_has_overtaken_is_told_after_it_with_a_revision_of_its_own(tmp_path: Path) -> None:
    async def live(site: Site) -> None:
        slow, stopped = site.charge(in_state(State.RUNNING, "uid-2")), site.charge(in_state(State.RUNNING))
        site.disk.hangs = True
        storing = asyncio.ensure_future(slow.commit(slow.task.leader_ended(EXIT_0).exited(MOMENT, dice=0.0)))
        await asyncio.sleep(0)
        await stopped.stop(a_stop(kill_at=1 << 62))
        site.disk.go_on()
        await storing

        assert [task.uid for task in site.published.all] == ["uid-1", "uid-2"]
        told = [task.revision for task in site.published.all]
        assert told == sorted(told)
        assert site.disk.stored[-1].revision == told[-1]

    with_site(tmp_path, live)


@pytest.mark.parametrize("trouble", ["full", "hangs"])
def test_a_stop_goes_through_without_the_disk_and_is_stored_when_there_is_room(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_RETRY_SECONDS", 0)

    async def live(site: Site) -> None:
        one = site.charge(in_state(State.RUNNING))
        setattr(site.disk, trouble, True)
        task = await one.stop(a_stop(signal_at=0, kill_at=0))
        assert task.state is State.STOPPING
        await until(lambda: not (("kill", RUN) not in site.keeper.told))
        assert site.disk.stored == []
        site.disk.full = False
        site.disk.go_on()
        await until(lambda: not (not site.disk.stored or site.disk.stored[-1].times.killed is None))
        one.hold(replace(RUNS, ended=Ended(MOMENT.wall, signal=9), alive=False))
        await settle(one)

        assert one.task.outcome is not None
        assert one.task.outcome.cause is Cause.STOP_REQUESTED
        assert site.disk.stored[-1] == one.task

    with_site(tmp_path, live)


def test_an_end_is_told_only_when_it_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_RETRY_SECONDS", 0)

    async def live(site: Site) -> None:
        one = site.charge(in_state(State.RUNNING))
        site.disk.full = True
        one.hold(HAS_ENDED)
        await asyncio.wait(one.under_way)
        assert (one.task.state, site.published.all) == (State.RUNNING, [])
        site.disk.full = False
        await until(lambda: one.task.state is not State.RUNNING)

        assert site.disk.stored == site.published.all == [one.task]

    with_site(tmp_path, live)


def test_now_and_then_also_what_needs_no_commit_is_stored_so_that_no_revision_is_told_twice(tmp_path: Path) -> None:
    async def live(site: Site) -> None:
        one = site.charge(in_state(State.STARTING))
        site.revision = charge_module.REVISIONS_UNSTORED // 2 - 1
        one.hold(RUNS)
        await settle(one)

        assert [task.revision for task in site.disk.stored] == [charge_module.REVISIONS_UNSTORED // 2]

    with_site(tmp_path, live)


@pytest.mark.parametrize(
    ("scope", "leader_lives", "tree"),
    [(StopScope.TREE, True, True), (StopScope.LEADER, True, False), (StopScope.LEADER, False, True)],
)
def test_a_stop_signals_all_or_the_leader_while_there_is_one(
    scope: StopScope, leader_lives: bool, tree: bool, tmp_path: Path
) -> None:
    async def live(site: Site) -> None:
        task = in_state(State.RUNNING) if leader_lives else in_state(State.RUNNING).leader_ended(EXIT_0)
        one = site.charge(task)
        await one.stop(replace(a_stop(signal_at=0, kill_at=1 << 62), scope=scope))
        await until(lambda: not (len(site.keeper.told) < 2))

        assert site.keeper.told == [("signal", RUN, 15, tree), ("signal", RUN, signal.SIGCONT, tree)]

    with_site(tmp_path, live)


def test_what_cannot_be_ended_is_told_while_it_lives_and_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farspawn_server.supervisor.deadlines._LOOK_AGAIN_NS", 1_000_000)

    async def live(site: Site) -> None:
        one = site.charge(in_state(State.RUNNING))
        site.keeper.members_now = [STUCK, (71, "other", "S", 1)]
        await one.stop(a_stop(signal_at=0, kill_at=0))
        await until(lambda: bool(one.task.unkillable))
        told = one.task.unkillable
        stored = len(site.disk.stored)
        site.keeper.members_now = []
        await until(lambda: not (one.task.unkillable))

        assert told == (
            Survivor(70, "stuck", "uninterruptible sleep"),
            Survivor(71, "other", "it cannot be signalled: Operation not permitted"),
        )
        assert len(site.disk.stored) == stored
        assert states(site.published.all[-2:]) == [State.STOPPING, State.STOPPING]
        one.hold(replace(RUNS, ended=Ended(MOMENT.wall, signal=9), alive=False))
        await settle(one)

    with_site(tmp_path, live)


def test_before_sigkill_only_those_are_told_whom_the_kernel_keeps_from_being_signalled(tmp_path: Path) -> None:
    async def live(site: Site) -> None:
        one = site.charge(in_state(State.RUNNING))
        site.keeper.members_now = [STUCK, (71, "other", "S", 1)]
        await one.stop(a_stop(signal_at=0, kill_at=1 << 62))
        await until(lambda: bool(one.task.unkillable))

        assert [each.pid for each in one.task.unkillable] == [71]

    with_site(tmp_path, live)


@pytest.mark.parametrize(
    ("leader", "state", "cause"),
    [(EXIT_0, State.EXITED, Cause.COMPLETED), (replace(EXIT_0, code=None), State.LOST, Cause.SUPERVISION_LOST)],
    ids=["known", "unknown"],
)
def test_a_task_whose_survivors_cannot_be_ended_ends_all_the_same(
    leader: LeaderExit, state: State, cause: Cause, tmp_path: Path
) -> None:
    async def live(site: Site) -> Task:
        now = Moment.now()
        stopping = in_state(State.RUNNING).leader_ended(leader).stopping(a_stop(signal_at=0, kill_at=0), now)
        one = site.charge(stopping.killed(now))
        site.keeper.members_now = [STUCK]
        await one._name_what_resists()
        return one.task

    task = with_site(tmp_path, live)

    assert task.outcome is not None
    assert (task.state, task.outcome.cause, task.unkillable) == (state, cause, ())
    assert task.outcome.survivors == (Survivor(70, "stuck", "uninterruptible sleep"),)


def test_a_server_that_starts_gives_its_orders_again_when_the_keeper_has_told_of_the_task(tmp_path: Path) -> None:
    async def live(site: Site) -> None:
        one = site.charge(in_state(State.STOPPING).killed(MOMENT))
        heard = one.heard()
        one.resume()
        assert site.keeper.told == []
        one.hold(RUNS)
        await heard

        assert site.keeper.told == [("kill", RUN)]

    with_site(tmp_path, live)
