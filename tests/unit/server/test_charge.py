"""What is due for a task stays due, whatever fails on the way."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from support.values import a_task

from farspawn_server.store import StoreError
from farspawn_server.supervisor import charge
from farspawn_server.supervisor.charge import Charge, Ground


@pytest.mark.parametrize(
    ("error", "said"), [(StoreError("full"), "not stored, trying again"), (KeyError("x"), "a mistake of ours")]
)
def test_a_step_that_fails_is_taken_again(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(charge, "_RETRY_SECONDS", 0)
    monkeypatch.setattr(charge, "_RETRY_AFTER_MISTAKE_SECONDS", 0)

    async def run() -> int:
        tried, done = 0, asyncio.Event()

        async def step() -> None:
            nonlocal tried
            tried += 1
            if tried < 3:
                raise error
            done.set()

        Charge(a_task(), cast(Ground, cast(Any, None)))._begin(step)
        await asyncio.wait_for(done.wait(), 60)
        return tried

    assert asyncio.run(run()) == 3
    assert [each.message.startswith(said) for each in caplog.records] == [True, True]


def test_a_step_that_fails_again_and_again_is_pending_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charge, "_RETRY_SECONDS", 0)

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

        one = Charge(a_task(), cast(Ground, cast(Any, None)))
        for _ in range(10):
            one._begin(step)
        await asyncio.wait_for(done.wait(), 60)
        return [most, tried]

    # Ten were begun; they all come back as one.
    assert asyncio.run(run()) == [10, 31]
