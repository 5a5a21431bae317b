"""Watches miss no final state, however often they broke and were resumed."""

from __future__ import annotations

import math
from collections.abc import Iterator

from chaos.chains import sights
from chaos.findings import Finding
from chaos.history import Call, Change, Fate, History
from chaos.seen import Status


def judge(history: History) -> Iterator[Finding]:
    """Yield each final state that a watch went past without telling it."""
    finals = _finals(history)
    deletes = [call for call in history.calls if call.verb == "delete" and call.fate in (Fate.ANSWERED, Fate.UNKNOWN)]
    for name, changes in history.watches.items():
        told = {change.status.uid for change in changes if change.status is not None and change.status.final}
        passed = _passed(changes)
        for uid, status in finals.items():
            went_by = next((at for revision, at in passed if revision >= status.revision), None)
            if uid in told or went_by is None:
                continue
            ended = history.moment(status.times.ended)
            # Of a task that is deleted before its end was told, a watch tells nothing: it is level-triggered.
            if not any(_may_have_deleted(call, status, ended, went_by) for call in deletes):
                what = (
                    f"watch {name} passed revision {status.revision} at {went_by:.3f} and never told the end of {uid}"
                )
                yield Finding("watches miss no final state", what, [str(status)])


def _may_have_deleted(call: Call, status: Status, ended: float, before: float) -> bool:
    over = call.end if call.fate is Fate.ANSWERED else math.inf
    return status.task_id in call.task_ids and call.start < before and over > ended - 0.1


def _finals(history: History) -> dict[str, Status]:
    return {uid: each.status for uid, seen in sights(history).items() for each in seen if each.status.final}


def _passed(changes: list[Change]) -> list[tuple[int, float]]:
    """Return when the watch went past each revision, growing."""
    found: list[tuple[int, float]] = []
    for change in changes:
        if not found or change.revision > found[-1][0]:
            found.append((change.revision, change.at))
    return found
