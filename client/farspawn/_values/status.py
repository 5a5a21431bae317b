"""Where a task is in its life."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import unique

from farspawn._values.outcome import Outcome, Survivor
from farspawn._values.spec import TaskSpec
from farspawn._values.wire_enum import WireEnum


@unique
class TaskState(WireEnum):
    """The life of a task. EXITED, FAILED and LOST are final and never change."""

    UNSPECIFIED = 0
    """A newer site has a state unknown to this client: the task is to be treated as alive."""
    PENDING = 1
    """Recorded; nothing was started yet."""
    STARTING = 2
    """The site is starting the process."""
    RUNNING = 3
    """The first process, the leader, is alive."""
    STOPPING = 4
    """A stop plan runs, or what the leader left behind is being stopped."""
    EXITED = 5
    """Final. The leader's exit is known."""
    FAILED = 6
    """Final. The process never started."""
    LOST = 7
    """Final. How the task ended is unknowable."""

    @property
    def is_final(self) -> bool:
        """Whether the task has ended."""
        return self in (TaskState.EXITED, TaskState.FAILED, TaskState.LOST)


@dataclass(frozen=True, slots=True)
class TaskTimes:
    """When each phase was reached, by the site's wall clock, in UTC; None: not reached.

    Attributes:
        created: The task was accepted and recorded.
        started: The leader was started.
        stop_requested: The first stop was asked for.
        signalled: The stop plan's signal was sent.
        killed: SIGKILL was sent.
        leader_exited: The leader ended.
        ended: The task reached its final state.
    """

    created: datetime | None = None
    started: datetime | None = None
    stop_requested: datetime | None = None
    signalled: datetime | None = None
    killed: datetime | None = None
    leader_exited: datetime | None = None
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a task that was, or is about to be, restarted.

    Attributes:
        number: Counts from 1.
        state: How it ended: EXITED, FAILED or LOST.
        times: When each of its phases was reached.
        outcome: How it ended.
    """

    number: int
    state: TaskState
    times: TaskTimes
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """What changes about a task.

    Attributes:
        task_id: Unique among its owner's tasks.
        uid: The site's own name for this task: unique for ever, also when the id is used again.
        state: Where the task is in its life.
        revision: When this became true, as the site counts; a greater one is newer.
        attempt: Which one this is; counts from 1.
        pid: The leader's process id on the site; None: none yet.
        times: When each phase was reached.
        outcome: How its last attempt ended; None while the task has not.
        ready: Whether the readiness check of this attempt has held.
        earlier_attempts: The attempts before this one, oldest first, at most the last 20.
        unkillable: While STOPPING: what SIGKILL has not ended in a second, or cannot be signalled at all, and why.
        output_error: Why output could not be written when that was tried last, for instance ENOSPC: the task waits
            when it writes. Empty: it could.
    """

    task_id: str
    uid: str = ""
    state: TaskState = TaskState.UNSPECIFIED
    revision: int = 0
    attempt: int = 0
    pid: int | None = None
    times: TaskTimes = TaskTimes()
    outcome: Outcome | None = None
    ready: bool = False
    earlier_attempts: tuple[Attempt, ...] = ()
    unkillable: tuple[Survivor, ...] = ()
    output_error: str = ""

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state.is_final


@dataclass(frozen=True, slots=True)
class Task:
    """A task: what was asked, by whom, and what became of it.

    Attributes:
        status: What changes.
        spec: What was asked.
        owner: The identity that launched it.
        spec_digest: Two specs with the same digest are the same to the site.
        template_revision: That of the template when the task was launched; empty: the spec names none.
        lease_ttl: That of the lease in force, asked for or imposed by the site. None: there is none.
        max_runtime: How long an attempt may run, by whoever's wish. None: no limit.
    """

    status: TaskStatus
    spec: TaskSpec
    owner: str
    spec_digest: str
    template_revision: str = ""
    lease_ttl: timedelta | None = None
    max_runtime: timedelta | None = None
