"""The one writer of the database: concurrent calls share its commits, and nobody waits for another's disk twice.

`put` and `delete` return when the change is on the disk. Changes are applied in the order in which they were asked for.
The same thread writes the audit, so that what was to be put on record before a change is in the file before that change
is committed.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farspawn_core import failpoint
from farspawn_server.audit import ACCEPTED, Record, Trail
from farspawn_server.pace import Pace
from farspawn_server.store import codec, schema
from farspawn_server.task.life import Task
from farspawn_server.task.spec import Uid

log = logging.getLogger(__name__)

_MOST_IN_ONE_COMMIT = 512
_MOST_WAITING = 4096
"""Beyond so many waiting changes, what is only to be put on record is counted and dropped."""
_REST_PER_SECOND = 10.0
_REST_AT_ONCE = 10_000.0
"""Of each identity: what is put on record of calls that do nothing. Beyond it they are counted: the disk is finite."""


class StoreError(Exception):
    """The change is not on the disk; the database is as it was. The text quotes SQLite or the kernel."""


_Apply = Callable[[sqlite3.Connection], None]


@dataclass(frozen=True, slots=True)
class _Change:
    apply: _Apply | None  # None: there is only something to put on record
    done: asyncio.Future[None] | None  # None: nobody waits for it
    record: Record | None = None

    @property
    def bound(self) -> bool:
        """Whether it must not be applied without being on record."""
        return self.apply is not None and self.record is not None


class Store:
    """Every task of the site. Used from one event loop; the database has a thread of its own."""

    def __init__(self, path: Path, trail: Trail) -> None:
        """Open the database; `trail` is written from its thread. Raises what `schema.connect` raises."""
        self._path = path
        self._trail = trail
        self._database = schema.connect(path)
        self._inode = path.stat().st_ino
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._pace = Pace()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="store", daemon=True)
        self._thread.start()

    def load(self) -> tuple[int, list[Task]]:
        """Return the greatest revision ever given, and every task, oldest first. To be called before any change."""
        (deleted,) = self._database.execute("SELECT revision FROM site").fetchone()
        rows = self._database.execute("SELECT spec, permit, record FROM task ORDER BY uid")
        tasks = [codec.decode(*row) for row in rows]
        return max([deleted, *(task.revision for task in tasks)]), tasks

    async def put(self, task: Task, entry: Record | None = None) -> None:
        """Store a task, new or changed. An entry of the audit is on the disk before it, or nothing is stored.

        Raises:
            StoreError: it is not stored.
        """
        record = codec.encode_record(task)

        def apply(database: sqlite3.Connection) -> None:
            changed = database.execute(
                "UPDATE task SET revision = ?, record = ? WHERE uid = ?", (task.revision, record, task.uid)
            )
            if changed.rowcount == 0:
                spec, permit = codec.encode_spec(task.spec), codec.encode_permit(task.permit)
                database.execute(
                    "INSERT INTO task (uid, owner, task_id, revision, spec, record, permit) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (task.uid, task.owner, task.task_id, task.revision, spec, record, permit),
                )
            elif task.state.final and task.permit is not None:
                permit = codec.encode_permit(task.permit)
                database.execute("UPDATE task SET permit = ? WHERE uid = ?", (permit, task.uid))

        await self._submit(apply, entry)

    async def delete(self, uid: Uid, revision: int) -> None:
        """Remove a task; `revision` is that of the removal.

        Raises:
            StoreError: it is still there.
        """

        def apply(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM task WHERE uid = ?", (uid,))
            database.execute("UPDATE site SET revision = max(revision, ?)", (revision,))

        await self._submit(apply)

    def note(self, record: Record) -> None:
        """Put on record, before all changes that are asked for from now on; what cannot be written is counted."""
        # What will be done is never dropped here: it is as many as are done. The rest can be a flood.
        if record.outcome == ACCEPTED or (
            self._changes.qsize() < _MOST_WAITING and self._pace.takes(record.identity, _REST_PER_SECOND, _REST_AT_ONCE)
        ):
            self._changes.put(_Change(None, None, record))
        else:
            self._trail.lose(1)

    async def noted(self, record: Record) -> None:
        """Put on record, and wait until that is done, or cannot be done."""
        await self._submit(None, record)

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        self._changes.put(None)
        await asyncio.to_thread(self._thread.join)
        self._trail.close()
        self._database.close()

    async def _submit(self, apply: _Apply | None, record: Record | None = None) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._changes.put(_Change(apply, done, record))
        await done

    def _write(self) -> None:
        while (first := self._changes.get()) is not None:
            batch, last = [first], False
            while not last and len(batch) < _MOST_IN_ONE_COMMIT and not self._changes.empty():
                change = self._changes.get()
                last = change is None
                if change is not None:
                    batch.append(change)
            unrecorded = self._put_on_record(batch)
            failed = self._commit([each.apply for each in batch if each.apply and not (unrecorded and each.bound)])
            if any(each.done for each in batch):
                self._loop.call_soon_threadsafe(_report, batch, failed, unrecorded)
            if last:
                return

    def _put_on_record(self, batch: list[_Change]) -> OSError | None:
        records = [each.record for each in batch if each.record]
        if not records:
            return None
        try:
            self._trail.append(records, durable=any(each.outcome == ACCEPTED for each in records))
        except OSError as error:
            lost = [each.record for each in batch if each.record and not each.bound]
            self._trail.lose(len(lost))
            for record in lost:
                if record.outcome == ACCEPTED:
                    log.warning("done without record", extra={"rpc": record.rpc, "uid": record.uid})
            return error
        if any(each.bound for each in batch):
            failpoint.reach("server.launch.recorded")
        return None

    def _commit(self, changes: list[_Apply]) -> Exception | None:
        if not changes:
            return None
        try:
            # SQLite would go on writing to a file that was removed, and all would be lost at the end of this process.
            if self._path.stat().st_ino != self._inode:
                return FileNotFoundError(f"{self._path} was replaced: restart the agent")
            self._database.execute("BEGIN IMMEDIATE")
            for apply in changes:
                apply(self._database)
            self._database.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            return error
        return None


def _report(batch: list[_Change], failed: Exception | None, unrecorded: OSError | None) -> None:
    for change in batch:
        if change.done is None or change.done.cancelled():
            continue
        error = (unrecorded if change.bound else None) or (failed if change.apply else None)
        if error is None:
            change.done.set_result(None)
        else:
            change.done.set_exception(StoreError(str(error)))
