"""Every test here runs twice: with the blocking client, and with that of asyncio."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from support.agent import Agent

import farspawn

_OURS = (farspawn.AsyncProcess, farspawn.AsyncInputWriter, farspawn.AsyncLeaseKeeper, farspawn.AsyncLogReader)


class Blocked:
    """Something of asyncio made to look like its blocking namesake; the loop runs in a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thing: Any) -> None:
        self._loop = loop
        self._thing = thing

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._thing, name)
        return (lambda *args, **named: self._blocked(value(*args, **named))) if callable(value) else value

    def __enter__(self) -> Any:
        return self._blocked(self._thing.__aenter__()) and self

    def __exit__(self, *error: object) -> None:
        self._blocked(self._thing.__aexit__(*error))

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self._blocked(anext(self._thing))
            except StopAsyncIteration:
                return

    def _blocked(self, result: Any) -> Any:
        if inspect.isawaitable(result):
            result = asyncio.run_coroutine_threadsafe(_awaited(result), self._loop).result()
        if isinstance(result, (*_OURS, AsyncIterator)):
            return Blocked(self._loop, result)
        return result


async def _awaited(result: Any) -> Any:
    return await result


@contextmanager
def _client(kind: str, address: str) -> Iterator[farspawn.Client]:
    if kind == "blocking":
        with farspawn.Client(address) as site:
            yield site
        return
    loop = asyncio.new_event_loop()
    running = threading.Thread(target=loop.run_forever)
    running.start()
    try:
        with Blocked(loop, farspawn.AsyncClient(address)) as site:
            yield cast("farspawn.Client", site)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        running.join()
        loop.close()


@pytest.fixture(params=["blocking", "asyncio"])
def site(request: pytest.FixtureRequest, agent: Agent) -> Iterator[farspawn.Client]:
    """A client of the agent that tests share."""
    with _client(request.param, agent.address) as client:
        yield client


@pytest.fixture(params=["blocking", "asyncio"])
def own_site(request: pytest.FixtureRequest, own_agent: Agent) -> Iterator[farspawn.Client]:
    """A client of an agent of the test's own: `own_agent`."""
    with _client(request.param, own_agent.address) as client:
        yield client
