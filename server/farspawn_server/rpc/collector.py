"""The garbage collector, kept from walking the table of tasks again and again.

Tasks hold no cycles: what is deleted goes at once. What is collected are cycles of exceptions and frames, and these are
young. So full collections are rare, and what outlives one is not looked at by any other (`gc.freeze`).
"""

from __future__ import annotations

import asyncio
import gc

_YOUNG, _MIDDLE, _NEVER = 10_000, 20, 1_000_000
_FULL_SECONDS = 600.0


def _collect() -> None:
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def collect_rarely() -> None:
    """Collect all now, and from then on every ten minutes."""
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)
    while True:
        _collect()
        await asyncio.sleep(_FULL_SECONDS)
