"""The one writer of the database: concurrent calls share its commits, and nobody waits for another's disk twice.

What is asked for is written in that order, and each is done when it is on the disk. The same thread writes the audit,
so that what was to be put on record before a change is on the disk before anybody is told of that change.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from farspawn_server.audit import ACCEPTED, Record, Trail
from farspawn_server.pace import Pace
from farspawn_server.store import codec, damaged, tombstones
from farspawn_server.store.tombstones import Forgotten, Tombstone
from farspawn_server.store.writer import Apply, Change, Writer
from farspawn_server.task.life import Task
from farspawn_server.task.spec import Owner, TaskId, Uid

_MOST_WAITING = 4096
"""Beyond so many waiting changes, what is only to be put on record is counted and dropped."""
_REST_PER_SECOND = 10.0
_REST_AT_ONCE = 10_000.0
"""Of each identity: what is put on record of calls that do nothing. Beyond it they are counted: the disk is finite."""


class StoreError(Exception):
    """The change is not on the disk; the database is as it was. The text quotes SQLite or the kernel."""


class Store:
    """Every task of the site. Used from one event loop; the database has a thread of its own."""

    def __init__(self, path: Path, trail: Trail) -> None:
        """Open the database; `trail` is written from its thread. Raises what `schema.connect` raises."""
        self._trail = trail
        self._pace = Pace()
        self._under_way = 0
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(path, trail, self._written)

    def load(self) -> tuple[int, list[Task]]:
        """Return the greatest revision that is stored, and every task, oldest first. To be called before any change."""
        database = self._writer.database
        (deleted,) = database.execute("SELECT revision FROM site").fetchone()
        tasks = damaged.load(database)
        return max([deleted, *(task.revision for task in tasks)]), tasks

    def put(self, task: Task, entry: Record | None = None) -> asyncio.Future[None]:
        """Store a task, new or changed. It is done when it is on the disk; else it has a StoreError.

        With an entry of the audit it is new, and both are on the disk, or it is not stored.
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

        def undo(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM task WHERE uid = ?", (task.uid,))

        return self._submit(apply, entry, undo=undo if entry else None)

    def delete(self, uid: Uid, revision: int, tombstone: Tombstone | None = None) -> asyncio.Future[None]:
        """Remove a task; `revision` is that of the removal. Done when it is gone; else it has a StoreError.

        `tombstone`: is put up in its place.
        """

        def apply(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM task WHERE uid = ?", (uid,))
            database.execute("DELETE FROM damaged WHERE uid = ?", (uid,))
            _pass_revision(database, revision)
            if tombstone is not None:
                tombstones.put(database, tombstone)

        return self._submit(apply)

    def pass_revision(self, revision: int) -> asyncio.Future[None]:
        """Store that revisions up to this one may have been told. Done when that is on the disk; else a StoreError."""
        return self._submit(lambda database: _pass_revision(database, revision))

    def tombstones(self) -> list[Forgotten]:
        """Return whose tasks have a tombstone, the oldest first. To be called before any change."""
        return tombstones.load(self._writer.database)

    async def tombstone(self, owner: Owner, task_id: TaskId) -> Tombstone | None:
        """Return a task's tombstone, if it has one."""
        found: list[Tombstone] = []
        await self._submit(lambda database: found.extend(tombstones.get(database, owner, task_id)))
        return found[0] if found else None

    def remove_tombstones(self, owner: Owner, task_ids: Sequence[TaskId]) -> asyncio.Future[None]:
        """Remove these tombstones of an owner; it has a StoreError if they are still there."""
        return self._submit(lambda database: tombstones.remove(database, owner, task_ids))

    @property
    def busy(self) -> bool:
        """Whether something that was asked for is not done yet."""
        return self._under_way > 0

    def turn(self) -> asyncio.Future[None]:
        """Return what is done after all that was asked for before."""
        return self._submit(None)

    def note(self, record: Record) -> None:
        """Put on record, before all changes that are asked for from now on; what cannot be written is counted."""
        # What will be done is never dropped here: it is as many as are done. The rest can be a flood.
        if record.outcome == ACCEPTED or (
            self._writer.waiting < _MOST_WAITING and self._pace.takes(record.identity, _REST_PER_SECOND, _REST_AT_ONCE)
        ):
            self._writer.write(Change(None, None, record))
        else:
            self._trail.lose(1)

    def noted(self, record: Record) -> asyncio.Future[None]:
        """Put on record; done when that is done, or cannot be done."""
        return self._submit(None, record)

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        await asyncio.to_thread(self._writer.close)

    def _submit(
        self, apply: Apply | None, record: Record | None = None, undo: Apply | None = None
    ) -> asyncio.Future[None]:
        done: asyncio.Future[None] = self._loop.create_future()
        self._under_way += 1
        self._writer.write(Change(apply, done, record, undo))
        return done

    def _written(self, batch: Sequence[Change], failed: Mapping[int, Exception]) -> None:
        """Called from the writer's thread."""
        self._loop.call_soon_threadsafe(self._report, batch, failed)

    def _report(self, batch: Sequence[Change], failed: Mapping[int, Exception]) -> None:
        for place, change in enumerate(batch):
            if change.done is None:
                continue
            self._under_way -= 1
            if change.done.cancelled():
                continue
            if (error := failed.get(place)) is None:
                change.done.set_result(None)
            else:
                change.done.set_exception(StoreError(str(error)))


def _pass_revision(database: sqlite3.Connection, revision: int) -> None:
    database.execute("UPDATE site SET revision = max(revision, ?)", (revision,))
