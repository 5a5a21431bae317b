"""Who waits too long is told, and nobody else is."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine

import pytest

from farspawn_server.rpc.patience import Patience


def in_a_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


@in_a_loop
async def test_what_comes_is_returned() -> None:
    coming: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    coming.set_result(7)

    assert await Patience(60).bear(coming) == 7


@in_a_loop
async def test_what_does_not_come_is_waited_for_no_longer() -> None:
    patience = Patience(0)
    never: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        await patience.bear(never)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # we are in one
    assert await patience.bear(asyncio.sleep(0, 3)) == 3


@in_a_loop
async def test_each_who_waits_has_a_deadline_of_its_own() -> None:
    patience = Patience(0)
    never = [asyncio.get_running_loop().create_future() for _ in range(5)]

    ended = await asyncio.gather(*(patience.bear(each) for each in never), return_exceptions=True)

    assert [type(each) for each in ended] == [TimeoutError] * 5


@in_a_loop
async def test_a_cancellation_by_somebody_else_stays_one() -> None:
    patience = Patience(60)
    waiting = asyncio.create_task(patience.bear(asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


@in_a_loop
async def test_an_error_goes_through() -> None:
    failing: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    failing.set_exception(KeyError("x"))

    with pytest.raises(KeyError):
        await Patience(60).bear(failing)
