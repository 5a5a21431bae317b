"""What stays of a task that was forgotten to make room: whose it was, what it was to run, and how it ended.

So that the repetition of its LaunchTask is answered, and not carried out a second time.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from farspawn_server.store import codec
from farspawn_server.task.life import Task
from farspawn_server.task.spec import Owner, Spec, TaskId


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Which task, and when it was forgotten, in nanoseconds since 1970."""

    owner: Owner
    task_id: TaskId
    at: int


@dataclass(frozen=True, slots=True)
class Tombstone:
    """`record`: as `codec` writes it, without earlier attempts."""

    forgotten: Forgotten
    digest: str
    record: str

    @staticmethod
    def of(task: Task, at: int) -> Tombstone:
        """Return that of a task that has ended."""
        return Tombstone(
            Forgotten(task.owner, task.task_id, at),
            task.digest,
            codec.encode_record(dataclasses.replace(task, earlier=())),
        )

    def task(self, spec: Spec) -> Task:
        """Return the task as it ended. `spec` is not kept: it is that of the digest, from whoever has it still."""
        return codec.decode_record(spec, self.record)


def put(database: sqlite3.Connection, tombstone: Tombstone) -> None:
    """Put one up, in the place of an older one of the same name."""
    forgotten = tombstone.forgotten
    database.execute(
        "INSERT OR REPLACE INTO tombstone (owner, task_id, digest, record, forgotten_at) VALUES (?, ?, ?, ?, ?)",
        (forgotten.owner, forgotten.task_id, tombstone.digest, tombstone.record, forgotten.at),
    )


def load(database: sqlite3.Connection) -> list[Forgotten]:
    """Return whose there are, the oldest first."""
    rows = database.execute("SELECT owner, task_id, forgotten_at FROM tombstone ORDER BY forgotten_at")
    return [Forgotten(*row) for row in rows]


def get(database: sqlite3.Connection, owner: Owner, task_id: TaskId) -> list[Tombstone]:
    """Return the one of this name, or none."""
    rows = database.execute(
        "SELECT forgotten_at, digest, record FROM tombstone WHERE owner = ? AND task_id = ?", (owner, task_id)
    )
    return [Tombstone(Forgotten(owner, task_id, at), digest, record) for at, digest, record in rows]


def remove(database: sqlite3.Connection, owner: Owner, task_ids: Sequence[TaskId]) -> None:
    """Remove those of these names."""
    database.executemany(
        "DELETE FROM tombstone WHERE owner = ? AND task_id = ?", [(owner, task_id) for task_id in task_ids]
    )
