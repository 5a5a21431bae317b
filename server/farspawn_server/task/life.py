"""The life of a task: one frozen value, and the moves that it can make.

    STARTING ──▶ RUNNING ──▶ STOPPING ──▶ EXITED
        └───────────┴────────────┴──────▶ FAILED, LOST

Moments called `…_at` in `Times` are wall clock, in nanoseconds since 1970, for people. Deadlines are CLOCK_MONOTONIC,
in nanoseconds: it goes on over a restart of the agent, and nobody can set it. A reboot ends it, and every task with it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import timedelta

from farspawn_server.task.spec import Owner, Spec, StopPlan, TaskId, Uid

DEFAULT_PLAN = StopPlan(linger=timedelta(0), drain=timedelta(0), signal=15, grace=timedelta(seconds=10))

Monotonic = int
"""Nanoseconds of CLOCK_MONOTONIC."""
Wall = int
"""Nanoseconds since 1970."""


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
    KEEPER_LOST = "keeper_lost"


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop under way: all deadlines are fixed when it is asked for.

    Attributes:
        cause: why.
        by: the identity that asked; empty if the site did.
        signal: what is sent to the whole tree at `signal_at`; nothing is sent if `kill_at` is not later.
        signal_at: when linger and drain are over.
        kill_at: when grace is over.
    """

    cause: Cause
    by: str
    signal: int
    signal_at: Monotonic
    kill_at: Monotonic

    @staticmethod
    def by_plan(plan: StopPlan, now: Monotonic, *, cause: Cause, by: str = "") -> Stop:
        """Return the stop that a plan without gaps means at this moment."""
        assert plan.linger is not None
        assert plan.drain is not None
        assert plan.signal is not None
        assert plan.grace is not None
        signal_at = now + nanoseconds(plan.linger) + nanoseconds(plan.drain)
        return Stop(cause, by, plan.signal, signal_at, signal_at + nanoseconds(plan.grace))

    def shortened_by(self, other: Stop) -> Stop:
        """Return this stop with each deadline brought forward to the other's, where that is earlier."""
        return replace(self, signal_at=min(self.signal_at, other.signal_at), kill_at=min(self.kill_at, other.kill_at))


@dataclass(frozen=True, slots=True)
class Usage:
    """What the leader and the descendants that it waited for used."""

    user_seconds: float
    system_seconds: float
    max_resident_bytes: int


@dataclass(frozen=True, slots=True)
class LeaderExit:
    """How the leader ended: `code` or `signal`, or neither if nobody can know."""

    code: int | None
    signal: int | None
    core_dumped: bool
    usage: Usage | None
    at: Wall

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
    """A process that SIGKILL did not end."""

    pid: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended. What is not known is None."""

    cause: Cause
    leader: LeaderExit | None = None
    failure: LaunchFailure | None = None
    stopped_by: str = ""
    message: str = ""
    survivors: tuple[Survivor, ...] = ()


@dataclass(frozen=True, slots=True)
class Times:
    """When each phase was reached."""

    created: Wall
    started: Wall | None = None
    stop_requested: Wall | None = None
    signalled: Wall | None = None
    killed: Wall | None = None
    ended: Wall | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task, as of one revision.

    Attributes:
        keeper: the run of the keeper that was asked to start it.
        boot: the kernel's boot id at that time.
        start_time: the leader's, in clock ticks since boot: with pid and boot its identity.
        runtime_until: when its max_runtime is over.
        leader: how the leader ended, while others of the task may live on.
        cause: what ended the leader; decided when it ended.
    """

    uid: Uid
    task_id: TaskId
    owner: Owner
    spec: Spec
    digest: str
    state: State
    times: Times
    keeper: str
    boot: str
    revision: int = 0
    attempt: int = 1
    pid: int = 0
    start_time: int = 0
    runtime_until: Monotonic | None = None
    stop: Stop | None = None
    leader: LeaderExit | None = None
    cause: Cause = Cause.COMPLETED
    outcome: Outcome | None = None

    @property
    def plan(self) -> StopPlan:
        """How this task is stopped when nobody says otherwise. No gaps."""
        return self.spec.stop.or_else(DEFAULT_PLAN)

    def running(self, pid: int, start_time: int, at: Wall, now: Monotonic) -> Task:
        """The leader was started."""
        self._must_be(State.STARTING, State.STOPPING)
        limit = self.spec.max_runtime
        return replace(
            self,
            state=State.RUNNING if self.state is State.STARTING else self.state,
            pid=pid,
            start_time=start_time,
            times=replace(self.times, started=at),
            runtime_until=None if limit is None else now + nanoseconds(limit),
        )

    def stopping(self, stop: Stop, at: Wall) -> Task:
        """A stop was asked for; a later one may only shorten it."""
        self._must_be(State.PENDING, State.STARTING, State.RUNNING, State.STOPPING)
        return replace(
            self,
            state=State.STOPPING,
            stop=stop if self.stop is None else self.stop.shortened_by(stop),
            times=replace(self.times, stop_requested=self.times.stop_requested or at),
        )

    def signalled(self, at: Wall) -> Task:
        """The stop's signal is being sent."""
        self._must_be(State.STOPPING)
        return replace(self, times=replace(self.times, signalled=at))

    def killed(self, at: Wall) -> Task:
        """SIGKILL is being sent."""
        self._must_be(State.STOPPING)
        return replace(self, times=replace(self.times, killed=at))

    def leader_ended(self, how: LeaderExit) -> Task:
        """The leader is gone, or was never found; what it left behind may not be."""
        self._must_be(State.STARTING, State.RUNNING, State.STOPPING)
        # Only what had been signalled can have been ended by us.
        ours = self.stop is not None and (self.times.signalled or self.times.killed)
        return replace(self, leader=how, cause=self.stop.cause if self.stop and ours else Cause.COMPLETED)

    def exited(self, at: Wall, survivors: tuple[Survivor, ...] = ()) -> Task:
        """Nothing of the task lives, but for the survivors."""
        self._must_be(State.RUNNING, State.STOPPING)
        if self.leader is None:
            raise ValueError(f"task {self.uid} cannot have exited: its leader has not")
        outcome = Outcome(
            cause=self.cause,
            stopped_by=self.stop.by if self.stop and self.cause is Cause.STOP_REQUESTED else "",
            leader=self.leader,
            survivors=survivors,
            message=f"{len(survivors)} processes could not be ended" if survivors else "",
        )
        return self._ended(State.EXITED, outcome, at)

    def failed(self, failure: LaunchFailure, at: Wall) -> Task:
        """The process never started."""
        self._must_be(State.STARTING, State.STOPPING)
        return self._ended(State.FAILED, Outcome(Cause.LAUNCH_FAILED, failure=failure), at)

    def lost(self, cause: Cause, message: str, at: Wall) -> Task:
        """It has ended, or never was, and how cannot be known."""
        self._must_be(State.PENDING, State.STARTING, State.RUNNING, State.STOPPING)
        return self._ended(State.LOST, Outcome(cause, message=message), at)

    def _ended(self, state: State, outcome: Outcome, at: Wall) -> Task:
        return replace(self, state=state, outcome=outcome, times=replace(self.times, ended=at))

    def _must_be(self, *states: State) -> None:
        if self.state not in states:
            raise ValueError(f"task {self.uid} is {self.state.value}: not a legal move")


def nanoseconds(span: timedelta) -> int:
    """Return a span in whole nanoseconds."""
    return span // timedelta(microseconds=1) * 1000
