"""From what was recorded to what the model knows: for each task id its operations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chaos import model
from chaos.checker import Operation
from chaos.history import Call, Fate, Launched, Listed, Polled
from chaos.model import Step
from chaos.seen import Status


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that began to run, at some moment from `earliest` to `latest`."""

    task_id: str
    uid: str
    attempt: int
    earliest: float
    latest: float

    def __str__(self) -> str:
        return f"{self.earliest:10.4f} to {self.latest:10.4f} {self.task_id} {self.uid} ran attempt {self.attempt}"


_NOT_DONE = ("RECOVERING", "DRAINING")
"""Refusals that promise that nothing was done, whatever was asked."""


def operations(calls: list[Call], starts: Iterable[Start] = ()) -> dict[str, list[Operation]]:
    """Return the operations on each task id; `starts` are what the tasks themselves wrote down."""
    found: dict[str, list[Operation]] = {task_id: [] for call in calls for task_id in call.task_ids}
    for start in starts:
        ran = model.Ran(start.uid, start.attempt)
        found.setdefault(start.task_id, []).append(Operation(ran, start.earliest, start.latest, call=start))
    for call in calls:
        for task_id in call.task_ids:
            for step, after in _steps(call, task_id):
                _add(found[task_id], call, step, after=after)
    spans = {task_id: (_first(history), _last(history)) for task_id, history in found.items() if history}
    for call in calls:
        if isinstance(call.answer, Listed):
            _add_listed(found, spans, call, call.answer)
    return found


def unexpected(calls: list[Call]) -> list[Call]:
    """Return the calls that were refused for a reason which their verb does not have here."""
    known = {
        "launch": ("TASK_ID_REUSED",),
        "stop": ("TASK_NOT_FOUND",),
        "signal": ("TASK_NOT_FOUND", "TASK_NOT_RUNNING"),
        "read": ("TASK_NOT_FOUND",),
        "delete": ("TASK_NOT_FOUND", "TASK_NOT_ENDED"),
    }
    return [
        call
        for call in calls
        if call.fate is Fate.REFUSED and call.reason not in (*_NOT_DONE, *known.get(call.verb, ()))
    ]


def _steps(call: Call, task_id: str) -> Iterator[tuple[Step, bool]]:
    """Yield the steps of a call, and whether each comes after the one before."""
    if call.fate is Fate.NEVER_SENT or call.reason in _NOT_DONE:
        return
    if call.reason == "TASK_NOT_FOUND":
        yield model.Missing(), False
        return
    known = call.fate is Fate.ANSWERED
    match call.verb:
        case "launch":
            yield from _launch(call)
        case "stop":
            if isinstance(call.answer, Status):
                yield model.Stopped(call.answer), False
            else:
                yield model.MaybeStopped(), False
        case "delete" if call.reason == "TASK_NOT_ENDED":
            yield model.There(alive=True), False
        case "delete":
            yield model.Deleted() if known else model.MaybeDeleted(), False
        case "poll" if isinstance(call.answer, Polled):
            yield _polled(call, call.answer, task_id), False
        case "signal" if known:
            yield model.There(alive=True), False
        case "signal" | "read" if known or call.reason == "TASK_NOT_RUNNING":
            yield model.There(), False


def _launch(call: Call) -> Iterator[tuple[Step, bool]]:
    spec = str(call.given["spec"])
    if call.reason == "TASK_ID_REUSED":
        yield model.Conflicted(spec), False
    elif isinstance(answer := call.answer, Launched):
        uid = answer.status.uid
        yield model.Launched(spec, uid) if answer.created else model.Repeated(answer.spec, uid), False
        yield model.ObservedLate(answer.status), True
    else:
        yield model.MaybeLaunched(spec), False


def _polled(call: Call, answer: Polled, task_id: str) -> Step:
    for status in answer.statuses:
        if status.task_id == task_id:
            return model.Observed(status)
    if task_id in answer.unknown:
        return model.Missing()
    return model.Unchanged(int(call.given["since"]))


def _add(history: list[Operation], call: Call, step: Step, *, after: bool) -> None:
    start, end = call.start, call.end
    if isinstance(answer := call.answer, Polled) and not (answer.statuses or answer.unknown):
        # Nothing had changed when the wait was over: a change before that would have ended it.
        start = min(end, start + float(call.given["wait"]))
    maybe = isinstance(step, model.MaybeLaunched | model.MaybeStopped | model.MaybeDeleted)
    history.append(
        Operation(
            step,
            start,
            math.inf if maybe else end,
            optional=maybe,
            after=len(history) - 1 if after else None,
            call=call,
        )
    )


def _add_listed(
    found: dict[str, list[Operation]], spans: dict[str, tuple[float, float]], call: Call, answer: Listed
) -> None:
    """Add a list to the ids that were in use at that time: for the others it would only be more of the same."""
    listed = {status.task_id: (status, spec) for status, spec in answer.tasks}
    for task_id, (first, last) in spans.items():
        if not first <= call.end or not call.start <= last:
            continue
        if task_id in listed:
            _add(found[task_id], call, model.Observed(*listed[task_id]), after=False)
        elif answer.whole:
            _add(found[task_id], call, model.Missing(), after=False)


def _first(history: list[Operation]) -> float:
    return min(operation.start for operation in history)


def _last(history: list[Operation]) -> float:
    return max(each.start if math.isinf(each.end) else each.end for each in history)
