"""Following tasks: the three calls that wait. None of them holds a lock, so none delays anybody."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from farspawn_server.changes import Changes, Deletion
from farspawn_server.logs import Chunk, read_chunk, start_of_tail
from farspawn_server.policy import Caller
from farspawn_server.supervisor.charge import Charge
from farspawn_server.supervisor.registry import Filter, Registry
from farspawn_server.task.errors import LogOffsetExpiredError, TaskNotFoundError
from farspawn_server.task.life import Task

LONGEST_WAIT = timedelta(minutes=5)
KEEP_ALIVE_SECONDS = 15.0
_FIRST_LOOK_SECONDS = 0.02
_LAST_LOOK_SECONDS = 0.25


async def poll(
    registry: Registry,
    changes: Changes,
    caller: Caller,
    task_ids: Sequence[str],
    *,
    wait: timedelta,
    since_revision: int,
    renew_leases: bool,
) -> tuple[list[Task], list[str], int]:
    """See Supervisor.poll."""
    deadline = time.monotonic() + min(wait, LONGEST_WAIT).total_seconds()
    known_before: int | None = None
    while True:
        charges, unknown = list[Charge](), list[str]()
        for task_id in dict.fromkeys(task_ids):
            if (charge := registry.find(caller, task_id)) is None:
                unknown.append(task_id)
            else:
                charges.append(charge)
        shortest = _renew(charges) if renew_leases else math.inf
        newer = [charge.task for charge in charges if charge.task.revision > since_revision]
        deleted_meanwhile = known_before is not None and len(charges) < known_before
        left = deadline - time.monotonic()
        if newer or not since_revision or not charges or deleted_meanwhile or left <= 0:
            return sorted(newer, key=lambda task: task.revision), unknown, changes.revision
        known_before, uids = len(charges), [charge.task.uid for charge in charges]
        del charges, unknown, newer  # many wait, and for many tasks
        await changes.wait(uids, min(left, shortest))


def _renew(charges: Sequence[Charge]) -> float:
    """Renew the leases, and return after how many seconds to do it again if the caller still waits then."""
    shortest = math.inf
    for charge in charges:
        charge.renew_lease()
        if (lease := charge.task.terms.lease) is not None:
            shortest = min(shortest, lease.ttl.total_seconds() / 3)
    return shortest


async def watch(
    registry: Registry,
    changes: Changes,
    caller: Caller,
    which: Filter,
    *,
    since_revision: int,
    renew_leases: bool,
) -> AsyncIterator[Task | Deletion | int]:
    """See Supervisor.watch."""
    seen, opened_at = since_revision, changes.revision
    told_at: float | None = None
    while True:
        patience = KEEP_ALIVE_SECONDS
        if renew_leases:
            patience = min(patience, _renew(registry.live_of(caller, which)))
        batch, seen = changes.since(seen), changes.revision
        for change in batch:
            if not caller.sees(change.owner):
                continue
            if isinstance(change, Deletion):
                # A snapshot is of what there is; of what was deleted before, nobody is told.
                if since_revision or change.revision > opened_at:
                    yield change
            elif which.matches(change):
                yield change
        if changes.revision > seen:
            continue  # more happened while the reader took its time
        if told_at is None or time.monotonic() - told_at >= KEEP_ALIVE_SECONDS:
            yield seen
            told_at = time.monotonic()
        if changes.revision == seen:
            await changes.wait(None, patience)


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin reading: at an offset, or at the last so many lines; both None: at the beginning."""

    offset: int | None = None
    tail_lines: int | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """Where an output begins."""

    earliest: int
    start: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place to resume from."""

    offset: int


@dataclass(frozen=True, slots=True)
class End:
    """Why reading is over: `complete` means that there will never be more."""

    offset: int
    complete: bool


LogPart = Header | Chunk | Checkpoint | End


async def read_logs(
    charge: Charge,
    changes: Changes,
    path: Path,
    *,
    start: Start,
    attempt: int,
    until_ended: bool,
    is_deleted: Callable[[], bool],
) -> AsyncIterator[LogPart]:
    """See Supervisor.read_logs."""
    tail = None if start.tail_lines is None else await asyncio.to_thread(start_of_tail, path, start.tail_lines)
    there = await asyncio.to_thread(read_chunk, path, 0)  # after the tail was looked for: it lies within
    if tail is not None:
        offset = max(tail, there.earliest)
    else:
        offset = there.earliest if start.offset is None else start.offset
        if not there.earliest <= offset <= there.size:
            raise LogOffsetExpiredError(offset, earliest=there.earliest, end=there.size)
    yield Header(earliest=there.earliest, start=offset, attempt=attempt)
    last = math.inf if until_ended else there.size  # a task that writes faster than is read would never let us end
    patience, quiet_since = _FIRST_LOOK_SECONDS, time.monotonic()
    while True:
        # Asked before reading: what was written before the end is read after it was seen.
        complete = _written_out(charge, attempt)
        chunk = await asyncio.to_thread(read_chunk, path, offset)
        if chunk.data and chunk.earliest > offset:
            raise LogOffsetExpiredError(offset, earliest=chunk.earliest, end=chunk.size)
        if offset + len(chunk.data) > last:
            chunk = replace(chunk, data=chunk.data[: max(0, there.size - offset)])
        if chunk.data:
            yield chunk
            offset += len(chunk.data)
            patience, quiet_since = _FIRST_LOOK_SECONDS, time.monotonic()
        elif complete or not until_ended or charge.task.state.final:
            if is_deleted():  # and its output with it: nobody knows what more there was
                raise TaskNotFoundError(charge.task.task_id)
            yield End(offset, complete and offset >= chunk.size)
            return
        else:
            await changes.wait([charge.task.uid], patience)
            patience = min(2 * patience, _LAST_LOOK_SECONDS)
            if time.monotonic() - quiet_since > KEEP_ALIVE_SECONDS:
                yield Checkpoint(offset)
                quiet_since = time.monotonic()


def _written_out(charge: Charge, attempt: int) -> bool:
    """Whether nobody is left who could write to the output of this attempt."""
    task = charge.task
    if attempt < task.attempt:
        return True
    return task.state.final and task.outcome is not None and not task.outcome.survivors
