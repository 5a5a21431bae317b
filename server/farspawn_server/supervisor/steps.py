"""What is done for a task in the background: a step that fails is taken again, for what is due stays due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from farspawn_server.store import StoreError

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_RETRY_AFTER_MISTAKE_SECONDS = 10.0

Step = Callable[[], Awaitable[None]]


class Steps:
    """Those of one task. Used from one event loop."""

    def __init__(self, uid: str) -> None:
        """`uid` is for the log."""
        self._uid = uid
        self._under_way: set[asyncio.Task[None]] = set()
        self._retrying: set[Step] = set()

    @property
    def under_way(self) -> set[asyncio.Task[None]]:
        """Those that were begun and are not over."""
        return set(self._under_way)

    def begin(self, step: Step, again: Callable[[], object] | None = None) -> asyncio.Task[None]:
        """Take a step. If it fails, take it again, or do what `again` does."""

        async def persist() -> None:
            try:
                await step()
            except StoreError as error:
                log.warning("not stored, trying again", extra={"uid": self._uid, "error": str(error)})
                self._retry(step, again, _RETRY_SECONDS)
            except Exception:  # swallowed by nobody: it is logged, and what is due stays due
                log.exception("a mistake of ours, trying again", extra={"uid": self._uid})
                self._retry(step, again, _RETRY_AFTER_MISTAKE_SECONDS)

        under_way = asyncio.create_task(persist())
        self._under_way.add(under_way)  # the loop itself holds tasks only weakly
        under_way.add_done_callback(self._under_way.discard)
        return under_way

    def _retry(self, step: Step, again: Callable[[], object] | None, delay: float) -> None:
        """Come back to a step, once, however often it was begun."""

        def retry() -> None:
            self._retrying.discard(step)
            if again is None:
                self.begin(step)
            else:
                again()

        if step not in self._retrying:
            self._retrying.add(step)
            asyncio.get_running_loop().call_later(delay, retry)
