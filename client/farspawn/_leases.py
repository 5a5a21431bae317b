"""Leases kept alive without the caller's thread, for as long as a `with` block lasts.

Restarts and absences of the agent are outlived, however long: after each, every
lease has its full ttl again. What was not renewed in time is told by what became
of it, not by our clock: the site has ended it with LEASE_EXPIRED.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Self

from farspawn import _verbs as verbs
from farspawn._aio import AioLink
from farspawn._arguments import several
from farspawn._blocking import BlockingLink, iterate
from farspawn._errors import LeaseExpiredError
from farspawn._follow import no_such_task, polls, watch
from farspawn._link import Link
from farspawn._values import Cause, Checkpoint, TaskChanged, TaskStatus


class _Keeping:
    def __init__(self, task_ids: Iterable[str] | None, labels: Mapping[str, str] | None) -> None:
        if (task_ids is None) == (labels is None):
            raise ValueError("say whose leases to keep: by task ids or by labels")
        self._task_ids = several(task_ids) if task_ids is not None else None
        self._which = verbs.task_filter((), labels, "")
        self._expired: tuple[TaskStatus, ...] = ()
        self._error: Exception | None = None

    @property
    def expired(self) -> tuple[TaskStatus, ...]:
        """The tasks that the site has ended so far because their leases were not renewed in time."""
        return self._expired

    @property
    def error(self) -> Exception | None:
        """Why the leases are no longer kept; None: they are."""
        return self._error

    async def _renewals(self, link: Link) -> AsyncGenerator[None]:
        """Renews until it is closed, or no task is left; yields once, when everything was renewed once."""
        told: set[str] = set()
        renewals = self._by_watch(link) if self._task_ids is None else self._by_polls(link, self._task_ids)
        async with aclosing(renewals) as statuses:
            async for status in statuses:
                if status is None:
                    yield
                elif _has_expired(status) and status.uid not in told:
                    told.add(status.uid)
                    self._expired = (*self._expired, status)

    async def _by_polls(self, link: Link, task_ids: Iterable[str]) -> AsyncGenerator[TaskStatus | None]:
        # A watch cannot be told which ids.
        alive = dict.fromkeys(task_ids)
        first = True
        async with aclosing(polls(link, alive, renew_leases=True, for_ever=True)) as answers:
            async for answer in answers:
                for task_id in answer.unknown_task_ids:
                    if first:
                        raise no_such_task(task_id)
                    alive.pop(task_id, None)  # it ended, and was deleted before we asked again
                for status in answer.statuses:
                    if status.ended:
                        alive.pop(status.task_id, None)
                    yield status
                if first:
                    first = False
                    yield None

    async def _by_watch(self, link: Link) -> AsyncGenerator[TaskStatus | None]:
        first = True
        async with aclosing(watch(link, self._which, 0, renew_leases=True, for_ever=True)) as events:
            async for event in events:
                if isinstance(event, TaskChanged) and not first:
                    yield event.status
                elif isinstance(event, Checkpoint) and first:
                    first = False  # what had ended before is no concern of ours
                    yield None

    def _tell(self) -> None:
        if self._error is not None:
            raise self._error
        if self._expired:
            raise LeaseExpiredError(self._expired)


def _has_expired(status: TaskStatus) -> bool:
    return status.ended and status.outcome is not None and status.outcome.cause is Cause.LEASE_EXPIRED


class LeaseKeeper(_Keeping):
    """Keeps leases alive from a thread of its own while it is entered; of `Client.keep_leases`.

    Entering returns when everything was renewed once. Leaving raises, unless the
    block itself did, what kept it from renewing, or LeaseExpiredError.
    """

    def __init__(self, link: BlockingLink, task_ids: Iterable[str] | None, labels: Mapping[str, str] | None) -> None:
        super().__init__(task_ids, labels)
        self._origin = link
        self._renewed = threading.Event()
        self._leaving = False

    def _keep(self) -> None:
        try:
            for _ in iterate(self._renewals(self._link)):
                self._renewed.set()
        except Exception as error:  # noqa: BLE001  # `error` and the end of the block tell: nobody else looks here
            if not self._leaving:
                self._error = error
        finally:
            self._renewed.set()

    def close(self) -> None:
        """Renews no more."""
        self._leaving = True
        self._link.close()
        self._thread.join()

    def __enter__(self) -> Self:
        # A link of its own: to close it ends what the thread waits for.
        self._link = self._origin.twin()
        # A daemon: a program that ends has no more use for its tasks.
        self._thread = threading.Thread(target=self._keep, name="farspawn-leases", daemon=True)
        self._thread.start()
        try:
            self._renewed.wait()
        except BaseException:  # Ctrl-C: nobody would end the thread
            self.close()
            raise
        if self._error is not None:
            self.close()
            raise self._error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None:
            self._tell()


class AsyncLeaseKeeper(_Keeping):
    """As `LeaseKeeper`, in a task of its own; of `AsyncClient.keep_leases`."""

    def __init__(self, link: AioLink, task_ids: Iterable[str] | None, labels: Mapping[str, str] | None) -> None:
        super().__init__(task_ids, labels)
        self._link = link
        self._renewed = asyncio.Event()

    async def _keep(self) -> None:
        try:
            async with aclosing(self._renewals(self._link)) as renewals:
                async for _ in renewals:
                    self._renewed.set()
        except Exception as error:  # noqa: BLE001  # `error` and the end of the block tell: nobody else looks here
            self._error = error
        finally:
            self._renewed.set()

    async def aclose(self) -> None:
        """Renews no more."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep(), name="farspawn-leases")
        try:
            await self._renewed.wait()
        except BaseException:  # cancelled: nobody would end the task
            await self.aclose()
            raise
        if self._error is not None:
            raise self._error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
        if kind is None:
            self._tell()
