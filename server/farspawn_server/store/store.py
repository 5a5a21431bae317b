"""The one writer of the database: concurrent calls share its commits, and nobody waits for another's disk twice.

`put` and `delete` return when the change is on the disk. Changes are applied in the order in which they were asked for.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farspawn_server.store import codec, schema
from farspawn_server.task.life import Task
from farspawn_server.task.spec import Uid

_MOST_IN_ONE_COMMIT = 512


class StoreError(Exception):
    """The change is not on the disk; the database is as it was. The text quotes SQLite."""


@dataclass(frozen=True, slots=True)
class _Change:
    apply: Callable[[sqlite3.Connection], None]
    done: asyncio.Future[None]


class Store:
    """Every task of the site. Used from one event loop; the database has a thread of its own."""

    def __init__(self, path: Path) -> None:
        """Open the database. Raises what `schema.connect` raises."""
        self._path = path
        self._database = schema.connect(path)
        self._inode = path.stat().st_ino
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="store", daemon=True)
        self._thread.start()

    def load(self) -> tuple[int, list[Task]]:
        """Return the greatest revision ever given, and every task, oldest first. To be called before any change."""
        (deleted,) = self._database.execute("SELECT revision FROM site").fetchone()
        rows = self._database.execute("SELECT spec, permit, record FROM task ORDER BY uid")
        tasks = [codec.decode(*row) for row in rows]
        return max([deleted, *(task.revision for task in tasks)]), tasks

    async def put(self, task: Task) -> None:
        """Store a task, new or changed.

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

        await self._submit(apply)

    async def delete(self, uid: Uid, revision: int) -> None:
        """Remove a task; `revision` is that of the removal.

        Raises:
            StoreError: it is still there.
        """

        def apply(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM task WHERE uid = ?", (uid,))
            database.execute("UPDATE site SET revision = max(revision, ?)", (revision,))

        await self._submit(apply)

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        self._changes.put(None)
        await asyncio.to_thread(self._thread.join)
        self._database.close()

    async def _submit(self, apply: Callable[[sqlite3.Connection], None]) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._changes.put(_Change(apply, done))
        await done

    def _write(self) -> None:
        while (first := self._changes.get()) is not None:
            batch, last = [first], False
            while not last and len(batch) < _MOST_IN_ONE_COMMIT and not self._changes.empty():
                change = self._changes.get()
                last = change is None
                if change is not None:
                    batch.append(change)
            error = self._commit(batch)
            self._loop.call_soon_threadsafe(_report, batch, error)
            if last:
                return

    def _commit(self, batch: list[_Change]) -> Exception | None:
        try:
            # SQLite would go on writing to a file that was removed, and all would be lost at the end of this process.
            if self._path.stat().st_ino != self._inode:
                return FileNotFoundError(f"{self._path} was replaced: restart the agent")
            self._database.execute("BEGIN IMMEDIATE")
            for change in batch:
                change.apply(self._database)
            self._database.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            return error
        return None


def _report(batch: list[_Change], error: Exception | None) -> None:
    for change in batch:
        if change.done.cancelled():
            continue
        if error is None:
            change.done.set_result(None)
        else:
            change.done.set_exception(StoreError(str(error)))
