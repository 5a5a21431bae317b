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
