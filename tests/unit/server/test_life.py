"""The life of a task: which moves are legal, and what each of them keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.values import EXIT_0, FAILURE, MOMENT, SECOND, a_stop, a_task, in_state

from farspawn_server.task.clocks import Moment
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Cause, CleanupOutcome, LeaderExit, Outcome, State, Survivor
from farspawn_server.task.spec import Cleanup, Permit, RestartMode, RestartPolicy, Spec, StopPlan, StopScope
from farspawn_server.task.stop import Stop

MOVES: dict[str, tuple[Callable[[Task], Task], set[State]]] = {
    "running": (lambda task: task.running(7, 1, 1), {State.STARTING, State.STOPPING}),
    "stopping": (
        lambda task: task.stopping(a_stop(signal_at=1), MOMENT),
        {State.PENDING, State.STARTING, State.RUNNING, State.STOPPING},
    ),
    "signalled": (lambda task: task.signalled(MOMENT), {State.STOPPING}),
    "killed": (lambda task: task.killed(MOMENT), {State.STOPPING}),
    "leader_ended": (lambda task: task.leader_ended(EXIT_0), {State.STARTING, State.RUNNING, State.STOPPING}),
    "exited": (
        lambda task: replace(task, leader=EXIT_0).exited(MOMENT, dice=0.0),
        {State.RUNNING, State.STOPPING},
    ),
    "failed": (lambda task: task.failed(FAILURE, MOMENT, dice=0.0), {State.STARTING, State.STOPPING}),
    "lost": (
        lambda task: task.lost("", MOMENT, dice=0.0),
        {State.STARTING, State.RUNNING, State.STOPPING},
    ),
    "cut_off": (
        lambda task: task.cut_off(Cause.HOST_REBOOTED, "", MOMENT),
        {State.PENDING, State.STARTING, State.RUNNING, State.STOPPING},
    ),
    "resisting": (lambda task: task.resisting((Survivor(7, "x", "why"),)), {State.STOPPING}),
    "next_attempt": (lambda task: task.next_attempt("boot"), {State.PENDING}),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("move", MOVES)
def test_a_move_is_made_from_its_states_and_refused_from_every_other(move: str, state: State) -> None:
    make, legal = MOVES[move]
    task = in_state(state)

    if state in legal:
        assert make(task) != task
    else:
        with pytest.raises(ValueError, match=f"is {state.value}: not a legal move"):
            make(task)


@pytest.mark.parametrize("state", [State.EXITED, State.FAILED, State.LOST])
def test_no_move_leads_out_of_a_final_state(state: State) -> None:
    assert state.final
    assert [move for move, (_, legal) in MOVES.items() if state in legal] == []


def test_a_task_whose_leader_has_not_ended_cannot_have_exited() -> None:
    with pytest.raises(ValueError, match="its leader has not"):
        in_state(State.RUNNING).exited(MOMENT, dice=0.0)


spans = st.integers(0, 10**12)
stops = st.builds(
    lambda signal_at, grace, cause: Stop(cause, "", 15, signal_at, signal_at + grace),
    spans,
    spans,
    st.sampled_from(Cause),
)


@given(stops, stops)
def test_a_second_stop_never_puts_a_deadline_off(first: Stop, second: Stop) -> None:
    both = first.shortened_by(second)

    assert both.signal_at == min(first.signal_at, second.signal_at)
    assert both.kill_at == min(first.kill_at, second.kill_at)
    assert both.signal_at <= both.kill_at


@given(stops, stops)
def test_a_second_stop_changes_neither_cause_nor_signal_nor_who_asked(first: Stop, second: Stop) -> None:
    both = first.shortened_by(second)

    assert (both.cause, both.signal, both.by) == (first.cause, first.signal, first.by)


@pytest.mark.parametrize(("now", "late"), [(4, 0), (5, 0), (9, 4), (30, 25)])
def test_a_grace_is_as_long_as_it_was_promised_however_late_the_signal(now: int, late: int) -> None:
    signalled = in_state(State.RUNNING).stopping(a_stop(signal_at=5, kill_at=10), MOMENT).signalled(Moment(0, now))

    assert signalled.stop == a_stop(signal_at=5 + late, kill_at=10 + late)


def test_a_stop_at_once_does_not_wait_for_a_signal_that_is_overdue() -> None:
    overdue = in_state(State.RUNNING).stopping(a_stop(signal_at=5, kill_at=3605), MOMENT)

    stopping = overdue.stopping(a_stop(signal_at=3000, kill_at=3000), Moment(0, 3000))

    assert stopping.stop is not None
    assert (stopping.stop.asks, stopping.stop.kill_at) == (False, 3000)


@pytest.mark.parametrize(
    ("task", "asked_by"),
    [
        (in_state(State.STARTING).stopping(a_stop(signal_at=5), MOMENT), None),  # nobody is there
        (in_state(State.RUNNING).stopping(a_stop(signal_at=5), MOMENT), 5),
        (in_state(State.RUNNING).stopping(a_stop(signal_at=5), MOMENT).signalled(MOMENT), None),
        (in_state(State.RUNNING).stopping(a_stop(signal_at=5, kill_at=5), MOMENT), None),  # no grace
        (in_state(State.RUNNING).stopping(a_stop(signal_at=5), MOMENT).killed(MOMENT), None),
        (in_state(State.STARTING).leader_ended(EXIT_0).stopping(a_stop(signal_at=5), MOMENT), 5),  # others may be
        (in_state(State.RUNNING), None),
    ],
)
def test_who_is_asked_to_end_and_when(task: Task, asked_by: int | None) -> None:
    assert task.asked_by == asked_by


def test_a_stop_that_is_not_shorter_changes_nothing() -> None:
    stopping = in_state(State.RUNNING).stopping(a_stop(signal_at=5, kill_at=10), MOMENT)

    again = stopping.stopping(a_stop(signal_at=6, kill_at=11), Moment(MOMENT.wall + 1, 1))

    assert again == stopping


def test_the_spans_of_a_plan_follow_each_other() -> None:
    plan = StopPlan(
        linger=timedelta(seconds=1),
        drain=timedelta(seconds=2),
        signal=10,
        grace=timedelta(microseconds=3_000_001),
        scope=StopScope.LEADER,
    )

    stop = Stop.by_plan(plan, 100, cause=Cause.STOP_REQUESTED, by="somebody")

    assert stop == Stop(
        Cause.STOP_REQUESTED, "somebody", 10, 100 + 3 * SECOND, 100 + 6 * SECOND + 1000, StopScope.LEADER
    )


def test_what_a_task_leaves_out_of_its_plan_is_the_sites_default() -> None:
    task = a_task(stop=StopPlan(linger=timedelta(seconds=3)))

    assert task.plan == StopPlan(timedelta(seconds=3), timedelta(0), 15, timedelta(seconds=10), StopScope.TREE)


@pytest.mark.parametrize(
    ("reached", "cause", "by"),
    [
        ("nothing", Cause.COMPLETED, ""),
        ("signalled", Cause.STOP_REQUESTED, "me"),
        ("killed", Cause.STOP_REQUESTED, "me"),
    ],
)
def test_only_what_was_signalled_was_ended_by_a_stop(reached: str, cause: Cause, by: str) -> None:
    task = in_state(State.RUNNING).stopping(a_stop(by="me"), MOMENT)
    if reached != "nothing":
        task = task.signalled(MOMENT) if reached == "signalled" else task.killed(MOMENT)

    outcome = task.leader_ended(EXIT_0).exited(MOMENT, dice=0.0).outcome

    assert outcome is not None
    assert (outcome.cause, outcome.stopped_by) == (cause, by)


def test_an_exit_that_nobody_knows_has_neither_code_nor_signal() -> None:
    assert not LeaderExit(None, None, core_dumped=False, usage=None, at=0).known
    assert LeaderExit(0, None, core_dumped=False, usage=None, at=0).known


def restarting(max_restarts: int = 0) -> Task:
    policy = RestartPolicy(
        RestartMode.ALWAYS, max_restarts, initial_backoff=timedelta(seconds=1), max_backoff=timedelta(seconds=10)
    )
    return in_state(State.RUNNING, restart=policy)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_restart_waits_from_half_to_all_of_a_backoff_that_is_never_above_its_maximum(row: int, dice: float) -> None:
    task = replace(restarting(), restarts_in_row=row).leader_ended(EXIT_0).exited(MOMENT, dice)

    assert task.state is State.PENDING
    assert task.restart_at is not None
    full = min(2 ** min(row, 10), 10) * SECOND
    assert full // 2 - 1 <= task.restart_at - MOMENT.monotonic <= full


def test_a_task_is_restarted_as_often_as_allowed_and_then_ends() -> None:
    task, states = restarting(max_restarts=2), []
    for _ in range(3):
        task = task.leader_ended(EXIT_0).exited(MOMENT, dice=0.0)
        states.append(task.state)
        if task.state is State.PENDING:
            task = task.next_attempt("boot").running(8, 1, MOMENT.monotonic)

    assert states == [State.PENDING, State.PENDING, State.EXITED]
    assert (task.attempt, [attempt.number for attempt in task.earlier]) == (3, [1, 2])


def test_a_stopped_task_is_not_restarted() -> None:
    task = restarting().stopping(a_stop(), MOMENT).signalled(MOMENT).leader_ended(EXIT_0).exited(MOMENT, dice=0.0)

    assert task.state is State.EXITED


def test_a_stop_between_two_attempts_ends_the_task_with_the_last_ones_outcome() -> None:
    waiting = restarting().leader_ended(EXIT_0).exited(MOMENT, dice=0.0)

    stopped = waiting.stopping(a_stop(), MOMENT)

    assert stopped.state is State.EXITED
    assert stopped.outcome == waiting.earlier[-1].outcome
    assert (stopped.earlier, stopped.restart_at) == ((), None)


ALWAYS = RestartPolicy(RestartMode.ALWAYS)
CLEANUP = Cleanup(("true",))
LATER = Moment(MOMENT.wall + SECOND, 0)  # another boot's clock


def rebooted(task: Task) -> Task:
    return task.cut_off(Cause.HOST_REBOOTED, "rebooted", LATER)


@pytest.mark.parametrize("cleanup", [None, CLEANUP], ids=["no cleanup", "cleanup"])
@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.STOPPING])
def test_what_a_reboot_ended_is_lost_for_good_and_not_cleaned_up_after(state: State, cleanup: Cleanup | None) -> None:
    task = rebooted(in_state(state, restart=ALWAYS, cleanup=cleanup))

    assert (task.state, task.outcome) == (State.LOST, Outcome(Cause.HOST_REBOOTED, message="rebooted"))
    assert (task.ending, task.restart_at, task.earlier, task.times.ended) == (None, None, (), LATER.wall)


def test_a_task_that_waits_for_its_next_attempt_gets_none_after_a_reboot() -> None:
    task = rebooted(in_state(State.PENDING))

    assert task.state.final
    assert (task.outcome is None, task.restart_at, task.times.ended) == (False, None, LATER.wall)


def test_a_reboot_between_two_attempts_loses_the_next_one_and_not_the_one_that_had_ended() -> None:
    waiting = in_state(State.PENDING)

    task = rebooted(waiting)

    assert (task.state, task.attempt, task.earlier) == (State.LOST, waiting.attempt + 1, waiting.earlier)
    assert [each.outcome.leader for each in task.earlier] == [EXIT_0]


@pytest.mark.parametrize("cleanup", [None, CLEANUP], ids=["no cleanup", "cleanup"])
def test_an_exit_that_was_known_is_known_after_a_reboot(cleanup: Cleanup | None) -> None:
    task = rebooted(in_state(State.RUNNING, restart=ALWAYS, cleanup=cleanup).leader_ended(EXIT_0))

    assert task.outcome is not None
    assert (task.state, task.outcome.leader, task.outcome.cause) == (State.EXITED, EXIT_0, Cause.COMPLETED)
    assert task.outcome.cleanup == (None if cleanup is None else CleanupOutcome())


def test_an_exit_that_nobody_knew_is_lost_in_a_reboot() -> None:
    unknown = replace(EXIT_0, code=None, usage=None)

    task = rebooted(in_state(State.RUNNING).leader_ended(unknown))

    assert (task.state, task.outcome) == (State.LOST, Outcome(Cause.HOST_REBOOTED, message="rebooted"))


def test_a_cleanup_that_took_too_long_is_known_after_a_reboot() -> None:
    cleaning = in_state(State.RUNNING, cleanup=CLEANUP).leader_ended(EXIT_0).exited(MOMENT, dice=0.0).cleanup_killed()

    task = rebooted(cleaning)

    assert task.outcome is not None
    assert task.outcome.cleanup == CleanupOutcome(timed_out=True)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda task: task.leader_ended(EXIT_0).exited(MOMENT, dice=0.0), State.EXITED),
        (lambda task: task.lost("nobody knows", MOMENT, dice=0.0), State.LOST),
    ],
)
def test_a_reboot_during_a_cleanup_leaves_the_attempt_as_it_had_ended(
    end: Callable[[Task], Task], state: State
) -> None:
    cleaning = end(in_state(State.RUNNING, restart=ALWAYS, cleanup=CLEANUP))
    assert cleaning.ending is not None

    task = rebooted(cleaning)

    assert (task.state, task.outcome) == (state, replace(cleaning.ending.outcome, cleanup=CleanupOutcome()))
    assert (task.ending, task.restart_at, task.earlier, task.times.ended) == (None, None, (), LATER.wall)


def test_a_reboot_ends_the_need_for_secrets() -> None:
    permit = Permit(terms=Spec(("true",), restart=ALWAYS), secrets={"TOKEN": "x"})

    task = rebooted(replace(in_state(State.RUNNING), permit=permit))

    assert task.permit == replace(permit, secrets={})
