"""How far a task came and how it ended. Each field is a fact of its own; what is not known is None."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from farspawn_server.task.clocks import Monotonic, Wall


class State(enum.Enum):
    """Where a task is in its life."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    EXITED = "exited"
    FAILED = "failed"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether it never changes any more."""
        return self in (State.EXITED, State.FAILED, State.LOST)


class Cause(enum.Enum):
    """Who or what brought a task to its end."""

    COMPLETED = "completed"
    STOP_REQUESTED = "stop_requested"
    MAX_RUNTIME = "max_runtime"
    LEASE_EXPIRED = "lease_expired"
    SITE_SHUTDOWN = "site_shutdown"
    LAUNCH_FAILED = "launch_failed"
    HOST_REBOOTED = "host_rebooted"
    SUPERVISION_LOST = "keeper_lost"  # as version 0.1 wrote it


@dataclass(frozen=True, slots=True)
class Outputs:
    """What became of standard output and standard error of an attempt, in this order.

    Attributes:
        written: sizes of the files, in bytes.
        lost: bytes that no file took.
        error_number: why nothing can be written now; 0: it can.
        cut_off: its shim was killed: of what it had not written yet nobody knows how much there was.
    """

    written: tuple[int, int] = (0, 0)
    lost: tuple[int, int] = (0, 0)
    error_number: int = 0
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What the leader and the descendants that it waited for used."""

    user_seconds: float
    system_seconds: float
    max_resident_bytes: int


class OomKill(enum.Enum):
    """Whether the kernel killed somebody of an attempt for want of memory."""

    UNKNOWN = "unknown"
    NO = "no"
    LIKELY = "likely"
    YES = "yes"

    @classmethod
    def _missing_(cls, value: object) -> OomKill:  # noqa: ARG003  # how Enum calls it
        return cls.UNKNOWN  # a newer keeper's word


@dataclass(frozen=True, slots=True)
class LeaderExit:
    """How the leader ended: `code` or `signal`, or neither if nobody can know."""

    code: int | None
    signal: int | None
    core_dumped: bool
    usage: Usage | None
    at: Wall
    oom_kill: OomKill = OomKill.UNKNOWN

    @property
    def known(self) -> bool:
        """Whether the kernel told how."""
        return self.code is not None or self.signal is not None


@dataclass(frozen=True, slots=True)
class LaunchFailure:
    """Why the process never started; `phase` is a value of `farspawn_core.Phase`."""

    error_number: int
    phase: str
    path: str


@dataclass(frozen=True, slots=True)
class Survivor:
    """A process that cannot be ended, and why."""

    pid: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class CleanupOutcome:
    """How a cleanup command ended: `code`, `signal` or `failure`, or none of them if nobody can know."""

    code: int | None = None
    signal: int | None = None
    failure: LaunchFailure | None = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. What is not known is None."""

    cause: Cause
    leader: LeaderExit | None = None
    failure: LaunchFailure | None = None
    stopped_by: str = ""
    message: str = ""
    survivors: tuple[Survivor, ...] = ()
    cleanup: CleanupOutcome | None = None

    @property
    def successful(self) -> bool:
        """Whether the leader ended by itself with exit code 0."""
        return self.cause is Cause.COMPLETED and self.leader is not None and self.leader.code == 0


@dataclass(frozen=True, slots=True)
class Times:
    """When each phase of an attempt was reached; `created` is the task's."""

    created: Wall
    started: Wall | None = None
    stop_requested: Wall | None = None
    signalled: Wall | None = None
    killed: Wall | None = None
    leader_exited: Wall | None = None
    ended: Wall | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that has ended, and how: `state` is a final one."""

    number: int
    state: State
    times: Times
    outcome: Outcome
    outputs: Outputs | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt has ended, and when; its cleanup command runs until `until`; `killed` if that was too long."""

    state: State
    outcome: Outcome
    until: Monotonic
    killed: bool = False
    ended_at: Monotonic | None = None
