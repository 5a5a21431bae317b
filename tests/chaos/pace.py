"""Random think time, cut short when the run is over: the one place where the driver lets time pass for its own sake."""

from __future__ import annotations

import asyncio


async def pause(seconds: float, enough: asyncio.Event) -> None:
    """Wait so long, or until it is enough."""
    try:
        async with asyncio.timeout(seconds):
            await enough.wait()
    except TimeoutError:
        pass  # the time is over: what we waited for
