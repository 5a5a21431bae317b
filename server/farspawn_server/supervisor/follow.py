"""Following tasks: the calls that wait for changes. None of them holds a lock, so none delays anybody."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from farspawn_server.changes import Changes, Deletion
from farspawn_server.policy import Caller
from farspawn_server.supervisor.charge import Charge
from farspawn_server.supervisor.registry import Filter, Registry
from farspawn_server.task.life import Task

LONGEST_WAIT = timedelta(minutes=5)
KEEP_ALIVE_SECONDS = 15.0


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
        shortest = math.inf
        if renew_leases:
            shortest = _renew([charge for charge in charges if caller.may_change(charge.task.owner)])
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
