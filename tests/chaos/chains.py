"""What anybody saw of one task, whoever it was: one chain of legal moves, never stale, never contradicted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from chaos.findings import Finding
from chaos.history import Call, History, Launched, Listed, Polled
from chaos.model import fault
from chaos.seen import Attempt, Status

_SITE_STOPS = ("STOP_REQUESTED", "MAX_RUNTIME", "LEASE_EXPIRED", "SITE_SHUTDOWN")


@dataclass(frozen=True, slots=True)
class Sight:
    """A status that somebody saw: asked for at `asked`, known to them at `at`."""

    status: Status
    asked: float
    at: float
    by: str


def sights(history: History) -> dict[str, list[Sight]]:
    """Return by uid all that was seen."""
    found: dict[str, list[Sight]] = defaultdict(list)
    for call in history.calls:
        for status in statuses(call):
            found[status.uid].append(Sight(status, call.start, call.end, f"{call.client} #{call.number} {call.verb}"))
    for name, changes in history.watches.items():
        for change in changes:
            if change.status is not None:
                # It lay in a buffer for nobody knows how long: it proves nothing about the past.
                found[change.status.uid].append(Sight(change.status, -math.inf, change.at, name))
    return found


def statuses(call: Call) -> Iterator[Status]:
    """Yield every status in an answer."""
    match call.answer:
        case Status():
            yield call.answer
        case Launched():
            yield call.answer.status
        case Polled():
            yield from call.answer.statuses
        case Listed():
            yield from (status for status, _ in call.answer.tasks)


def judge(history: History) -> Iterator[Finding]:
    """Yield what does not fit together."""
    deleted = {change.deleted: change.at for changes in history.watches.values() for change in changes}
    for uid, seen in sights(history).items():
        seen.sort(key=lambda each: (each.status.revision, each.at))
        for before, after in pairwise(seen):
            if why := fault(before.status, after.status):
                yield Finding("a task makes only legal moves", f"{uid}: {why}", [str(before), str(after)])
        yield from _contradictions(uid, seen)
        yield from _stale(uid, seen, deleted.get(uid, math.inf))
    yield from _specs(history.calls)


def _contradictions(uid: str, seen: list[Sight]) -> Iterator[Finding]:
    attempts: dict[int, Attempt] = {}
    for sight in {each.status.revision: each for each in seen}.values():
        status = sight.status
        if (status.outcome is not None) != status.final:
            yield Finding("an outcome belongs to a final state", f"{uid}: {status}", [str(sight)])
        for attempt in status.ended_attempts:
            if attempts.setdefault(attempt.number, attempt) != attempt:
                shown = [str(attempts[attempt.number]), str(attempt)]
                yield Finding("how an attempt ended never changes", f"{uid} attempt {attempt.number}", shown)
            if why := _nonsense(attempt):
                yield Finding("an outcome makes sense", f"{uid} attempt {attempt.number}: {why}", [str(attempt)])
        for attempt in status.earlier:
            if attempt.outcome.cause in _SITE_STOPS and attempt.number < status.attempt:
                yield Finding("never again after a stop", f"{uid} attempt {attempt.number}", [str(status)])


def _nonsense(attempt: Attempt) -> str:
    outcome, times = attempt.outcome, attempt.times
    known = outcome.code is not None or outcome.signal is not None
    if known != (attempt.state == "EXITED"):
        return f"{attempt.state} with code {outcome.code}, signal {outcome.signal}"
    if outcome.failed_to_launch != (attempt.state == "FAILED"):
        return f"{attempt.state} and launch_failure={outcome.failed_to_launch}"
    if outcome.survivors:
        return f"{outcome.survivors} survivors, and nothing here can survive SIGKILL"
    if (outcome.cause == "SUPERVISION_LOST") != (attempt.state == "LOST"):
        return f"{attempt.state} with cause {outcome.cause}"
    if attempt.state == "EXITED" and not (times.created <= times.started <= times.ended and times.leader_exited):
        return f"its times are out of order: {times}"
    return ""


def _stale(uid: str, seen: list[Sight], deleted_at: float) -> Iterator[Finding]:
    """Whoever asks after somebody was told sees at least what that one was told."""
    told = sorted(seen, key=lambda each: each.at)
    newest, place = None, 0
    for sight in sorted((each for each in seen if each.asked > -math.inf), key=lambda each: each.asked):
        while place < len(told) and told[place].at < sight.asked:
            if newest is None or told[place].status.revision > newest.status.revision:
                newest = told[place]
            place += 1
        if newest is not None and sight.status.revision < newest.status.revision:
            yield Finding("no answer is stale", uid, [str(newest), str(sight)])
        if sight.asked > deleted_at:
            yield Finding("what was deleted is not seen again", uid, [f"deleted at {deleted_at}", str(sight)])


def _specs(calls: list[Call]) -> Iterator[Finding]:
    """A spec has one digest, and a digest one spec; and a launch never gives another spec than it was given."""
    digests: dict[str, str] = {}
    for call in calls:
        if isinstance(answer := call.answer, Launched):
            if answer.spec != call.given["spec"]:
                yield Finding("a launch returns the task of its spec", str(call))
            if digests.setdefault(answer.spec, answer.digest) != answer.digest:
                yield Finding("a spec has one digest", str(call))
