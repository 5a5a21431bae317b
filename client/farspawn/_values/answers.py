"""The answer to a poll."""

from dataclasses import dataclass

from farspawn._values.status import TaskStatus


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
