"""The judge on trial: histories that keep the contract, and histories that break it, one law each."""

from __future__ import annotations

import pytest

from chaos.checker import Operation, check
from chaos.model import (
    Conflicted,
    Deleted,
    Launched,
    MaybeDeleted,
    MaybeLaunched,
    MaybeStopped,
    Missing,
    Observed,
    ObservedLate,
    Ran,
    Repeated,
    Step,
    Stopped,
    There,
    Unchanged,
    fault,
)
from chaos.seen import Status, Times


def at(start: float, end: float, step: Step, *, after: int | None = None) -> Operation:
    """A call that was answered."""
    return Operation(step, start, end, after=after)


def unheard(start: float, step: Step) -> Operation:
    """A call whose answer nobody heard."""
    return Operation(step, start, optional=True)


def status(revision: int, state: str, *, uid: str = "u1", attempt: int = 1) -> Status:
    return Status(uid, revision, state, attempt, print=f"{uid} {revision} {state} {attempt}")


LAUNCHED = Launched("spec", "u1")
RUNNING = status(2, "RUNNING")
EXITED = status(4, "EXITED")

RIGHT = {
    "nothing": [],
    "launched, seen, ended, deleted, gone": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(RUNNING)),
        at(4, 5, Observed(EXITED)),
        at(6, 7, Deleted()),
        at(8, 9, Missing()),
    ],
    "of two launches at once one makes the task": [
        at(0, 3, Repeated("spec", "u1")),
        at(1, 3, LAUNCHED),
    ],
    "a launch may find what a slower one made": [
        at(0, 9, LAUNCHED),
        at(1, 2, Missing()),
        at(3, 4, Observed(RUNNING)),
    ],
    "the status in a launch's answer is later than its effect": [
        at(0, 9, LAUNCHED),
        at(0, 9, ObservedLate(status(3, "RUNNING")), after=0),
        at(1, 2, Observed(RUNNING)),
    ],
    "the task of a slow launch may be deleted before its status is told": [
        at(0, 9, LAUNCHED),
        at(0, 9, ObservedLate(EXITED), after=0),
        at(2, 3, Observed(EXITED)),
        at(4, 5, Deleted()),
        at(6, 7, Missing()),
    ],
    "a launch without an answer took effect": [
        unheard(0, MaybeLaunched("spec")),
        at(2, 3, Observed(RUNNING, "spec")),
        at(4, 5, Repeated("spec", "u1")),
    ],
    "a launch without an answer took no effect": [
        unheard(0, MaybeLaunched("spec")),
        at(2, 3, Launched("other", "u1")),
        at(4, 5, Conflicted("spec")),
    ],
    "a launch without an answer takes effect later": [
        unheard(0, MaybeLaunched("spec")),
        at(2, 3, Missing()),
        at(4, 5, Repeated("spec", "u1")),
    ],
    "an id is used again after its deletion": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(EXITED)),
        at(4, 5, Deleted()),
        at(6, 7, Launched("other", "u2")),
        at(8, 9, Observed(status(6, "RUNNING", uid="u2"), "other")),
    ],
    "a deletion without an answer explains a new task": [
        at(0, 1, LAUNCHED),
        unheard(2, MaybeDeleted()),
        at(4, 5, Launched("spec", "u2")),
    ],
    "a stop is repeated, and the task ends": [
        at(0, 1, LAUNCHED),
        at(2, 3, Stopped(status(3, "STOPPING"))),
        at(4, 5, Stopped(status(3, "STOPPING"))),
        at(6, 7, Stopped(EXITED)),
        at(8, 9, Stopped(EXITED)),
    ],
    "a restart is a new attempt": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(status(3, "PENDING"))),
        at(4, 5, Observed(status(4, "STARTING", attempt=2))),
        at(6, 7, Observed(status(5, "RUNNING", attempt=2))),
    ],
    "a stop without an answer need not have stopped anything": [
        at(0, 1, LAUNCHED),
        unheard(2, MaybeStopped()),
        at(4, 5, Observed(status(5, "RUNNING", attempt=2))),
    ],
    "a task that ran was launched by a call without an answer": [
        unheard(0, MaybeLaunched("spec")),
        at(1, 2, Ran("u1", 1)),
        at(3, 4, Repeated("spec", "u1")),
    ],
    "nothing new since what was seen": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(RUNNING)),
        at(4, 5, Unchanged(2)),
    ],
}

WRONG = {
    "seen before anybody launched it": [
        at(0, 1, Observed(RUNNING)),
        at(2, 3, LAUNCHED),
    ],
    "made twice": [
        at(0, 1, LAUNCHED),
        at(2, 3, Launched("spec", "u2")),
    ],
    "found by a launch that was over before it was made": [
        at(0, 1, Repeated("spec", "u1")),
        at(2, 3, LAUNCHED),
    ],
    "one uid for two tasks": [
        at(0, 1, LAUNCHED),
        at(2, 3, Deleted()),
        at(4, 5, LAUNCHED),
    ],
    "another uid without a deletion": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(status(2, "RUNNING", uid="u2"))),
    ],
    "found by a launch with another spec": [
        at(0, 1, LAUNCHED),
        at(2, 3, Repeated("other", "u1")),
    ],
    "in conflict with its own spec": [
        at(0, 1, LAUNCHED),
        at(2, 3, Conflicted("spec")),
    ],
    "gone without a deletion": [
        at(0, 1, LAUNCHED),
        at(2, 3, Missing()),
    ],
    "still there after its deletion": [
        at(0, 1, LAUNCHED),
        at(2, 3, Deleted()),
        at(4, 5, There()),
    ],
    "deleted twice at once": [
        at(0, 1, LAUNCHED),
        at(2, 4, Deleted()),
        at(3, 5, Deleted()),
    ],
    "a revision that goes back": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(status(3, "RUNNING"))),
        at(4, 5, Observed(RUNNING)),
    ],
    "two statuses of one revision": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(RUNNING)),
        at(2, 3, Observed(status(2, "STOPPING"))),
    ],
    "a final state that changes": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(EXITED)),
        at(4, 5, Observed(status(5, "LOST"))),
    ],
    "a final state that is restarted": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(EXITED)),
        at(4, 5, Observed(status(5, "STARTING", attempt=2))),
    ],
    "running again after stopping": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(status(2, "STOPPING"))),
        at(4, 5, Observed(status(3, "RUNNING"))),
    ],
    "a stop that is answered with a running task": [
        at(0, 1, LAUNCHED),
        at(2, 3, Stopped(RUNNING)),
    ],
    "restarted after a stop": [
        at(0, 1, LAUNCHED),
        at(2, 3, Stopped(status(2, "STOPPING"))),
        at(4, 5, Observed(status(5, "RUNNING", attempt=2))),
    ],
    "waiting for a restart after a stop": [
        at(0, 1, LAUNCHED),
        at(2, 3, Stopped(status(2, "STOPPING"))),
        at(4, 5, Observed(status(3, "PENDING"))),
    ],
    "signalled after its end was seen": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(EXITED)),
        at(4, 5, There(alive=True)),
    ],
    "a task that ran and that the site does not know": [
        unheard(0, MaybeLaunched("spec")),
        at(1, 2, Ran("u1", 1)),
        at(3, 4, Launched("spec", "u2")),
    ],
    "a task that ran after its end": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(EXITED)),
        at(4, 5, Ran("u1", 1)),
    ],
    "a poll that slept through a change": [
        at(0, 1, LAUNCHED),
        at(2, 3, Observed(status(7, "RUNNING"))),
        at(4, 5, Unchanged(2)),
    ],
    "a status in a launch's answer from before its effect": [
        at(0, 1, Missing()),
        at(2, 9, Repeated("spec", "u1")),
        at(2, 9, ObservedLate(EXITED), after=1),
        at(3, 4, LAUNCHED),
        at(5, 6, Observed(status(5, "EXITED"))),
        at(5, 6, Observed(status(6, "EXITED"))),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_history_that_keeps_the_contract_has_an_order(name: str) -> None:
    assert check(RIGHT[name]) is None


@pytest.mark.parametrize("name", WRONG)
def test_a_history_that_breaks_the_contract_has_none(name: str) -> None:
    assert check(WRONG[name]) is not None


def test_a_failure_tells_how_far_the_search_came_and_where_it_stuck() -> None:
    history = [at(0, 1, LAUNCHED), at(2, 3, Observed(RUNNING)), at(4, 5, Missing())]

    failure = check(history)

    assert failure is not None
    assert (list(failure.placed), list(failure.stuck)) == (history[:2], history[2:])


def test_many_calls_at_once_are_judged_in_a_moment() -> None:
    many = [at(1, 100, Observed(status(2 + number, "RUNNING"))) for number in range(60)]
    maybe = [unheard(1, MaybeDeleted()) for _ in range(10)]

    assert check([at(0, 1, LAUNCHED), *many, *maybe, at(101, 102, Missing())]) is None


def test_the_pid_and_the_times_of_an_attempt_never_change() -> None:
    before = Status("u1", 2, "RUNNING", pid=7, times=Times(created=1, started=2))

    assert "pid" in fault(before, Status("u1", 3, "STOPPING", pid=8, times=Times(created=1, started=2)))
    assert "started" in fault(before, Status("u1", 3, "STOPPING", pid=7, times=Times(created=1, started=3)))
    assert fault(before, Status("u1", 3, "STOPPING", pid=7, times=Times(created=1, started=2))) == ""
