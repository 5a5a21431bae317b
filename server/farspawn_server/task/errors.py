"""Why the supervisor says no.

Refusal
  SpecInvalidError          the request is wrong: each bad field is named
  TaskNotFoundError         no such task, or somebody else's
  TaskIdReusedError         the id names a task with another spec
  PolicyDeniedError         the site's owner does not allow it
  TemplateChangedError      the template is not the one that the caller means
  UnauthenticatedError      nobody knows who is calling
  LimitUnsupportedError     the site cannot enforce a limit that was asked for
  LimitReachedError         the site has as much as its owner allows
  StorageFullError          the site cannot record what it is asked
  RecoveringError           the agent has just started
  DrainingError             the agent is shutting down
  ReaderTooSlowError        nobody takes what a stream has to tell
  LogOffsetExpiredError     these bytes of the output are not there
  TaskNotRunningError       there is no process to do it to
  TaskNotEndedError         the task still lives
  InputClosedError          nobody reads what would be written
  InputOffsetSkippedError   something before these bytes was not written yet
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class Refusal(Exception):  # noqa: N818  # the root of the tree is named for what it is
    """A call that is not carried out. Its text is meant for the caller; `metadata` for the caller's program."""

    reason: ClassVar[str]

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.metadata: Mapping[str, str] = metadata


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field: its path in the request, and what is wrong with it and how to put it right."""

    field: str
    description: str


class SpecInvalidError(Refusal):
    """The request is wrong: each bad field is named."""

    reason = "SPEC_INVALID"

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.description}" for each in violations))
        self.violations = violations


class TaskNotFoundError(Refusal):
    """There is no such task, or it is somebody else's."""

    reason = "TASK_NOT_FOUND"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {task_id!r}", task_id=task_id)


class TaskIdReusedError(Refusal):
    """The id names a task with another spec."""

    reason = "TASK_ID_REUSED"

    def __init__(self, task_id: str, *, existing: str, given: str) -> None:
        super().__init__(
            f"task {task_id!r} exists with another spec: choose another id, or delete that task once it has ended",
            task_id=task_id,
            existing_digest=existing,
            given_digest=given,
        )


class PolicyDeniedError(Refusal):
    """The site's owner does not allow it."""

    reason = "POLICY_DENIED"

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(message, rule=rule)


class TemplateChangedError(Refusal):
    """The template is not the one that the caller means."""

    reason = "TEMPLATE_CHANGED"

    def __init__(self, template: str, revision: str) -> None:
        super().__init__(
            f"template {template!r} has revision {revision} now: look at it again with GetSite",
            template=template,
            revision=revision,
        )


class UnauthenticatedError(Refusal):
    """Nobody knows who is calling."""

    reason = "UNAUTHENTICATED"


class LimitUnsupportedError(Refusal):
    """The site cannot enforce a limit that was asked for."""

    reason = "LIMIT_UNSUPPORTED"

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: this site cannot enforce it: {why}", field=field)


class LimitReachedError(Refusal):
    """The site has as much as its owner allows."""

    reason = "LIMIT_REACHED"

    def __init__(self, limit: str, maximum: float) -> None:
        super().__init__(
            f"the site's limit {limit} = {maximum:.15g} is reached", limit=limit, maximum=f"{maximum:.15g}"
        )


class StorageFullError(Refusal):
    """The site cannot record what it is asked."""

    reason = "STORAGE_FULL"


class RecoveringError(Refusal):
    """The agent has just started and takes stock of its tasks."""

    reason = "RECOVERING"


class DrainingError(Refusal):
    """The agent is shutting down."""

    reason = "DRAINING"


class ReaderTooSlowError(Refusal):
    """Nobody takes what a stream has to tell."""

    reason = "READER_TOO_SLOW"


class LogOffsetExpiredError(Refusal):
    """These bytes of the output are not there, no longer or not yet."""

    reason = "LOG_OFFSET_EXPIRED"

    def __init__(self, offset: int, *, earliest: int, end: int) -> None:
        super().__init__(
            f"offset {offset} is outside of what is there: {earliest} to {end}",
            earliest=str(earliest),
            next=str(end),
        )


class TaskNotRunningError(Refusal):
    """There is no process to do it to."""

    reason = "TASK_NOT_RUNNING"

    def __init__(self, task_id: str, state: str) -> None:
        super().__init__(f"task {task_id!r} is {state}: it has no process", task_id=task_id, state=state)


class TaskNotEndedError(Refusal):
    """The task still lives."""

    reason = "TASK_NOT_ENDED"

    def __init__(self, task_id: str, state: str) -> None:
        super().__init__(f"task {task_id!r} is {state}: stop it first", task_id=task_id, state=state)


class InputClosedError(Refusal):
    """Nobody reads what would be written."""

    reason = "INPUT_CLOSED"

    def __init__(self, task_id: str, why: str) -> None:
        super().__init__(f"the input of task {task_id!r} is closed: {why}", task_id=task_id)


class InputOffsetSkippedError(Refusal):
    """Something before these bytes was not written yet."""

    reason = "INPUT_OFFSET_SKIPPED"

    def __init__(self, task_id: str, offset: int, *, acknowledged: int) -> None:
        super().__init__(
            f"offset {offset} of the input of task {task_id!r} skips what follows {acknowledged}: send that first",
            task_id=task_id,
            acknowledged=str(acknowledged),
        )
