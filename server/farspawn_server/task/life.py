"""The life of a task: one frozen value, and the moves that it can make.

    STARTING ──▶ RUNNING ──▶ STOPPING ──▶ EXITED
        ▲   └───────┴────────────┴──────▶ FAILED, LOST
        └── PENDING ◀── (restart by policy: another attempt)

What `Times` holds is wall clock, in nanoseconds since 1970, for people. Deadlines are CLOCK_MONOTONIC, in nanoseconds:
it goes on over a restart of the agent, and nobody can set it. A reboot ends it, and every task with it.
"""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, replace
from datetime import timedelta

from farspawn_server.task.spec import Owner, Permit, RestartMode, Spec, StopPlan, TaskId, Uid

EARLIER_ATTEMPTS_KEPT = 20

DEFAULT_PLAN = StopPlan(linger=timedelta(0), drain=timedelta(0), signal=15, grace=timedelta(seconds=10))

Monotonic = int
"""Nanoseconds of CLOCK_MONOTONIC."""
Wall = int
"""Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on both clocks."""

    wall: Wall
    monotonic: Monotonic

    @staticmethod
    def now() -> Moment:
        """Return the present one."""
        return Moment(time.time_ns(), time.monotonic_ns())


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
    out_of_memory: bool | None = None

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


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt has ended, and when; its cleanup command runs until `until`; `killed` if that was too long."""

    state: State
    outcome: Outcome
    until: Monotonic
    killed: bool = False
    ended_at: Monotonic | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task, as of one revision.

    Attributes:
        keeper: the run of the keeper that was asked to start it, or then its cleanup.
        boot: the kernel's boot id at that time.
        start_time: the leader's, in clock ticks since boot: with pid and boot its identity.
        running_since: when the leader was started.
        leader: how the leader ended, while others of the task may live on.
        cause: what ended the leader; decided when it ended.
        ending: how this attempt has ended, while its cleanup runs.
        earlier: the attempts before this one, oldest first; between two attempts the last of them is this one.
        restarts_in_row: how many since the last healthy run.
        ready: the readiness check of this attempt has held.
        permit: what the site made of the spec; None: it runs as it was asked for.
        restart_at: in PENDING, when the next attempt is due.
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
    running_since: Monotonic | None = None
    stop: Stop | None = None
    leader: LeaderExit | None = None
    cause: Cause = Cause.COMPLETED
    ending: Ending | None = None
    outcome: Outcome | None = None
    earlier: tuple[Attempt, ...] = ()
    restarts_in_row: int = 0
    restart_at: Monotonic | None = None
    ready: bool = False
    permit: Permit | None = None

    def __hash__(self) -> int:
        """By what names this value of this task; its specification holds mappings, which have none."""
        return hash((self.uid, self.revision))

    @property
    def terms(self) -> Spec:
        """What really runs: the spec, or what the site made of it."""
        return self.spec if self.permit is None else self.permit.terms

    @property
    def plan(self) -> StopPlan:
        """How this task is stopped when nobody says otherwise. No gaps."""
        return self.terms.stop.or_else(DEFAULT_PLAN)

    @property
    def run(self) -> str:
        """What the keeper calls the process that this task waits for now: the attempt's, or its cleanup's."""
        return f"{self.uid}/{self.attempt}" + ("/cleanup" if self.ending else "")

    @property
    def runtime_until(self) -> Monotonic | None:
        """When max_runtime is over."""
        if self.running_since is None or self.terms.max_runtime is None:
            return None
        return self.running_since + nanoseconds(self.terms.max_runtime)

    def running(self, pid: int, start_time: int, at: Wall, moment: Moment) -> Task:
        """The leader was started."""
        self._must_be(State.STARTING, State.STOPPING)
        return replace(
            self,
            state=State.RUNNING if self.state is State.STARTING else self.state,
            pid=pid,
            start_time=start_time,
            times=replace(self.times, started=at),
            running_since=moment.monotonic,
        )

    def made_ready(self) -> Task:
        """The readiness check has held."""
        self._must_be(State.RUNNING)
        return replace(self, ready=True)

    def stopping(self, stop: Stop, moment: Moment) -> Task:
        """A stop was asked for; a later one may only shorten it. It also ends all restarts."""
        self._must_be(State.PENDING, State.STARTING, State.RUNNING, State.STOPPING)
        if self.state is State.PENDING:
            last = self.earlier[-1]
            ended = replace(self, times=last.times, earlier=self.earlier[:-1], restart_at=None)
            return ended._final(last.state, last.outcome, moment)  # noqa: SLF001  # a copy of ourselves
        if self.stop is not None:
            # What a leader left behind is stopped though nobody asked: the first who does ends the restarts.
            first, second = (stop, self.stop) if self.stop.cause is Cause.COMPLETED else (self.stop, stop)
            stop = first.shortened_by(second)
        return replace(
            self,
            state=State.STOPPING,
            stop=stop,
            times=replace(self.times, stop_requested=self.times.stop_requested or moment.wall),
        )

    def signalled(self, moment: Moment) -> Task:
        """The stop's signal is being sent."""
        self._must_be(State.STOPPING)
        return replace(self, times=replace(self.times, signalled=moment.wall))

    def killed(self, moment: Moment) -> Task:
        """SIGKILL is being sent."""
        self._must_be(State.STOPPING)
        return replace(self, times=replace(self.times, killed=moment.wall))

    def leader_ended(self, how: LeaderExit) -> Task:
        """The leader is gone, or was never found; what it left behind may not be."""
        self._must_be(State.STARTING, State.RUNNING, State.STOPPING)
        # Only what had been signalled can have been ended by us.
        ours = self.stop is not None and (self.times.signalled or self.times.killed)
        return replace(
            self,
            leader=how,
            cause=self.stop.cause if self.stop and ours else Cause.COMPLETED,
            times=replace(self.times, leader_exited=how.at),
        )

    def exited(self, moment: Moment, dice: float, survivors: tuple[Survivor, ...] = ()) -> Task:
        """Nothing of the attempt lives, but for the survivors. `dice` is a random number from 0 to 1."""
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
        return self._ended(State.EXITED, outcome, moment, dice)

    def failed(self, failure: LaunchFailure, moment: Moment, dice: float) -> Task:
        """The process never started."""
        self._must_be(State.STARTING, State.STOPPING)
        return self._conclude(State.FAILED, Outcome(Cause.LAUNCH_FAILED, failure=failure), moment, dice)

    def lost(self, cause: Cause, message: str, moment: Moment, dice: float) -> Task:
        """It has ended, or never was, and how cannot be known."""
        self._must_be(State.PENDING, State.STARTING, State.RUNNING, State.STOPPING)
        outcome = Outcome(cause, message=message)
        if cause is Cause.HOST_REBOOTED:
            if self.ending is not None:  # how the attempt ended was known before
                outcome = replace(self.ending.outcome, cleanup=CleanupOutcome())
                return self._final(self.ending.state, outcome, moment)
            return self._final(State.LOST, outcome, moment)
        return self._ended(State.LOST, outcome, moment, dice)

    def cleanup_killed(self) -> Task:
        """The cleanup command took too long, and is being killed."""
        assert self.ending is not None
        return replace(self, ending=replace(self.ending, killed=True))

    def cleaned_up(self, how: CleanupOutcome, moment: Moment, dice: float) -> Task:
        """The cleanup command has ended, or was not started."""
        assert self.ending is not None
        outcome = replace(self.ending.outcome, cleanup=replace(how, timed_out=self.ending.killed))
        cleaned = replace(self, ending=None)
        return cleaned._conclude(self.ending.state, outcome, moment, dice, self.ending.ended_at)  # noqa: SLF001  # a copy of ourselves

    def next_attempt(self, keeper: str, boot: str) -> Task:
        """The wait before a restart is over."""
        self._must_be(State.PENDING)
        return replace(
            self,
            state=State.STARTING,
            attempt=self.attempt + 1,
            keeper=keeper,
            boot=boot,
            times=Times(created=self.times.created),
            pid=0,
            start_time=0,
            running_since=None,
            stop=None,
            leader=None,
            cause=Cause.COMPLETED,
            restart_at=None,
            ready=False,
        )

    def _ended(self, state: State, outcome: Outcome, moment: Moment, dice: float) -> Task:
        """The attempt had a process, which is gone: clean up after it, if it is to be."""
        if self.terms.cleanup is None:
            return self._conclude(state, outcome, moment, dice)
        until = moment.monotonic + nanoseconds(self.terms.cleanup.timeout)
        return replace(self, state=State.STOPPING, ending=Ending(state, outcome, until, ended_at=moment.monotonic))

    def _conclude(
        self, state: State, outcome: Outcome, moment: Moment, dice: float, ended_at: Monotonic | None = None
    ) -> Task:
        """The attempt is over and done with: either the task is, or it waits for its next attempt.

        `ended_at` is when the run itself was over; None: now.
        """
        healthy = self._was_healthy(moment.monotonic if ended_at is None else ended_at)
        delay = self._restart_delay(outcome, dice, healthy=healthy)
        if delay is None:
            return self._final(state, outcome, moment)
        attempt = Attempt(self.attempt, state, replace(self.times, ended=moment.wall), outcome)
        return replace(
            self,
            state=State.PENDING,
            stop=None,  # that of the attempt: what its leader left behind is gone
            earlier=(*self.earlier, attempt)[-EARLIER_ATTEMPTS_KEPT:],
            restarts_in_row=1 if healthy else self.restarts_in_row + 1,
            restart_at=moment.monotonic + delay,
        )

    def _restart_delay(self, outcome: Outcome, dice: float, *, healthy: bool) -> int | None:
        """Return after how many nanoseconds the next attempt is due, None: never."""
        policy = self.terms.restart
        stopped = self.stop is not None and self.stop.cause is not Cause.COMPLETED
        wanted = policy.mode is RestartMode.ALWAYS or (policy.mode is RestartMode.ON_FAILURE and not outcome.successful)
        in_row = 0 if healthy else self.restarts_in_row
        if stopped or not wanted or 0 < policy.max_restarts <= in_row:
            return None
        # The shift is bounded: beyond 2**40 any backoff is at its maximum.
        full = min(nanoseconds(policy.initial_backoff) << min(in_row, 40), nanoseconds(policy.max_backoff))
        return int(full * (1 - dice / 2))

    def _was_healthy(self, ended_at: Monotonic) -> bool:
        since = self.running_since
        return since is not None and ended_at - since >= nanoseconds(self.terms.restart.healthy_after)

    def _final(self, state: State, outcome: Outcome, moment: Moment) -> Task:
        times = replace(self.times, ended=self.times.ended or moment.wall)
        permit = None if self.permit is None else replace(self.permit, secrets={})
        return replace(self, state=state, outcome=outcome, times=times, ending=None, restart_at=None, permit=permit)

    def _must_be(self, *states: State) -> None:
        if self.state not in states:
            raise ValueError(f"task {self.uid} is {self.state.value}: not a legal move")


def nanoseconds(span: timedelta) -> int:
    """Return a span in whole nanoseconds."""
    return span // timedelta(microseconds=1) * 1000
