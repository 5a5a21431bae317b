"""The life of a task: one frozen value, and the moves that it can make.

    STARTING ──▶ RUNNING ──▶ STOPPING ──▶ EXITED
        ▲   └───────┴────────────┴──────▶ FAILED, LOST
        └── PENDING ◀── (restart by policy: another attempt)

What `Times` holds is wall clock, in nanoseconds since 1970, for people. Deadlines are CLOCK_MONOTONIC, in nanoseconds:
it goes on over a restart of the agent, and nobody can set it. A reboot ends it, and every task with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from farspawn_server.task.clocks import Moment, Monotonic, Wall, nanoseconds
from farspawn_server.task.outcome import (
    Attempt,
    Cause,
    CleanupOutcome,
    Ending,
    LaunchFailure,
    LeaderExit,
    Outcome,
    Outputs,
    State,
    Survivor,
    Times,
)
from farspawn_server.task.spec import Owner, Permit, RestartMode, Spec, StopPlan, TaskId, Uid
from farspawn_server.task.stop import DEFAULT_PLAN, Stop

EARLIER_ATTEMPTS_KEPT = 20
LOCAL = "local"
"""The one runtime there is: processes of this machine, each attempt with a shim of its own."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task, as of one revision.

    Attributes:
        boot: the kernel's boot id when this attempt was ordered.
        handle: which runtime has its processes: LOCAL. Empty: version 0.1 ordered it, whose processes nobody knows now.
        running_since: when the leader was started.
        leader: how the leader ended, while others of the task may live on.
        cause: what ended the leader; decided when it ended.
        ending: how this attempt has ended, while its cleanup runs.
        earlier: the attempts before this one, oldest first; between two attempts the last of them is this one.
        restarts_in_row: how many since the last healthy run.
        ready: the readiness check of this attempt has held.
        permit: what the site made of the spec; None: it runs as it was asked for.
        outputs: of this attempt; told when it ends, and while nothing can be written. None: nothing is known of them.
        unkillable: in STOPPING, what cannot be ended now. Not stored.
        restart_at: in PENDING, when the next attempt is due.
    """

    uid: Uid
    task_id: TaskId
    owner: Owner
    spec: Spec
    digest: str
    state: State
    times: Times
    boot: str
    revision: int = 0
    attempt: int = 1
    pid: int = 0
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
    handle: str = ""
    outputs: Outputs | None = None
    unkillable: tuple[Survivor, ...] = ()

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

    @property
    def asked_by(self) -> Monotonic | None:
        """When the stop's signal is due; None: it was sent, or is not to be, or there is nobody yet to be asked."""
        done = self.times.signalled or self.times.killed
        nobody = not self.pid and self.leader is None  # also when a start hangs
        return None if self.stop is None or done or nobody or not self.stop.asks else self.stop.signal_at

    def running(self, pid: int, at: Wall, since: Monotonic) -> Task:
        """The leader was started, at a moment of either clock."""
        self._must_be(State.STARTING, State.STOPPING)
        return replace(
            self,
            state=State.RUNNING if self.state is State.STARTING else self.state,
            pid=pid,
            times=replace(self.times, started=at),
            running_since=since,
        )

    def resisting(self, unkillable: tuple[Survivor, ...]) -> Task:
        """This is what cannot be ended now."""
        self._must_be(State.STOPPING)
        return replace(self, unkillable=unkillable)

    def made_ready(self) -> Task:
        """The readiness check has held."""
        self._must_be(State.RUNNING)
        return replace(self, ready=True)

    def stopping(self, stop: Stop, moment: Moment) -> Task:
        """A stop was asked for; a later one may only shorten it. It also ends all restarts."""
        self._must_be(State.PENDING, State.STARTING, State.RUNNING, State.STOPPING)
        if self.state is State.PENDING:
            last = self.earlier[-1]
            ended = replace(self, times=last.times, outputs=last.outputs, earlier=self.earlier[:-1], restart_at=None)
            return ended._final(last.state, last.outcome, moment)  # noqa: SLF001  # a copy of ourselves
        if self.stop is not None:
            # What a leader left behind is stopped though nobody asked: the first who does ends the restarts.
            asked = self.times.signalled or self.times.killed
            under_way = self.stop if asked else self.stop.not_before(moment.monotonic)
            if self.stop.cause is Cause.COMPLETED:
                stop = stop.shortened_by(under_way)
            elif (shorter := under_way.shortened_by(stop)) != under_way:
                stop = shorter
            else:
                stop = self.stop
        return replace(
            self,
            state=State.STOPPING,
            stop=stop,
            times=replace(self.times, stop_requested=self.times.stop_requested or moment.wall),
        )

    def signalled(self, moment: Moment) -> Task:
        """The stop's signal is being sent."""
        self._must_be(State.STOPPING)
        assert self.stop is not None
        return replace(
            self, stop=self.stop.not_before(moment.monotonic), times=replace(self.times, signalled=moment.wall)
        )

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
            times=replace(self.times, leader_exited=how.at) if how.known else self.times,
        )

    def exited(self, moment: Moment, dice: float, survivors: tuple[Survivor, ...] = ()) -> Task:
        """Nothing of the attempt lives, but for the survivors. `dice` is a random number from 0 to 1."""
        self._must_be(State.RUNNING, State.STOPPING)
        if self.leader is None:
            raise ValueError(f"task {self.uid} cannot have exited: its leader has not")
        return self._ended(State.EXITED, self._exit(self.leader, survivors), moment, dice)

    def _exit(self, leader: LeaderExit, survivors: tuple[Survivor, ...] = ()) -> Outcome:
        return Outcome(
            cause=self.cause,
            stopped_by=self.stop.by if self.stop and self.cause is Cause.STOP_REQUESTED else "",
            leader=leader,
            survivors=survivors,
            message=f"{len(survivors)} processes could not be ended" if survivors else "",
        )

    def failed(self, failure: LaunchFailure, moment: Moment, dice: float) -> Task:
        """The process never started."""
        self._must_be(State.STARTING, State.STOPPING)
        return self._conclude(State.FAILED, Outcome(Cause.LAUNCH_FAILED, failure=failure), moment, dice)

    def lost(self, message: str, moment: Moment, dice: float, survivors: tuple[Survivor, ...] = ()) -> Task:
        """Its shim was killed, and how it ended cannot be known."""
        self._must_be(State.STARTING, State.RUNNING, State.STOPPING)
        outcome = Outcome(Cause.SUPERVISION_LOST, message=message, survivors=survivors)
        return self._ended(State.LOST, outcome, moment, dice)

    def cut_off(self, cause: Cause, message: str, moment: Moment) -> Task:
        """Nobody will hear of its processes: what was known before stays known, and nothing is started any more."""
        self._must_be(State.PENDING, State.STARTING, State.RUNNING, State.STOPPING)
        outcome = Outcome(cause, message=message)
        if self.state is State.PENDING:  # the attempts before keep their outcomes
            return self.next_attempt(self.boot)._final(State.LOST, outcome, moment)  # noqa: SLF001  # a copy of ourselves
        if self.ending is not None:
            known = replace(self.ending.outcome, cleanup=CleanupOutcome(timed_out=self.ending.killed))
            return self._final(self.ending.state, known, moment)
        if self.leader is not None and self.leader.known:
            cleanup = None if self.terms.cleanup is None else CleanupOutcome()
            return self._final(State.EXITED, replace(self._exit(self.leader), cleanup=cleanup), moment)
        return self._final(State.LOST, outcome, moment)

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

    def next_attempt(self, boot: str) -> Task:
        """The wait before a restart is over."""
        self._must_be(State.PENDING)
        return replace(
            self,
            state=State.STARTING,
            attempt=self.attempt + 1,
            boot=boot,
            handle=LOCAL,
            times=Times(created=self.times.created),
            pid=0,
            running_since=None,
            stop=None,
            leader=None,
            cause=Cause.COMPLETED,
            restart_at=None,
            ready=False,
            outputs=None,
        )

    def _ended(self, state: State, outcome: Outcome, moment: Moment, dice: float) -> Task:
        """The attempt had a process, which is gone: clean up after it, if it is to be."""
        if self.terms.cleanup is None:
            return self._conclude(state, outcome, moment, dice)
        until = moment.monotonic + nanoseconds(self.terms.cleanup.timeout)
        ending = Ending(state, outcome, until, ended_at=moment.monotonic)
        return replace(self, state=State.STOPPING, ending=ending, unkillable=())

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
        attempt = Attempt(self.attempt, state, replace(self.times, ended=moment.wall), outcome, self.outputs)
        return replace(
            self,
            state=State.PENDING,
            stop=None,  # that of the attempt: what its leader left behind is gone
            earlier=(*self.earlier, attempt)[-EARLIER_ATTEMPTS_KEPT:],
            restarts_in_row=1 if healthy else self.restarts_in_row + 1,
            restart_at=moment.monotonic + delay,
            unkillable=(),
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
        return replace(
            self,
            state=state,
            outcome=outcome,
            times=times,
            ending=None,
            restart_at=None,
            permit=permit,
            unkillable=(),
        )

    def _must_be(self, *states: State) -> None:
        if self.state not in states:
            raise ValueError(f"task {self.uid} is {self.state.value}: not a legal move")
