"""What a client saw of a task: the site's answers as plain values that can be compared, hashed and written down."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from farspawn.v1 import task_pb2

FINAL = frozenset({"EXITED", "FAILED", "LOST"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `cleanup` is one of "", "unknown", "failed", "code N", "signal N", and "killed" before."""

    code: int | None
    signal: int | None
    cause: str
    failed_to_launch: bool
    cleanup: str
    survivors: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """Wall clock, in nanoseconds since 1970; 0: not reached."""

    created: int = 0
    started: int = 0
    stop_requested: int = 0
    signalled: int = 0
    killed: int = 0
    leader_exited: int = 0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that is over."""

    number: int
    state: str
    times: Times
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Status:
    """A task as of one revision. Two with the same uid and revision are the same, or the site has lied: `print`."""

    uid: str
    revision: int
    state: str
    attempt: int = 1
    print: str = ""
    task_id: str = field(default="", compare=False)
    pid: int = field(default=0, compare=False)
    times: Times = field(default=Times(), compare=False)
    outcome: Outcome | None = field(default=None, compare=False)
    earlier: tuple[Attempt, ...] = field(default=(), compare=False)

    @property
    def final(self) -> bool:
        """Whether it may never change any more."""
        return self.state in FINAL

    @property
    def ended_attempts(self) -> tuple[Attempt, ...]:
        """All attempts that this status tells the end of."""
        if not self.final or self.outcome is None:
            return self.earlier
        return (*self.earlier, Attempt(self.attempt, self.state, self.times, self.outcome))


def status(message: task_pb2.TaskStatus) -> Status:
    """Read a status."""
    return Status(
        uid=message.uid,
        revision=message.revision,
        state=_state(message.state),
        attempt=message.attempt,
        print=hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()[:16],
        task_id=message.task_id,
        pid=message.pid,
        times=_times(message.times),
        outcome=_outcome(message.outcome) if message.HasField("outcome") else None,
        earlier=tuple(
            Attempt(each.number, _state(each.state), _times(each.times), _outcome(each.outcome))
            for each in message.earlier_attempts
        ),
    )


def _state(number: task_pb2.TaskState.ValueType) -> str:
    return task_pb2.TaskState.Name(number).removeprefix("TASK_STATE_")


def _outcome(message: task_pb2.Outcome) -> Outcome:
    how = message.WhichOneof("ending")
    return Outcome(
        code=message.exit_code if how == "exit_code" else None,
        signal=message.signal if how == "signal" else None,
        cause=task_pb2.Cause.Name(message.cause).removeprefix("CAUSE_"),
        failed_to_launch=message.HasField("launch_failure"),
        cleanup=_cleanup(message.cleanup) if message.HasField("cleanup") else "",
        survivors=len(message.survivors),
        message=message.message,
    )


def _cleanup(message: task_pb2.CleanupOutcome) -> str:
    how = "killed " if message.timed_out else ""
    match message.WhichOneof("ending"):
        case "exit_code":
            return f"{how}code {message.exit_code}"
        case "signal":
            return f"{how}signal {message.signal}"
        case "launch_failure":
            return "failed"
        case _:
            return "unknown"


def _times(message: task_pb2.TaskTimes) -> Times:
    return Times(
        created=_nanoseconds(message.created),
        started=_nanoseconds(message.started),
        stop_requested=_nanoseconds(message.stop_requested),
        signalled=_nanoseconds(message.signalled),
        killed=_nanoseconds(message.killed),
        leader_exited=_nanoseconds(message.leader_exited),
        ended=_nanoseconds(message.ended),
    )


def _nanoseconds(moment: Timestamp) -> int:
    return moment.seconds * 1_000_000_000 + moment.nanos
