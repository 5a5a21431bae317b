"""What calls answer, besides the tasks themselves: to a poll, to a watch, to reading a log."""

from dataclasses import dataclass
from datetime import datetime
from enum import unique
from typing import TypeAlias

from farspawn._values.status import TaskStatus
from farspawn._values.wire_enum import WireEnum


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """How tasks are.

    Attributes:
        statuses: Those tasks that changed, in the order of their revisions.
        unknown_task_ids: Ids that name no task of the caller's.
        revision: Pass it as `since_revision` next time.
    """

    statuses: tuple[TaskStatus, ...]
    unknown_task_ids: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class TaskChanged:
    """A task is now like this.

    Attributes:
        status: The task; between two of these, states may have been skipped, but never the final one.
    """

    status: TaskStatus


@dataclass(frozen=True, slots=True)
class TaskDeleted:
    """A task was deleted.

    Attributes:
        uid: `TaskStatus.uid` of the task; its id may be in use again.
    """

    uid: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything up to a revision has been told: the snapshot is complete, or nothing changed for a while.

    Attributes:
        revision: Pass it as `since_revision` to go on from here.
    """

    revision: int


@dataclass(frozen=True, slots=True)
class WatchResumed:
    """The stream broke off and was taken up again: deletions in between were missed.

    Attributes:
        revision: From where it goes on. Changes after it are told, some perhaps again.
    """

    revision: int


WatchEvent: TypeAlias = TaskChanged | TaskDeleted | Checkpoint | WatchResumed


@unique
class LogStream(WireEnum):
    """The two outputs of a task."""

    UNSPECIFIED = 0
    """Read as STDOUT."""
    STDOUT = 1
    """Standard output."""
    STDERR = 2
    """Standard error."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes as the task wrote them: any bytes, cut anywhere.

    Attributes:
        offset: The place of the first byte, counted from 0 over the whole output.
        data: The bytes; never empty.
        attempt: Whose output it is; its offsets count from 0 again.
        written_at: The second in which the first byte came, by the site's clock; of a chunk, all of them. None: nobody
            recorded it.
    """

    offset: int
    data: bytes
    attempt: int = 0
    written_at: datetime | None = None

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + len(self.data)
