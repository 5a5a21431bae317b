"""Stop plans are kept: never a signal before its time, and never long after the earliest that was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaos.evidence import Evidence
from chaos.findings import Finding
from chaos.history import Call, Fate, History
from chaos.programs import random_spec
from chaos.seen import Attempt
from chaos.strike import Strike
from farspawn.v1 import task_pb2

_EARLY = 0.02
_LATE = 4.0


@dataclass(frozen=True, slots=True)
class Span:
    """When a stop that begins at 0 signals, and kills."""

    signal: float
    kill: float


def judge(evidence: Evidence, history: History, strikes: Sequence[Strike]) -> Iterator[Finding]:
    """Yield each signal that came too early, and each end that came too late."""
    stops = [call for call in history.calls if call.verb == "stop" and call.fate in (Fate.ANSWERED, Fate.UNKNOWN)]
    for (uid, number), attempt in evidence.attempts.items():
        name = evidence.spec_of(uid)
        if attempt.state != "EXITED" or name is None:
            continue
        spec = random_spec(name, "")
        mine = [call for call in stops if evidence.names[uid] in call.task_ids]
        for why in (*_early(attempt, spec, mine, history), *_late(attempt, spec, mine, history, strikes)):
            shown = [str(attempt), str(spec.stop).replace("\n", " "), *map(str, mine)]
            yield Finding("stop plans are kept", f"{uid} attempt {number}: {why}", shown)


def _early(attempt: Attempt, spec: task_pb2.TaskSpec, stops: list[Call], history: History) -> Iterator[str]:
    times, default = attempt.times, _span({}, spec.stop)
    # Every reason to stop, and when it may have begun: asked for, max_runtime, lease, children that were left behind.
    begun = [(call.start, _span(call.given, spec.stop)) for call in stops]
    if spec.HasField("max_runtime"):
        begun.append((history.moment(times.started) + spec.max_runtime.ToTimedelta().total_seconds(), default))
    if spec.HasField("lease"):
        span = Span(0, 0) if spec.lease.action == task_pb2.LEASE_ACTION_KILL else default
        begun.append((history.moment(times.created) + spec.lease.ttl.ToTimedelta().total_seconds(), span))
    if times.leader_exited:
        begun.append((history.moment(times.leader_exited), default))
    for what, at in (("signal", times.signalled), ("kill", times.killed)):
        earliest = min((moment + getattr(span, what) for moment, span in begun), default=math.inf)
        if at and history.moment(at) < earliest - _EARLY:
            yield f"{what} at {history.moment(at):.3f}, and the earliest that anybody asked for was {earliest:.3f}"


def _late(
    attempt: Attempt, spec: task_pb2.TaskSpec, stops: list[Call], history: History, strikes: Sequence[Strike]
) -> Iterator[str]:
    started, ended = history.moment(attempt.times.started), history.moment(attempt.times.ended)
    killed = min(ended, history.moment(attempt.times.killed) if attempt.times.killed else ended)
    for call in stops:
        due = call.end + _span(call.given, spec.stop).kill
        if call.fate is not Fate.ANSWERED or not started < call.start < ended or killed <= due + _LATE:
            continue
        if not any(strike.end > call.start and strike.start < due + _LATE for strike in strikes):
            yield f"#{call.number} wanted it killed by {due:.3f}: it was killed at {killed:.3f}, ended at {ended:.3f}"


def _span(given: Mapping[str, float | str | bool], plan: task_pb2.StopPlan) -> Span:
    default = {
        "linger": plan.linger.ToTimedelta().total_seconds(),
        "drain": plan.drain.ToTimedelta().total_seconds(),
        "grace": plan.grace.ToTimedelta().total_seconds(),
    }
    linger, drain, grace = (float(given.get(name, span)) for name, span in default.items())
    return Span(linger + drain, linger + drain + grace)
