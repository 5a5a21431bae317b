"""What a watch tells."""

from dataclasses import dataclass
from typing import TypeAlias

from farspawn._values.status import TaskStatus


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
