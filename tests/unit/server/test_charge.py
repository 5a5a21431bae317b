"""What is due for a task stays due, whatever fails on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.values import EXIT_0, a_stop, in_state

from farspawn_server.store import StoreError
from farspawn_server.supervisor import steps
from farspawn_server.supervisor.charge import Charge, Ground
from farspawn_server.supervisor.steps import Steps
from farspawn_server.task.clocks import Moment
from farspawn_server.task.outcome import Cause, State


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


@pytest.mark.parametrize(
    ("leader", "state", "cause"),
    [(EXIT_0, State.EXITED, Cause.COMPLETED), (replace(EXIT_0, code=None), State.LOST, Cause.KEEPER_LOST)],
    ids=["known", "unknown"],
)
def test_a_task_whose_survivors_cannot_be_ended_ends_all_the_same(leader: Any, state: State, cause: Cause) -> None:
    async def run() -> list[Any]:
        async def members(_: str) -> list[tuple[int, str, str]]:
            return [(7, "stuck", "D")]

        async def put(*_: object) -> None:
            pass

        ground = SimpleNamespace(
            link=SimpleNamespace(members=members, forget=lambda _: None),
            store=SimpleNamespace(put=put),
            changes=SimpleNamespace(publish=lambda _: None),
            next_revision=lambda: 2,
            ended=lambda _: None,
        )
        now = Moment.now()
        stopping = in_state(State.RUNNING).leader_ended(leader).stopping(a_stop(signal_at=0, kill_at=0), now)
        one = Charge(replace(stopping.killed(now), revision=1), cast(Ground, ground))
        await one._name_survivors(one.task)
        return [one.task]

    (task,) = asyncio.run(run())
    assert (task.state, task.outcome.cause) == (state, cause)
    assert "1 processes could not be ended" in task.outcome.message
