"""Everything a call may raise, sorted by whose fault it is; nothing here knows gRPC.

FarspawnError
├── AddressError               the caller: the site's address cannot be used
├── UnsendableError            the caller: a value does not fit the contract's types
├── ClientClosedError          the caller: the client was closed
├── MessageTooLargeError       the caller: a message is larger than an end takes
├── WaitTimeoutError           nobody: the time given to wait is over
├── LeaseExpiredError          whoever kept the leases: they were not renewed in time
├── SiteUnreachableError       the way: nobody answered, or the answer was cut off
├── CallTimeoutError           the way, or a hanging site: no answer in time
├── SiteFaultError             the site: a bug of its own
├── TaskError                  the task: it ended otherwise than was waited for
│   ├── LaunchFailedError
│   ├── TaskLostError
│   └── NotReadyError
└── RefusedError               the site said no, and why
    ├── TaskNotFoundError
    ├── TaskIdReusedError
    ├── TemplateChangedError
    ├── SpecInvalidError
    ├── UnauthenticatedError
    ├── PolicyDeniedError
    ├── LimitUnsupportedError
    ├── LimitReachedError
    ├── StorageFullError
    ├── LogOffsetExpiredError
    ├── TaskNotRunningError
    ├── TaskNotEndedError
    ├── InputClosedError
    ├── InputOffsetSkippedError
    ├── NotServedError
    └── SiteUnavailableError
        ├── DrainingError
        ├── ReaderTooSlowError
        └── RecoveringError
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from farspawn._values import LaunchPhase, TaskStatus


class FarspawnError(Exception):
    """What every error of this library is."""


class AddressError(FarspawnError, ValueError):
    """A site's address cannot be used; the message says what can."""


class UnsendableError(FarspawnError, ValueError):
    """A value does not fit the contract's types: text that is not Unicode, a number out of range."""


class ClientClosedError(FarspawnError):
    """The client was closed, before or during the call."""


class MessageTooLargeError(FarspawnError):
    """A message is larger than the site, or this client, takes."""


class WaitTimeoutError(FarspawnError, TimeoutError):
    """The time given to wait is over, and tasks are not what was waited for. Nothing was done to them.

    Attributes:
        task_ids: Those that are alive, or not ready.
    """

    def __init__(self, task_ids: Sequence[str], how: str = "still alive") -> None:
        super().__init__(tuple(task_ids), how)
        self.task_ids = tuple(task_ids)

    def __str__(self) -> str:
        return f"{self.args[1]}: {', '.join(self.task_ids)}"


class LeaseExpiredError(FarspawnError):
    """Leases that were to be kept were over before they were renewed: the site has ended these tasks.

    Attributes:
        statuses: The tasks, each in its final state.
    """

    def __init__(self, statuses: Sequence[TaskStatus]) -> None:
        super().__init__(tuple(statuses))
        self.statuses = tuple(statuses)

    def __str__(self) -> str:
        return f"not renewed in time: {', '.join(status.task_id for status in self.statuses)}"


class SiteUnreachableError(FarspawnError):
    """Nobody answered, or the answer was cut off. Whether the call took effect is not known."""


class CallTimeoutError(FarspawnError):
    """No answer in time. Whether the call took effect is not known."""


class SiteFaultError(FarspawnError):
    """The site has a bug: it failed, or answered against the contract."""


class TaskError(FarspawnError):
    """A task ended otherwise than was waited for.

    Attributes:
        status: The task, in its final state.
    """

    def __init__(self, status: TaskStatus) -> None:
        super().__init__(status)
        self.status = status


class LaunchFailedError(TaskError):
    """The task's process could not be started.

    Attributes:
        errno: The kernel's error number, as Linux counts them; 0 if the site did not tell.
        phase: What was being done.
        path: The file it was done to.
    """

    def __init__(self, status: TaskStatus) -> None:
        super().__init__(status)
        failure = status.outcome.launch_failure if status.outcome else None
        self.errno = failure.error_number if failure else 0
        self.phase = failure.phase if failure else LaunchPhase.UNSPECIFIED
        self.path = failure.path if failure else ""

    def __str__(self) -> str:
        if not self.errno:
            return f"task {self.status.task_id} could not be started"
        return f"task {self.status.task_id} could not be started: {self.path}: {os.strerror(self.errno)}"


class TaskLostError(TaskError):
    """The task has ended, and how cannot be known. No exit code is invented."""

    def __str__(self) -> str:
        message = self.status.outcome.message if self.status.outcome else ""
        return f"task {self.status.task_id} is lost: {message or 'how it ended cannot be known'}"


class NotReadyError(TaskError):
    """The task has ended, and will not be ready any more."""

    def __str__(self) -> str:
        return f"task {self.status.task_id} has ended instead of being ready"


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field.

    Attributes:
        field: Its path in the request, for instance `spec.argv[0]`.
        description: What is wrong with it.
    """

    field: str
    description: str


class RefusedError(FarspawnError):
    """The site said no.

    Attributes:
        code: The name of the gRPC status code, for instance NOT_FOUND.
        reason: The site's reason, one of the contract's; empty if it gave none.
        metadata: What goes with the reason.
        violations: Each bad field.
        retry_after: When trying again may help; None: the site does not say that it will.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after

    def __str__(self) -> str:
        told = str(self.args[0])
        # Some sites put the violations into the message too: say each once.
        fields = [f"{bad.field}: {bad.description}" for bad in self.violations if bad.description not in told]
        return "; ".join([told, *fields])


class TaskNotFoundError(RefusedError):
    """No such task, or it is somebody else's."""


class TaskIdReusedError(RefusedError):
    """The id names a task with another spec: choose another id, or delete the ended task."""


class TemplateChangedError(RefusedError):
    """The template has another revision than was asked for: look at it again, see `Site.templates`."""

    @property
    def template(self) -> str:
        """The template's name."""
        return self.metadata.get("template", "")

    @property
    def revision(self) -> str:
        """The revision that it has now."""
        return self.metadata.get("revision", "")


class SpecInvalidError(RefusedError):
    """A field is bad; `violations` names each one."""


class UnauthenticatedError(RefusedError):
    """The site does not know who is calling."""


class PolicyDeniedError(RefusedError):
    """The site's owner does not allow it; `metadata["rule"]` names the rule."""


class LimitUnsupportedError(RefusedError):
    """The site cannot enforce a limit that was asked for: `metadata["field"]`; see `Site.enforceable_limits`."""


class LimitReachedError(RefusedError):
    """A limit of the site or of the owner is reached; `metadata["limit"]` names it."""


class StorageFullError(RefusedError):
    """The site cannot record the task."""


class LogOffsetExpiredError(RefusedError):
    """The offset is not within what the site still has.

    Attributes:
        earliest: The offset of the first byte still there.
        next: The offset after the last byte written so far.
    """

    @property
    def earliest(self) -> int:
        """The offset of the first byte still there."""
        return int(self.metadata.get("earliest", "0"))

    @property
    def next(self) -> int:
        """The offset after the last byte written so far."""
        return int(self.metadata.get("next", "0"))


class TaskNotRunningError(RefusedError):
    """There is no process to signal, or to read an input."""


class TaskNotEndedError(RefusedError):
    """The task lives: stop it first."""


class InputClosedError(RefusedError):
    """There is nothing to write to: launched without an input, ended, closed by the task, or its keeper died."""


class InputOffsetSkippedError(RefusedError):
    """Bytes before the offset are missing: the task was started again meanwhile, and its input with it."""

    @property
    def acknowledged(self) -> int:
        """The offset after the last byte that the task's input has taken."""
        return int(self.metadata.get("acknowledged", "0"))


class NotServedError(RefusedError):
    """This site does not serve the method: it is older than this client."""


class SiteUnavailableError(RefusedError):
    """The site does not take the call now: try again later, or elsewhere."""


class DrainingError(SiteUnavailableError):
    """The owner is shutting the site down."""


class ReaderTooSlowError(SiteUnavailableError):
    """Nothing of a stream was read for so long that the site ended it."""


class RecoveringError(SiteUnavailableError):
    """The agent was started a moment ago and is taking stock of its tasks."""
