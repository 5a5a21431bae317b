"""Coroutines without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from farspawn._blocking import iterate, run


async def numbers(log: list[str]) -> AsyncGenerator[int, None]:
    try:
        yield 1
        yield 2
    finally:
        log.append("closed")


def test_a_coroutine_that_suspends_is_refused() -> None:
    work = asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="suspended"):
        run(work)

    work.close()


def test_errors_come_through() -> None:
    async def fail() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(fail())


def test_items_come_one_by_one_and_the_source_is_closed_at_the_end() -> None:
    log: list[str] = []

    assert list(iterate(numbers(log))) == [1, 2]
    assert log == ["closed"]


def test_leaving_early_closes_the_source() -> None:
    log: list[str] = []
    items = iterate(numbers(log))
    next(items)

    items.close()

    assert log == ["closed"]
