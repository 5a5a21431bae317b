"""The contract for one task id as a state machine: what a call may be answered, and what the id is afterwards.

A task moves by itself, so a state holds what was last *seen* of it, and an answer is right if it is the same as that or
lies ahead of it. Each kind of call is a step: given a state it returns the next one, or None if no site that keeps the
contract could have answered so in that state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from chaos.seen import Status

_RANK = {"STARTING": 0, "RUNNING": 1, "STOPPING": 2, "PENDING": 3, "EXITED": 4, "FAILED": 4, "LOST": 4}
"""The order of states within one attempt: PENDING is the wait after it, before the next."""


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no task of this id. `dead`: the uids of those that were deleted, and the last revision seen of each."""

    dead: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Present:
    """There is one. `uid` is "" as long as nobody was told; `stopped`: StopTask has taken effect."""

    spec: str
    uid: str = ""
    seen: Status | None = None
    stopped: bool = False
    dead: frozenset[tuple[str, int]] = frozenset()


State = Absent | Present


class Step(Protocol):
    """What a call does if it takes effect now."""

    def __call__(self, state: State) -> State | None:
        """Return the next state, None: this cannot have been the answer."""


def behind(state: State, status: Status) -> bool:
    """Whether a status lies behind: in this state and all that come after it, no site could tell it any more."""
    if isinstance(state, Present) and state.uid == status.uid:
        return state.seen is not None and state.seen.revision > status.revision
    return any(uid == status.uid for uid, _ in state.dead)


def fault(before: Status, after: Status) -> str:
    """Return why a task cannot have gone from one status to the other, "" if it can."""
    if before.uid != after.uid:
        return f"another uid: {before.uid}, {after.uid}"
    if after.revision < before.revision:
        return f"the revision went back from {before.revision} to {after.revision}"
    if after.revision == before.revision:
        return "" if after == before else f"two statuses of one revision, {after.revision}"
    if before.final:
        return f"{before.state} is final, and changed to {after.state} at revision {after.revision}"
    if after.times.created != before.times.created:
        return "the time of its creation changed"
    if after.attempt < before.attempt:
        return f"the attempt went back from {before.attempt} to {after.attempt}"
    if after.attempt > before.attempt:
        return ""
    if _RANK[after.state] < _RANK[before.state]:
        return f"{after.state} after {before.state} in attempt {after.attempt}"
    if before.pid and after.pid != before.pid:
        return f"the pid changed from {before.pid} to {after.pid} in attempt {after.attempt}"
    for name in ("started", "stop_requested", "signalled", "killed", "leader_exited"):
        was, now = getattr(before.times, name), getattr(after.times, name)
        if was and now != was:
            return f"times.{name} changed in attempt {after.attempt}"
    return ""


@dataclass(frozen=True, slots=True)
class Launched:
    """LaunchTask made the task."""

    spec: str
    uid: str

    def __call__(self, state: State) -> State | None:
        """See Step."""
        if isinstance(state, Present) or any(self.uid == uid for uid, _ in state.dead):
            return None
        return Present(self.spec, self.uid, dead=state.dead)


@dataclass(frozen=True, slots=True)
class Repeated:
    """LaunchTask found the task, with the same spec."""

    spec: str
    uid: str

    def __call__(self, state: State) -> State | None:
        """See Step."""
        if isinstance(state, Absent) or state.spec != self.spec:
            return None
        return _named(state, self.uid)


@dataclass(frozen=True, slots=True)
class Conflicted:
    """LaunchTask found a task with another spec."""

    spec: str

    def __call__(self, state: State) -> State | None:
        """See Step."""
        return state if isinstance(state, Present) and state.spec != self.spec else None


@dataclass(frozen=True, slots=True)
class MaybeLaunched:
    """LaunchTask, and nobody heard the answer."""

    spec: str

    def __call__(self, state: State) -> State | None:
        """See Step."""
        return Present(self.spec, dead=state.dead) if isinstance(state, Absent) else state


@dataclass(frozen=True, slots=True)
class Observed:
    """The task is like this. `spec`, if it was told too."""

    status: Status
    spec: str = ""

    def __call__(self, state: State) -> State | None:
        """See Step."""
        if isinstance(state, Absent) or (self.spec and self.spec != state.spec):
            return None
        return _ahead(state, self.status)


@dataclass(frozen=True, slots=True)
class ObservedLate:
    """The task of a launch, as it is a moment later: by then it may even have been deleted."""

    status: Status

    def __call__(self, state: State) -> State | None:
        """See Step."""
        if isinstance(state, Present) and state.uid == self.status.uid:
            return _ahead(state, self.status)
        gone = any(uid == self.status.uid and seen <= self.status.revision for uid, seen in state.dead)
        return state if gone else None


@dataclass(frozen=True, slots=True)
class Stopped:
    """StopTask was answered so."""

    status: Status

    def __call__(self, state: State) -> State | None:
        """See Step."""
        if isinstance(state, Absent) or not (self.status.state == "STOPPING" or self.status.final):
            return None
        ahead = _ahead(state, self.status)
        return None if ahead is None else replace(ahead, stopped=True)


@dataclass(frozen=True, slots=True)
class MaybeStopped:
    """StopTask, and nobody heard the answer."""

    def __call__(self, state: State) -> State | None:
        """See Step."""
        return replace(state, stopped=True) if isinstance(state, Present) else state


@dataclass(frozen=True, slots=True)
class Ran:
    """The task itself wrote down that it began to run: what a task says is an answer as good as any."""

    uid: str
    attempt: int

    def __call__(self, state: State) -> State | None:
        """See Step."""
        if isinstance(state, Absent):
            return None
        named = _named(state, self.uid)
        if named is not None and named.seen is not None and (named.seen.final or named.seen.attempt > self.attempt):
            return None
        return named


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such task."""

    def __call__(self, state: State) -> State | None:
        """See Step."""
        return state if isinstance(state, Absent) else None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing happened to the task after this revision."""

    since: int

    def __call__(self, state: State) -> State | None:
        """See Step."""
        if isinstance(state, Absent) or (state.seen is not None and state.seen.revision > self.since):
            return None
        return state


@dataclass(frozen=True, slots=True)
class There:
    """There is such a task; `alive`: and it has not ended."""

    alive: bool = False

    def __call__(self, state: State) -> State | None:
        """See Step."""
        if isinstance(state, Absent) or (self.alive and state.seen is not None and state.seen.final):
            return None
        return state


@dataclass(frozen=True, slots=True)
class Deleted:
    """DeleteTask forgot the task."""

    def __call__(self, state: State) -> State | None:
        """See Step."""
        if isinstance(state, Absent):
            return None
        last = (state.uid, state.seen.revision if state.seen else 0)
        return Absent(state.dead | {last} if state.uid else state.dead)


@dataclass(frozen=True, slots=True)
class MaybeDeleted:
    """DeleteTask, and nobody heard the answer."""

    def __call__(self, state: State) -> State | None:
        """See Step."""
        return Deleted()(state) if isinstance(state, Present) else state


def _named(state: Present, uid: str) -> Present | None:
    """Return the state in which the task has this uid; None: it has another."""
    if state.uid == uid:
        return state
    if state.uid or any(uid == each for each, _ in state.dead):
        return None
    return replace(state, uid=uid)


def _ahead(state: Present, status: Status) -> Present | None:
    """Return the state in which this was seen of the task; None: it lies behind, or on another way."""
    named = _named(state, status.uid)
    if named is None or (named.seen is not None and fault(named.seen, status)):
        return None
    if named.stopped and not (status.final or status.state == "STOPPING"):
        return None  # a stop ends it for good: no other attempt, no other state
    return replace(named, seen=status)
