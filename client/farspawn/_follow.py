"""What takes more than one call: pages, long polls, streams that are taken up again.

Coroutines that know nothing but a link; the blocking client runs them on one
that never suspends. Every one of them outlives a restart of the agent.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

from farspawn import _values as values
from farspawn import _verbs as verbs
from farspawn._arguments import several
from farspawn._errors import (
    CallTimeoutError,
    FarspawnError,
    LogOffsetExpiredError,
    SiteUnreachableError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from farspawn._link import PASSING, Link, Outage
from farspawn._logs import LogCursor
from farspawn.v1 import launcher_pb2 as pb

# One long poll. Short enough for what sits in between and drops what is quiet.
LONG_POLL = timedelta(seconds=30)


async def list_tasks(link: Link, tasks: pb.TaskFilter) -> AsyncGenerator[values.Task, None]:
    """Tasks, oldest first, page by page."""
    token = ""
    while True:
        page = await link.call(verbs.list_page(tasks, token))
        for task in page.tasks:
            yield task
        token = page.next_page_token
        if not token:
            return


async def polls(
    link: Link,
    alive: Mapping[str, None],
    *,
    deadline: float | None = None,
    longest: timedelta = LONG_POLL,
    renew_leases: bool = False,
    for_ever: bool = False,
) -> AsyncGenerator[values.PollAnswer, None]:
    """One answer after the other, about those tasks that are in `alive` by then; until there are none.

    `for_ever`: however long the site is absent, and soon when it is back.
    """
    outage = Outage(link, for_ever=for_ever)
    revision = 0
    while alive:
        left = longest
        if deadline is not None:
            left = min(longest, max(timedelta(), timedelta(seconds=deadline - link.now())))
        asked = link.now()
        poll = verbs.poll(alive, wait=left, since_revision=revision, renew_leases=renew_leases)
        try:
            answer = await link.call(replace(poll, queued=for_ever and link.answered))
        except PASSING as error:
            if deadline is not None and link.now() >= deadline:
                raise  # how the tasks are is not known: no WaitTimeoutError
            await outage.pause(error)
            continue
        outage.over()
        revision = answer.revision
        yield answer
        if not answer.statuses and link.now() - asked < min(1.0, left.total_seconds() / 2):
            # It should have held the answer back. Whatever keeps it from doing
            # so, we shall not ask in a tight loop.
            await link.sleep(min(timedelta(seconds=1), left))


async def as_ended(
    link: Link,
    task_ids: Iterable[str],
    limit: timedelta | None,
    renew_every: timedelta | None,
) -> AsyncGenerator[values.TaskStatus, None]:
    """Each task once, when it has ended, with one poll under way at a time."""
    alive = dict.fromkeys(several(task_ids))
    async with aclosing(_news(link, alive, limit, renew_every, "still alive")) as news:
        async for status in news:
            if status.ended and status.task_id in alive:
                del alive[status.task_id]
                yield status


async def until(
    link: Link,
    task_id: str,
    holds: Callable[[values.TaskStatus], bool],
    *,
    limit: timedelta | None = None,
    renew_every: timedelta | None = None,
    otherwise: str = "",
) -> values.TaskStatus:
    """A task's first status for which it holds; `otherwise` is how the task is if none comes within the limit."""
    async with aclosing(_news(link, {task_id: None}, limit, renew_every, otherwise)) as news:
        async for status in news:
            if holds(status):
                return status
    raise RuntimeError("there is always more news of a task")


async def _news(
    link: Link, wanted: Mapping[str, None], limit: timedelta | None, renew_every: timedelta | None, otherwise: str
) -> AsyncGenerator[values.TaskStatus, None]:
    """How tasks are and become, until none is wanted any more."""
    deadline = None if limit is None else link.now() + limit.total_seconds()
    longest = LONG_POLL if renew_every is None else min(LONG_POLL, renew_every)
    renew = renew_every is not None
    async with aclosing(polls(link, wanted, deadline=deadline, longest=longest, renew_leases=renew)) as answers:
        async for answer in answers:
            for task_id in answer.unknown_task_ids:
                raise no_such_task(task_id)
            for status in answer.statuses:
                yield status
            if wanted and deadline is not None and link.now() >= deadline:
                raise WaitTimeoutError(tuple(wanted), otherwise)


async def watch(
    link: Link,
    tasks: pb.TaskFilter,
    since_revision: int,
    *,
    renew_leases: bool = False,
    for_ever: bool = False,
) -> AsyncGenerator[values.WatchEvent, None]:
    """What changes; a stream that breaks off is taken up again. `for_ever`: see `polls`."""
    outage = Outage(link, for_ever=for_ever)
    revision = since_revision
    resumed = False
    while True:
        snapshot_complete = heard = False
        try:
            call = verbs.watch(tasks, revision, renew_leases=renew_leases)
            async with aclosing(link.stream(replace(call, queued=for_ever and link.answered))) as events:
                async for event in events:
                    outage.over()
                    heard = True
                    if resumed:
                        resumed = False
                        yield values.WatchResumed(revision)
                    match event:
                        case values.Checkpoint():
                            snapshot_complete = True
                            revision = max(revision, event.revision)
                        case values.TaskChanged() if snapshot_complete:
                            revision = max(revision, event.status.revision)
                        case values.TaskChanged() | values.TaskDeleted() | values.WatchResumed():
                            pass  # a snapshot's order is its own: half of it is no place to resume from
                        case None:
                            continue
                    yield event
            broken: FarspawnError = SiteUnreachableError("the site ended the stream")
        except PASSING as error:
            broken = error
        if not (heard and isinstance(broken, CallTimeoutError)):
            # A stream that was heard of and ran into its deadline is only renewed.
            await outage.pause(broken)
        resumed = True


async def read_logs(link: Link, cursor: LogCursor) -> AsyncGenerator[values.LogChunk, None]:
    """A task's output; a stream that breaks off is taken up again where it was."""
    outage = Outage(link)
    while True:
        heard = False
        try:
            async with aclosing(link.stream(verbs.read_logs(cursor.request()))) as parts:
                async for part in parts:
                    outage.over()
                    heard = True
                    chunk = cursor.take(part)
                    if chunk is not None:
                        yield chunk
                    if cursor.ended:
                        return
            broken: FarspawnError = SiteUnreachableError("the site ended the stream")
        except LogOffsetExpiredError as error:
            # Bytes went away while nobody was connected. The next chunk's
            # offset shows the gap.
            if not cursor.skip_to(error.earliest):
                raise
            continue
        except PASSING as error:
            broken = error
        if not (heard and isinstance(broken, CallTimeoutError)):
            await outage.pause(broken)


def no_such_task(task_id: str) -> TaskNotFoundError:
    """As the site would refuse it: a poll tells of unknown ids in its answer."""
    return TaskNotFoundError(f"no task {task_id}", code="NOT_FOUND", reason="TASK_NOT_FOUND")
