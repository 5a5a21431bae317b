"""Is there an order? The search of Wing and Gong, with memory, over the calls on one task id.

A history is right if its calls can be put into *some* order in which each takes effect at one moment between its start
and its end, and every answer is what the model gives. A call whose answer nobody heard may take effect at any moment
after its start, or never.

J. M. Wing, C. Gong: Testing and verifying concurrent objects (1993); the memory is G. Lowe's (2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.model import Absent, Observed, State, Step, Stopped, behind


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of one call.

    Attributes:
        start: when the call began.
        end: when its answer was there; infinite: it may take effect for ever.
        optional: it need not have taken effect.
        after: the place in the history of an operation that must come before this one; None: there is none.
        call: what to show of it.
    """

    step: Step
    start: float
    end: float = math.inf
    optional: bool = False
    after: int | None = None
    call: object = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The history has no order: how far the best attempt came."""

    placed: Sequence[Operation]
    state: State
    stuck: Sequence[Operation]


def check(history: Sequence[Operation]) -> Failure | None:
    """Return None if there is an order, else how far the search came."""
    order = sorted(range(len(history)), key=lambda place: history[place].start)
    required = sum(1 << place for place, operation in enumerate(history) if not operation.optional)
    start: State = Absent()
    pending = [(0, start)]
    seen = set(pending)
    best, most = pending[0], -1
    while pending:
        done, state = pending.pop()
        done = _advance(history, order, done, state)
        if done & required == required:
            return None
        if (count := (done & required).bit_count()) > most:
            best, most = (done, state), count
        candidates = _open(history, order, done)
        if any(_is_too_late(history[place], state) for place in candidates):
            continue
        for place in candidates:
            after = history[place].step(state)
            if after is None or (history[place].optional and after == state):
                continue
            found = (done | 1 << place, after)
            if found not in seen:
                seen.add(found)
                pending.append(found)
    return _failure(history, order, *best)


def _advance(history: Sequence[Operation], order: Sequence[int], done: int, state: State) -> int:
    """Place every open operation that changes nothing: wherever else it could go, it can go here as well."""
    while True:
        before = done
        for place in _open(history, order, done):
            if not history[place].optional and history[place].step(state) == state:
                done |= 1 << place
        if done == before:
            return done


def _open(history: Sequence[Operation], order: Sequence[int], done: int) -> list[int]:
    """Return the operations that may be next: those that began before any that is not done had ended."""
    found: list[int] = []
    first_end = math.inf
    for place in order:
        operation = history[place]
        if operation.start > first_end:
            break
        if done >> place & 1:
            continue
        if not operation.optional:
            first_end = min(first_end, operation.end)
        if operation.after is None or done >> operation.after & 1:
            found.append(place)
    return found


def _is_too_late(operation: Operation, state: State) -> bool:
    """Whether what was seen lies behind: without this look the search would try every order of what was seen."""
    step = operation.step
    return isinstance(step, Observed | Stopped) and behind(state, step.status)


def _failure(history: Sequence[Operation], order: Sequence[int], done: int, state: State) -> Failure:
    placed = [history[place] for place in order if done >> place & 1]
    return Failure(placed, state, [history[place] for place in _open(history, order, done)])
