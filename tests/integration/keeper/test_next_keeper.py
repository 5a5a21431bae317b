"""A keeper that goes hands nothing on: shims dial in, and the next one knows all that the last one knew."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest
from support.keeper import ServedKeeper
from support.waiting import until

from farspawn_server.keeper.messages import Holding, Signal

MANY = 200
BACK_WITHIN_SECONDS = 2.0
WAITS = ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 1; done"]


def start_many(keeper: ServedKeeper) -> dict[str, Holding]:
    uids = [f"task{number}/1" for number in range(MANY)]
    for uid in uids:
        keeper.spawn(uid, ["sleep", "600"])
    return {uid: keeper.until_started(uid) for uid in uids}


def until_all_are_held(keeper: ServedKeeper, before: dict[str, Holding]) -> None:
    for uid in before:
        keeper.until(uid, lambda holding: holding.pid)


def facts(holdings: dict[str, Holding]) -> dict[str, tuple[int, int, int]]:
    return {uid: (each.pid, each.started_at, each.started_monotonic) for uid, each in holdings.items()}


def test_a_reload_with_many_running_loses_none(keeper: ServedKeeper) -> None:
    before = start_many(keeper)

    keeper.reload()
    until_all_are_held(keeper, before)

    assert facts(keeper.told) == facts(before)
    assert not any(holding.lost for holding in keeper.told.values())
    assert len(keeper.shims()) == MANY


def test_many_are_held_again_soon_after_a_keeper_was_killed(directory: Path) -> None:
    first = ServedKeeper(directory)
    before = start_many(first)
    first.kill()
    killed_at = time.monotonic()

    with ServedKeeper(directory) as keeper:
        until_all_are_held(keeper, before)
        took = time.monotonic() - killed_at

        assert facts(keeper.told) == facts(before)
    assert took < BACK_WITHIN_SECONDS


@pytest.mark.parametrize("how", ["reload", "kill"])
def test_an_end_while_there_is_no_keeper_is_told_by_the_next_one(directory: Path, how: str) -> None:
    with ServedKeeper(directory) as first:
        first.spawn("early/1", ["sh", "-c", "exit 3"])
        first.until_over("early/1")
        first.spawn("late/1", WAITS)
        leader = first.until_started("late/1").pid
        until(lambda: first.output("late/1"))
        if how == "kill":
            first.kill()
            os.kill(leader, signal.SIGTERM)
            with ServedKeeper(directory) as second:
                codes = [second.until_over(uid).ended for uid in ("early/1", "late/1")]
        else:
            first.reload()
            first.until_started("late/1")
            first.order(Signal(1, "late/1", signal.SIGTERM, tree=False))
            codes = [first.until_over(uid).ended for uid in ("early/1", "late/1")]

    assert [ended and ended.code for ended in codes] == [3, 7]


def test_a_next_image_that_cannot_be_executed_leaves_this_one_at_work(directory: Path) -> None:
    """Its environment is too large by then: the kernel gives it a quarter of what a stack may have."""
    padding = {f"PADDING{number}": "x" * 100_000 for number in range(2)}
    with ServedKeeper(directory, environment=padding) as keeper:
        keeper.spawn("task/1", WAITS)
        before = keeper.until_started("task/1")
        usual = resource.prlimit(keeper.pid, resource.RLIMIT_STACK)
        resource.prlimit(keeper.pid, resource.RLIMIT_STACK, (1 << 18, usual[1]))

        os.kill(keeper.pid, signal.SIGUSR1)
        keeper.let_go()
        until(lambda: "next image not executed" in keeper.log)
        resource.prlimit(keeper.pid, resource.RLIMIT_STACK, usual)
        keeper.serve()

        assert keeper.told["task/1"].pid == before.pid
        keeper.order(Signal(1, "task/1", signal.SIGKILL, tree=True))
        assert keeper.until_over("task/1").ended
